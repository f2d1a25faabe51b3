"""Decoded images, kept from one epoch to the next; on disk from one run to the next, too.

Each row of a data set has a slot in a file that processes share: forked workers, ranks, other runs.
The file is in memory, or in the user's cache folder. It is read and written, never mapped: where
another process cuts a mapped file, or its disk is full, whoever touches it is killed.
"""

import hashlib
import math
import os
import shutil
import struct
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import reduction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import features

from i2i import __version__
from i2i.data.augment import Arrays
from i2i.errors import I2IError
from i2i.files import cache_folder, own_folder, write_error
from i2i.images.slices import statuses
from i2i.memory import free_bytes

Where = Literal["auto", "off", "ram", "disk"]

_FORMAT = 1  # of the files
_SHARE = 4  # at most a quarter of the memory, or of the disk, that is free
_UNKNOWN_FREE = 2**32  # bytes, where the system does not say
_UNUSED_SECONDS = 30 * 24 * 3600.0  # until a file that no run opens is removed
_TICK_NS = 2 * 10**9  # a file may change twice in it and keep its time (FAT; others are finer)
_DTYPES: dict[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.float32}
_CODECS = ("jpg", "jpg_2000", "webp", "libtiff", "libjpeg_turbo")


class Group(NamedTuple):
    """Images that are decoded and resized together, for all rows of a data set."""

    names: Sequence[str]  # of the arrays of a row
    sizes: NDArray[np.int64]  # bytes of each row, at most
    key: Callable[[], str]  # what else than the files decides about their pixels


class Cache:
    """Slots for the images of one group.

    Args:
        file: descriptor of the file; the cache closes it.
        names: of the arrays of a row.
        slot_bytes: of a slot, without its head.
        rows: number of rows that are kept, the first ones.
        location: of the file, for people.
        warnings: takes what went wrong, for people.
    """

    def __init__(
        self,
        file: int,
        names: Sequence[str],
        slot_bytes: int,
        rows: int,
        location: str,
        warnings: list[str],
    ) -> None:
        self._file, self._names, self._rows = file, tuple(names), rows
        self._location, self._warnings = location, warnings
        # checksum, stamp of the files, and of each array its height, width, channels, and bits
        self._head = struct.Struct(f"<I16s{4 * len(names)}I")
        self._slot = self._head.size + slot_bytes + 8 * len(names)
        weakref.finalize(self, os.close, file)

    def load(self, row: int, files: Sequence[str], decode: Callable[[], Arrays]) -> Arrays:
        """Return what `decode` returns for the `files` of a row: kept, unless they have changed."""
        stamp = _stamp(files) if row < self._rows else None
        if stamp is None:
            return decode()
        with suppress(OSError):
            if (kept := self._get(row, stamp.digest)) is not None:
                return kept
        arrays = decode()
        if stamp.settled:
            self._put(row, stamp.digest, arrays)
        return arrays

    def _get(self, row: int, digest: bytes) -> Arrays | None:
        """Return the arrays of a row; None where they are missing, damaged, or of other files."""
        head = os.pread(self._file, self._head.size, row * self._slot)
        if len(head) < self._head.size:
            return None
        checksum, stamp, *numbers = self._head.unpack(head)
        if stamp != digest:
            return None
        forms = [numbers[start : start + 4] for start in range(0, len(numbers), 4)]
        sizes = [_padded(math.prod(form) // 8) for form in forms]
        if len(head) + sum(sizes) > self._slot:
            return None
        content = np.empty(sum(sizes), np.uint8)
        read = os.preadv(self._file, [content.data], row * self._slot + len(head))
        if read != len(content) or checksum != _checksum(head, content):
            return None
        arrays, start = {}, 0
        for name, size, (*shape, bits) in zip(self._names, sizes, forms, strict=True):
            values = content[start : start + size].view(_DTYPES[bits])
            arrays[name] = values[: math.prod(shape)].reshape(shape)
            start += size
        return arrays

    def _put(self, row: int, digest: bytes, arrays: Arrays) -> None:
        forms: list[int] = []
        parts: list[bytes] = []
        for name in self._names:
            array = arrays[name]
            forms += (*array.shape, 8 * array.itemsize)
            parts.append(array.tobytes().ljust(_padded(array.nbytes), b"\0"))
        pixels = b"".join(parts)
        if self._head.size + len(pixels) > self._slot:
            return
        head = self._head.pack(0, digest, *forms)
        head = self._head.pack(_checksum(head, pixels), digest, *forms)
        content = memoryview(head + pixels)
        position = row * self._slot
        try:
            while content:
                written = os.pwrite(self._file, content, position)
                content, position = content[written:], position + written
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Keep nothing more, and leave the room to others: checkpoints may need it."""
        self._rows = 0
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        reason = f"{self._location} has no room ({error.strerror})"
        self._warnings.append(f"images are decoded again in each epoch: {reason}")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_file": reduction.DupFd(self._file), "_head": self._head.format}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._file, self._head = state["_file"].detach(), struct.Struct(state["_head"])
        weakref.finalize(self, os.close, self._file)


class _Stamp(NamedTuple):
    digest: bytes
    settled: bool  # a change from here on would change the digest


def _stamp(files: Sequence[str]) -> _Stamp | None:
    """Return what changes with the files; None where one cannot be found."""
    try:
        facts = [fact for path in files for fact in statuses(path)]
    except OSError:
        return None
    numbers = [(f.st_size, f.st_mtime_ns, f.st_ctime_ns, f.st_ino, f.st_dev) for f in facts]
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=16).digest()
    newest = max(time for _, *times, _, _ in numbers for time in times)
    return _Stamp(digest, time.time_ns() - newest > _TICK_NS)


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _checksum(head: bytes, content: Any) -> int:
    return zlib.crc32(content, zlib.crc32(head[4:]))


# -- opening ---------------------------------------------------------------------------------------


def open_caches(
    where: Where, groups: Sequence[Group], processes: int, warnings: list[str]
) -> tuple[list[Cache | None], list[str]]:
    """Return a cache for each group, or None, and notes for people.

    `auto` is the memory, and the disk for what the memory has no room for; where it has none
    either, a part is kept in memory.

    Args:
        groups: what to keep.
        processes: that share the memory of this machine.
        warnings: takes what goes wrong later.
    """
    off: list[Cache | None] = [None for _ in groups]
    if where == "off" or not hasattr(os, "preadv"):  # which Windows does not have
        return off, []
    total = sum(int(group.sizes.sum()) for group in groups)
    memory = (free_bytes() or _UNKNOWN_FREE) // _SHARE // processes
    try:
        if where == "disk" or (where == "auto" and total > memory):
            folder = own_folder(cache_folder() / "images")
            _remove_unused(folder)
            files = [folder / _file_name(group) for group in groups]
            room = (shutil.disk_usage(folder).free + _allocated(files)) // _SHARE
            if where == "disk" or total <= room:
                return _on_disk(groups, files, room / max(total, 1), warnings)
        return _in_memory(groups, memory / max(total, 1), warnings)
    except (OSError, RuntimeError, I2IError) as error:  # RuntimeError: there is no home folder
        return off, [f"images are decoded again in each epoch: they cannot be kept ({error})."]


def _in_memory(
    groups: Sequence[Group], share: float, warnings: list[str]
) -> tuple[list[Cache | None], list[str]]:
    caches = [_cache(group, share, _memory_file, "memory", warnings) for group in groups]
    notes = []
    if share < 1:
        notes = [f"{share:.0%} of the images are kept in memory once they are decoded: data.cache."]
    return caches, notes


def _on_disk(
    groups: Sequence[Group], files: Sequence[Path], share: float, warnings: list[str]
) -> tuple[list[Cache | None], list[str]]:
    caches = [
        _cache(group, share, partial(_disk_file, path), str(path.parent), warnings)
        for group, path in zip(groups, files, strict=True)
    ]
    gigabytes = min(share, 1) * sum(int(group.sizes.sum()) for group in groups) / 1e9
    folder = files[0].parent
    return caches, [f"decoded images are kept in {folder} (up to {gigabytes:.1f} GB): data.cache."]


def _cache(
    group: Group, share: float, open_file: Callable[[], int], location: str, warnings: list[str]
) -> Cache | None:
    """Return a cache for `share` of the bytes of a group; None where no row fits."""
    rows, sizes = len(group.sizes), group.sizes
    if share < 1:
        rows = int(np.searchsorted(np.cumsum(sizes), share * sizes.sum(), side="right"))
    if not rows:
        return None
    return Cache(open_file(), group.names, int(sizes[:rows].max()), rows, location, warnings)


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("i2i")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _disk_file(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o600)
        os.utime(file)  # in use
    except OSError as error:
        raise write_error(path, error) from None
    return file


def _file_name(group: Group) -> str:
    """Return a name of all that decides about pixels but the content of the files."""
    libraries = [PIL.__version__, *map(features.version, _CODECS), torch.__version__]
    machine = torch.backends.cpu.get_cpu_capability()  # rounds resized values
    facts = (_FORMAT, __version__, libraries, machine, group.names, group.key())
    return f"{hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()}.images"


def _allocated(files: Sequence[Path]) -> int:
    return sum(path.stat().st_blocks * 512 for path in files if path.exists())


def _remove_unused(folder: Path) -> None:
    for path in folder.glob("*.images"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                path.unlink()
