"""Data sets: samples by number, channels and depths from the files, and what is refused before training."""

import pickle
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.config import PairedData, UnconditionalData, UnpairedData
from i2i.data.dataset import Dataset, PairedImages, Paths, UnpairedImages
from i2i.data.folders import DataError
from i2i.data.loader import batches
from i2i.data.unconditional import UnconditionalImages
from i2i.images import MAX_PIXELS, ImageError

SMALL: dict[str, Any] = {"load_size": 20, "crop_size": 16}


def paired(root: Path, **settings: Any) -> PairedImages:
    return PairedImages(PairedData(**{"root": str(root)} | SMALL | settings), seed=5)


def unpaired(root: Path, **settings: Any) -> UnpairedImages:
    return UnpairedImages(UnpairedData(**{"root": str(root)} | SMALL | settings), seed=5)


def images_of(root: Path, **settings: Any) -> UnconditionalImages:
    return UnconditionalImages(UnconditionalData(**{"root": str(root)} | SMALL | settings), seed=5)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def three(write: Any, tmp_path: Path) -> dict[str, Dataset]:
    """A small data set of each kind."""
    for name in ("1", "2", "3"):
        write(f"two/trainA/{name}.png")
        write(f"two/trainB/{name}.jpg")
    settings = {"rotate_degrees": 10.0, "color_jitter": 0.2}
    return {
        "paired": paired(tmp_path / "two", **settings),
        "unpaired": unpaired(tmp_path / "two", **settings),
        "unconditional": images_of(tmp_path / "two", **settings),
    }


@pytest.mark.parametrize("kind", ["paired", "unpaired", "unconditional"])
def test_sample_is_a_function_of_epoch_and_index(three: dict[str, Dataset], kind: str) -> None:
    dataset = three[kind]
    for epoch, index in ((0, 0), (0, 1), (7, 1)):
        sample = dataset.sample(epoch, index)
        assert equal(sample, dataset.sample(epoch, index))
        assert equal(sample, pickle.loads(pickle.dumps(dataset)).sample(epoch, index))
        for name, image in sample.items():
            assert image.shape == (dataset.channels[name], 16, 16)
            assert image.dtype == torch.float32
            assert -1 <= image.min() < image.max() <= 1
    assert equal(dataset.fixed(1), dataset.fixed(1))
    assert dataset.fixed(1).keys() == dataset.channels.keys()


@pytest.mark.parametrize("kind", ["paired", "unpaired", "unconditional"])
def test_nearly_every_draw_differs_from_the_last_epoch(
    three: dict[str, Dataset], kind: str
) -> None:
    dataset = three[kind]
    name = next(iter(dataset.channels))
    draws = [dataset.sample(epoch, 0)[name] for epoch in range(201)]
    assert sum(map(torch.equal, draws[1:], draws[:-1])) < 2


def test_sample_leaves_the_global_generators_alone(three: dict[str, Dataset]) -> None:
    before: Any = torch.get_rng_state(), np.random.get_state(), random.getstate()
    for dataset in three.values():
        dataset.sample(0, 0)
    after: Any = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1][1], after[1][1])
    assert before[2] == after[2]


def test_seed_changes_the_augmentation(write: Any, tmp_path: Path) -> None:
    write("1.png", (40, 40))
    views = [
        UnconditionalImages(
            UnconditionalData(root=str(tmp_path), **SMALL | {"resize": "none"}), seed=seed
        )
        for seed in range(9)
    ]
    assert len({view.sample(0, 0)["image"].numpy().tobytes() for view in views}) == 9


@pytest.mark.parametrize(("layout", "left"), [("ab", "a"), ("ba", "b"), ("auto", "a")])
def test_halves_of_a_side_by_side_image_go_to_their_domains(
    write: Any, tmp_path: Path, layout: str, left: str
) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    write("1.png", pixels=pixels)
    dataset = paired(tmp_path, layout=layout)
    right = "b" if left == "a" else "a"
    for sample in (dataset.sample(0, 0), dataset.fixed(0)):
        assert (sample[left] == -1).all()
        assert (sample[right] == 1).all()
    assert dataset.files(0, 0) == [f"{tmp_path}/1.png"]
    gray, side = dataset.notes
    assert gray.startswith("1 of 1 files are gray stored as RGB")
    assert side == f"pairs lie side by side; the left half is {left}."


def test_geometry_is_shared_by_a_pair_on_disk(write: Any, tmp_path: Path) -> None:
    y, x = np.mgrid[:30, :30].astype(np.uint8) * 8
    pixels = np.stack([y, x, y], axis=2)
    write("a/1.png", pixels=pixels)
    write("b/1.bmp", pixels=pixels)
    dataset = paired(tmp_path, rotate_degrees=20.0, elastic_pixels=3.0)
    for epoch in range(10):
        sample = dataset.sample(epoch, 0)
        assert torch.equal(sample["a"], sample["b"])


@pytest.mark.parametrize(("direction", "colored"), [("a2b", "a"), ("b2a", "b")])
def test_color_of_a_pair_changes_its_input_only(
    write: Any, tmp_path: Path, direction: str, colored: str
) -> None:
    write("a/1.png", seed=1)
    write("b/1.png", seed=2)
    plain, jittered = (
        paired(tmp_path, direction=direction, color_jitter=strength).sample(0, 0)
        for strength in (0.0, 0.5)
    )
    other = "b" if colored == "a" else "a"
    assert torch.equal(plain[other], jittered[other])
    assert not torch.equal(plain[colored], jittered[colored])


def test_domains_keep_their_own_channels_and_depths(write: Any, tmp_path: Path) -> None:
    write("a/1.png", channels=1)
    write("b/1.png", pixels=np.full((20, 20, 3), 32768, np.uint16))
    dataset = paired(tmp_path, rotate_degrees=10.0, decode_check_limit=0)
    assert dataset.channels == {"a": 1, "b": 3}
    assert dataset.sample(0, 0)["b"].sub(2 * 32768 / 65535 - 1).abs().max() < 1e-5
    assert dataset.sample(0, 0)["a"].shape == (1, 16, 16)


def test_gray_and_color_in_one_domain_become_color_and_are_reported(
    write: Any, tmp_path: Path
) -> None:
    write("1.png", channels=1)
    write("2.jpg", channels=3)
    write("3.png", channels=4)
    dropped, kept = images_of(tmp_path), images_of(tmp_path, alpha="keep")
    assert dropped.channels == {"image": 3}
    assert dropped.notes == (
        "images of domain image differ in channels (1 with 1, 2 with 3): all are converted to 3.",
    )
    assert kept.channels == {"image": 4}
    assert torch.equal(dropped.fixed(0)["image"][0], dropped.fixed(0)["image"][2])
    assert (kept.fixed(0)["image"][3] == 1).all()


def test_exif_orientation_counts_for_sizes_and_pixels(write: Any, tmp_path: Path) -> None:
    turned = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a").mkdir()
    turned.save(tmp_path / "a" / "1.png", exif=exif)
    write("b/1.png", pixels=np.asarray(turned.transpose(Image.Transpose.ROTATE_270)).copy())
    dataset = paired(tmp_path, resize="none")
    assert torch.equal(dataset.sample(0, 0)["a"], dataset.sample(0, 0)["b"])


def test_every_image_of_both_domains_is_used_equally_often(write: Any, tmp_path: Path) -> None:
    for place in range(5):
        write(f"a/{place}.png")
    for place in range(3):
        write(f"b/{place}.png")
    dataset = unpaired(tmp_path)
    assert len(dataset) == 5
    used = [
        Counter(dataset.files(epoch, index)[place] for epoch in range(6) for index in range(5))
        for place in (0, 1)
    ]
    assert set(used[0].values()) == {6}
    assert set(used[1].values()) == {10}
    partners = {tuple(dataset.files(epoch, index)) for epoch in range(40) for index in range(5)}
    assert len(partners) == 15
    assert "5 of a, 3 of b" in dataset.epoch_rule


def test_fixed_images_are_in_order_and_start_again_in_the_smaller_domain(
    write: Any, tmp_path: Path
) -> None:
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"):
        write(name)
    dataset = unpaired(tmp_path)
    assert torch.equal(dataset.fixed(2)["b"], dataset.fixed(0)["b"])
    assert not torch.equal(dataset.fixed(2)["a"], dataset.fixed(0)["a"])


def test_max_images_takes_a_sample_over_all_subfolders_and_reports_it(
    write: Any, tmp_path: Path
) -> None:
    for folder, count in (("cat", 30), ("dog", 10)):
        for number in range(count):
            write(f"{folder}/{number}.png")

    def sampled(seed: int) -> list[str]:
        config = UnconditionalData(root=str(tmp_path), **SMALL, max_images=8)
        dataset = UnconditionalImages(config, seed=seed)
        assert "a random sample of 8 of 40 files of this domain" in "".join(dataset.notes)
        return [dataset.files(0, index)[0] for index in range(len(dataset))]

    for seed in range(5):
        folders = Counter(Path(file).parent.name for file in sampled(seed))
        assert folders == {"cat": 6, "dog": 2}  # as in the whole set
        assert sampled(seed) == sampled(seed)
    assert sampled(0) != sampled(1)
    assert len(set(sampled(0))) == 8


def test_pairs_of_a_sample_stay_together(write: Any, tmp_path: Path) -> None:
    for number in range(9):
        write(f"a/{number}.png")
        write(f"b/{number}.png")
    dataset = paired(tmp_path, max_images=4)
    assert len(dataset) == 4
    for index in range(4):
        a, b = dataset.files(0, index)
        assert Path(a).name == Path(b).name
    assert "4 of 9 pairs" in dataset.notes[0]


@pytest.mark.parametrize("kind", ["paired", "unpaired", "unconditional"])
def test_epoch_of_crops_is_as_long_as_asked_for_and_uses_all_files_equally_often(
    write: Any, tmp_path: Path, kind: str
) -> None:
    for number in range(3):
        write(f"train/a/{number}.png", (40, 40))
        write(f"train/b/{number}.png", (40, 40))
    make = {"paired": paired, "unpaired": unpaired, "unconditional": images_of}[kind]
    root = tmp_path / "train/a" if kind == "unconditional" else tmp_path
    dataset = make(root, resize="none", epoch_images=10)
    assert (len(dataset), dataset.count) == (10, 3)
    keys = [(epoch, index) for epoch in range(3) for index in range(10)]
    used = Counter(dataset.files(*key)[0] for key in keys)
    assert set(used.values()) == {10}
    name = next(iter(dataset.channels))
    assert len({dataset.sample(*key)[name].numpy().tobytes() for key in keys}) == 30
    assert equal(dataset.sample(2, 7), dataset.sample(2, 7))
    assert equal(dataset.fixed(0), dataset.fixed(3))


@pytest.mark.parametrize("position", [1, 7, 12])
def test_stream_of_crops_continues_from_any_position(
    write: Any, tmp_path: Path, position: int
) -> None:
    for name in ("trainA/x", "trainB/y", "trainB/z"):
        write(f"{name}.png", (60, 60))
    dataset = unpaired(tmp_path, resize="none", epoch_images=5)
    whole_stream = batches(dataset, 3, batch=1)
    rest = batches(dataset, 3, batch=1, start_position=position)
    for _ in range(position):
        next(whole_stream)
    for _ in range(4):
        one, other = next(whole_stream), next(rest)
        assert one.keys == other.keys
        assert equal(one.images, other.images)


def test_fewer_files_than_a_batch_fill_it(write: Any, tmp_path: Path) -> None:
    write("a/1.png", (60, 60))
    write("b/1.png", (60, 60))
    dataset = paired(tmp_path, resize="none")
    batch = next(batches(dataset, 3, batch=4))
    assert len({image.numpy().tobytes() for image in batch.images["a"]}) == 4


def test_one_image_a_side_is_trained_on_by_its_crops(write: Any, tmp_path: Path) -> None:
    write("trainA/x.png", (60, 60))
    write("trainB/y.png", (60, 60))
    dataset = unpaired(tmp_path, resize="none", epoch_images=50)
    views = {dataset.sample(0, index)["a"].numpy().tobytes() for index in range(50)}
    assert len(views) == 50


def test_files_of_more_pixels_than_the_setting_allows_are_refused_by_it(
    write: Any, tmp_path: Path
) -> None:
    write("1.png", (20, 30))
    with pytest.raises(DataError, match=r"1.png: 30x20 .*max_pixels"):
        images_of(tmp_path, max_pixels=599)
    assert len(images_of(tmp_path, max_pixels=600)) == 1
    assert UnconditionalData(root="x").max_pixels == MAX_PIXELS


def test_test_split_is_read_when_asked_for(write: Any, tmp_path: Path) -> None:
    write("train/1.png", (20, 40))
    write("test/2.png", (20, 40))
    config = PairedData(root=str(tmp_path), load_size=20, crop_size=16)
    assert PairedImages(config, split="test").files(0, 0) == [f"{tmp_path}/test/2.png"]
    assert images_of(tmp_path).files(0, 0) == [f"{tmp_path}/train/1.png"]


def test_bad_headers_are_all_named(write: Any, tmp_path: Path) -> None:
    write("0.png")
    for place in range(25):
        (tmp_path / f"bad{place:02}.png").write_bytes(b"nonsense")
    with pytest.raises(DataError) as caught:
        images_of(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "data.root: 25 of 26 files cannot be decoded. "
        "Replace or remove them, or set data.on_bad_file=skip:"
    )
    assert [f"bad{place:02}.png" in line for place, line in enumerate(lines[1:21])] == [True] * 20
    assert lines[21] == "  … and 5 more."
    dataset = images_of(tmp_path, on_bad_file="skip")
    assert len(dataset) == 1
    assert len(dataset.notes) == 25
    assert "bad00.png" in dataset.notes[0]


def test_both_files_of_a_pair_with_a_bad_one_are_skipped(write: Any, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        write(name)
    (tmp_path / "b/2.png").write_bytes(b"")
    dataset = paired(tmp_path, on_bad_file="skip")
    assert [Path(file).name for file in dataset.files(0, 0)] == ["1.png", "1.png"]
    assert len(dataset) == 1


def damage(path: Path) -> None:
    """Spoil the pixels of a PNG behind an intact header."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_damaged_pixels_stop_with_the_name_of_the_file(write: Any, tmp_path: Path) -> None:
    damage(write("1.png"))
    with pytest.raises(DataError, match=r"1.png: corrupt"):
        images_of(tmp_path)
    with pytest.raises(ImageError, match=r"1.png: corrupt"):
        images_of(tmp_path, decode_check_limit=0).sample(0, 0)


def test_image_of_one_value_is_refused_unless_its_domain_holds_labels(
    write: Any, tmp_path: Path
) -> None:
    write("a/1.png", pixels=np.full((20, 20, 3), 7, np.uint8))
    write("b/1.png")
    with pytest.raises(DataError, match=r"(?s)have one value in all pixels.*data.masks:.*a/1.png"):
        paired(tmp_path)
    assert len(paired(tmp_path, masks=("a",))) == 1
    with pytest.raises(DataError, match=r"no image of .* can be used"):
        paired(tmp_path, on_bad_file="skip")


def test_damaged_pixels_are_skipped_for_the_next_image_and_recorded(
    write: Any, tmp_path: Path
) -> None:
    damage(write("1.png"))
    write("2.png")
    dataset = images_of(
        tmp_path, on_bad_file="skip", resize="none", flip=False, crop_size=20, decode_check_limit=0
    )
    assert torch.equal(dataset.sample(0, 0)["image"], dataset.sample(0, 1)["image"])
    assert len(dataset.warnings) == 1
    assert dataset.warnings[0].startswith(f"skipped {tmp_path}/1.png: corrupt")
    damage(tmp_path / "2.png")
    with pytest.raises(DataError, match=r"no image of .* can be used"):
        dataset.sample(0, 0)


def test_crop_that_does_not_fit_is_refused_with_the_file_and_the_fix(
    write: Any, tmp_path: Path
) -> None:
    write("1.png", (20, 40))
    write("2.png", (20, 10))
    small = r"(?s)1 of 2 files are smaller than 16x16. Lower data.crop_size, or .*2.png is 10x20"
    with pytest.raises(DataError, match=small):
        images_of(tmp_path, resize="none")
    assert len(images_of(tmp_path, resize="shorter")) == 2
    wide = r"(?s)1 of 2 files are smaller than 24x16.* or raise data.load_size.*2.png"
    with pytest.raises(DataError, match=wide):
        images_of(tmp_path, resize="shorter", load_size=16, crop_size=(16, 24))


def test_crop_may_be_wider_than_the_shorter_side_where_every_image_is(
    write: Any, tmp_path: Path
) -> None:
    write("1.png", (20, 40))
    dataset = images_of(tmp_path, resize="shorter", load_size=16, crop_size=(16, 24))
    assert dataset.sample(0, 0)["image"].shape == (3, 16, 24)
    assert dataset.fixed(0)["image"].shape == (3, 16, 24)


def test_pairs_of_different_sizes_are_resized_or_refused_by_rule(
    write: Any, tmp_path: Path
) -> None:
    write("a/1.png", (20, 30))
    write("b/1.png", (30, 20))
    assert paired(tmp_path).sample(0, 0)["b"].shape == (3, 16, 16)
    for resize in ("shorter", "none"):
        differ = r"(?s)2 of 2 files differ in size.*a/1.png is 30x20\n.*b/1.png is 20x30"
        with pytest.raises(DataError, match=differ):
            paired(tmp_path, resize=resize)


def test_odd_width_of_a_side_by_side_image_is_refused(write: Any, tmp_path: Path) -> None:
    write("1.png", (20, 41))
    with pytest.raises(DataError, match=r"(?s)1 of 1 files have an odd width .*1.png is 41x20"):
        paired(tmp_path)


def test_images_of_an_odd_width_are_skipped_like_other_bad_files(
    write: Any, tmp_path: Path
) -> None:
    write("1.png", (20, 41))
    write("2.png", (20, 40))
    dataset = paired(tmp_path, on_bad_file="skip")
    assert dataset.files(0, 0) == [f"{tmp_path}/2.png"]
    assert len(dataset) == 1
    assert f"skipped, odd width: {tmp_path}/1.png is 41x20" in dataset.notes


def test_files_that_break_several_rules_are_listed_in_one_message(
    write: Any, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(b"nonsense")
    write("2.png", (20, 10))
    write("3.png", pixels=np.full((20, 20, 3), 7, np.uint8))
    with pytest.raises(DataError) as caught:
        images_of(tmp_path, resize="none")
    first, *files = str(caught.value).splitlines()
    for part in (
        "data.root: 1 of 3 files cannot be decoded",
        "; 1 of 3 files have one value in all pixels",
        "; 1 of 3 files are smaller than 16x16. ",
        "Replace or remove them, or set data.on_bad_file=skip. Remove them, or declare",
    ):
        assert part in first
    assert [line.split("/")[-1].split()[0] for line in files] == ["1.png:", "3.png", "2.png"]


def test_domain_of_one_image_is_refused(write: Any, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        write(name)
    with pytest.raises(
        DataError,
        match=r"domain b has one image \(.*b/1.png\). Unpaired training needs at least two",
    ):
        unpaired(tmp_path)


def test_unmatched_files_that_are_allowed_are_reported(write: Any, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        write(name)
    assert paired(tmp_path, allow_unmatched=True).notes == (
        "1 files without a partner are skipped.",
    )


def test_packed_paths_are_the_paths() -> None:
    names = ["a", "", "ä/ö.png", "x" * 300, "broken\udcff.png"]
    assert list(Paths(names)) == names
    assert Paths(names)[-1] == names[-1]
    assert Paths(names)[1:3] == names[1:3]
    with pytest.raises(IndexError):
        Paths(names)[5]


def test_facades_are_read_as_photo_and_labels(real_data: Path) -> None:
    dataset = PairedImages(PairedData(root=str(real_data / "facades")))
    assert len(dataset) == 400
    assert dataset.channels == {"a": 3, "b": 3}
    photo, labels = dataset.fixed(0)["a"], dataset.fixed(0)["b"]
    assert photo.shape == (3, 256, 256)
    assert len(torch.unique(photo)) > len(torch.unique(labels.round(decimals=1)))
    assert len(PairedImages(PairedData(root=str(real_data / "facades")), split="test")) == 46
