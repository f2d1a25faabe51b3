"""Drawn scenes: the same from the same seed, one scene in all styles, and pairs withheld only where they should be."""

import hashlib
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.scenes import KINDS, Kind, digits, draw, plan, write_dataset
from i2i.scenes.facades import PALETTE, WALLS

EVERY_STYLE = [(name, style) for name, kind in KINDS.items() for style in kind.styles]


def edges(picture: np.ndarray) -> np.ndarray:
    gray = picture.astype(np.float64).mean(axis=2)
    return np.abs(np.diff(gray, axis=0))[:, :-1] + np.abs(np.diff(gray, axis=1))[:-1]


def pictures(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")
    }


@pytest.mark.parametrize(("kind", "style"), EVERY_STYLE)
@pytest.mark.parametrize("size", [16, 65, 128])
def test_every_style_is_drawn_at_any_size(kind: str, style: str, size: int) -> None:
    picture = draw(kind, seed=1, index=2, size=size, style=style)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 20


@pytest.mark.parametrize(("kind", "style"), EVERY_STYLE)
def test_a_scene_is_the_same_whenever_it_is_drawn_and_unlike_every_other(
    kind: str, style: str
) -> None:
    first = draw(kind, 3, 4, 32, style)
    others = [
        draw(kind, seed, index, 32, style) for seed, index in ((3, 5), (4, 4), (4, 3), (0, 0))
    ]
    assert np.array_equal(first, draw(kind, 3, 4, 32, style))
    assert all(np.abs(first.astype(int) - other).mean() > 4 for other in others)


def test_another_process_draws_the_same_bytes() -> None:
    program = (
        "import hashlib, sys; from i2i.scenes import KINDS, draw\n"
        "for kind in KINDS:\n"
        "    for style in KINDS[kind].styles:\n"
        "        print(hashlib.sha256(draw(kind, 7, 11, 48, style).tobytes()).hexdigest())\n"
        "assert 'torch' not in sys.modules, 'drawing must not cost the import of torch'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    here = [
        hashlib.sha256(draw(kind, 7, 11, 48, style).tobytes()).hexdigest()
        for kind, style in EVERY_STYLE
    ]
    assert done.stdout.split() == here


@pytest.mark.parametrize(("kind", "style"), EVERY_STYLE)
def test_small_and_large_pictures_show_the_same_scene(kind: str, style: str) -> None:
    small = draw(kind, 5, 1, 64, style).astype(np.float32)
    large = np.asarray(Image.fromarray(draw(kind, 5, 1, 256, style)).reduce(4), dtype=np.float32)
    assert np.abs(small - large).mean() < 9
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("kind", "one", "other"), [("facades", "day", "dusk"), ("portraits", "drawn", "ink")]
)
def test_two_styles_show_one_scene(kind: str, one: str, other: str) -> None:
    for index in range(4):
        same = np.corrcoef(
            edges(draw(kind, 0, index, 96, one)).ravel(),
            edges(draw(kind, 0, index, 96, other)).ravel(),
        )
        strange = np.corrcoef(
            edges(draw(kind, 0, index, 96, one)).ravel(),
            edges(draw(kind, 0, index + 9, 96, other)).ravel(),
        )
        assert same[0, 1] > 0.35
        assert same[0, 1] > strange[0, 1] + 0.15


def test_orchards_differ_in_the_color_of_the_fruit_alone() -> None:
    for index in range(6):
        red, yellow = (
            draw("orchard", 2, index, 128, style).astype(int) for style in ("red", "yellow")
        )
        changed = np.abs(red - yellow).max(axis=2) > 0
        clearly = np.abs(red - yellow).max(axis=2) > 60
        assert 0.01 < changed.mean() < 0.25
        assert (red[clearly][:, 0] > red[clearly][:, 1] + 30).mean() > 0.95
        assert (yellow[clearly][:, 1] > yellow[clearly][:, 2] + 30).mean() > 0.95


def test_label_maps_hold_the_colors_of_the_palette_and_no_other() -> None:
    allowed = {bytes(color) for color in PALETTE.values()}
    assert len(allowed) == len(PALETTE)
    seen = set()
    for index in range(20):
        seen |= {bytes(color) for color in draw("facades", 1, index, 96, "labels").reshape(-1, 3)}
    assert seen == allowed


def test_the_color_of_a_wall_can_be_read_from_the_label_map() -> None:
    means: dict[str, list[np.ndarray]] = {wall: [] for wall in WALLS}
    for index in range(16):
        labels, day = draw("facades", 6, index, 64, "labels"), draw("facades", 6, index, 64, "day")
        for wall in WALLS:
            inside = (labels == np.array(PALETTE[wall])).all(axis=2)
            if inside.sum() > 100:
                means[wall].append(day[inside].mean(axis=0))
    centers = {wall: np.mean(values, axis=0) for wall, values in means.items()}
    for wall, values in means.items():
        for value in values:
            assert (
                min(centers, key=lambda other: float(np.linalg.norm(value - centers[other])))
                == wall
            )


def test_paired_datasets_hold_both_styles_of_every_scene(tmp_path: Path) -> None:
    written = write_dataset("facades", tmp_path / "new" / "set", count=11, size=16, seed=3)
    names = {folder: {p.name for p in (written.out / folder).iterdir()} for folder in written.files}
    assert (written.mode, written.styles) == ("paired", ("labels", "day"))
    assert written.files == {"test/a": 3, "test/b": 3, "train/a": 8, "train/b": 8}
    assert names["train/a"] == names["train/b"]
    assert names["test/a"] == names["test/b"]
    assert not names["train/a"] & names["test/a"]
    with Image.open(written.out / "train" / "b" / "000004.png") as picture:
        assert np.array_equal(np.asarray(picture), draw("facades", 3, 4, 16, "day"))
    assert {p.name for p in written.out.iterdir()} == {"train", "test"}


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if "unpaired" in kind.modes])
@pytest.mark.parametrize("count", [3, 10, 23])
def test_unpaired_datasets_withhold_the_partner_in_training_and_keep_it_for_the_test(
    kind: str, count: int
) -> None:
    drawings = plan(kind, count, unpaired=True)
    where: dict[str, list[int]] = {}
    for drawing in drawings:
        where.setdefault(drawing.path.parent.as_posix(), []).append(drawing.index)
    assert not set(where["train/a"]) & set(where["train/b"])
    assert where["test/a"] == where["test/b"]
    assert not set(where["test/a"]) & {*where["train/a"], *where["train/b"]}
    assert {*where["train/a"], *where["train/b"], *where["test/a"]} == set(range(count))
    assert abs(len(where["train/a"]) - len(where["train/b"])) <= 1
    assert len({drawing.path for drawing in drawings}) == len(drawings)
    for drawing in drawings:
        assert drawing.style == KINDS[kind].modes["unpaired"]["ab".index(drawing.path.parent.name)]


def test_portraits_lie_in_one_folder(tmp_path: Path) -> None:
    written = write_dataset("portraits", tmp_path, count=4, size=16, seed=0)
    assert written.files == {".": 4}
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n:06d}.png" for n in range(4)]


def test_a_larger_dataset_contains_the_smaller_one_byte_for_byte(tmp_path: Path) -> None:
    write_dataset("orchard", tmp_path / "few", count=6, size=16, seed=9)
    write_dataset("orchard", tmp_path / "many", count=8, size=16, seed=9)
    few, many = pictures(tmp_path / "few"), pictures(tmp_path / "many")
    assert few.items() < many.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"kind": "castles"},
            r"kind: 'castles' is not known \(choose from digits, facades, orchard, portraits\)",
        ),
        ({"size": 8}, "size: must be from 16 to 2048 pixels, got 8"),
        ({"size": 5000}, "size: must be from 16 to 2048 pixels, got 5000"),
        ({"seed": -1}, "seed and index: must be at least 0, got -1 and 0"),
        ({"count": 1}, "count: must be at least 2 for paired facades, got 1"),
        ({"count": 2, "unpaired": True}, "count: must be at least 3 for unpaired facades, got 2"),
    ],
)
def test_bad_wishes_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    wishes: dict[str, object] = {"kind": "facades", "count": 5, "size": 16, "seed": 0} | arguments
    with pytest.raises(ValueError, match=message):
        write_dataset(out=tmp_path / "out", **wishes)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_an_unknown_style_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"style: 'night' is not known here \(choose from labels, day, dusk\)"
    ):
        draw("facades", 0, 0, 32, "night")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_dataset("facades", tmp_path, count=5, size=16, seed=0)
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        write_dataset("facades", tmp_path / "mine.txt", count=5, size=16, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_dataset_leaves_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seed: int, index: int, size: int, style: str) -> np.ndarray:
        if index == 2:
            raise KeyboardInterrupt
        return np.zeros((size, size, 3), np.uint8)

    monkeypatch.setitem(
        KINDS, "facades", Kind(interrupted, ("labels",), {"paired": ("labels", "labels")})
    )
    with pytest.raises(KeyboardInterrupt):
        write_dataset("facades", tmp_path / "out", count=5, size=16, seed=0)
    assert list((tmp_path / "out").iterdir()) == []


def test_digits_are_three_of_ten_as_labeled_and_their_modes_are_drawn_evenly() -> None:
    counts = np.zeros((3, 10), int)
    for index in range(2000):
        for channel, value in enumerate(digits.labels(5, index)):
            counts[channel, value] += 1
    assert counts.min() > 150
    with pytest.raises(ValueError, match="unpaired: these scenes have one domain"):
        plan("digits", 5, unpaired=True)


def test_modes_of_drawn_digits_are_counted_by_a_classifier_that_reads_their_labels() -> None:
    modes = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "modes.py"))
    net = modes["train_classifier"](count=800, epochs=10)
    right = 0
    for index in range(60):
        picture = draw("digits", 8, index, 32, "stacked").astype(np.float32) / 255
        found, _ = modes["classify"](net, torch.from_numpy(picture).permute(2, 0, 1)[:, None])
        right += tuple(found.tolist()) == digits.labels(8, index)
    assert right >= 54
    assert modes["divergence"](np.array([5, 5, 5, 5])) == pytest.approx(0)
    assert modes["divergence"](np.array([20, 0, 0, 0])) == pytest.approx(np.log(4))
