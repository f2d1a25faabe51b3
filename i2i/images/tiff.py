"""Layouts of TIFF files: those on a list are read, others refused by name. TIFF 6.0, BigTIFF."""

import io
import itertools
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from fractions import Fraction
from typing import IO, Literal, NamedTuple

from i2i.images.formats import ImageError, not_supported
from i2i.images.sanity import REPLACE

MAX_ENTRIES = 4096  # of a directory; 10 to 40 are usual
MAX_VALUES = 2**20  # of a tag: strips, tiles
MAX_PAGES = 1000  # counted
BIG = 2**32 - 2**26  # bytes of values that a file of 32-bit positions has no room for
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # whole numbers and text
_FRACTION = 5  # type of two whole numbers
_LETTERS = {1: "u", 2: "i", 3: "f", 5: "c", 6: "c"}  # sample formats
_NAMES = {"u": "unsigned integers", "i": "signed integers", "f": "floats", "c": "complex numbers"}
_COLORS = {  # photometric interpretation -> name, values of a pixel
    **{0: ("gray", 1), 1: ("gray", 1), 2: ("RGB", 3), 3: ("palette", 1), 5: ("CMYK", 4)},
    **{6: ("YCbCr", 3), 8: ("CIE Lab", 3), 9: ("ICC Lab", 3)},
}
_INTEGERS = ("u1", "u2", "u4", "u8")
_SUPPORTED = {  # photometric interpretation, extra channels -> sample format and bits
    (0, 0): (*_INTEGERS, "u16"),  # white is zero
    (1, 0): (*_INTEGERS, "u12", "u16", "f32"),
    (1, 1): ("u8",),
    (2, 0): ("u8", "u16"),
    (2, 1): ("u8", "u16"),
    (3, 0): _INTEGERS,
    (5, 0): ("u8",),
    (6, 0): ("u8",),
}
_UNASSOCIATED = 2  # extra sample: alpha that was not multiplied into the colors
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000)
_PREDICTED = (5, 8, 32946, 34925, 50000)  # compressions whose decoder applies the predictor
_ENDIAN: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}


class Tag(IntEnum):
    """Tags that are read."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    STRIPS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS = 278
    STRIP_BYTES = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANES = 284
    RESOLUTION_UNIT = 296
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILES = 324
    TILE_BYTES = 325
    EXTRA = 338
    SAMPLE_FORMAT = 339
    SUBSAMPLING = 530
    GEO_SCALE = 33550
    GEO_POINTS = 33922
    GEO_MATRIX = 34264
    PROFILE = 34675
    GEO_KEYS = 34735
    GDAL_METADATA = 42112
    GDAL_NODATA = 42113
    RPC = 50844


_TAGS = frozenset(Tag)
GEO_TAGS = frozenset({Tag.GEO_SCALE, Tag.GEO_POINTS, Tag.GEO_MATRIX, Tag.GEO_KEYS, Tag.RPC})
GEO_TAGS |= {Tag.GDAL_METADATA, Tag.GDAL_NODATA}
# what the picture does not need
_OPTIONAL = (Tag.DESCRIPTION, Tag.X_RESOLUTION, Tag.Y_RESOLUTION)


class Layout(NamedTuple):
    """Meaning of the values of a page."""

    channels: int
    depth: int  # 8 or 16 bits, or 32 of a float
    alpha: bool  # the last channel is alpha
    associated: bool  # colors were multiplied by alpha
    extra: int  # position of the byte that says what a last channel is, or 0


class Directory(NamedTuple):
    """Tags of a page."""

    position: int  # in the file
    values: dict[int, tuple[int, ...]]
    positions: dict[int, int]  # in the file, of the lowest byte of a tag's first value
    order: str  # of bytes: < or >
    big: bool  # of a BigTIFF
    following: int  # position of the next directory, or 0

    def first(self, tag: Tag, default: int) -> int:
        """Return the first value of a tag."""
        return next(iter(self.values.get(tag, ())), default)


def read_layout(file: IO[bytes]) -> Layout:
    """Return the layout of the only page that is no thumbnail or mask.

    Raises:
        ImageError: several pages, a layout that is not supported, or corrupt directories.
    """
    pages_and_others = directories(file)
    first = next(pages_and_others)
    if not is_page(first):
        raise not_supported("a TIFF that begins with a thumbnail or mask, as raw photos do")
    pages = 1 + sum(map(is_page, pages_and_others))
    if pages > 1:
        count = f"{'at least ' * (pages >= MAX_PAGES)}{pages}"
        hint = "Split it into files of one page, or stack them as .npy"
        raise not_supported(f"a TIFF of {count} pages", hint)
    return _layout(first)


def check_frame(file: IO[bytes], number: int) -> None:
    """Raise ImageError if Pillow shows page `number` of a file wrong, or without a channel."""
    directory = next(itertools.islice(directories(file), number, None))
    layout = _layout(directory)
    if layout.channels in (2, 4) and not layout.alpha:
        raise not_supported("a TIFF with an extra channel that is not alpha")


def to_stream(file: IO[bytes], layout: Layout, complete: bool) -> IO[bytes]:
    """Return the stream to decode: Pillow leaves out a last channel that is not called alpha."""
    if not layout.extra and (not complete or isinstance(getattr(file, "raw", None), io.FileIO)):
        return file
    # libtiff would read the descriptor of another stream, which may be that of an archive.
    file.seek(0)
    content = bytearray(file.read())
    if layout.extra:
        content[layout.extra] = _UNASSOCIATED
    return io.BytesIO(content)


def with_tags(
    content: bytes, alpha: bool, profile: bytes, resolution: tuple[float, float] | None
) -> bytes:
    """Return a little-endian TIFF that says that its last channel is alpha, with metadata."""
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    entries = [content[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    content += bytes(len(content) % 2)
    if alpha:
        entries.append(struct.pack("<HHIHH", Tag.EXTRA, 3, 1, _UNASSOCIATED, 0))
    if profile:
        entries.append(struct.pack("<HHII", Tag.PROFILE, 7, len(profile), len(content)))
        content += profile + bytes(len(profile) % 2)
    if resolution:  # in pixels an inch
        replaced = (Tag.X_RESOLUTION, Tag.Y_RESOLUTION, Tag.RESOLUTION_UNIT)
        entries = [one for one in entries if int.from_bytes(one[:2], "little") not in replaced]
        for tag, value in zip(replaced, resolution, strict=False):
            fraction = Fraction(value).limit_denominator(int(2**32 / (value + 1)))
            entries.append(struct.pack("<HHII", tag, 5, 1, len(content)))
            content += struct.pack("<II", *fraction.as_integer_ratio())
        entries.append(struct.pack("<HHIHH", Tag.RESOLUTION_UNIT, 3, 1, 2, 0))
    entries.sort(key=lambda entry: entry[1::-1])  # by tag
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return content[:4] + struct.pack("<I", len(content)) + content[8:] + directory


def directories(file: IO[bytes], both_orders: bool = False) -> Iterator[Directory]:
    """Yield the directories of a file, MAX_PAGES at most; `both_orders`: of any BigTIFF.

    Raises:
        ImageError: a directory is missing or incomplete.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    if start[:4] == b"MM\0+" and not both_orders:  # Pillow reads it as if it were no BigTIFF
        raise not_supported("a big-endian BigTIFF")
    order, big = "<" if start[:2] == b"II" else ">", start[2:4] in (b"+\0", b"\0+")
    (position,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
    visited: set[int] = set()
    while position and position not in visited and len(visited) < MAX_PAGES:
        if position >= end:
            raise ImageError("image", "truncated: a directory of it is missing", REPLACE)
        visited.add(position)
        directory = _directory(file, position, order, big)
        yield directory
        position = directory.following
    if not visited:
        raise ImageError("image", "corrupt: it has no directory", REPLACE)


def _directory(file: IO[bytes], position: int, order: str, big: bool) -> Directory:
    size, next_size = struct.Struct(order + ("Q" if big else "H")), 8 if big else 4
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    file.seek(position)
    (count,) = size.unpack(file.read(size.size))
    content = file.read(min(count, MAX_ENTRIES) * entry.size)
    following = file.read(next_size)
    if count > MAX_ENTRIES or len(following) < next_size:
        raise ImageError("image", "corrupt or truncated: a directory is not complete", REPLACE)
    after = int.from_bytes(following, _ENDIAN[order])
    directory = Directory(position, {}, {}, order, big, after)
    for index, (tag, kind, number, field) in enumerate(entry.iter_unpack(content)):
        if kind == _FRACTION and tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION):
            kind, number = 4, 2 * number
        if tag in GEO_TAGS:  # of which only the presence counts here
            directory.values[tag] = ()
            continue
        if tag not in _TAGS or kind not in _TYPES or not 0 < number <= MAX_VALUES:
            continue
        values = struct.Struct(f"{order}{number}{_TYPES[kind]}")
        at = position + size.size + (index + 1) * entry.size - len(field)
        if values.size > len(field):
            at = int.from_bytes(field, _ENDIAN[order])
        file.seek(at)
        stored = file.read(values.size)
        if len(stored) < values.size:
            if tag in _OPTIONAL:
                continue
            raise ImageError("image", f"truncated: the values of tag {tag} are missing", REPLACE)
        directory.values[tag] = values.unpack(stored)
        directory.positions[tag] = at + (values.size // number - 1 if order == ">" else 0)
    return directory


def is_geo(file: IO[bytes]) -> bool:
    """Return True for a file of one page with the tags of a georeference, or of nodata."""
    pages = filter(is_page, directories(file, both_orders=True))
    page = next(pages, None)
    return page is not None and not {*page.values}.isdisjoint(GEO_TAGS) and not next(pages, None)


def is_page(directory: Directory) -> bool:
    """Return True for neither a picture of lower resolution (bit 0) nor a mask (bit 2)."""
    reduced = directory.first(Tag.SUBFILE, 0) & 0b101 or directory.first(Tag.OLD_SUBFILE, 1) == 2
    return not reduced


def check_parts(tags: Directory) -> None:
    """Raise ImageError where strips or tiles are missing: decoders leave them black."""
    width, height = tags.first(Tag.WIDTH, 0), tags.first(Tag.HEIGHT, 0)
    if Tag.TILES in tags.values:
        offsets, sizes = Tag.TILES, Tag.TILE_BYTES
        across, down = tags.first(Tag.TILE_WIDTH, 0), tags.first(Tag.TILE_HEIGHT, 0)
    else:
        offsets, sizes = Tag.STRIPS, Tag.STRIP_BYTES
        across, down = max(width, 1), tags.first(Tag.ROWS, max(height, 1))
    if not (across and down):
        raise ImageError("image", "corrupt: its strips or tiles have no size", REPLACE)
    needed = -(-width // across) * -(-height // down)
    needed *= tags.first(Tag.SAMPLES, 1) if tags.first(Tag.PLANES, 1) == 2 else 1
    present = len(tags.values.get(offsets, ()))
    if present < needed:
        reason = f"truncated: it has {present} of {needed} strips or tiles"
        raise ImageError("image", reason, REPLACE)
    if 0 in tags.values.get(sizes, ())[:needed]:
        raise not_supported("a sparse TIFF: some of its tiles were never written")


def _layout(tags: Directory) -> Layout:
    check_parts(tags)
    color, compression = tags.first(Tag.PHOTOMETRIC, -1), tags.first(Tag.COMPRESSION, 1)
    in_color = compression == 7 and color in (2, 6)  # JPEG tells the number of channels itself
    samples = tags.first(Tag.SAMPLES, 3 if in_color else 1)
    bits, formats = tags.values.get(Tag.BITS, (1,)), tags.values.get(Tag.SAMPLE_FORMAT, (1,))
    name, colors = _COLORS.get(color, (f"color kind {color}", samples))
    planar = tags.first(Tag.PLANES, 1) == 2 and samples > 1
    kind = f"{_LETTERS.get(formats[0], '?')}{bits[0]}"
    if len({*bits}) > 1 or len({*formats}) > 1:
        raise not_supported("a TIFF whose channels are of different types")
    if compression not in _COMPRESSIONS:
        raise not_supported(f"a TIFF of compression {compression}")
    predictor = tags.first(Tag.PREDICTOR, 1)
    if predictor != 1 and compression not in _PREDICTED:  # libtiff would show the differences
        raise not_supported(f"a TIFF of compression {compression} with predictor {predictor}")
    allowed = _SUPPORTED.get((color, samples - colors), ())
    if kind not in allowed or (planar and (color, kind) not in ((2, "u8"), (5, "u8"))):
        values = f"{samples} x {bits[0]}-bit {_NAMES.get(kind[0], 'values')}"
        planes = ", stored plane by plane" if planar else ""
        raise not_supported(f"a TIFF of {values} ({name}{planes})")
    if color == 6 and compression != 7 and tags.values.get(Tag.SUBSAMPLING) != (1, 1):
        raise not_supported("a TIFF of subsampled YCbCr without JPEG compression")
    depth = 32 if kind == "f32" else 16 if bits[0] > 8 else 8
    channels = (1 if name == "gray" else 3) + samples - colors
    return Layout(channels, depth, *_extra_channel(tags, samples - colors))


def _extra_channel(tags: Directory, extra: int) -> tuple[bool, bool, int]:
    """Return if a last channel is alpha, if it was multiplied in, and where to declare it alpha."""
    if not extra:
        return False, False, 0
    kind, position = tags.values.get(Tag.EXTRA, ()), tags.positions.get(Tag.EXTRA, 0)
    if kind not in ((), (0,), (1,), (2,)) or (not kind and tags.first(Tag.SAMPLES, 1) == 2):
        raise not_supported("a TIFF with an extra channel of unknown meaning")
    return kind in ((1,), (2,)), kind == (1,), position
