"""Georeferenced TIFF, with rasterio (GDAL): GeoTIFF 1.1, cloud-optimized GeoTIFF, nodata.

Pixels that Pillow or tifffile read are theirs. Files beside the picture (.aux.xml, .msk) are not
read: its own content decides.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from i2i.images import sanity, tiff
from i2i.images.extras import require
from i2i.images.formats import (
    MAX_CHANNELS,
    NUMBERS,
    SAMPLES,
    Array,
    Header,
    ImageError,
    not_supported,
)
from i2i.images.missing import NEUTRAL
from i2i.images.pixels import ValueRange, from_value_range
from i2i.images.tiff import Directory, Tag
from i2i.images.tiff_pages import Picture

WHAT = "a georeferenced TIFF"
_NAMES = ("georeferences",)
GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 2**28,  # bytes of decoded blocks: the default is a share of the memory
}
_LOSSLESS = ("LZW", "DEFLATE", "PACKBITS", "ZSTD", "LZMA", "LERC", "LERC_DEFLATE", "LERC_ZSTD")
_PREDICTED = ("LZW", "DEFLATE", "ZSTD")
_STATISTICS = "STATISTICS_"  # tags about the values of the input, which outputs do not have

Missing = NDArray[np.bool_]  # [H, W, C], True where there is no data


class Band(NamedTuple):
    """Metadata of a band."""

    description: str | None
    unit: str | None
    scale: float  # not applied: values are as stored
    offset: float
    color: Any  # rasterio's ColorInterp
    tags: dict[str, str]


@dataclass(frozen=True)
class GeoTags:
    """Metadata of a georeferenced TIFF, for outputs of the same kind."""

    crs: str  # WKT; "" for none
    transform: Any  # Affine, from columns and rows to coordinates; None for none
    gcps: tuple[tuple[Any, ...], ...]  # row, column, x, y, z, id, info
    rpcs: Any  # rational polynomials, as rasterio has them; None for none
    nodata: float | None
    masked: bool  # by a band of its own
    bands: tuple[Band, ...]
    tags: dict[str, str]
    options: dict[str, Any]  # of the layout, as GDAL takes them
    cog: bool  # cloud-optimized

    def resized(self, vertical: float, horizontal: float) -> Self:
        """Return the tags of an image that has so many times the pixels along its sides."""
        transform, rpcs = self.transform, self.rpcs
        if transform is not None:
            transform = transform * transform.scale(1 / horizontal, 1 / vertical)
        gcps = tuple(
            (row * vertical, column * horizontal, *rest) for row, column, *rest in self.gcps
        )
        if rpcs is not None:  # which count from the centers of pixels
            fields = rpcs.to_dict()
            for axis, scale in (("line", vertical), ("samp", horizontal)):
                fields[f"{axis}_off"] = (fields[f"{axis}_off"] + 0.5) * scale - 0.5
                fields[f"{axis}_scale"] *= scale
            rpcs = type(rpcs)(**fields)
        return replace(self, transform=transform, gcps=gcps, rpcs=rpcs)

    def cut(self, left: int) -> Self:
        """Return the tags without the `left` columns."""
        transform, rpcs = self.transform, self.rpcs
        if transform is not None:
            transform = transform * transform.translation(left, 0)
        gcps = tuple((row, column - left, *rest) for row, column, *rest in self.gcps)
        if rpcs is not None:
            fields = rpcs.to_dict()
            rpcs = type(rpcs)(**fields | {"samp_off": fields["samp_off"] - left})
        return replace(self, transform=transform, gcps=gcps, rpcs=rpcs)


def open_geo(file: IO[bytes], plain: Picture | None, max_pixels: int) -> Picture:
    """Read the header of a georeferenced TIFF; `plain`: the picture without its georeference.

    Raises:
        ImageError: a kind that is not supported, or whatever is wrong with the file.
    """
    page = next(tiff.directories(file, both_orders=True))
    _check_segments(file, page, max_pixels)
    with _opened(file) as source:
        native, kind = _tags(source, page), np.dtype(source.dtypes[0])
        if {*source.dtypes} != {kind.name} or kind.name not in NUMBERS:
            raise not_supported(f"{WHAT} of {' and '.join(sorted({*source.dtypes}))}")
        size, alpha = (
            (source.width, source.height, source.count),
            native.bands[-1].color.name == "alpha",
        )
    values = size[0] * size[1] * size[2]
    if plain and plain.header.depth < 32:
        header, cost, load = plain.header, plain.cost, plain.load
    else:
        depth = {"uint8": 8, "uint16": 16}.get(kind.name, 32)
        alpha &= size[2] in (2, 4) and depth < 32
        sample = kind.name if kind.name != SAMPLES[depth] else ""
        header = Header(*size, depth, "TIFF", alpha, sample)
        cost, load = values * (2 * kind.itemsize + 4), None
    orientation = page.first(Tag.ORIENTATION, 1)
    if orientation != 1:  # GDAL ignores it
        raise not_supported(f"{WHAT} of orientation {orientation}", "Rotate it, or drop its tags")
    metadata = replace(header.metadata, family="TIFF", native=native, native_names=_NAMES)
    nodata = native.nodata is not None or native.masked or kind.kind == "f"
    header = replace(header, metadata=metadata, nodata=nodata)
    pixels = plain if load else None
    return Picture(header, cost + 2 * values, partial(_load, file, header, load), plain=pixels)


def _check_segments(file: IO[bytes], page: Directory, max_pixels: int) -> None:
    """Check sizes before GDAL takes memory for them; tiles that were never written may be."""
    width, height = page.first(Tag.WIDTH, 0), page.first(Tag.HEIGHT, 0)
    sanity.check_size(width, height, max_pixels)
    channels, bits = page.first(Tag.SAMPLES, 1), max(page.values.get(Tag.BITS, (1,)))
    if channels > MAX_CHANNELS:
        reason = f"{channels} channels, the limit is {MAX_CHANNELS}"
        raise ImageError("image", reason, "Split it into files of fewer channels")
    if width * height * channels * bits > 64 * max_pixels:
        reason = f"{width}x{height} pixels of {channels} x {bits} bits"
        raise ImageError("image", f"{reason} are too large", sanity.RAISE_LIMIT)
    tiled = Tag.TILES in page.values
    across, down = page.first(Tag.TILE_WIDTH, 0), page.first(Tag.TILE_HEIGHT, 0)
    if tiled and across * down > max(4 * width * height, 2**22):
        reason = f"corrupt: its tiles have {across}x{down} pixels, the picture {width}x{height}"
        raise ImageError("image", reason, sanity.REPLACE)
    at, sizes = (Tag.TILES, Tag.TILE_BYTES) if tiled else (Tag.STRIPS, Tag.STRIP_BYTES)
    end = file.seek(0, os.SEEK_END)
    segments = zip(page.values.get(at, ()), page.values.get(sizes, ()), strict=False)
    if any(start + size > end for start, size in segments):
        raise ImageError("image", "truncated: strips or tiles of it are missing", sanity.REPLACE)


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[Any]:
    """Open a file with GDAL, of which only the reader of TIFF is let at it."""
    rasterio = require("rasterio", "geo", WHAT)
    on_disk = isinstance(getattr(file, "raw", None), io.FileIO) and isinstance(file.name, str)
    with rasterio.Env(**GDAL_OPTIONS):
        file.seek(0)
        memory = nullcontext() if on_disk else rasterio.MemoryFile(file.read())
        with memory as held:
            path = Path(file.name).absolute() if held is None else held.name
            with rasterio.open(path, driver="GTiff") as source:
                yield source


def _tags(source: Any, page: Directory) -> GeoTags:
    gcps, gcp_crs = source.gcps
    crs = gcp_crs if gcps else source.crs
    located = not source.transform.is_identity and not gcps
    bands = tuple(
        Band(
            source.descriptions[index],
            source.units[index],
            source.scales[index],
            source.offsets[index],
            source.colorinterp[index],
            _own(source.tags(index + 1)),
        )
        for index in range(source.count)
    )
    structure = source.tags(ns="IMAGE_STRUCTURE")
    flags = {flag.name for flag in source.mask_flag_enums[0]}
    return GeoTags(
        crs.to_wkt() if crs else "",
        source.transform if located else None,
        tuple((p.row, p.col, p.x, p.y, p.z, p.id, p.info) for p in gcps),
        source.rpcs,
        source.nodata,
        flags == {"per_dataset"},
        bands,
        source.tags(),
        _layout(source, structure, page),
        structure.get("LAYOUT") == "COG",
    )


def _own(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(_STATISTICS)}


def _layout(source: Any, structure: dict[str, str], page: Directory) -> dict[str, Any]:
    """Return the creation options of GDAL's driver that repeat the layout of a file."""
    options: dict[str, Any] = {"interleave": structure.get("INTERLEAVE", "BAND").lower()}
    compression = structure.get("COMPRESSION", "")
    if compression:  # others lose values, and outputs lose none
        options["compress"] = compression if compression in _LOSSLESS else "DEFLATE"
    down, across = source.block_shapes[0]
    if Tag.TILES in page.values and not (down % 16 or across % 16):
        options |= {"tiled": True, "blockxsize": across, "blockysize": down}
    if page.first(Tag.PREDICTOR, 1) != 1 and compression in _PREDICTED:
        options["predictor"] = page.first(Tag.PREDICTOR, 1)
    if page.big:
        options["bigtiff"] = "YES"
    return options


def _load(
    file: IO[bytes],
    header: Header,
    plain: Callable[[ValueRange], Any] | None,
    value_range: ValueRange,
) -> tuple[Array, Missing | None]:
    read = None if plain is None else lambda *_: plain(value_range)
    with opened_parts(file, header, read, value_range) as parts:
        return parts(0, 0, header.height, header.width)


@contextmanager
def opened_parts(
    file: IO[bytes],
    header: Header,
    plain: Callable[[int, int, int, int], Array] | None,
    value_range: ValueRange,
) -> Iterator[Callable[[int, int, int, int], tuple[Array, Missing | None]]]:
    """Hold a function of (top, left, height, width) that returns pixels, and which have no data.

    `plain` returns the pixels where Pillow or tifffile read them.
    """
    native: GeoTags = header.metadata.native
    if plain and native.nodata is None and not native.masked:
        yield lambda *box: (plain(*box), None)
        return
    with _opened(file) as source:
        yield lambda *box: _part(source, header, box, plain and plain(*box), value_range)


def _part(
    source: Any,
    header: Header,
    box: tuple[int, ...],
    pixels: Array | None,
    value_range: ValueRange,
) -> tuple[Array, Missing | None]:
    top, left, height, width = box
    native, window = header.metadata.native, ((top, top + height), (left, left + width))
    values = np.ascontiguousarray(source.read(window=window).transpose(1, 2, 0))
    missing = np.zeros(values.shape, np.bool_)
    if native.nodata is not None and not np.isnan(native.nodata):
        missing = values == native.nodata
    if values.dtype.kind == "f":
        missing |= np.isnan(values)
    if native.masked:
        missing |= (source.dataset_mask(window=window) == 0)[..., None]
    if pixels is None:
        pixels = values
        if header.depth == 32:
            pixels = np.full(values.shape, NEUTRAL, np.float32)
            if not missing.all():  # the range counts its values
                pixels[~missing] = from_value_range(values[~missing], value_range)
    if missing.shape != pixels.shape:  # a palette has become colors
        missing = np.repeat(missing.any(axis=2, keepdims=True), pixels.shape[2], axis=2)
    if header.alpha:
        missing[..., -1] = False
    return pixels, missing if missing.any() else None
