"""Georeferenced TIFF, written with rasterio (GDAL): values of outputs, with the tags of inputs."""

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from i2i.images.extras import require
from i2i.images.formats import Array
from i2i.images.geotiff import GDAL_OPTIONS, WHAT, Band, GeoTags, Missing
from i2i.images.metadata import Metadata
from i2i.images.plain import PlainValues
from i2i.images.tiff import BIG


def to_bytes(array: Array, metadata: Metadata, alpha: bool, missing: Missing | None) -> bytes:
    """Return the file of [H, W, C]; `alpha`: the last channel is alpha.

    `missing`, [H, W, C] or [H, W, 1], gets the value of nodata where the type of the values holds
    it, and a mask otherwise.
    """
    rasterio = require("rasterio", "geo", WHAT)
    native: GeoTags = metadata.native
    fields = _fields(native, array.shape, array.dtype, metadata, alpha, missing is not None)
    with rasterio.Env(**GDAL_OPTIONS), rasterio.MemoryFile() as memory:
        with memory.open(**fields) as output:
            _write(rasterio, output, native, alpha, missing is not None, [(array, missing)])
        if not native.cog:
            return bytes(memory.read())
        with rasterio.MemoryFile() as copy:
            _copy_as_cog(memory.name, copy.name, fields)
            return bytes(copy.read())


def write_rows(
    path: Path,
    rows: PlainValues,
    metadata: Metadata,
    alpha: bool,
    missing: Callable[[int, int], Missing | None] | None,
) -> None:
    """Write the file of `rows` as `to_bytes` does, a few rows at a time.

    `missing` returns which values of rows (first, end) have no data.
    """
    rasterio = require("rasterio", "geo", WHAT)
    native: GeoTags = metadata.native
    extents = [*rows.extents(native.options.get("blockysize", 1))]
    absent = missing is not None and any(missing(*extent) is not None for extent in extents)
    parts = (
        (rows.read(first, 0, end - first, rows.shape[1]), missing and missing(first, end))
        for first, end in extents
    )
    fields = _fields(native, rows.shape, rows.dtype, metadata, alpha, absent)
    if rows.shape[0] * rows.row_bytes > BIG:
        fields["bigtiff"] = "YES"
    with rasterio.Env(**GDAL_OPTIONS):
        with rasterio.open(path, "w", **fields) as output:
            _write(rasterio, output, native, alpha, absent, parts)
        if native.cog:
            copy = path.with_name(f"{path.name}.cog")
            _copy_as_cog(path, copy, fields)
            copy.replace(path)


def _fields(
    native: GeoTags,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    metadata: Metadata,
    alpha: bool,
    absent: bool,
) -> dict[str, Any]:
    """Return how GDAL creates a file of values [H, W, C]."""
    height, width, channels = shape
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    options = dict(native.options)
    if "predictor" in options:
        options["predictor"] = 3 if dtype.kind == "f" else 2
    if channels - alpha == 3 and (channels != len(native.bands) or _is_red(native.bands[0])):
        options["photometric"] = "RGB"
    if alpha:
        options["alpha"] = "YES"
    if metadata.icc_profile:
        options["source_icc_profile"] = base64.b64encode(metadata.icc_profile).decode()
    kind = {"count": channels, "dtype": dtype.name, "height": height, "width": width}
    return {"driver": "GTiff", "nodata": _fitting(native, dtype, absent), **kind, **options}


def _is_red(band: Band) -> bool:
    return str(band.color.name) == "red"


def _write(
    rasterio: Any,
    output: Any,
    native: GeoTags,
    alpha: bool,
    absent: bool,
    parts: Iterable[tuple[Array, Missing | None]],
) -> None:
    """Write tags, and from top to bottom values with which of them are missing."""
    _write_tags(rasterio, output, native, output.count == len(native.bands))
    nodata, first = output.nodata, 0
    masked = native.masked or (absent and nodata is None)
    for values, missing in parts:
        values = values.view(np.uint8) if values.dtype == np.bool_ else values
        if nodata is not None:
            marked = with_nodata(values, np.False_ if missing is None else missing, nodata)
            if alpha:  # which is never nodata
                marked[..., -1] = values[..., -1]
            values = marked
        window = ((first, first + len(values)), (0, output.width))
        output.write(values.transpose(2, 0, 1), window=window)
        if masked:
            valid = np.ones(values.shape[:2], np.bool_)
            output.write_mask(valid if missing is None else ~missing.any(axis=2), window=window)
        first += len(values)


def _write_tags(rasterio: Any, output: Any, native: GeoTags, same: bool) -> None:
    output.update_tags(**native.tags)  # before the transform: GDAL shifts that of points
    crs = rasterio.crs.CRS.from_wkt(native.crs) if native.crs else None
    if native.gcps:
        points = [rasterio.control.GroundControlPoint(*point) for point in native.gcps]
        output.gcps = points, crs
    elif crs:
        output.crs = crs
    if native.transform is not None:
        output.transform = native.transform
    if native.rpcs is not None:
        output.rpcs = native.rpcs
    if not same:
        return
    for index, band in enumerate(native.bands, 1):
        if band.description:
            output.set_band_description(index, band.description)
        if band.unit:
            output.set_band_unit(index, band.unit)
        if band.tags:
            output.update_tags(index, **band.tags)
    if any((band.scale, band.offset) != (1, 0) for band in native.bands):
        output.scales = [band.scale for band in native.bands]
        output.offsets = [band.offset for band in native.bands]


def _copy_as_cog(path: Path | str, copy: Path | str, fields: dict[str, Any]) -> None:
    """Write a copy that is cloud-optimized, with overviews."""
    names = ("compress", "bigtiff")
    kept: dict[str, Any] = {key: fields[key] for key in names if key in fields}
    if "predictor" in fields:
        kept["predictor"] = "YES"
    if "blockxsize" in fields:
        kept["blocksize"] = fields["blockxsize"]
    require("rasterio.shutil", "geo", WHAT).copy(path, copy, driver="COG", **kept)


def _fitting(native: GeoTags, kind: np.dtype[Any], absent: bool) -> float | None:
    """Return the value of nodata if values of a type can hold it; NaN is that of floats."""
    nodata = native.nodata
    if nodata is None:
        return float("nan") if absent and not native.masked and kind.kind == "f" else None
    if kind.kind == "f":
        return nodata
    limits = np.iinfo(kind)
    whole_number = np.isfinite(nodata) and nodata == int(nodata)
    return nodata if whole_number and limits.min <= nodata <= limits.max else None


def with_nodata(array: Array, missing: Missing | np.bool_, nodata: float) -> Array:
    """Return values with `nodata` where they are `missing`; others are next to it at least."""
    value = array.dtype.type(nodata)
    if array.dtype.kind == "f":
        other = np.nextafter(value, array.dtype.type(0) if value else array.dtype.type(1))
    else:
        other = value - 1 if value == np.iinfo(array.dtype).max else value + 1
    valid = np.where(array == value, other, array)
    return np.where(missing, value, valid).astype(array.dtype)
