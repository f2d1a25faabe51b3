"""What decoding may take: how large pictures wait for each other, and which files are believed to hold theirs."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import start, wait_for

from i2i import images
from i2i.images import budget


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_budget", budget._Budget())


def test_a_picture_waits_until_there_is_room_for_it() -> None:
    entered = threading.Event()

    def enter() -> None:
        with budget.reserve(budget.MAX_BYTES // 2):
            entered.set()

    with budget.reserve(1), budget.reserve(budget.MAX_BYTES // 2):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(0.2)
        assert not entered.is_set()
    thread.join()
    assert entered.is_set()
    assert budget._budget.reserved == 0


def test_a_picture_larger_than_the_budget_goes_alone() -> None:
    with budget.reserve(2 * budget.MAX_BYTES):
        assert budget._budget.reserved == budget.MAX_BYTES
    with pytest.raises(KeyError), budget.reserve(2 * budget.MAX_BYTES):
        raise KeyError
    assert budget._budget.reserved == 0


def test_a_forked_worker_decodes_though_a_thread_held_the_budget(tmp_path: Path) -> None:
    images.encode(np.zeros((8, 8, 3), np.uint8), tmp_path / "x.png")
    with (
        budget.reserve(budget.MAX_BYTES),
        budget._budget.changed,
    ):  # as a thread in the midst of decoding
        process = start(images.decode, tmp_path / "x.png")
        try:
            wait_for(lambda: process.exitcode is not None, 20, "the worker")
        finally:
            process.kill()
            process.join()
    assert process.exitcode == 0


def test_memory_stays_reserved_until_the_picture_was_used(tmp_path: Path) -> None:
    images.encode(np.zeros((100, 80, 3), np.uint8), tmp_path / "x.png")
    with images.decoded(tmp_path / "x.png") as (pixels, _):
        assert budget._budget.reserved >= pixels.nbytes
    assert budget._budget.reserved == 0


OPTIONS = {
    ".png": [{"compress_level": 9}],
    ".jpg": [
        {"quality": 1},
        {"quality": 1, "progressive": True, "optimize": True},
        {"subsampling": 2},
    ],
    ".webp": [{"lossless": True}, {"quality": 0}],
    ".tif": [
        {"compression": kind}
        for kind in ("raw", "packbits", "tiff_lzw", "tiff_deflate", "jpeg", "lzma", "zstd")
    ],
    ".bmp": [{}],
}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize(
    ("suffix", "options"), [(s, options) for s in OPTIONS for options in OPTIONS[s]], ids=str
)
@pytest.mark.parametrize("size", [(1500, 1500), (1, 9000), (9000, 1)], ids=str)
def test_a_picture_of_one_color_is_believed_however_small_its_file(
    tmp_path: Path, suffix: str, options: dict[str, object], mode: str, size: tuple[int, int]
) -> None:
    if mode in ("1", "P") and (suffix == ".jpg" or options.get("compression") == "jpeg"):
        mode = "L"
    Image.new(mode, size).save(tmp_path / f"x{suffix}", **options)
    header = images.read_header(tmp_path / f"x{suffix}")
    assert (header.width, header.height) == size


def test_a_run_length_bmp_is_believed(tmp_path: Path) -> None:
    from malformed import bmp

    line = b"\xff\x00" * 4 + b"\x04\x00" + b"\0\0"  # 1024 pixels
    (tmp_path / "x.bmp").write_bytes(
        bmp((1024, 64), 8, 1, bytes(1024) + line * 64 + b"\0\1", offset=54 + 1024)
    )
    assert images.decode(tmp_path / "x.bmp").shape[:2] == (64, 1024)
