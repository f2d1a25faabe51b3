"""Choice of the reader of a TIFF: Pillow wherever it can, else tifffile; rasterio for maps."""

from collections.abc import Callable
from dataclasses import replace
from typing import IO

from i2i.images import geotiff, tiff
from i2i.images.formats import ImageError, extra_hint, has_libraries, installed, is_refusal
from i2i.images.tiff_pages import Picture, open_pages

_GEO = "rasterio"
_NOTE = "georeferences and nodata of inputs were dropped: pip install 'i2i[geo]' keeps them"


def open_tiff(
    file: IO[bytes], max_pixels: int, by_pillow: Callable[[tiff.Layout], Picture]
) -> Picture:
    """Read the header of a TIFF; `by_pillow` opens those of a layout that Pillow reads.

    Raises:
        ImageError: a kind that is not supported, by now or without an extra, or corrupt.
    """
    geo, plain = tiff.is_geo(file), None
    try:
        plain = _open_plain(file, max_pixels, by_pillow)
    except ImageError as error:
        if not (geo and is_refusal(error) and has_libraries(_GEO)):
            raise
    if geo and has_libraries(_GEO):
        return geotiff.open_geo(file, plain, max_pixels)
    assert plain
    if not geo:
        return plain
    return Picture(replace(plain.header, notes=(_NOTE,)), plain.cost, plain.load)


def _open_plain(
    file: IO[bytes], max_pixels: int, by_pillow: Callable[[tiff.Layout], Picture]
) -> Picture:
    try:
        layout = tiff.read_layout(file)
    except ImageError as error:
        if not is_refusal(error):
            raise
        if not installed("TIFF"):
            hint = f"{error.hint}. {extra_hint('TIFF')}"
            raise ImageError("image", error.reason, hint) from None
        return open_pages(file, max_pixels)
    return by_pillow(layout)
