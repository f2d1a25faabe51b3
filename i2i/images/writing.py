"""Arrays into image files: whole or not at all, and never silently into a format that loses depth or alpha."""

import io
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from i2i.images import npy
from i2i.images.formats import Array, Format, ImageError, format_of, named_channels, supports
from i2i.images.pixels import UNIT, ValueRange, depth_of, match_channels, to_unit, to_value_range


def encode(
    array: Array,
    path: str | os.PathLike[str],
    format: Format | None = None,
    quality: int = 95,
    value_range: ValueRange = UNIT,
) -> None:
    """Write [H, W, C] to `path`, whole or not at all: under a temporary name in the same folder, then renamed.

    `format=None` takes it from the suffix. `quality` (1 to 100) is JPEG's; all other formats are
    written without loss. Floats, in [0, 1], are written in `value_range`, (low, high). An array
    file is [H, W, C] for C = 1, too.

    Raises:
        ImageError: a format that cannot hold these channels or this depth, or a picture too large
            for it.
        OSError: the file system refuses; nothing is left behind, and what was at `path` is intact.
    """
    chosen, depth, channels = format or format_of(path), depth_of(array), array.shape[2]
    if not supports(chosen, channels, depth):
        able = (
            " or ".join(kind for kind in get_args(Format) if supports(kind, channels, depth))
            or "fewer channels"
        )
        raise ImageError(
            f"{path}: {chosen} cannot hold {named_channels(channels)} of {depth} bits (use {able})"
        )
    try:
        content = _content(
            to_value_range(array, value_range) if depth == 32 else array, chosen, quality
        )
    except Exception as error:
        raise ImageError(f"{path}: cannot be written as {chosen}: {error} (try PNG)") from error
    target = Path(path)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno, error.strerror, str(target)
        ) from None  # a full disk is reported without a name
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _content(array: Array, format: Format, quality: int) -> bytes:
    if format == "NPY":
        return npy.content(array)
    if array.dtype == np.uint16 and array.shape[2] > 1:
        import cv2

        wide = match_channels(array, 4) if array.shape[2] == 2 else array
        order = [2, 1, 0, 3][: wide.shape[2]]
        done, encoded = cv2.imencode(f".{format.lower()}", np.ascontiguousarray(wide[..., order]))
        if not done:
            raise ValueError("OpenCV gave no reason")
        return bytes(encoded)
    options: dict[Format, dict[str, Any]] = {
        "PNG": {"compress_level": 2},  # a fifth of the default's time, 12% more bytes
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},  # exact: keep colors under full transparency
        "TIFF": {"compression": "tiff_lzw"},
        "BMP": {},
    }
    memory = io.BytesIO()
    to_pil(array).save(memory, format, **options[format])
    return memory.getvalue()


def to_pil(array: Array) -> Image.Image:
    """Return [H, W, C] as a PIL image: L, LA, RGB, RGBA, I;16 or F. Deeper color, which PIL lacks, gets 8 bits.

    Raises:
        ImageError: more than four channels.
    """
    if array.shape[2] > 4:
        raise ImageError(
            f"image: PIL has no images of {array.shape[2]} channels (pass and take arrays)"
        )
    if array.dtype != np.uint8 and array.shape[2] > 1:
        array = np.round(to_unit(array) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))
