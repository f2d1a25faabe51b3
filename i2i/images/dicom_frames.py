"""Losslessly compressed frames of DICOM files. NEMA PS3.5, A.4 and Annex G.

What a frame says of its size is compared with the header of its file before memory is taken, and
its end must be there: decoders fill what a cut one lacks.
"""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.images import jpeg2000
from i2i.images.extras import require
from i2i.images.formats import ImageError, not_supported
from i2i.images.sanity import REPLACE

_UID = "1.2.840.10008.1.2."
_CODECS = {  # transfer syntax -> decoder of imagecodecs, and marker of the start of a frame
    f"{_UID}5": ("", 0),  # RLE
    f"{_UID}4.57": ("jpeg8_decode", 0xC3),
    f"{_UID}4.70": ("jpeg8_decode", 0xC3),
    f"{_UID}4.80": ("jpegls_decode", 0xF7),
    f"{_UID}4.90": ("jpeg2k_decode", 0),
}
_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000


def check_syntax(name: str, syntax: str, title: str) -> None:
    """Raise ImageError if a file of this transfer syntax, called `title`, cannot be decoded."""
    if syntax not in _CODECS:
        hint = "Decompress it first, as with gdcmconv --raw"
        raise not_supported(f"{name} has the transfer syntax {title}", hint)
    if _CODECS[syntax][0]:
        require("imagecodecs", "medical", f"DICOM of {title}")


def decode(
    encoded: bytes, syntax: str, shape: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the values of a frame, [rows * columns], as the header of its file describes them.

    Raises:
        ImageError: cut, or of another kind than the header of its file says.
        Exception: corrupt: of decoders, any.
    """
    decoder, marker = _CODECS[syntax]
    if not decoder:
        return _unpacked(encoded, shape[0] * shape[1], dtype)
    content = encoded.rstrip(b"\0")  # up to an even length
    if not content.endswith(_END):
        raise _cut("its end is missing")
    kind = _jpeg_kind(content, marker) if marker else jpeg2000.kind(content)
    rows, columns, bits, signed = kind
    if (rows, columns) != shape:
        reason = f"a frame of {columns}x{rows} pixels, its header says "
        raise _other(f"{reason}{shape[1]}x{shape[0]}")
    if bits > 8 * dtype.itemsize or (signed and dtype.kind == "u"):
        raise _other(f"{'signed ' * signed}values of {bits} bits, its header says {dtype.name}")
    values = getattr(require("imagecodecs", "medical", "compressed DICOM"), decoder)(content)
    if values.shape != shape:
        raise _other(f"values of the shape {values.shape}")
    return np.asarray(values.astype(f"<u{dtype.itemsize}").view(dtype).ravel())


def _jpeg_kind(content: bytes, start: int) -> tuple[int, int, int, bool]:
    """Return rows, columns, bits and False from the start of the frame. T.81, B.2.2; T.87, C.2."""
    position = 2
    while content[position : position + 1] == b"\xff":
        marker, length = struct.unpack_from(">BH", content, position + 1)
        if marker == 0xFF:  # which may fill the space in front of one
            position += 1
            continue
        if marker == start:
            bits, rows, columns, components = struct.unpack_from(">BHHB", content, position + 4)
            if components != 1:
                raise _other(f"a frame of {components} channels")
            return rows, columns, bits, False
        position += 2 + length
    raise _other("no frame of the kind that its transfer syntax says")


def _unpacked(encoded: bytes, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Decode RLE: a segment for each byte of a value, the highest first."""
    size = dtype.itemsize
    segments, *offsets = struct.unpack_from("<16L", encoded)
    if segments != size:
        raise _other(f"{segments} segments for values of {size} bytes")
    values = np.empty((count, size), np.uint8)
    for segment, (first, end) in enumerate(pairwise([*offsets[:size], len(encoded)])):
        values[:, size - 1 - segment] = _runs(encoded[first:end], count)
    return values.reshape(-1).view(dtype)


def _runs(segment: bytes, count: int) -> NDArray[np.uint8]:
    """Return the first `count` bytes of a segment. Whatever it holds, no more is unpacked."""
    result, position = bytearray(), 0
    while len(result) < count and position + 1 < len(segment):
        length = segment[position]
        if length < 128:
            result += segment[position + 1 : position + 2 + length]
            position += 2 + length
        else:  # 128 stands for nothing
            if length > 128:
                result += segment[position + 1 : position + 2] * (257 - length)
            position += 2 if length > 128 else 1
    if len(result) < count:
        raise _cut(f"{len(result):,} of {count:,} bytes in a segment")
    return np.frombuffer(result, np.uint8, count)


def _cut(reason: str) -> ImageError:
    return ImageError("image", f"truncated: {reason}", REPLACE)


def _other(reason: str) -> ImageError:
    return ImageError("image", f"corrupt: {reason}", REPLACE)
