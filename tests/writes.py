"""Writes of files, intercepted between i2i and the disk."""

import io
from collections.abc import Callable
from pathlib import Path

Write = Callable[[bytes], int]


def intercepted(write: Callable[[Path, Write, bytes], int]) -> Callable[[Path, str], io.IOBase]:
    """Return an `open` for `i2i.files` whose files call `write(path, real write, content)`."""

    class File(io.FileIO):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            return write(Path(str(self.name)), super().write, content)

    return lambda path, mode: File(path, "w") if mode == "wb" else open(path, mode)
