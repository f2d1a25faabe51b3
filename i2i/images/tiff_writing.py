"""TIFF files that Pillow and OpenCV do not write, and the tags of inputs: with tifffile."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from i2i.images.extras import require
from i2i.images.formats import NUMBERS, Array
from i2i.images.metadata import Metadata
from i2i.images.plain import PlainValues
from i2i.images.tiff import BIG
from i2i.images.tiff_tags import Ome, TiffTags, fraction, to_ome

_LOSSLESS = {1: None, 5: "lzw", 8: "zlib", 32773: "packbits", 32946: "deflate"}
_LOSSLESS |= {34925: "lzma", 50000: "zstd"}  # others lose values, and outputs lose none
_PREDICTED = ("lzw", "zlib", "deflate", "lzma", "zstd")
_OME_NUMBERS = frozenset(name for name in NUMBERS if "64" not in name and name != "float16")
_OME_NUMBERS |= {"float64"}
_DIFFERENCES = ("int8", "uint8", "int16", "uint16", "int32", "uint32")  # that are predicted
_GRAY, _RGB = 1, 2  # photometric interpretations
_NAMES = {0: "miniswhite", _GRAY: "minisblack", _RGB: "rgb"}
_TILE = 512  # pixels a side, of files that are written by rows
_ALPHA = 2  # not multiplied into the colors


class _Layout(NamedTuple):
    """Form in which values lie in a file."""

    big: bool
    ome: bool
    options: dict[str, Any]  # of tifffile
    by_channel: bool  # one channel after the other
    inverted: bool  # 0 is white
    bits: int  # of a value, packed; 0: not packed

    def stored(self, values: Array) -> Array:
        """Return values as they are stored."""
        if self.inverted:
            values = np.iinfo(values.dtype).max - values
        if self.bits:
            levels = values.astype(np.int64) * (2**self.bits - 1)
            values = (-(-levels // 65535)).astype(np.uint16)
        return values


def to_bytes(array: Array, metadata: Metadata, alpha: bool) -> bytes:
    """Return the file of [H, W, C]; `alpha`: the last channel is alpha.

    Raises:
        ImageError: the extra is not installed.
    """
    tifffile = _library()
    channels = array.shape[2]
    native = _native(metadata)
    tags = native or TiffTags(channels, compression=5)
    layout = _layout(array.shape, array.dtype, tags, metadata, alpha)
    values = layout.stored(array)
    if layout.by_channel:
        values = values.transpose(2, 0, 1)
    elif channels == 1:
        values = values[..., 0]
    memory = io.BytesIO()
    with tifffile.TiffWriter(memory, bigtiff=layout.big, ome=layout.ome) as writer:
        writer.write(np.ascontiguousarray(values), **layout.options)
    return memory.getvalue()


def write_rows(path: Path, rows: PlainValues, metadata: Metadata, alpha: bool) -> None:
    """Write the file of `rows` in tiles, a few rows at a time."""
    tifffile = _library()
    height, width, channels = rows.shape
    tags = _native(metadata) or TiffTags(channels, compression=8, predictor=2)
    tags = replace(tags, tile=tags.tile or (_TILE, _TILE))
    layout = _layout(rows.shape, rows.dtype, tags, metadata, alpha)
    shape = (channels, height, width) if layout.by_channel else rows.shape
    with tifffile.TiffWriter(path, bigtiff=layout.big, ome=layout.ome) as writer:
        writer.write(
            _tiles(rows, layout),
            shape=shape if channels > 1 else (height, width),
            dtype=rows.dtype,
            **layout.options,
        )


def _tiles(rows: PlainValues, layout: _Layout) -> Iterator[Array]:
    down, across = layout.options["tile"]
    for channel in range(rows.shape[2] if layout.by_channel else 1):
        for band in rows.bands(down):
            values = layout.stored(band)
            values = values[..., channel] if layout.by_channel else values
            for top, left in product(range(0, len(band), down), range(0, rows.shape[1], across)):
                yield np.ascontiguousarray(values[top : top + down, left : left + across])


def _library() -> Any:
    require("imagecodecs", "tiff", "this kind of TIFF")
    return require("tifffile", "tiff", "this kind of TIFF")


def _native(metadata: Metadata) -> TiffTags | None:
    return metadata.native if isinstance(metadata.native, TiffTags) else None


def _layout(
    shape: tuple[int, ...], dtype: np.dtype[Any], tags: TiffTags, metadata: Metadata, alpha: bool
) -> _Layout:
    """Return the layout of values [H, W, C] by the tags of the input, or of none."""
    channels, native = shape[2], _native(metadata)
    same = native is not None and native.channels == channels
    photometric = _photometric(tags if same else None, channels, alpha)
    extra = channels - (3 if photometric == _RGB else 1)
    pages = tags.pages and channels > 1
    by_channel = pages or (tags.planar and channels > 1)
    axes = "CYX" if pages else "SYX" if by_channel else "YXS" if channels > 1 else "YX"
    options: dict[str, Any] = {"photometric": _NAMES[photometric]}
    if channels > 1 and not pages:
        options["planarconfig"] = "separate" if tags.planar else "contig"
        if extra:
            kinds = tags.extra if same and len(tags.extra) == extra else (0,) * extra
            options["extrasamples"] = (*kinds[:-1], _ALPHA) if alpha else kinds
    compression = _LOSSLESS.get(tags.compression, "zlib")
    packed = tags.bits and dtype == np.uint16 and not compression and not tags.tile
    if packed:
        options["bitspersample"] = tags.bits
    else:
        predicted = dtype.kind == "f" or dtype.name in _DIFFERENCES
        predicted &= tags.predictor != 1 and compression in _PREDICTED
        options |= {"compression": compression, "predictor": predicted}
    ome = tags.ome if dtype.name in _OME_NUMBERS else None
    options |= {"software": False, "tile": tags.tile, "iccprofile": metadata.icc_profile or None}
    options |= _resolution(native, metadata)
    options |= _description(tags, ome, axes, channels if axes != "YX" else 1)
    big = tags.big or math.prod(shape) * dtype.itemsize > BIG
    inverted = photometric == 0 and dtype in (np.uint8, np.uint16)
    return _Layout(big, ome is not None, options, by_channel, inverted, packed and tags.bits)


def _photometric(tags: TiffTags | None, channels: int, alpha: bool) -> int:
    """Return the interpretation of an input of as many channels, where it fits outputs."""
    if tags and (tags.photometric in (0, _GRAY) or (tags.photometric == _RGB and channels > 2)):
        return tags.photometric if channels == 1 or tags.photometric else _GRAY
    return _RGB if channels - alpha == 3 else _GRAY


def _resolution(tags: TiffTags | None, metadata: Metadata) -> dict[str, Any]:
    if tags and tags.resolution:
        pairs = [one.as_integer_ratio() for one in tags.resolution]
        return {"resolution": tuple(pairs), "resolutionunit": tags.unit}
    if metadata.resolution and tags is None:
        pairs = [fraction(one).as_integer_ratio() for one in metadata.resolution]
        return {"resolution": tuple(pairs), "resolutionunit": 2}
    return {}


def _description(tags: TiffTags, ome: Ome | None, axes: str, count: int) -> dict[str, Any]:
    if ome:
        return {"metadata": to_ome(ome, axes, count)}
    return {"metadata": None, "description": tags.description or None}
