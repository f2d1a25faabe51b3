"""Parts of images that are too large for memory, read by window: arrays, TIFF, PNG and JPEG.

The values are those of `images.decode`. Files are read where a window lies, never mapped: a mapped
file that is cut kills whoever reads it, and its pages count as memory.
"""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import IO, Any, Protocol

import numpy as np

from i2i.images import geotiff, npy
from i2i.images.decoding import turn
from i2i.images.formats import (
    MAX_PIXELS,
    Array,
    Header,
    ImageError,
    TooLargeError,
    installed,
    is_refusal,
)
from i2i.images.pixels import UNIT, ValueRange, from_value_range
from i2i.images.plain import PlainValues
from i2i.images.reading import (
    Picture,
    decoded,
    open_picture,
    read_header,
)
from i2i.images.sanity import REPLACE
from i2i.images.sources import errors_about, open_regular
from i2i.images.tiff import directories
from i2i.images.tiff_pages import read_pages
from i2i.images.tiff_segments import segment_bytes

MAX_SEGMENT = 2**27  # bytes of a strip or tile, decoded
_CACHE_BYTES = 2**28  # of decoded strips and tiles
ANY_SIZE = 2**40  # pixels: what is not decoded at once has no limit of its own
_IN_TILES = "Raise max_pixels (--max-pixels), or save it in tiles"
_vips_process: int | None = None  # whose threads libvips has: they do not survive a fork
_Read = Callable[[int, int, int, int], Array | tuple[Array, Array | None]]  # top, left, h, w


class Windows(Protocol):
    """An image that is read by window."""

    @property
    def header(self) -> Header:
        """Kind and size, as `read_header` returns them."""

    def read(self, top: int, left: int, height: int, width: int) -> tuple[Array, Header]:
        """Return a part [height, width, C] of what `images.read` returns: alpha is kept.

        The header is that of the image, but `missing` is that of the part.

        Raises:
            ImageError: the file is truncated or corrupt there, or holds values out of range.
        """


class _NotByWindow(Exception):  # noqa: N818 - no error: the other way
    """A file that is decoded as a whole, and why."""


class _Windows:
    """Windows of a file, whose values are converted and turned upright.

    Args:
        read: returns the values of `images.read`, as the file lies, perhaps with which of them
            are missing.
        turned: EXIF orientation.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Header,
        read: _Read,
        turned: int = 1,
    ) -> None:
        self.header = header
        self._path, self._stored, self._turned = path, read, turned

    def read(self, top: int, left: int, height: int, width: int) -> tuple[Array, Header]:
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
            stored = self._stored(*box)
            values, missing = stored if isinstance(stored, tuple) else (stored, None)
            header = self.header if missing is None else replace(self.header, missing=missing)
            return turn(values, self._turned), header


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
            try:
                windows = _by_window(path, file, picture, value_range, folder, stack)
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
    value_range: ValueRange,
    folder: str | os.PathLike[str] | None,
    stack: ExitStack,
) -> Windows:
    header, turned = picture.header, picture.turned
    if header.format == "NPY":
        info = npy.read_info(file, ANY_SIZE)
        shape = (header.height, header.width, header.channels)
        plain = PlainValues(file, shape, info.dtype, info.offset, info.fortran)
        return _Windows(path, header, lambda *box: _converted(plain.read(*box), value_range))
    if header.format == "TIFF":
        return _Windows(path, header, *_by_segments(file, picture, value_range, stack))
    if header.format not in ("PNG", "JPEG"):
        hint = "Raise max_pixels (--max-pixels) if you trust the file, or save it as TIFF or .npy"
        raise _NotByWindow(hint)
    try:
        pyvips = importlib.import_module("pyvips")
    except ImportError:
        raise _NotByWindow("pip install 'i2i[vips]' to read it by window") from None
    read = _by_vips(pyvips, path, header, turned, folder, stack).read
    return _Windows(path, header, read, turned)


def _by_segments(
    file: IO[bytes], picture: Picture, value_range: ValueRange, stack: ExitStack
) -> tuple[_Read, int]:
    """Return how parts of a TIFF are read, and the orientation."""
    header = picture.header
    if not isinstance(header.metadata.native, geotiff.GeoTags):
        return _by_pages(file, header, value_range, stack)
    if segment_bytes(next(directories(file, both_orders=True))) > MAX_SEGMENT:
        raise _NotByWindow(_IN_TILES)
    plain = None
    if picture.plain and header.depth < 32:
        plain, _ = _by_pages(file, header, value_range, stack)
    return stack.enter_context(geotiff.opened_parts(file, header, plain, value_range)), 1


def _by_pages(
    file: IO[bytes], header: Header, value_range: ValueRange, stack: ExitStack
) -> tuple[Callable[[int, int, int, int], Array], int]:
    if not installed("TIFF"):
        raise _NotByWindow("pip install 'i2i[tiff]' to read it by window")
    hint = "Raise max_pixels (--max-pixels), or save it as gray or RGB of 8 or 16 bits"
    try:
        pages = read_pages(file, ANY_SIZE)
    except ImageError as error:
        if not is_refusal(error):
            raise
        raise _NotByWindow(hint) from None
    kind, own = (header.channels, header.depth, header.alpha), pages.header
    if kind != (own.channels, own.depth, own.alpha):  # an extra channel that Pillow takes for alpha
        raise _NotByWindow(hint)
    if pages.kind.compression != 1 and segment_bytes(pages.directories[0]) > MAX_SEGMENT:
        raise _NotByWindow(_IN_TILES)
    read = stack.enter_context(pages.opened(_CACHE_BYTES))
    return lambda *box: pages.convert(read(*box), value_range), pages.turned


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
        array, full = stack.enter_context(decoded(path, max_pixels, value_range))
    except TooLargeError as error:
        raise TooLargeError("image", error.reason, hint) from None

    def read(top: int, left: int, height: int, width: int) -> tuple[Array, Array | None]:
        rows, columns = slice(top, top + height), slice(left, left + width)
        missing = None if full.missing is None else full.missing[rows, columns]
        return array[rows, columns], missing

    return _Windows(path, header, read)


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
