"""Strips and tiles of TIFF pages, decoded one by one, with tifffile.

Each is checked before it is decoded: that it lies in the file, and that it is no larger than the
picture needs.
"""

import struct
from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from typing import IO, Any, NamedTuple

import numpy as np

from i2i.images import jpeg
from i2i.images.extras import require
from i2i.images.formats import Array, ImageError, not_supported
from i2i.images.sanity import REPLACE
from i2i.images.tiff import Directory, Tag

_JPEG, _PNG = 7, 34933
PICTURES = (_JPEG, 33003, 33004, 33005, 34712, _PNG)  # whose segments are pictures: JPEG 2000
_ENDS = {_JPEG: b"\xff\xd9", _PNG: b"IEND\xaeB`\x82"}  # of their segments
_SIZ = b"\xff\x4f\xff\x51"  # begins a codestream. ITU-T T.800


class Kind(NamedTuple):
    """Values of a page."""

    dtype: np.dtype[Any]
    bits: int
    samples: int
    colors: int  # the first of them; others are extra
    photometric: int
    compression: int
    planar: bool
    extra: tuple[int, ...]  # meanings of the extra samples, as far as they are named

    @property
    def planes(self) -> int:
        """Number of parts of a page that lie one after the other."""
        return self.samples if self.planar else 1


class Grid(NamedTuple):
    """Segments of a page."""

    down: int  # rows of a segment
    across: int  # columns of it
    rows: int  # of segments
    columns: int
    positions: Tag
    sizes: Tag

    @property
    def total(self) -> int:
        """Number of segments."""
        return self.rows * self.columns


def grid(page: Directory) -> Grid:
    """Return the segments of a page, or of a plane of it."""
    width, height = page.first(Tag.WIDTH, 0), page.first(Tag.HEIGHT, 0)
    if Tag.TILES in page.values:
        across, down = page.first(Tag.TILE_WIDTH, 0), page.first(Tag.TILE_HEIGHT, 0)
        tags = Tag.TILES, Tag.TILE_BYTES
    else:
        across, down = width, min(page.first(Tag.ROWS, height), height)
        tags = Tag.STRIPS, Tag.STRIP_BYTES
    return Grid(down, across, -(-height // down), -(-width // across), *tags)


def segment_bytes(page: Directory) -> int:
    """Return the bytes of a segment, decoded."""
    segments, samples = grid(page), page.first(Tag.SAMPLES, 1)
    together = 1 if page.first(Tag.PLANES, 1) == 2 else samples
    return segments.down * segments.across * together * -(-page.first(Tag.BITS, 1) // 8)


class Segments:
    """Values [H, W, C] of pages, as they are stored.

    Args:
        file: the pages of it are checked: all have one kind and size.
        opened: it, by tifffile.
        kept_bytes: of segments that stay decoded, for windows that go from left to right.

    Raises:
        ImageError: pages of another form than their tags say.
    """

    def __init__(
        self,
        file: IO[bytes],
        opened: Any,
        pages: Sequence[Directory],
        kind: Kind,
        kept_bytes: int = 0,
    ) -> None:
        tifffile = require("tifffile", "tiff", "this kind of TIFF")
        self._file, self._directories, self._kind = file, pages, kind
        self._grid, self._pages = grid(pages[0]), []
        # a layer is a page, a plane, or all samples together
        self._layers = len(pages) * kind.planes
        self._together = 1 if kind.planar else kind.samples
        size = pages[0].first(Tag.HEIGHT, 0), pages[0].first(Tag.WIDTH, 0)
        for number, directory in enumerate(pages):
            opened.filehandle.seek(directory.position)
            page = tifffile.TiffPage(opened, number)
            if page.shaped != (kind.planes, 1, *size, self._together) or page.dtype != kind.dtype:
                raise not_supported(f"a TIFF whose pages have the form {page.shaped}")
            self._pages.append(page)
        self._cache: OrderedDict[tuple[int, int], Array] = OrderedDict()
        self._limit = kept_bytes // max(1, segment_bytes(pages[0]))
        self._kept = min(1, self._limit)

    def read(self, top: int, left: int, height: int, width: int) -> Array:
        """Return a part [height, width, C].

        Raises:
            ImageError: a segment is truncated or corrupt.
        """
        down, across, together = self._grid.down, self._grid.across, self._together
        out = np.empty((height, width, self._layers * together), self._kind.dtype)
        rows = range(top // down, (top + height - 1) // down + 1)
        columns = range(left // across, (left + width - 1) // across + 1)
        # what the next windows of these rows need
        band = len(rows) * self._grid.columns * self._layers
        self._kept = min(self._limit, max(self._kept, band))
        for row, column, layer in product(rows, columns, range(self._layers)):
            segment = self._segment(layer, row * self._grid.columns + column)
            y, x = row * down - top, column * across - left  # in the window
            ys = slice(max(0, y), min(height, y + down))
            xs = slice(max(0, x), min(width, x + across))
            part = segment[ys.start - y : ys.stop - y, xs.start - x : xs.stop - x]
            target = out[ys, xs, layer * together : (layer + 1) * together]
            if part.shape != target.shape:
                raise ImageError("image", "corrupt: a strip or tile is too small", REPLACE)
            target[...] = part
        return out

    def _segment(self, layer: int, index: int) -> Array:
        if (layer, index) in self._cache:
            self._cache.move_to_end((layer, index))
            return self._cache[layer, index]
        values = self._decoded(layer, index)
        if self._kept:
            self._cache[layer, index] = values
        while len(self._cache) > self._kept:
            self._cache.popitem(last=False)
        return values

    def _decoded(self, layer: int, index: int) -> Array:
        """Return a segment [h, w, together]."""
        number, plane = (0, layer) if self._kind.planar else (layer, 0)
        page, tags = self._pages[number], self._directories[number].values
        segments = self._grid
        index += plane * segments.total
        self._file.seek(tags[segments.positions][index])
        content = self._file.read(size := tags[segments.sizes][index])
        if len(content) < size:
            raise ImageError("image", "truncated while it was read", REPLACE)
        _check_picture(content, self._kind.compression, segments.down * segments.across)
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        segment = page.decode(content, index, **tables)[0]
        if segment is None or segment.dtype != self._kind.dtype:
            raise ImageError("image", "corrupt: a strip or tile has other values", REPLACE)
        values: Array = segment[0]
        return values


def _check_picture(content: bytes, compression: int, pixels: int) -> None:
    """Raise ImageError for a segment that is a picture without its end, or of more `pixels`."""
    if compression not in PICTURES:
        return
    if not content.rstrip(b"\0").endswith(_ENDS.get(compression, b"\xff\xd9")):
        raise ImageError("image", "truncated: the end of a strip or tile is missing", REPLACE)
    if compression == _PNG:
        size = struct.unpack_from(">2I", content, 16)
    elif compression == _JPEG:
        size = jpeg.frame_size(content)
    else:
        right, bottom, left, top = struct.unpack_from(">4I", content, content.index(_SIZ) + 8)
        size = right - left, bottom - top
    if size[0] * size[1] > pixels:
        reason = f"corrupt: a strip or tile holds {size[0]}x{size[1]} pixels"
        raise ImageError("image", reason, REPLACE)
