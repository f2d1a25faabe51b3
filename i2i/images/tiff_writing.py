"""TIFF files that Pillow and OpenCV do not write, and the tags of inputs: with tifffile."""

import io
from typing import Any

import numpy as np

from i2i.images.extras import require
from i2i.images.formats import NUMBERS, Array
from i2i.images.metadata import Metadata
from i2i.images.tiff_tags import Ome, TiffTags, fraction, to_ome

_LOSSLESS = {1: None, 5: "lzw", 8: "zlib", 32773: "packbits", 32946: "deflate"}
_LOSSLESS |= {34925: "lzma", 50000: "zstd"}  # others lose values, and outputs lose none
_PREDICTED = ("lzw", "zlib", "deflate", "lzma", "zstd")
_OME_NUMBERS = frozenset(name for name in NUMBERS if "64" not in name and name != "float16")
_OME_NUMBERS |= {"float64"}
_BIG = 2**32 - 2**26  # bytes of values that a file of 32-bit positions has no room for
_DIFFERENCES = ("int8", "uint8", "int16", "uint16", "int32", "uint32")  # that are predicted
_GRAY, _RGB = 1, 2  # photometric interpretations
_ALPHA = 2  # not multiplied into the colors


def to_bytes(array: Array, metadata: Metadata, alpha: bool) -> bytes:
    """Return the file of [H, W, C]; `alpha`: the last channel is alpha.

    Raises:
        ImageError: the extra is not installed.
    """
    tifffile = require("tifffile", "tiff", "this kind of TIFF")
    require("imagecodecs", "tiff", "this kind of TIFF")
    channels = array.shape[2]
    native = metadata.native if isinstance(metadata.native, TiffTags) else None
    tags = native or TiffTags(channels, compression=5)
    same = native is not None and native.channels == channels
    photometric = _photometric(tags if same else None, channels, alpha)
    extra = channels - (3 if photometric == _RGB else 1)
    pages = tags.pages and channels > 1
    axes = "CYX" if pages else "SYX" if tags.planar else "YXS"
    options: dict[str, Any] = {"photometric": "rgb" if photometric == _RGB else "minisblack"}
    if photometric == 0:
        array, options["photometric"] = _inverted(array), "miniswhite"
    if pages:
        array = array.transpose(2, 0, 1)
    elif channels == 1:
        array, axes = array[..., 0], "YX"
    else:
        array = array.transpose(2, 0, 1) if tags.planar else array
        options["planarconfig"] = "separate" if tags.planar else "contig"
        if extra:
            kinds = tags.extra if same and len(tags.extra) == extra else (0,) * extra
            options["extrasamples"] = (*kinds[:-1], _ALPHA) if alpha else kinds
    array, packing = _packed(array, tags)
    memory = io.BytesIO()
    big = tags.big or array.nbytes > _BIG
    ome = tags.ome if array.dtype.name in _OME_NUMBERS else None
    with tifffile.TiffWriter(memory, bigtiff=big, ome=ome is not None) as writer:
        writer.write(
            np.ascontiguousarray(array),
            software=False,
            tile=tags.tile,
            iccprofile=metadata.icc_profile or None,
            **options,
            **packing,
            **_resolution(native, metadata),
            **_description(tags, ome, axes, channels if "C" in axes or axes[0] == "S" else 1),
        )
    return memory.getvalue()


def _photometric(tags: TiffTags | None, channels: int, alpha: bool) -> int:
    """Return the interpretation of an input of as many channels, where it fits outputs."""
    if tags and (tags.photometric in (0, _GRAY) or (tags.photometric == _RGB and channels > 2)):
        return tags.photometric if channels == 1 or tags.photometric else _GRAY
    return _RGB if channels - alpha == 3 else _GRAY


def _inverted(array: Array) -> Array:
    """Return what readers invert: integers of which 0 is white."""
    return np.iinfo(array.dtype).max - array if array.dtype in (np.uint8, np.uint16) else array


def _packed(array: Array, tags: TiffTags) -> tuple[Array, dict[str, Any]]:
    """Return values as stored, and how: packed into fewer bits, or compressed."""
    compression = _LOSSLESS.get(tags.compression, "zlib")
    if tags.bits and array.dtype == np.uint16 and not compression and not tags.tile:
        levels = array.astype(np.int64) * (2**tags.bits - 1)
        return (-(-levels // 65535)).astype(np.uint16), {"bitspersample": tags.bits}
    predicted = array.dtype.kind == "f" or array.dtype.name in _DIFFERENCES
    predictor = tags.predictor != 1 and compression in _PREDICTED and predicted
    return array, {"compression": compression, "predictor": predictor}


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
