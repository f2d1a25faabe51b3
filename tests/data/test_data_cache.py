"""Images that are kept once they are decoded: equal samples, for every process, whatever becomes of files."""

import errno
import os
import pickle
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i import images
from i2i.config import PairedData, UnconditionalData, UnpairedData
from i2i.data import cache, dataset
from i2i.data.dataset import Dataset, PairedImages, UnpairedImages
from i2i.data.loader import Batch, batches
from i2i.data.unconditional import UnconditionalImages
from i2i.images import ImageError

KINDS: dict[str, Any] = {
    "paired": (PairedImages, PairedData),
    "unpaired": (UnpairedImages, UnpairedData),
    "unconditional": (UnconditionalImages, UnconditionalData),
}


@pytest.fixture(autouse=True)
def own_cache_folder(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_TICK_NS", 0)  # files of a test are young


@pytest.fixture
def decoded(monkeypatch: Any) -> list[str]:
    """Return the list of files that this process decodes for samples."""
    files: list[str] = []
    read = dataset.read

    def counted(paths: list[str], *arguments: Any) -> Any:
        files.extend(paths)
        return read(paths, *arguments)

    monkeypatch.setattr(dataset, "read", counted)
    return files


@pytest.fixture
def root(write: Any, tmp_path: Path) -> Path:
    for place in range(4):
        write(f"data/a/{place}.png", (24 + place, 20))
        write(f"data/b/{place}.png", (24 + place, 20), channels=1)
    return tmp_path / "data"


def opened(root: Path, where: Any, kind: str = "paired", **settings: Any) -> Dataset:
    make, config = KINDS[kind]
    defaults = {"load_size": 20, "crop_size": 16, "cache": where}
    data: Dataset = make(config(root=str(root), **defaults | settings), seed=5)
    data.open_cache()
    return data


def first(count: int, data: Dataset, **settings: Any) -> list[Batch]:
    stream = batches(data, **{"seed": 1, "batch": 2} | settings)
    try:
        return list(islice(stream, count))
    finally:
        stream.close()


def same(one: list[Batch], other: list[Batch]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(
        x.keys == y.keys and torch.equal(x.images[name], y.images[name])
        for x, y in pairs
        for name in x.images
    )


@pytest.mark.parametrize("where", ["ram", "disk"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("paired", {}),
        ("paired", {"rotate_degrees": 20.0, "elastic_pixels": 2.0, "color_jitter": 0.3}),
        ("paired", {"masks": ("b",), "resize": "shorter"}),
        ("unpaired", {"color_jitter": 0.3, "resize": "none"}),
        ("unconditional", {"epoch_images": 7, "crop_size": 20}),
    ],
)
def test_batches_are_those_of_no_cache_bit_for_bit_and_nothing_is_decoded_twice(
    root: Path, where: str, kind: str, settings: dict[str, Any], decoded: list[str]
) -> None:
    expected = first(9, opened(root, "off", kind, **settings))
    data = opened(root, where, kind, **settings)
    decoded.clear()
    assert same(first(9, data), expected)
    assert len(decoded) == len(set(decoded)) > 0
    decoded.clear()
    assert same(first(9, data), expected)
    assert same(first(5, data, start_position=8), expected[4:])  # a resumed run
    assert not decoded


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_what_workers_decode_is_kept_for_all_processes(
    root: Path, where: str, decoded: list[str]
) -> None:
    expected = first(8, opened(root, "off"))
    data = opened(root, where)
    assert same(first(8, data, workers=2), expected)
    decoded.clear()
    assert same(first(8, data), expected)
    copy = pickle.loads(pickle.dumps(data))  # as workers get it that are not forked
    assert same(first(8, copy), expected)
    assert not decoded


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_depths_and_pairs_side_by_side_are_kept(
    tmp_path: Path, suffix: str, decoded: list[str]
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for place in range(3):
        pixels = random.random((20, 40, 3), np.float32)
        stored = (pixels * 65535).astype(np.uint16) if suffix == "png" else pixels
        images.encode(stored, tmp_path / f"data/{place}.{suffix}")
    expected = first(6, opened(tmp_path / "data", "off", layout="ab"))
    data = opened(tmp_path / "data", "ram", layout="ab")
    assert same(first(6, data), expected)
    decoded.clear()
    assert same(first(6, data), expected)
    assert not decoded


def test_second_run_starts_warm(root: Path, decoded: list[str]) -> None:
    expected = first(4, opened(root, "disk"))
    decoded.clear()
    assert same(first(4, opened(root, "disk")), expected)
    assert not decoded


@pytest.mark.parametrize(
    "settings",
    [
        {"load_size": 24},
        {"resize": "shorter"},
        {"alpha": "composite"},
        {"max_pixels": 1000},
        {"max_images": 3},
        {"masks": ("b",)},
    ],
)
def test_other_settings_are_kept_apart(
    root: Path, settings: dict[str, Any], tmp_path: Path, decoded: list[str]
) -> None:
    first(4, opened(root, "disk"))
    decoded.clear()
    assert same(
        first(4, opened(root, "disk", **settings)), first(4, opened(root, "off", **settings))
    )
    assert len(decoded) > 8
    assert len(list((tmp_path / "cache/i2i/images").iterdir())) == 2


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_file_that_changes_is_decoded_anew(write: Any, root: Path, where: str) -> None:
    data = opened(root, where)
    before = first(4, data)
    path = root / "a/2.png"
    status, content = path.stat(), path.read_bytes()
    write("data/a/2.png", (26, 20), seed=99)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time stay
    after = first(4, data)
    assert not same(before, after)
    assert same(after, first(4, opened(root, "off")))


def test_file_that_is_younger_than_the_clock_of_its_disk_is_not_kept(
    root: Path, monkeypatch: Any, decoded: list[str]
) -> None:
    monkeypatch.setattr(cache, "_TICK_NS", 2 * 10**9)
    os.utime(root / "a/0.png")
    data = opened(root, "ram")
    first(4, data)
    decoded.clear()
    first(4, data)
    assert str(root / "a/0.png") in decoded


def test_files_that_vanish_or_break_are_reported_as_without_a_cache(root: Path) -> None:
    data, skipping = opened(root, "ram"), opened(root, "ram", on_bad_file="skip")
    first(4, data)
    first(4, skipping)
    (root / "a/1.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a/1.png: not an image"):
        first(4, data)
    (root / "a/1.png").unlink()
    with pytest.raises(ImageError, match=r"a/1.png: no such file"):
        first(4, data)
    (warning,) = [text for batch in first(4, skipping) for text in batch.warnings]
    assert warning.startswith(f"skipped {root}/a/1.png: no such file")


def test_file_that_has_become_too_small_for_the_crop_is_named(write: Any, root: Path) -> None:
    data = opened(root, "ram", "unconditional", resize="none")
    write("data/a/1.png", (10, 20))
    with pytest.raises(ImageError, match=r"a/1.png: 20x10 pixels; crops of 16x16"):
        first(4, data)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(50, len(content), 200):
        content[place] ^= 0x10
    path.write_bytes(content)


def clear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + bytes(path.stat().st_size - 100))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 7)


@pytest.mark.parametrize("damage", [flip, clear, cut, Path.unlink])
@pytest.mark.parametrize("during", [False, True])
def test_cache_file_that_is_damaged_is_written_anew(
    root: Path, tmp_path: Path, damage: Callable[[Path], None], during: bool, decoded: list[str]
) -> None:
    data = opened(root, "disk")
    expected = first(4, data)
    (path,) = (tmp_path / "cache/i2i/images").iterdir()
    damage(path)
    assert same(first(4, data if during else opened(root, "disk")), expected)
    if not during:
        decoded.clear()
        assert same(first(4, opened(root, "disk")), expected)
        assert not decoded


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["ram", "disk"])
def test_full_disk_ends_the_cache_with_one_note_and_gives_the_room_back(
    root: Path, tmp_path: Path, where: str, workers: int, monkeypatch: Any
) -> None:
    write = os.pwrite

    def full(file: int, content: Any, position: int) -> int:
        if position > 5000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content[:1000], position)

    monkeypatch.setattr(os, "pwrite", full)
    taken = first(8, opened(root, where), workers=workers)
    (note,) = {text for batch in taken for text in batch.warnings}
    place = "memory" if where == "ram" else tmp_path / "cache/i2i/images"
    assert note.startswith(f"images are decoded again in each epoch: {place}")
    assert note.endswith("has no room (No space left on device)")
    assert same(taken, first(8, opened(root, "off")))
    assert sum(path.stat().st_size for path in tmp_path.glob("cache/i2i/images/*")) == 0


def test_folder_that_cannot_be_written_is_a_note(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    data = opened(root, "disk")
    assert data.notes[-1].startswith("images are decoded again in each epoch: they cannot be kept")
    assert same(first(4, data), first(4, opened(root, "off")))


def test_only_a_quarter_of_free_memory_is_taken_then_the_disk(
    root: Path, tmp_path: Path, monkeypatch: Any, decoded: list[str]
) -> None:
    row = 20 * 20 * (3 + 1)  # bytes
    monkeypatch.setattr(cache, "free_bytes", lambda: 4 * row * 3)
    for where, ends in (("ram", "75% of the images are kept in memory once they are decoded"),
                        ("auto", f"decoded images are kept in {tmp_path}/cache/i2i/images")):  # fmt: skip
        data = opened(root, where)
        assert data.notes[-1].startswith(ends)
        first(2, data)
        decoded.clear()
        assert same(first(2, data), first(2, opened(root, "off")))
        assert len(decoded) == 8 + (2 if where == "ram" else 0)  # eight without a cache
    monkeypatch.setattr(cache, "free_bytes", lambda: 4 * row * 4)
    assert not opened(root, "auto").notes
    monkeypatch.setattr(cache, "free_bytes", lambda: 8)
    assert same(first(2, opened(root, "ram")), first(2, opened(root, "off")))


def test_file_that_no_run_has_opened_for_a_month_is_removed(root: Path, tmp_path: Path) -> None:
    first(4, opened(root, "disk"))
    (old,) = (tmp_path / "cache/i2i/images").iterdir()
    os.utime(old, (0, time.time() - 31 * 24 * 3600))
    opened(root, "disk", load_size=22)
    (new,) = (tmp_path / "cache/i2i/images").iterdir()
    assert new != old


def test_nothing_is_allocated_before_it_is_kept(root: Path, tmp_path: Path) -> None:
    write_size = 0
    data = opened(root, "disk")
    (path,) = (tmp_path / "cache/i2i/images").iterdir()
    assert path.stat().st_size == write_size
    first(1, data)
    assert path.stat().st_size > write_size
