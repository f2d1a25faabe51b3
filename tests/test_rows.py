"""Images written row by row: the values of the rows, in memory that does not depend on their number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from processes import start

from i2i import images
from i2i.files import DiskFullError
from i2i.images.metadata import Metadata
from i2i.images.rows import SpooledRows, remove_other_spools, spool_of
from i2i.lock import InUseError


def picture(channels: int, dtype: str, height: int = 700) -> NDArray[Any]:
    unit = np.random.default_rng(0).random((height, 530, channels))
    return unit.astype(dtype) if dtype[0] == "f" else (unit * np.iinfo(dtype).max).astype(dtype)


def write(
    path: Path, array: NDArray[Any], start: int = 0, end: int | None = None, **options: Any
) -> int:
    with SpooledRows(path, len(array), "job", **options) as writer:
        before = writer.rows
        for top in range(max(start, before), end or len(array), 100):
            writer.append(array[top : min(top + 100, end or len(array))])
        if end is None:
            writer.finish()
        return before


@pytest.mark.parametrize(
    ("suffix", "channels", "dtype"),
    [
        *((".npy", 5, kind) for kind in ("u1", "u2", "f4", "i2", "f8")),
        *((".png", channels, kind) for channels in (1, 2, 3, 4) for kind in ("u1", "u2")),
        *((".tif", channels, kind) for channels in (1, 3, 4) for kind in ("u1", "u2")),
        (".tif", 1, "f4"),
        (".bmp", 3, "u1"),
    ],
)
def test_rows_become_a_file_of_the_same_values(
    suffix: str, channels: int, dtype: str, tmp_path: Path
) -> None:
    path, array = tmp_path / f"x{suffix}", picture(channels, dtype)
    assert write(path, array) == 0
    read = np.load(path) if suffix == ".npy" else images.decode(path, "keep")
    np.testing.assert_array_equal(read, array, strict=True)
    assert list(tmp_path.iterdir()) == [path]
    if suffix == ".png":
        with Image.open(path) as image:
            image.verify()


def test_a_large_tiff_is_a_bigtiff_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2i.images.tiff_writing.BIG", 1000)
    array = picture(3, "u2")
    write(tmp_path / "x.tif", array)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].is_tiled
    np.testing.assert_array_equal(images.decode(tmp_path / "x.tif"), array)


@pytest.mark.parametrize("suffix", [".npy", ".png", ".tif"])
def test_a_stopped_writer_continues_and_ends_in_equal_bytes(suffix: str, tmp_path: Path) -> None:
    array = picture(3, "u2")
    write(tmp_path / f"unbroken{suffix}", array)
    path = tmp_path / f"x{suffix}"
    write(path, array, end=300)
    assert not path.exists()
    assert write(path, array) == 300
    assert path.read_bytes() == (tmp_path / f"unbroken{suffix}").read_bytes()


def test_rows_of_another_job_input_or_height_are_not_continued(tmp_path: Path) -> None:
    path, array = tmp_path / "x.png", picture(1, "u1")
    write(path, array, end=300)
    with SpooledRows(path, 700, "another") as writer:
        assert writer.rows == 0
    assert list(tmp_path.iterdir()) == []
    write(path, array, end=300)
    with SpooledRows(path, 700, "job", source=["hash"]) as writer:
        assert writer.rows == 0
    write(path, array, end=300)
    assert write(path, picture(1, "u1", 800)) == 0


def test_rows_that_are_not_safe_are_written_again(tmp_path: Path) -> None:
    path, array = tmp_path / "x.npy", picture(3, "u1")
    write(path, array, end=300)
    spool = spool_of(path) / "rows.npy"
    with open(spool, "ab") as file:  # as a process that was killed while it wrote
        file.write(b"abc")
    assert write(path, array) == 300
    np.testing.assert_array_equal(np.load(path), array)
    path.unlink()
    write(path, array, end=300)
    spool.write_bytes(spool.read_bytes()[:-1])  # as a power cut, in spite of the flush
    assert write(path, array) == 0
    np.testing.assert_array_equal(np.load(path), array)


def test_what_is_kept_beside_the_rows_is_there_for_the_same_job_only(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with SpooledRows(path, 9, "job") as writer:
        writer.keep("statistics", b"123")
    with SpooledRows(path, 9, "job") as writer:
        assert writer.kept("statistics") == b"123"
    with SpooledRows(path, 9, "another") as writer:
        assert writer.kept("statistics") is None


def test_rows_have_one_writer(tmp_path: Path) -> None:
    array = picture(1, "u1")
    write(tmp_path / "x.png", array, end=100)

    def other() -> None:
        with pytest.raises(InUseError), SpooledRows(tmp_path / "x.png", 700, "job"):
            pass

    with SpooledRows(tmp_path / "x.png", 700, "job"):
        process = start(other)
        process.join()
        assert process.exitcode == 0


def test_rows_of_a_job_that_was_given_up_are_removed(tmp_path: Path) -> None:
    for name in ("mine.png", "theirs.png"):
        write(tmp_path / name, picture(1, "u1"), end=100)
    foreign = tmp_path / ".foreign.png.rows" / "notes.txt"
    foreign.parent.mkdir()
    foreign.touch()
    remove_other_spools(tmp_path, {"mine.png", "foreign.png"}, lambda: "job")
    assert spool_of(tmp_path / "mine.png").exists()
    remove_other_spools(tmp_path, {"mine.png"}, lambda: "another")
    assert not spool_of(tmp_path / "mine.png").exists()
    assert spool_of(tmp_path / "theirs.png").exists()
    assert foreign.exists()


def test_metadata_is_written(tmp_path: Path) -> None:
    profile = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 100
    metadata = Metadata(icc_profile=profile, resolution=(300.0, 150.0))
    for suffix in (".png", ".tif"):
        write(tmp_path / f"x{suffix}", picture(3, "u2"), metadata=metadata)
        kept = images.read_header(tmp_path / f"x{suffix}").metadata
        assert kept.icc_profile == profile
        assert kept.resolution == pytest.approx((300, 150), abs=0.02)


def test_a_full_disk_is_an_error_after_which_the_rows_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = picture(3, "u2")
    path = tmp_path / "x.tif"
    write(path, array, end=300)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("rows._write_all", "tiff_writing.write_rows"):
        with monkeypatch.context() as patch:
            patch.setattr(f"i2i.images.{name}", full)
            with pytest.raises(DiskFullError, match="the disk is full"):
                write(path, array)
    assert write(path, array) == 700
    np.testing.assert_array_equal(images.decode(path), array)
