"""File formats: which suffix stands for which, and what each can hold."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from i2i.errors import I2IError

Array = NDArray[Any]  # [H, W, C] uint8, uint16, or float32 in [0, 1]
Alpha = Literal["drop", "composite", "keep"]
Format = Literal["PNG", "JPEG", "WEBP", "TIFF", "BMP", "NPY"]

MAX_CHANNELS = 16  # of an array file

_SUFFIXES: dict[str, Format] = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".npy": "NPY",
}
EXTENSIONS = frozenset(_SUFFIXES)
_HOLDS: dict[Format, dict[int, tuple[int, ...]]] = {  # depth in bits -> channels
    "PNG": {8: (1, 2, 3, 4), 16: (1, 2, 3, 4)},
    "TIFF": {8: (1, 2, 3, 4), 16: (1, 2, 3, 4), 32: (1,)},
    "WEBP": {8: (1, 2, 3, 4)},
    "JPEG": {8: (1, 3)},
    "BMP": {8: (1, 3)},
    "NPY": dict.fromkeys((8, 16, 32), tuple(range(1, MAX_CHANNELS + 1))),
}
CHANNEL_NAMES = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}


class ImageError(I2IError, ValueError):
    """An image that cannot be read, converted or written. The message is "PATH: what happened (what to do)"."""


@dataclass(frozen=True)
class Header:
    """What a file says about its picture. Sizes are in pixels, as shown; alpha counts as a channel."""

    width: int
    height: int
    channels: int  # 1 to 4; of an array up to 16
    depth: int  # 8 or 16 bits of an integer, or 32 of a float
    format: Format
    alpha: bool  # the last channel is alpha; never that of an array


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format that the suffix of `path` stands for.

    Raises:
        ImageError: a suffix that is not in EXTENSIONS.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ImageError(
            f"{path}: {suffix or 'no suffix'} is not an image format (use {', '.join(sorted(EXTENSIONS))})"
        )
    return _SUFFIXES[suffix]


def check_size(width: int, height: int, max_pixels: int, path: object) -> None:
    """Raise ImageError if a picture has more than `max_pixels`."""
    if width * height > max_pixels:
        size = f"{width}x{height} is {width * height / 1e6:.4g} megapixels, the limit is {max_pixels / 1e6:.4g}"
        raise ImageError(f"{path}: {size} (raise max_pixels if you trust the file)")


def supports(format: Format, channels: int, depth: int) -> bool:
    """Whether a file of this format can hold a picture of these channels and bits, without loss but for JPEG's."""
    return channels in _HOLDS[format].get(depth, ())


def named_channels(channels: int) -> str:
    kind = f" ({CHANNEL_NAMES[channels]})" if channels in CHANNEL_NAMES else ""
    return f"{channels} channel{'s' * (channels != 1)}{kind}"
