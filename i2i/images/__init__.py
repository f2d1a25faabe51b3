"""Images on disk and in memory: the one place that knows bit depths, pixel ranges, color modes and file formats."""

from i2i.images.formats import EXTENSIONS, Alpha, Array, Format, ImageError, format_of, holds
from i2i.images.pixels import (
    apply_alpha,
    depth_of,
    from_tensor,
    grid,
    match_channels,
    resize,
    shown,
    to_tensor,
    to_unit,
)
from i2i.images.reading import MAX_PIXELS, Header, decode, decoded, from_pil, read_header
from i2i.images.writing import encode, to_pil

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "Alpha",
    "Array",
    "Format",
    "Header",
    "ImageError",
    "apply_alpha",
    "decode",
    "decoded",
    "depth_of",
    "encode",
    "format_of",
    "from_pil",
    "from_tensor",
    "grid",
    "holds",
    "match_channels",
    "read_header",
    "resize",
    "shown",
    "to_pil",
    "to_tensor",
    "to_unit",
]
