"""Arrays in NumPy's own files (NEP 1): any number of channels up to 16, of integers or floats, and never a pickle."""

import io
import os
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as numpy_format

from i2i.images.formats import MAX_CHANNELS, Array, Header, ImageError, check_size
from i2i.images.pixels import ValueRange, from_value_range

_HEAD = 2**14  # bytes; the header of a plain array takes 128
_PIXEL = 8  # bytes: what the deepest picture of another format, 16-bit color with alpha, takes
_DEPTHS = {"u1": 8, "u2": 16, "f2": 32, "f4": 32, "f8": 32}
_READERS = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}


class Layout(NamedTuple):
    """Where the values of an array file are, and what they are."""

    header: Header
    dtype: np.dtype[np.generic]  # as stored, in either order of bytes
    fortran: bool  # the first axis varies fastest
    offset: int  # of the first value in the file, bytes


def is_npy(file: BinaryIO) -> bool:
    """Whether `file` begins as an array file does; it is left at its start."""
    magic = file.read(len(numpy_format.MAGIC_PREFIX))
    file.seek(0)
    return magic == numpy_format.MAGIC_PREFIX


def read_layout(file: BinaryIO, path: object, max_pixels: int) -> Layout:
    """Read the header of an array file, [H, W] or [H, W, C]; no value is read, and no memory taken for any.

    Raises:
        ImageError: another shape or dtype, over `max_pixels`, or more values than the file has
            bytes for.
    """
    head = io.BytesIO(file.read(_HEAD))
    try:
        version = numpy_format.read_magic(head)
        if version not in _READERS:  # (3, 0) is for names of fields that are not Latin
            raise ValueError(f"version {version[0]}.{version[1]} of the format is not read")
        shape, fortran, dtype = _READERS[version](head)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ImageError(
            f"{path}: damaged or cut off: {reason} (replace or remove the file)"
        ) from error
    depth = _DEPTHS.get(f"{dtype.kind}{dtype.itemsize}")
    if depth is None or dtype.fields is not None:
        raise ImageError(
            f"{path}: values are {dtype} (save it as uint8 or uint16, or as floats with data.value_range)"
        )
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ImageError(
            f"{path}: an array of shape {shape} is no picture (save it as [H, W, C] or [H, W])"
        )
    height, width, channels = (*shape, 1)[:3]
    if channels > MAX_CHANNELS:
        raise ImageError(
            f"{path}: has {channels} channels, up to {MAX_CHANNELS} are read (save it as [H, W, C]: channels last)"
        )
    check_size(width, height, max_pixels, path)
    size, there = (
        height * width * channels * dtype.itemsize,
        file.seek(0, os.SEEK_END) - head.tell(),
    )
    if size > there:
        raise ImageError(
            f"{path}: cut off: its header announces {size:,} bytes, {there:,} are there (replace it)"
        )
    if size > _PIXEL * max_pixels:  # a file with holes takes next to nothing on disk
        limit = f"the limit is {_PIXEL} x {max_pixels:,} (raise max_pixels if you trust the file)"
        raise ImageError(f"{path}: {size:,} bytes of values, {limit}")
    return Layout(
        Header(width, height, channels, depth, "NPY", alpha=False), dtype, fortran, head.tell()
    )


def read_pixels(file: BinaryIO, path: object, layout: Layout, value_range: ValueRange) -> Array:
    """Return the values [H, W, C]: uint8, uint16, or float32 with `value_range` as [0, 1].

    Raises:
        ImageError: floats that are not finite, or outside `value_range`.
    """
    header = layout.header
    shape = (header.height, header.width, header.channels)
    file.seek(layout.offset)
    stored = np.fromfile(file, layout.dtype, header.height * header.width * header.channels)
    stored = stored.reshape(shape, order="F" if layout.fortran else "C")
    values = stored.astype(layout.dtype.newbyteorder("="), "C", copy=False)
    return from_value_range(values, value_range, path) if header.depth == 32 else values


def content(array: Array) -> bytes:
    """Return the array file of [H, W, C], of uint8, uint16 or float32."""
    memory = io.BytesIO()
    numpy_format.write_array(memory, np.ascontiguousarray(array), allow_pickle=False)
    return memory.getvalue()
