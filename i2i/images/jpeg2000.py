"""Structure of JPEG 2000 files: the decoder shows what a cut one lacks as blur. ITU-T T.800."""

import io
import os
import struct
from typing import IO, NamedTuple

from i2i.images.formats import ImageError, not_supported
from i2i.images.sanity import REPLACE, check_size

_START, _END, _TILE_PART = b"\xff\x4f\xff\x51", b"\xff\xd9", b"\xff\x90"
_CUT = ImageError("image", "truncated: parts of its pixels are missing", REPLACE)


class Component(NamedTuple):
    """Storage of a channel."""

    bits: int  # less one; from 128 signed
    step_x: int
    step_y: int


def check(file: IO[bytes], max_pixels: int) -> int:
    """Return the bits of a value, 8 or 16.

    Raises:
        ImageError: kinds that are not supported, too many pixels, or parts that are missing.
    """
    boxes, position = _find_codestream(file)
    file.seek(position)
    siz = file.read(42)
    if len(siz) < 42 or not siz.startswith(_START):
        raise _CUT
    right, bottom, left, top = struct.unpack_from(">4I", siz, 8)
    check_size(right - left, bottom - top, max_pixels)
    (count,) = struct.unpack_from(">H", siz, 40)
    stored = file.read(3 * min(count, 5))
    components = {Component(*each) for each in struct.iter_unpack("3B", stored)}
    if not components:
        raise _CUT
    bits = components.pop()
    if components or bits[1:] != (1, 1) or bits[0] not in ((7, 15) if count == 1 else (7,)):
        raise not_supported("JPEG 2000 other than 8-bit, or 16-bit gray, without subsampling")
    definition = boxes[boxes.find(b"cdef") :][: 6 + 6 * count]  # channel, kind, color; 1: opacity
    if count > 4 or (count in (2, 4) and bytes([0, count - 1, 0, 1]) not in definition):
        raise not_supported("JPEG 2000 with an extra channel that is not alpha")
    _check_parts(file, position + 2)
    return bits[0] + 1


def kind(codestream: bytes) -> tuple[int, int, int, bool]:
    """Return rows, columns, bits and whether values are signed, of one channel.

    Raises:
        ImageError: several channels, or parts that are missing.
    """
    if len(codestream) < 45 or not codestream.startswith(_START):
        raise _CUT
    right, bottom, left, top = struct.unpack_from(">4I", codestream, 8)
    count, bits, *steps = struct.unpack_from(">H3B", codestream, 40)
    if count != 1 or steps != [1, 1]:
        raise ImageError("image", "corrupt: several channels, or subsampled", REPLACE)
    _check_parts(io.BytesIO(codestream), 2)
    return bottom - top, right - left, (bits & 127) + 1, bits > 127


def _find_codestream(file: IO[bytes]) -> tuple[bytes, int]:
    """Return the boxes in front of it, and its position. T.800, Annex I."""
    file.seek(0)
    if file.read(4) == _START:
        return b"", 0
    boxes, position = b"", 0
    while True:
        file.seek(position)
        start = file.read(16)
        if len(start) < 8:
            raise _CUT
        length, long = int.from_bytes(start[:4]), start[:4] == b"\0\0\0\1"
        if start[4:8] == b"jp2c":
            return boxes, position + (16 if long else 8)
        if length < 8:
            raise _CUT
        if start[4:8] == b"jp2h":
            file.seek(position)
            boxes = file.read(min(length, 2**20))
        position += length


def _check_parts(file: IO[bytes], position: int) -> None:
    end = file.seek(0, os.SEEK_END)
    while True:
        file.seek(position)
        marker = file.read(12)
        if marker[:2] == _END:
            return
        length = int.from_bytes(marker[2:4]) + 2
        if marker[:2] == _TILE_PART:
            length = int.from_bytes(marker[6:10])
            if not length:  # up to the end
                file.seek(max(position, end - 2), io.SEEK_SET)
                length = end - 2 - position if file.read(2) == _END else 0
        if len(marker) < 4 or marker[:1] != b"\xff" or length < 4:
            raise _CUT
        position += length
