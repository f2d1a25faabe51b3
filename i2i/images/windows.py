"""Parts of images that are too large for memory, read by window: arrays, TIFF, PNG and JPEG.

The values are those of `images.decode`. Files are read where a window lies, never mapped: a mapped
file that is cut kills whoever reads it, and its pages count as memory.
"""

import importlib
import io
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from typing import IO, Any, Protocol

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from i2i.images import npy
from i2i.images.decoding import turn, unmultiply
from i2i.images.formats import MAX_PIXELS, Array, Format, Header, ImageError, TooLargeError
from i2i.images.pixels import MAX_VALUE, UNIT, ValueRange, from_value_range
from i2i.images.plain import PlainValues
from i2i.images.reading import (
    Picture,
    decoded,
    open_picture,
    read_header,
)
from i2i.images.sanity import REPLACE
from i2i.images.sources import errors_about, open_regular

MAX_SEGMENT = 2**27  # bytes of a strip or tile, decoded
_CACHE_BYTES = 2**28  # of decoded strips and tiles
ANY_SIZE = 2**40  # pixels: what is not decoded at once has no limit of its own
_EXTRAS: dict[Format, tuple[str, ...]] = {  # the extra, and the modules of it
    "TIFF": ("tiff", "tifffile", "imagecodecs"),
    "PNG": ("vips", "pyvips"),
    "JPEG": ("vips", "pyvips"),
}
_vips_process: int | None = None  # whose threads libvips has: they do not survive a fork
_Read = Callable[[int, int, int, int], Array]  # top, left, height, width


class Windows(Protocol):
    """An image that is read by window."""

    @property
    def header(self) -> Header:
        """Kind and size, as `read_header` returns them."""

    def read(self, top: int, left: int, height: int, width: int) -> Array:
        """Return a part [height, width, C] of what `images.read` returns: alpha is kept.

        Raises:
            ImageError: the file is truncated or corrupt there, or holds values out of range.
        """


class _NotByWindow(Exception):  # noqa: N818 - no error: the other way
    """A file that is decoded as a whole, and why."""


class _Windows:
    """Windows of a file, whose values are converted and turned upright.

    Args:
        read: returns stored values, as the file lies.
        convert: returns the values of `images.read`.
        turned: EXIF orientation.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        read: _Read,
        convert: Callable[[Array], Array],
        turned: int = 1,
    ) -> None:
        self.header = header
        self._path, self._stored, self._convert, self._turned = path, read, convert, turned

    def read(self, top: int, left: int, height: int, width: int) -> Array:
        """See `Windows`."""
        assert 0 <= top < top + height <= self.header.height, "windows lie inside the image"
        assert 0 <= left < left + width <= self.header.width, "windows lie inside the image"
        if self._turned in (2, 3, 6, 7):
            left = self.header.width - left - width
        if self._turned in (3, 4, 7, 8):
            top = self.header.height - top - height
        box = (top, left, height, width)
        if self._turned in (5, 6, 7, 8):
            box = (left, top, width, height)
        with errors_about(self._path):
            return turn(self._convert(self._stored(*box)), self._turned)


@contextmanager
def open_windows(
    path: str | os.PathLike[str],
    max_pixels: int = MAX_PIXELS,
    value_range: ValueRange = UNIT,
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Windows]:
    """Open an image of any size to be read by window.

    PNG and JPEG are decoded once, into a temporary file in `folder`, by default that of the system,
    which vanishes with the block. What cannot be read by window is decoded into memory.

    Args:
        max_pixels: of what is decoded into memory.

    Raises:
        ImageError: as `images.read_header`; the disk has no room.
        TooLargeError: it cannot be read by window, and has more than `max_pixels` or does not fit
            into memory.
    """
    with ExitStack() as stack:
        with errors_about(path):
            file = stack.enter_context(open_regular(path))
            picture = open_picture(file, ANY_SIZE, complete=False)
            if picture.header.nodata:
                reason = "may have pixels without data, which are not read by window"
                hint = "Read it as a whole: raise max_pixels (--max-pixels), without --tile"
                raise TooLargeError("image", reason, hint)
            convert = partial(_converted, value_range=value_range)
            try:
                windows = _by_window(path, file, picture, convert, folder, stack)
            except _NotByWindow as reason:
                windows = _in_memory(path, picture, max_pixels, value_range, str(reason), stack)
        yield windows


def read_large_header(path: str | os.PathLike[str], max_pixels: int) -> Header | None:
    """Return the header of an image of more than `max_pixels` of which parts are read anywhere.

    None: it has fewer, or is of another kind.

    Raises:
        ImageError: as `images.read_header`.
    """
    header = read_header(path, ANY_SIZE)
    if header.width * header.height <= max_pixels or header.format not in ("NPY", "TIFF"):
        return None
    try:
        with open_windows(path, 0):
            return header
    except TooLargeError:
        return None


def _by_window(
    path: str | os.PathLike[str],
    file: IO[bytes],
    picture: Picture,
    convert: Callable[[Array], Array],
    folder: str | os.PathLike[str] | None,
    stack: ExitStack,
) -> Windows:
    header, turned = picture.header, picture.turned
    read: _Read
    if header.format == "NPY":
        info = npy.read_info(file, ANY_SIZE)
        shape = (header.height, header.width, header.channels)
        read = PlainValues(file, shape, info.dtype, info.offset, info.fortran).read
        return _Windows(path, header, read, convert)
    if header.format not in _EXTRAS:
        hint = "Raise max_pixels (--max-pixels) if you trust the file, or save it as TIFF or .npy"
        raise _NotByWindow(hint)
    extra, *modules = _EXTRAS[header.format]
    try:
        module, *_ = [importlib.import_module(name) for name in modules]
    except ImportError:
        raise _NotByWindow(f"pip install 'i2i[{extra}]' to read it by window") from None
    if header.format != "TIFF":
        read = _by_vips(module, path, header, turned, folder, stack).read
        return _Windows(path, header, read, convert, turned)
    file.seek(0)
    pages = stack.enter_context(module.TiffFile(file)).pages
    read, undo, turned = _by_tifffile(pages[0], file, header)
    return _Windows(path, header, read, lambda values: undo(convert(values)), turned)


def _in_memory(
    path: str | os.PathLike[str],
    picture: Picture,
    max_pixels: int,
    value_range: ValueRange,
    hint: str,
    stack: ExitStack,
) -> Windows:
    header = picture.header
    if (pixels := header.width * header.height) > max_pixels:
        size = f"{header.width}x{header.height} is {pixels / 1e6:.4g} megapixels"
        need = f"decoding it takes about {picture.cost / 1e9:.1f} GB of memory"
        raise TooLargeError("image", f"{size}, the limit is {max_pixels / 1e6:.4g}; {need}", hint)
    try:
        array, _ = stack.enter_context(decoded(path, max_pixels, value_range))
    except TooLargeError as error:
        raise TooLargeError("image", error.reason, hint) from None

    def read(top: int, left: int, height: int, width: int) -> Array:
        return array[top : top + height, left : left + width]

    return _Windows(path, header, read, lambda part: part)


def _converted(stored: Array, value_range: ValueRange) -> Array:
    values = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if values.dtype == np.bool_:  # a mask: black and white
        return values.view(np.uint8) * np.uint8(255)
    integers = values.dtype in (np.uint8, np.uint16)
    return values if integers else from_value_range(values, value_range)


def _by_vips(
    pyvips: Any,
    path: str | os.PathLike[str],
    header: Header,
    turned: int,
    folder: str | os.PathLike[str] | None,
    stack: ExitStack,
) -> PlainValues:
    """Decode a PNG or JPEG into a temporary file, a few rows at a time."""
    global _vips_process
    _vips_process = _vips_process or os.getpid()
    if _vips_process != os.getpid():
        raise _NotByWindow("Read it in the process that opened the first one, or raise max_pixels")
    load = pyvips.Image.pngload if header.format == "PNG" else pyvips.Image.jpegload
    image = load(os.fspath(path), access="sequential", fail_on="error")
    size = (header.height, header.width)
    shape = (*(size[::-1] if turned in (5, 6, 7, 8) else size), header.channels)
    dtype = np.dtype(f"u{header.depth // 8}")
    kind = "uchar" if header.depth == 8 else "ushort"
    if (image.height, image.width, image.bands, image.format) != (*shape, kind):  # CMYK
        raise _NotByWindow("Raise max_pixels (--max-pixels), or convert it to RGB")
    folder = folder or tempfile.gettempdir()
    need, free = int(np.prod(shape)) * dtype.itemsize, shutil.disk_usage(folder).free
    if need > free:
        numbers = f"{need / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free"
        raise ImageError("image", f"decoding it by window takes {numbers}", "Free some space")
    file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))  # noqa: SIM115
    image.rawsave_target(pyvips.Target.new_to_descriptor(file.fileno()))
    if file.seek(0, os.SEEK_END) != need:
        raise ImageError("image", "corrupt or truncated: rows of it are missing", REPLACE)
    return PlainValues(file, shape, dtype)


# -- TIFF ------------------------------------------------------------------------------------------


def _by_tifffile(
    page: Any, file: IO[bytes], header: Header
) -> tuple[_Read, Callable[[Array], Array], int]:
    """Return how values are read, what completes their conversion, and the orientation."""
    tag = page.tags.get(274)
    turned = int(tag.value) if tag else 1
    kinds = {8: "uint8", 16: "uint16"}
    usual = page.photometric in (0, 1, 2) or (page.photometric == 6 and page.compression == 7)
    fits = page.dtype is not None and page.dtype.name == kinds.get(header.depth, page.dtype.name)
    whole_bytes = page.bitspersample in (8, 16, 32, 64) and page.fillorder == 1
    inverted = page.photometric == 0
    if not (usual and fits and whole_bytes and page.samplesperpixel == header.channels):
        raise _NotByWindow(
            "Raise max_pixels (--max-pixels), or save it as gray or RGB of 8 or 16 bits"
        )
    if inverted and header.depth == 32:
        raise _NotByWindow("Raise max_pixels (--max-pixels), or save it with black as zero")

    def undo(values: Array) -> Array:
        if inverted:
            values = (MAX_VALUE[header.depth] - values).astype(values.dtype)
        return unmultiply(values) if header.alpha and 1 in page.extrasamples else values

    shape = (page.imagelength, page.imagewidth, header.channels)
    plain = page.compression == 1 and page.predictor == 1 and not page.is_tiled
    if plain and page.planarconfig == 1 and page.is_contiguous:
        dtype = np.dtype(page.parent.byteorder + page.dtype.char)
        return PlainValues(file, shape, dtype, page.dataoffsets[0]).read, undo, turned
    return _Segments(page, file, shape).read, undo, turned


class _Segments:
    """Values [H, W, C] of the strips or tiles of a page; the last ones are kept decoded."""

    def __init__(self, page: Any, file: IO[bytes], shape: tuple[int, int, int]) -> None:
        height, width, channels = shape
        self._page, self._file = page, file
        self._rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
        self._columns = page.tilewidth if page.is_tiled else width
        self._across = -(-width // self._columns)
        self._per_plane = self._across * -(-height // self._rows)
        self._planes = channels if page.planarconfig == 2 else 1
        self._channels = channels
        self._size = os.fstat(file.fileno()).st_size
        self._cache: OrderedDict[int, Array] = OrderedDict()
        size = self._rows * self._columns * channels // self._planes * page.dtype.itemsize
        if size > MAX_SEGMENT:
            raise _NotByWindow("Raise max_pixels (--max-pixels), or save it in tiles")
        self._limit, self._kept = max(1, _CACHE_BYTES // size), 1

    def read(self, top: int, left: int, height: int, width: int) -> Array:
        out = np.empty((height, width, self._channels), self._page.dtype)
        down = range(top // self._rows, (top + height - 1) // self._rows + 1)
        across = range(left // self._columns, (left + width - 1) // self._columns + 1)
        # windows go from left to right: what the next ones need of these rows
        band = len(down) * self._across * self._planes
        self._kept = min(self._limit, max(self._kept, band))
        for row, column, plane in product(down, across, range(self._planes)):
            segment = self._segment(plane * self._per_plane + row * self._across + column)
            y, x = row * self._rows - top, column * self._columns - left  # in the window
            rows = slice(max(0, y), min(height, y + self._rows))
            columns = slice(max(0, x), min(width, x + self._columns))
            part = segment[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
            target = (
                out[rows, columns, plane : plane + 1] if self._planes > 1 else out[rows, columns]
            )
            if part.shape != target.shape:
                raise ImageError("image", "corrupt: a strip or tile is too small", REPLACE)
            target[...] = part
        return out

    def _segment(self, index: int) -> Array:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        page = self._page
        position, length = page.dataoffsets[index], page.databytecounts[index]
        if position + length > self._size or not length:
            raise ImageError("image", "truncated: a strip or tile is missing", REPLACE)
        self._file.seek(position)
        content = self._file.read(length)
        tables: dict[str, Any] = {}
        if page.compression == 7:
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
            width, height = JpegImageFile(io.BytesIO(content)).size  # its own, which may be any
            if width > self._columns or height > self._rows:
                raise ImageError("image", "corrupt: a strip or tile is too large", REPLACE)
        values, _, _ = page.decode(content, index, **tables)
        while len(self._cache) >= self._kept:
            self._cache.popitem(last=False)
        self._cache[index] = values[0]
        segment: Array = values[0]
        return segment
