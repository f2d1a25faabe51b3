"""Files of JSON lines that grow by whole lines, also on a full disk, and that a resumed run takes back to its start."""

import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from i2i.checkpoint import write_atomically


class Lines:
    """A file of rows with their position under "images". Opening it drops what came after `position`."""

    def __init__(self, path: Path, position: int) -> None:
        self.path = path
        truncate_rows(path, position)
        self._file = FileIO(str(path), "a")
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row, after those that found no room before.

        Raises:
            OSError: the disk is full; what is not written waits for the next call.
        """
        self._waiting.append(row)
        self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: there is still no room.
        """
        while self._waiting:
            append_whole(self._file, (json.dumps(self._waiting[0]) + "\n").encode())
            del self._waiting[0]

    def close(self) -> None:
        """Write what waits, and close the file.

        Raises:
            OSError: what waited is lost.
        """
        try:
            self.flush()
        finally:
            self._file.close()


def append_whole(file: FileIO, content: bytes) -> None:
    """Append all of `content` to an unbuffered file, or nothing.

    Raises:
        OSError: it could not be written.
    """
    end = file.seek(0, 2)
    try:
        while content:
            content = content[file.write(content) :]
    except OSError:
        file.truncate(end)
        raise


def truncate_rows(path: Path, position: int) -> None:
    """Drop rows after `position`, and a half-written last one: a resumed run writes them again."""
    if not path.exists():
        return
    content, rows = path.read_bytes(), []
    for line in content.splitlines(keepends=True):
        try:
            if line.endswith(b"\n") and json.loads(line)["images"] <= position:
                rows.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    kept = b"".join(rows)
    if content.startswith(kept):  # which needs no room on the disk
        os.truncate(path, len(kept))
    else:
        write_atomically(path, kept)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
