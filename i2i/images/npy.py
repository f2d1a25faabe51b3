"""NumPy array files (NEP 1): up to MAX_CHANNELS of any numbers, and never a pickle."""

import io
import os
import threading
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.lib import format as numpy_format

from i2i.images.formats import (
    MAX_CHANNELS,
    SAMPLES,
    Array,
    Header,
    ImageError,
    TooLargeError,
    not_supported,
)
from i2i.images.pixels import ValueRange, from_value_range
from i2i.images.sanity import RAISE_LIMIT, REPLACE, check_size

HEADER_BYTES = 2**14  # read at most; the header of a plain array takes 128
MAX_PIXEL_BYTES = 8  # the deepest pixel of another format, 16-bit RGBA
_NUMBERS = ("b1", "u1", "u2", "i1", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
_DEPTHS = dict.fromkeys(_NUMBERS, 32) | {"b1": 8, "u1": 8, "u2": 16}
_READERS = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}

# numpy parses headers with `ast`, whose depth counter two threads of Python 3.11 share: SystemError
_PARSING = threading.Lock()


class ArrayInfo(NamedTuple):
    """Kind and position of the values in an array file."""

    header: Header
    dtype: np.dtype[np.generic]  # as stored, in either byte order
    fortran: bool  # the first axis varies fastest
    offset: int  # of the first value, in bytes
    size: int  # of all values, in bytes


def read_info(file: IO[bytes], max_pixels: int) -> ArrayInfo:
    """Read the header of an array file; raise ImageError if its values cannot be read."""
    file.seek(0)
    start = io.BytesIO(file.read(HEADER_BYTES))
    try:
        version = numpy_format.read_magic(start)
        if version not in _READERS:  # (3, 0) is for field names that are not Latin
            raise ValueError(f"version {version[0]}.{version[1]} of the format is not supported")
        with _PARSING:
            shape, fortran, dtype = _READERS[version](start)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise ImageError("image", f"corrupt or truncated: {reason}", REPLACE) from error
    depth = _DEPTHS.get(f"{dtype.kind}{dtype.itemsize}")
    if depth is None or dtype.fields is not None:
        hint = "Save it as integers or floats of at most 64 bits"
        raise not_supported(f"an array of {str(dtype)[:40]}", hint)
    if len(shape) not in (2, 3) or min(shape) < 1:
        reason = f"expected [H, W] or [H, W, C], got an array of shape {str(shape)[:80]}"
        raise ImageError("image", reason, "Save one picture a file")
    height, width, channels = (*shape, 1)[:3]
    if channels > MAX_CHANNELS:
        reason = f"{str(channels)[:20]} channels, the limit is {MAX_CHANNELS}"
        raise ImageError("image", reason, "Save it as [H, W, C]: channels last")
    check_size(width, height, max_pixels)
    size = height * width * channels * dtype.itemsize
    available = file.seek(0, os.SEEK_END) - start.tell()
    if size > available:
        reason = f"truncated: its header announces {size:,} bytes, the file has {available:,}"
        raise ImageError("image", reason, REPLACE)
    if size > MAX_PIXEL_BYTES * max_pixels:  # a sparse file takes next to nothing on disk
        reason = f"{size:,} bytes of values, the limit is {MAX_PIXEL_BYTES} x {max_pixels:,}"
        raise TooLargeError("image", reason, RAISE_LIMIT)
    sample = dtype.name if dtype.name != SAMPLES[depth] else ""
    header = Header(width, height, channels, depth, "NPY", alpha=False, sample=sample)
    return ArrayInfo(header, dtype, fortran, start.tell(), size)


def read_pixels(file: IO[bytes], info: ArrayInfo, value_range: ValueRange) -> Array:
    """Return the values [H, W, C]: uint8, uint16, or float32 with `value_range` as [0, 1]."""
    header, content = info.header, bytearray(info.size)
    file.seek(info.offset)
    if cast(io.BufferedIOBase, file).readinto(content) != info.size:
        raise ImageError("image", "truncated while it was read", REPLACE)
    shape = (header.height, header.width, header.channels)
    stored = np.frombuffer(content, info.dtype).reshape(shape, order="F" if info.fortran else "C")
    values = stored.astype(info.dtype.newbyteorder("="), "C", copy=False)
    if values.dtype == np.bool_:  # a mask: black and white
        values = values.view(np.uint8) * np.uint8(255)
    return from_value_range(values, value_range) if header.depth == 32 else values


def to_bytes(array: Array) -> bytes:
    """Return the array file of [H, W, C]."""
    memory = io.BytesIO()
    numpy_format.write_array(memory, np.ascontiguousarray(array), allow_pickle=False)
    return memory.getvalue()
