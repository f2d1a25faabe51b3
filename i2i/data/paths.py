"""Paths of very many files."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import overload

import numpy as np

from i2i.images.slices import statuses, volume_of


class Paths(Sequence[str]):
    """Strings in one buffer that forked workers share; a list of str is copied as it is read."""

    def __init__(self, paths: Iterable[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
        self._text = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        start = self._ends[row - 1] if row else 0
        return os.fsdecode(self._text[start : self._ends[row]])

    def digest(self) -> str:
        """Return a hash of all strings."""
        return hashlib.sha256(self._ends.tobytes() + self._text).hexdigest()


def fingerprint(paths: Iterable[str], root: str) -> str:
    """Return a hash of the names below `root` and the sizes of files, of slices their volume's."""
    text = hashlib.sha256()
    size = lru_cache(1)(lambda volume: sum(status.st_size for status in statuses(volume)))
    for path in paths:
        with suppress(OSError):
            text.update(os.fsencode(f"{path.removeprefix(root)} {size(volume_of(path))}\n"))
    return text.hexdigest()
