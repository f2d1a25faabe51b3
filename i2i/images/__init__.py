"""Images on disk and in memory: the one place that knows bit depths, pixel ranges, color modes and file formats."""

from i2i.images.formats import EXTENSIONS, MAX_CHANNELS, Alpha, Array, Format, Header, ImageError, format_of, holds
from i2i.images.pixels import (
    UNIT,
    Span,
    apply_alpha,
    depth_of,
    from_span,
    from_tensor,
    grid,
    match_channels,
    resize,
    shown,
    to_depth,
    to_span,
    to_tensor,
    to_unit,
)
from i2i.images.reading import MAX_PIXELS, decode, from_pil, read, read_header
from i2i.images.writing import encode, to_pil

__all__ = [
    "EXTENSIONS",
    "MAX_CHANNELS",
    "MAX_PIXELS",
    "UNIT",
    "Alpha",
    "Array",
    "Format",
    "Header",
    "ImageError",
    "Span",
    "apply_alpha",
    "decode",
    "depth_of",
    "encode",
    "format_of",
    "from_pil",
    "from_span",
    "from_tensor",
    "grid",
    "holds",
    "match_channels",
    "read",
    "read_header",
    "resize",
    "shown",
    "to_depth",
    "to_pil",
    "to_span",
    "to_tensor",
    "to_unit",
]
