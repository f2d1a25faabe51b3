"""Images that are too large as a whole: in tiles, by rows, from where a killed job was."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from commands import Command, Ended, here
from models import outputs, write_model
from numpy.typing import NDArray
from peaks import MEBIBYTE, measure

from i2i import images, registry
from i2i.images import Array, rows
from i2i.images.rows import spool_of
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.translation import TranslationError, large
from i2i.translation.folder import translate_folder
from i2i.translation.options import Options
from i2i.translation.translator import Translator, load

LEVEL = 257  # of 8 bits, in 16


def picture(height: int, width: int = 96, channels: int = 3, seed: int = 0) -> NDArray[np.uint16]:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 0.05, (height, width, channels))
    waves = [np.sin(y / (9 + 4 * c)) * np.cos(x / 11) for c in range(channels)]
    unit = 0.5 + 0.3 * np.stack(waves, 2) + noise
    return (unit.clip(0, 1) * 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "resnet")


@pytest.fixture(scope="module")
def translator(model: Path) -> Translator:
    return load(model, device="cpu", precision="fp32")


def translate(model: Path, *arguments: object) -> Ended:
    return here("translate", model, *arguments, "--device", "cpu", "--precision", "fp32")


def close(left: Array, right: Array) -> bool:
    difference = np.abs(left.astype(np.int64) - right.astype(np.int64))
    return left.dtype == right.dtype and bool(difference.max() <= LEVEL)


def test_a_folder_with_a_large_a_broken_and_small_images_is_translated(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2i.translation.tiling.automatic_tile", lambda *_: 96)
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    for number in range(3):
        images.encode(picture(64, 64, seed=number), source / f"{number}.png")
    tifffile.imwrite(source / "sub" / "large.tif", picture(300), tile=(64, 64), photometric="rgb")
    tifffile.imwrite(
        source / "cut.tif", picture(200), compression="zlib", rowsperstrip=8, photometric="rgb"
    )
    content = (source / "cut.tif").read_bytes()
    (source / "cut.tif").write_bytes(content[:500] + bytes(400) + content[900:])
    plain = translate(model, source, tmp_path / "plain", "--depth", "16")
    assert (plain.status, "4 written" in plain.out) == (1, True)
    done = translate(model, source, tmp_path / "out", "--depth", "16", "--max-pixels", 4096)
    assert done.status == 1
    assert "4 written, 0 already done, 1 failed" in done.out
    assert "failed: cut.tif: corrupt or truncated" in done.err
    assert "note: translated in tiles of 96" in done.err
    assert "(1, first: sub/large.tif)" in done.err
    for number in range(3):
        name = f"{number}.png"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    name = Path("sub") / "large.tif"
    assert close(images.decode(tmp_path / "out" / name), images.decode(tmp_path / "plain" / name))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".rows"]
    again = translate(model, source, tmp_path / "out", "--depth", "16", "--max-pixels", 4096)
    assert "0 written, 4 already done, 1 failed" in again.out


@pytest.mark.parametrize("name", ["x.npy", "x.tif", "x.png", "x.jpg"])
def test_tiles_that_are_asked_for_give_what_the_whole_image_gives(
    name: str, model: Path, tmp_path: Path
) -> None:
    images.encode(
        picture(200, 170).astype(np.uint8) if name == "x.jpg" else picture(200, 170),
        tmp_path / name,
    )
    results = []
    for tile in ((), ("--tile", 96)):
        output = tmp_path / f"{len(tile)}.npy"
        done = translate(model, tmp_path / name, output, *tile, "--depth", 16)
        assert done.status == 0, done.err
        assert ("translated in tiles of 96" in done.err) is bool(tile)
        results.append(np.load(output))
    assert close(*results)


def test_another_tile_is_another_job(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images.encode(picture(150), tmp_path / "in" / "x.png")
    words = (tmp_path / "in", tmp_path / "out")
    assert translate(model, *words, "--tile", 96).status == 0
    assert "1 already done" in translate(model, *words, "--tile", 96).out
    other = translate(model, *words, "--tile", 100)
    assert (other.status, "was not written by this model with these options" in other.err) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"overlap": 8}, "overlap: needs --tile"),
        ({"tile": 64, "size": 32}, "size: images are resized as a whole"),
        ({"tile": 0}, "tile: must be at least 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TranslationError, match=reason):
        Options(**options)


def test_a_large_image_that_is_resized_or_not_read_by_window_says_what_it_needs(
    model: Path, tmp_path: Path
) -> None:
    for name in ("x.npy", "x.webp"):
        images.encode((picture(100) >> 8).astype(np.uint8), tmp_path / name)
    words = (tmp_path / "out.npy", "--max-pixels", 5000)
    resized = translate(model, tmp_path / "x.npy", *words, "--size", 32)
    assert "96x100 is 0.0096 megapixels, the limit is 0.005" in resized.err
    whole = translate(model, tmp_path / "x.webp", *words)
    assert "decoding it takes about 0.0 GB of memory" in whole.err
    assert "--max-pixels" in whole.err
    jpeg = translate(model, tmp_path / "x.npy", tmp_path / "x.jpg", "--max-pixels", 5000)
    assert "a JPEG of 0.0096 megapixels is not written by rows. Choose --format png" in jpeg.err


def test_an_image_whose_network_does_not_fit_into_memory_is_translated_in_tiles(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.encode(picture(160), tmp_path / "x.png")
    share = translator.memory.share
    monkeypatch.setattr(
        translator.memory,
        "share",
        lambda height, width, count=1: 2.0 if height > 150 else share(height, width, count),
    )
    monkeypatch.setattr("i2i.translation.tiling.automatic_tile", lambda *_: 96)
    report = translate_folder(translator, tmp_path / "x.png", tmp_path / "out.png")
    assert report.failed == []
    assert any("in tiles of 96" in note for note in report.notes)


def test_halves_and_alpha_are_read_by_window(tmp_path: Path) -> None:
    carrying = load(write_model(tmp_path / "model", "resnet"), device="cpu", alpha="carry")
    images.encode(picture(150, 192, 4), tmp_path / "x.png")
    results = []
    for tile in (None, 96):
        output = tmp_path / f"{tile}.npy"
        options = Options(half="right", tile=tile)
        assert translate_folder(carrying, tmp_path / "x.png", output, options).failed == []
        results.append(np.load(output).astype(np.uint16))
    assert results[0].shape == (150, 96, 4)
    assert close(*results)
    np.testing.assert_array_equal(results[0][..., 3], results[1][..., 3])


def test_stacked_inputs_are_read_by_window(tmp_path: Path) -> None:
    inputs = (ChannelSpec(1, False, "depth"), ChannelSpec(3, False, "color"))
    torch.manual_seed(0)
    network = registry.find("generators", "resnet").factory(4, 3, width=4, blocks=1)
    stacking = Translator(
        network, 4, 3, source=ImageSpec(inputs), device="cpu", precision="fp32", depth=16
    )
    for name, channels in (("depth", 1), ("color", 3)):
        (tmp_path / name).mkdir()
        images.encode(picture(150, 130, channels), tmp_path / name / "x.png")
    images.encode(picture(150, 131), tmp_path / "color" / "wide.png")
    images.encode(picture(150, 130, 1), tmp_path / "depth" / "wide.png")
    results = []
    for tile in (None, 96):
        sources = [tmp_path / "depth", tmp_path / "color"]
        report = translate_folder(stacking, sources, tmp_path / f"{tile}", Options(tile=tile))
        assert [name for name, _ in report.failed] == ["wide.png"]
        assert "131x150" in report.failed[0][1]
        results.append(images.decode(tmp_path / f"{tile}" / "x.png"))
    assert close(*results)


def test_a_tile_that_the_network_cannot_take_is_refused_before_work(
    model: Path, tmp_path: Path
) -> None:
    images.encode(picture(50), tmp_path / "x.png")
    done = translate(model, tmp_path / "x.png", tmp_path / "out" / "x.png", "--tile", 97)
    assert done.status == 2
    assert "--tile: 97 pixels, but the network takes multiples of 4" in done.err
    assert not (tmp_path / "out").exists()


def killed_after(count: int) -> None:
    """Kill this process where so many strips are written."""
    rows.FLUSH_BYTES = 1
    append, strips = rows.SpooledRows.append, []

    def once(self: rows.SpooledRows, array: Array) -> None:
        append(self, array)
        strips.append(len(array))
        if len(strips) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    rows.SpooledRows.append = once  # type: ignore[method-assign]


@pytest.mark.parametrize("into", ["file", "folder"])
def test_a_killed_job_continues_at_its_rows_and_ends_in_equal_bytes(
    into: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    tifffile.imwrite(source / "x.tif", picture(400), photometric="rgb")
    words = ["--tile", 96, "--depth", 16, "--device", "cpu", "--precision", "fp32"]
    given = source / "x.tif" if into == "file" else source
    unbroken, broken = (
        tmp_path / f"{name}{'.tif' if into == 'file' else ''}" for name in ("unbroken", "broken")
    )
    assert here("translate", model, given, unbroken, *words).status == 0
    command = ("translate", model, given, broken, *words)
    ended = Command(tmp_path / "first", *command, before=lambda: killed_after(3)).ended()
    assert ended.status == -signal.SIGKILL
    result = broken if into == "file" else broken / "x.tif"
    assert not result.exists()
    assert spool_of(result).exists()

    starts = []
    translate_rows = large.translate_rows

    def counted(*arguments: Any, start: int, **named: Any) -> Any:
        starts.append(start)
        return translate_rows(*arguments, start=start, **named)

    def never(*_: object) -> None:
        raise AssertionError("statistics were taken before")

    monkeypatch.setattr(large, "translate_rows", counted)
    monkeypatch.setattr(large, "image_statistics", never)
    done = here(*command)
    assert (done.status, "1 written" in done.out) == (0, True), done.err
    assert 0 < starts[0] < 400
    complete = unbroken if into == "file" else unbroken / "x.tif"
    assert result.read_bytes() == complete.read_bytes()
    assert not spool_of(result).exists()


def test_a_full_disk_stops_the_job_which_then_continues(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "x.npy", picture(300))
    words = (tmp_path / "in", tmp_path / "out", "--tile", 96)
    write, count = rows._write_all, 0

    def full(file: Any, content: Any) -> None:
        nonlocal count
        count += 1
        if count > 3:  # a header and two strips
            raise OSError(28, "No space left on device")
        write(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(rows, "_write_all", full)
        stopped = translate(model, *words)
    assert stopped.status == 2
    assert "the disk is full" in stopped.err
    assert "run the same command again to continue" in stopped.err
    spool = spool_of(tmp_path / "out" / "x.npy")
    assert 0 < json.loads((spool / "record.json").read_text())["rows"] < 300
    assert "1 written" in translate(model, *words).out
    assert translate(model, tmp_path / "in", tmp_path / "unbroken", "--tile", 96).status == 0
    assert outputs(tmp_path / "out") == outputs(tmp_path / "unbroken")


def test_rows_of_a_changed_input_are_not_continued(model: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "x.npy", tmp_path / "out.npy"
    command = ("translate", model, source, output, "--tile", 96, "--device", "cpu")
    np.save(source, picture(300))
    ended = Command(tmp_path / "first", *command, before=lambda: killed_after(2)).ended()
    assert ended.status == -signal.SIGKILL
    np.save(source, picture(300, seed=1))
    assert here(*command).status == 0
    assert here(*command[:3], tmp_path / "fresh.npy", *command[4:]).status == 0
    assert output.read_bytes() == (tmp_path / "fresh.npy").read_bytes()


def test_memory_does_not_grow_with_the_height(model: Path, tmp_path: Path) -> None:
    def work(path: Path) -> int:
        words = ("--tile", 96, "--device", "cpu", "--precision", "fp32")
        return here("translate", model, path, tmp_path / f"out{path.name}.tif", *words).status

    growth = []
    for height in (100, 400, 1600):
        path = tmp_path / f"{height}.npy"
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (height, 64, 3))
        array[:] = np.arange(64, dtype=np.uint8)[:, None]
        del array
        measured = measure(lambda path=path: path, work, tmp_path)
        assert measured.answer == 0, measured.said
        growth.append(measured.growth)
    assert max(growth[1:]) < growth[0] + 8 * MEBIBYTE, growth
