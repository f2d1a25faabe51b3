"""Portable bitmaps, graymaps and pixmaps (P1 to P6) of 8 and 16 bits. Netpbm's pbm(5) to ppm(5)."""

import os
import re
from typing import IO, NamedTuple

import numpy as np

from i2i.images.formats import Array, Header, ImageError, not_supported
from i2i.images.sanity import REPLACE, check_size

HEADER_BYTES = 2**14  # read at most: comments may be long
_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*+[\r\n])*+(\d{1,9})(?!\d)")
_COMMENT = re.compile(rb"#[^\r\n]*")


class MapInfo(NamedTuple):
    """Kind and position of the values in a file."""

    header: Header
    kind: int  # 1 to 6
    top: int  # the value of full intensity
    offset: int  # of the first value, in bytes


def read_info(file: IO[bytes], max_pixels: int) -> MapInfo:
    """Read the header; raise ImageError if the pixels cannot be read."""
    file.seek(0)
    start = file.read(HEADER_BYTES)
    kind, position, numbers = start[1] - ord("0"), 2, list[int]()
    while len(numbers) < (2 if kind in (1, 4) else 3):
        match = _NUMBER.match(start, position)
        if not match:
            raise ImageError("image", "corrupt or truncated: its header has no sizes", REPLACE)
        numbers.append(int(match[1]))
        position = match.end()
    width, height, top = (*numbers, 1)[:3]
    check_size(width, height, max_pixels)
    if not 0 < top < 2**16:
        raise ImageError("image", f"corrupt: its largest value is {top}", REPLACE)
    channels, depth = 3 if kind in (3, 6) else 1, 8 if top < 256 else 16
    header = Header(width, height, channels, depth, "PNM", alpha=False)
    info = MapInfo(header, kind, top, position + 1)  # a single space
    needed, present = _stored_bytes(info), file.seek(0, os.SEEK_END) - info.offset
    if present < needed:
        reason = f"truncated: {max(0, present):,} of {needed:,} bytes of pixels"
        raise ImageError("image", reason, REPLACE)
    if kind > 3:
        file.seek(info.offset + needed)
        if file.read(2) == start[:2]:
            raise not_supported("a file of several pictures", "Split it")
    return info


def _stored_bytes(info: MapInfo) -> int:
    """Return the bytes of the pixels; of text the fewest possible."""
    header = info.header
    values = header.height * header.width * header.channels
    if info.kind == 4:
        return header.height * ((header.width + 7) // 8)
    if info.kind < 4:
        return values if info.kind == 1 else 2 * values - 1
    return values * header.depth // 8


def read_pixels(file: IO[bytes], info: MapInfo) -> Array:
    """Return [H, W, C], uint8 or uint16, scaled to the whole range."""
    header, kind = info.header, info.kind
    shape = (header.height, header.width, header.channels)
    file.seek(info.offset)
    if kind == 4:
        rows = np.frombuffer(file.read(_stored_bytes(info)), np.uint8).reshape(header.height, -1)
        values = np.unpackbits(rows, axis=1, count=header.width)
    elif kind > 4:
        values = np.frombuffer(file.read(_stored_bytes(info)), ">u2" if info.top > 255 else "u1")
    else:
        values = _parsed(_COMMENT.sub(b"", file.read()), kind, np.prod(shape, dtype=int))
    if kind in (1, 4):
        values = 1 - values  # 1 is black
    if values.max() > info.top:
        raise ImageError("image", f"corrupt: it has values above {info.top}", REPLACE)
    full = 2**header.depth - 1
    if info.top != full:
        values = (values.astype(np.uint32) * full + info.top // 2) // info.top
    pixels: Array = values.astype(np.uint8 if header.depth == 8 else np.uint16).reshape(shape)
    return pixels


def _parsed(text: bytes, kind: int, count: int) -> Array:
    values: Array
    if kind == 1:  # digits may follow each other without a space
        digits = np.frombuffer(text, np.uint8)
        values = digits[(digits == ord("0")) | (digits == ord("1"))][:count] & 1
    else:
        values = np.fromiter(map(int, text.split(maxsplit=count)[:count]), np.uint32)
    if len(values) < count:
        raise ImageError("image", f"truncated: {len(values):,} of {count:,} values", REPLACE)
    return values
