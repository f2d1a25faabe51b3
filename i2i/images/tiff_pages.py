"""Kinds of TIFF that Pillow does not read, with tifffile: any channels, numbers, compressions."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import IO, NamedTuple

import numpy as np

from i2i.images import sanity, tiff
from i2i.images.decoding import turn, unmultiply
from i2i.images.extras import require
from i2i.images.formats import (
    MAX_CHANNELS,
    SAMPLES,
    Array,
    Header,
    ImageError,
    not_supported,
)
from i2i.images.metadata import Metadata
from i2i.images.pixels import MAX_VALUE, UNIT, ValueRange, from_value_range
from i2i.images.plain import PlainValues
from i2i.images.tiff import Directory, Tag
from i2i.images.tiff_segments import PICTURES, Kind, Segments, grid, segment_bytes
from i2i.images.tiff_tags import description, parse_ome, read_tags

MAX_PIXEL_BYTES = 8  # of the limit of pixels: 16-bit RGBA has as many
_RATIOS = {1: 1, 5: 1400, 8: 1032, 32773: 64, 32946: 1032}  # compression -> bytes out of one
_BYTES = (1, 5, 8, 32773, 32946, 34925, 50000)  # compressions of bytes
_SPARE_PIXELS = 2**22  # by which a tile may be larger than the picture
_KINDS = {1: "u", 2: "i", 3: "f"}  # sample formats
_IMAGEJ_AXES = {"C": "channels", "Z": "slices", "T": "frames"}
_IMAGEJ_COUNT = re.compile(r"^(images|channels|slices|frames)=(\d{1,9})$", re.MULTILINE)
_SPLIT = "Split it into files of one page, or save its values as .npy"


class Picture(NamedTuple):
    """A picture that can be loaded, perhaps with what `Header.missing` says."""

    header: Header
    cost: int  # bytes of memory to load it
    load: Callable[[ValueRange], Array | tuple[Array, Array | None]]
    turned: int = 1  # EXIF orientation of what is stored, but for TIFF
    plain: "Picture | None" = None  # of a georeferenced TIFF: what else reads its pixels


class Pages(NamedTuple):
    """Checked pages of a TIFF, the channels of one picture."""

    file: IO[bytes]
    directories: list[Directory]
    kind: Kind
    header: Header
    turned: int  # EXIF orientation
    associated: bool  # colors were multiplied by alpha

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as they are stored."""
        header = self.header
        size = header.height, header.width
        return size[::-1] if self.turned in (5, 6, 7, 8) else size

    @contextmanager
    def opened(self, kept_bytes: int = 0) -> Iterator[Callable[[int, int, int, int], Array]]:
        """Hold a function of (top, left, height, width) that returns stored values, [h, w, C].

        `kept_bytes` as in `Segments`.
        """
        if (start := self._plain_start()) is not None:
            dtype = np.dtype(self.directories[0].order + self.kind.dtype.str[1:])
            yield PlainValues(self.file, (*self.size, self.header.channels), dtype, start).read
            return
        tifffile = require("tifffile", "tiff", "this kind of TIFF")
        self.file.seek(0)
        with tifffile.TiffFile(self.file) as opened:
            yield Segments(self.file, opened, self.directories, self.kind, kept_bytes).read

    def _plain_start(self) -> int | None:
        """Return where all values begin, if they lie in the file as in memory."""
        (page, *others), kind = self.directories, self.kind
        packed = kind.planar or kind.bits != 8 * kind.dtype.itemsize
        coded = kind.compression != 1 or page.first(Tag.PREDICTOR, 1) != 1
        if others or packed or coded or Tag.TILES in page.values:
            return None
        extents = extents_of(page, kind)
        joined = all(at + size == end for (at, size), (end, _) in pairwise(extents))
        return extents[0][0] if joined else None

    def convert(self, values: Array, value_range: ValueRange) -> Array:
        """Return stored values as `images.read` does, but for the orientation."""
        kind, header = self.kind, self.header
        values = values.astype(kind.dtype, copy=False)
        if kind.bits != 8 * kind.dtype.itemsize:
            top = 2**kind.bits - 1
            values = (values.astype(np.uint32) * MAX_VALUE[16] // top).astype(np.uint16)
        if kind.photometric == 0 and header.depth < 32:  # white is zero
            color = values[..., :1]
            np.subtract(MAX_VALUE[header.depth], color, out=color)
        if header.depth == 32 and header.alpha:
            colors = from_value_range(values[..., :-1], value_range)
            alpha = from_value_range(values[..., -1:], UNIT)
            return np.concatenate([colors, alpha], axis=2)
        if header.depth == 32:
            return from_value_range(values, value_range)
        return unmultiply(values) if self.associated else values


def open_pages(file: IO[bytes], max_pixels: int) -> Picture:
    """Read the header of a TIFF; errors are those of `read_pages`."""
    pages = read_pages(file, max_pixels)
    first, header = pages.directories[0], pages.header
    values = header.width * header.height * header.channels
    cost = values * (2 * pages.kind.dtype.itemsize + 4) + 2 * segment_bytes(first)
    return Picture(header, cost, partial(_load, pages))


def read_pages(file: IO[bytes], max_pixels: int) -> Pages:
    """Read and check the directories of a TIFF.

    Raises:
        ImageError: pages that are not channels of one picture, kinds that are not supported, and
            whatever is wrong with the file.
    """
    require("tifffile", "tiff", "this kind of TIFF")
    require("imagecodecs", "tiff", "this kind of TIFF")
    pages = [page for page in tiff.directories(file, both_orders=True) if tiff.is_page(page)]
    if not pages:
        raise not_supported("a TIFF of thumbnails and masks only")
    if len(pages) >= tiff.MAX_PAGES:
        raise not_supported(f"a TIFF of at least {tiff.MAX_PAGES} pages", _SPLIT)
    kind = _kind(pages[0])
    width, height = pages[0].first(Tag.WIDTH, 0), pages[0].first(Tag.HEIGHT, 0)
    for page in pages:
        same = (page.first(Tag.WIDTH, 0), page.first(Tag.HEIGHT, 0)) == (width, height)
        if not same or _kind(page) != kind:
            raise not_supported(f"a TIFF of {len(pages)} pages that differ in size or type", _SPLIT)
    channels = len(pages) * kind.samples
    _check_axes(pages, kind, channels)
    sanity.check_size(width, height, max_pixels)
    size = width * height * channels * kind.dtype.itemsize
    if size > MAX_PIXEL_BYTES * max_pixels:
        reason = f"{size:,} bytes of values, the limit is {MAX_PIXEL_BYTES} x {max_pixels:,}"
        raise ImageError("image", reason, sanity.RAISE_LIMIT)
    _check_segments(file, pages, kind, width, height)
    alpha, associated = _alpha(kind, len(pages))
    depth = {"u1": 8, "u2": 16}.get(kind.dtype.str[1:], 32)
    sample = kind.dtype.name if kind.dtype.name != SAMPLES[depth] else ""
    tags = read_tags(pages, channels)
    turned = pages[0].first(Tag.ORIENTATION, 1)
    if turned in (5, 6, 7, 8):
        width, height = height, width
        tags = tags.turned()
    metadata = Metadata(family="TIFF", native=tags, native_names=tags.names)
    header = Header(width, height, channels, depth, "TIFF", alpha, sample, metadata)
    return Pages(file, pages, kind, header, turned, associated)


def _kind(page: Directory) -> Kind:
    samples, photometric = page.first(Tag.SAMPLES, 1), page.first(Tag.PHOTOMETRIC, -1)
    compression = page.first(Tag.COMPRESSION, 1)
    in_color = compression == 7 and photometric == 6  # decoded as RGB
    colors = {0: 1, 1: 1, 2: 3}.get(3 if photometric == 6 and not in_color else photometric, 0)
    colors = 3 if in_color else colors
    if not colors or samples < colors:
        name = {3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIE Lab", 32803: "raw mosaic"}
        what = name.get(photometric, f"kind {photometric}")
        raise not_supported(f"a TIFF of {samples} x {what}")
    if compression not in _BYTES and compression not in PICTURES:
        raise not_supported(f"a TIFF of compression {compression}")
    if page.first(Tag.FILL_ORDER, 1) != 1:
        raise not_supported("a TIFF whose bits are in reverse order")
    bits, formats = page.values.get(Tag.BITS, (1,)), page.values.get(Tag.SAMPLE_FORMAT, (1,))
    letter = _KINDS.get(formats[0], "?")
    if len({*bits}) > 1 or len({*formats}) > 1:
        raise not_supported("a TIFF whose channels are of different types")
    unpacked = bits[0] in (8, 16, 32, 64) if letter != "f" else bits[0] in (16, 32, 64)
    packed = letter == "u" and 8 < bits[0] < 16 and (photometric or samples == 1)
    if letter == "?" or not (unpacked or packed):
        raise not_supported(f"a TIFF of {bits[0]}-bit values of format {formats[0]}")
    dtype = np.dtype(f"{letter}{16 // 8 if packed else bits[0] // 8}")
    planar = samples > 1 and page.first(Tag.PLANES, 1) == 2
    extra = page.values.get(Tag.EXTRA, ())
    return Kind(dtype, bits[0], samples, colors, photometric, compression, planar, extra)


def _check_axes(pages: list[Directory], kind: Kind, channels: int) -> None:
    """Raise ImageError where not all pages are channels of one picture."""
    count = len(pages)
    text = description(pages[0])
    hint = "Split it into files of one plane, or save its values as .npy"
    sizes = {"C": channels, "Z": 1, "T": 1}
    if ome := parse_ome(text):
        sizes = dict(zip("CZT", ome.sizes, strict=True))
    elif "<OME" in text[:2000]:
        raise not_supported("an OME-TIFF of several images, or with corrupt metadata", hint)
    elif text.startswith("ImageJ="):
        counts = {key: int(value) for key, value in _IMAGEJ_COUNT.findall(text)}
        sizes |= {axis: counts.get(key, sizes[axis]) for axis, key in _IMAGEJ_AXES.items()}
        if counts.get("images", count) > count:  # behind each other, in one page
            raise not_supported("an ImageJ stack of several pictures in one page", hint)
    for axis, name in (("Z", "slices"), ("T", "times")):
        if sizes[axis] > 1:
            what = f"a TIFF of {sizes[axis]} {name} ({axis}): only channels are read together"
            raise not_supported(what, hint)
    if sizes["C"] != channels:
        reason = f"its metadata names {sizes['C']} channels, its pages have {channels}"
        raise ImageError("image", reason, hint)
    if count > 1 and kind.samples > 1:
        raise not_supported(f"a TIFF of {count} pages of {kind.samples} channels each", _SPLIT)
    if channels > MAX_CHANNELS:
        reason = f"{channels} channels, the limit is {MAX_CHANNELS}"
        raise ImageError("image", reason, "Split it into files of fewer channels")


def _alpha(kind: Kind, pages: int) -> tuple[bool, bool]:
    """Return if the last channel is alpha, and if it was multiplied into the colors."""
    extra = kind.samples - kind.colors
    if pages > 1 or extra != 1 or kind.samples not in (2, 4) or kind.extra[:1] not in ((1,), (2,)):
        return False, False
    short = kind.dtype.str[1:] in ("u1", "u2")
    if not short and (kind.extra[0] == 1 or kind.dtype.kind != "f"):
        raise not_supported(f"a TIFF of {kind.dtype.name} with alpha")
    return True, kind.extra[0] == 1


# -- values ----------------------------------------------------------------------------------------


def _check_segments(
    file: IO[bytes], pages: list[Directory], kind: Kind, width: int, height: int
) -> None:
    end = file.seek(0, os.SEEK_END)
    for page in pages:
        tiff.check_parts(page)
        segments = grid(page)
        down, across = segments.down, segments.across
        if down * across > max(4 * width * height, _SPARE_PIXELS):
            reason = f"its tiles have {across}x{down} pixels, the picture has {width}x{height}"
            raise ImageError("image", f"corrupt: {reason}", sanity.REPLACE)
        extents = extents_of(page, kind)
        missing = len(extents) < segments.total * kind.planes
        if missing or any(start + size > end for start, size in extents):
            raise ImageError(
                "image", "truncated: strips or tiles of it are missing", sanity.REPLACE
            )
        stored = sum(size for _, size in extents)
        packed = width * kind.bits * kind.samples // 8 * height
        if kind.compression in _RATIOS and packed > stored * _RATIOS[kind.compression]:
            reason = f"truncated: {stored} bytes cannot hold {width}x{height} pixels"
            raise ImageError("image", reason, sanity.REPLACE)


def extents_of(page: Directory, kind: Kind) -> list[tuple[int, int]]:
    """Return position and size of each segment of a page in the file."""
    segments = grid(page)
    count = segments.total * kind.planes
    positions, sizes = page.values[segments.positions], page.values.get(segments.sizes, ())
    return list(zip(positions[:count], sizes[:count], strict=False))


def _load(pages: Pages, value_range: ValueRange) -> Array:
    with pages.opened() as read:
        height, width = pages.size
        values = pages.convert(read(0, 0, height, width), value_range)
    return turn(values, pages.turned)
