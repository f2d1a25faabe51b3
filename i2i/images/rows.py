"""Write images row by row: rows wait in a file of their own, so that a stopped job continues.

Next to the output is a hidden folder with the rows so far, uncompressed, and how many of them are
safe. At the end they become the file, in one rename.
"""

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.lib import format as numpy_format

from i2i.files import (
    flush_file,
    flush_folder,
    open_own,
    own_folder,
    read_own,
    replace,
    temporary_stem,
    write_atomically,
    write_error,
)
from i2i.images import geotiff_writing, tiff_writing
from i2i.images.formats import Array, Format, format_of, installed
from i2i.images.metadata import NO_METADATA, Metadata
from i2i.images.plain import PlainValues
from i2i.images.profiles import chunk
from i2i.images.writing import encode, marks_missing, png_chunks
from i2i.lock import exclusive_file

FLUSH_BYTES = 2**26  # of rows after which they are made safe
STREAMED: tuple[Format, ...] = ("NPY", "TIFF", "PNG")  # formats that need no complete picture
STATISTICS = "statistics.safetensors"  # of the image, kept beside its rows
_OWN_NAMES = {"rows.npy", "record.json", STATISTICS}
_PICTURE = "picture"  # begins the names of files that are to become the output
_LEVEL = 2  # of deflate, as in `encode`
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> of PNG


def spool_of(path: Path) -> Path:
    """Return the folder in which the rows of `path` wait."""
    return path.with_name(f".{temporary_stem(path.name)}.rows")


def remove_other_spools(folder: Path, names: set[str], job: Callable[[], str]) -> None:
    """Remove rows of the outputs `names` in `folder` that another job has left."""
    for name in names:
        spool = spool_of(folder / name)
        if not spool.is_dir() or spool.is_symlink() or _record(spool).get("job") == job():
            continue
        names_in = {path.name for path in spool.iterdir() if not path.name.startswith(_PICTURE)}
        if names_in <= _OWN_NAMES:
            shutil.rmtree(spool, ignore_errors=True)


Missing = Callable[[int, int], Array | None]  # first row, end -> [n, W, C or 1]


class RowWriter(Protocol):
    """An image that is written from top to bottom."""

    rows: int  # that are written, also by an earlier process

    def append(self, array: Array) -> None:
        """Write the next rows, [n, W, C], as `ImageSpec.stored` returns them."""

    def finish(self, missing: Missing | None = None) -> None:
        """Write the file, atomically; `missing` as in `SpooledRows`."""


class SpooledRows:
    """A `RowWriter` that continues where an earlier process of the same job was stopped.

    Use as a context manager: it holds the rows for this process.

    Args:
        job: hash of all that decides the values.
        source: what they are made from, for the record.
        alpha: the last of 2 or 4 channels is alpha.

    Raises:
        InUseError: another process writes this file.
        WriteError, DiskFullError: rows or the file cannot be written; what is safe stays.
    """

    def __init__(
        self,
        path: Path,
        height: int,
        job: str,
        source: object = None,
        format: Format | None = None,
        metadata: Metadata = NO_METADATA,
        alpha: bool = True,
    ) -> None:
        self.path, self.folder = path, spool_of(path)
        self.rows = 0
        self._height, self._format, self._metadata = height, format or format_of(path), metadata
        self._alpha = alpha
        self._origin = {"job": job, "source": json.loads(json.dumps(source))}
        self._offset = self._row_bytes = self._unsafe = 0
        self._stack = ExitStack()
        self._file: FileIO

    def __enter__(self) -> "SpooledRows":
        own_folder(self.folder)
        with ExitStack() as stack:
            try:
                self._file = stack.enter_context(open_own(self.folder / "rows.npy", "a+"))
                exclusive_file(self._file, self.folder)
                self._continue()
            except OSError as error:
                raise write_error(self.path, error) from None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._stack, suppress(OSError):
            if self._unsafe:
                self._make_safe()
        if not self.rows and self.folder.is_dir():  # nothing to continue with
            with suppress(OSError):
                (self.folder / "rows.npy").unlink()
                self.folder.rmdir()

    def _continue(self) -> None:
        """Take over what an earlier process of the same job made safe."""
        record = _record(self.folder)
        if {key: record.get(key) for key in self._origin} != self._origin:
            for path in self.folder.iterdir():
                if path.name != "rows.npy":
                    path.unlink()
        elif record["rows"]:
            shape, dtype = self._layout()
            self._row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
            end = self._offset + record["rows"] * self._row_bytes
            if shape[0] == self._height and self._file.seek(0, os.SEEK_END) >= end:
                self.rows = record["rows"]
        self._file.truncate(self._offset + self.rows * self._row_bytes if self.rows else 0)

    def _layout(self) -> tuple[tuple[int, int, int], np.dtype[Any]]:
        self._file.seek(0)  # of this handle: closing another one would end the lock
        numpy_format.read_magic(self._file)
        (height, width, channels), _, dtype = numpy_format.read_array_header_1_0(self._file)
        self._offset = self._file.tell()
        return (height, width, channels), dtype

    def keep(self, name: str, content: bytes) -> None:
        """Keep a file beside the rows, for a process that continues."""
        try:
            write_atomically(self.folder / name, content)
            self._make_safe()
        except OSError as error:
            raise write_error(self.path, error) from None

    def kept(self, name: str) -> bytes | None:
        """Return what an earlier process of the same job kept."""
        path = self.folder / name
        return read_own(path) if path.is_file() else None

    def append(self, array: Array) -> None:
        """See `RowWriter`."""
        try:
            if not self.rows:
                self._file.truncate(0)
                shape = (self._height, *array.shape[1:])
                fields = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                memory = io.BytesIO()
                numpy_format.write_array_header_1_0(memory, fields)
                self._offset, self._row_bytes = memory.tell(), array[0].nbytes
                _write_all(self._file, memory.getvalue())
            _write_all(self._file, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            self.rows += len(array)
            self._unsafe += array.nbytes
            if self._unsafe >= FLUSH_BYTES:
                self._make_safe()
        except OSError as error:
            raise write_error(self.path, error) from None

    def _make_safe(self) -> None:
        flush_file(self._file)
        record = json.dumps({**self._origin, "rows": self.rows})
        write_atomically(self.folder / "record.json", record.encode())
        self._unsafe = 0

    def finish(self, missing: Missing | None = None) -> None:
        """See `RowWriter`; the rows are removed.

        `missing` returns of rows (first, end) which values have no data, [n, W, C or 1], where the
        file is one that `marks_missing`.
        """
        assert self.rows == self._height, "a complete picture"
        spool, part = self.folder / "rows.npy", self.folder / _PICTURE
        try:
            self._make_safe()
            if self._format == "NPY":
                replace(spool, self.path)
            else:
                self._encode(part, missing)
                with open(part, "rb") as file:
                    flush_file(file)
                replace(part, self.path)
            flush_folder(self.path.parent)
            shutil.rmtree(self.folder)
        except OSError as error:
            raise write_error(self.path, error) from None

    def _encode(self, part: Path, missing: Missing | None) -> None:
        shape, dtype = self._layout()
        rows = PlainValues(self._file, shape, dtype, self._offset)
        alpha = self._alpha and shape[2] in (2, 4)
        if self._format == "PNG" and dtype in (np.uint8, np.uint16):
            with open(part, "wb") as file:
                _write_png(file, rows, self._metadata)
        elif marks_missing(self._metadata):
            geotiff_writing.write_rows(part, rows, self._metadata, alpha, missing)
        elif self._format == "TIFF" and installed("TIFF"):
            tiff_writing.write_rows(part, rows, self._metadata, alpha)
        else:
            values = rows.read(0, 0, *shape[:2])
            encode(values, part, self._format, metadata=self._metadata, alpha=alpha)


def _write_png(file: IO[bytes], rows: PlainValues, metadata: Metadata) -> None:
    """Write a PNG with filter 2 (up) on each row. RFC 2083, Sec. 6."""
    height, width, channels = rows.shape
    sizes = width.to_bytes(4) + height.to_bytes(4)
    kind = bytes([8 * rows.dtype.itemsize, _COLOR_TYPES[channels], 0, 0, 0])
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes + kind) + png_chunks(metadata))
    above, compressor = np.zeros((1, rows.row_bytes), np.uint8), zlib.compressobj(_LEVEL)
    for band in rows.bands():
        stored = band.astype(band.dtype.newbyteorder(">")).reshape(len(band), -1).view(np.uint8)
        lines = np.full((len(band), 1 + rows.row_bytes), 2, np.uint8)
        lines[:, 1:] = stored - np.concatenate([above, stored[:-1]])
        above = stored[-1:]
        if content := compressor.compress(lines.data):
            file.write(chunk(b"IDAT", content))
    file.write(chunk(b"IDAT", compressor.flush()) + chunk(b"IEND", b""))


def _write_all(file: FileIO, content: bytes | memoryview) -> None:
    while content:
        content = content[file.write(content) :]


def _record(folder: Path) -> dict[str, Any]:
    """Return what is safe; {} where nothing is, or the record is damaged."""
    try:
        record = json.loads(read_own(folder / "record.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    rows = record.get("rows") if isinstance(record, dict) else None
    return record if type(rows) is int and rows >= 0 else {}
