"""File formats: which suffix stands for which, and what each can hold."""

import os
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

Array = NDArray[Any]  # [H, W, C] uint8, uint16, or float32 in [0, 1]
Alpha = Literal["drop", "composite", "keep"]
Format = Literal["PNG", "JPEG", "WEBP", "TIFF", "BMP"]

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
}
EXTENSIONS = frozenset(_SUFFIXES)
_HOLDS: dict[Format, dict[int, tuple[int, ...]]] = {  # depth in bits -> channels
    "PNG": {8: (1, 2, 3, 4), 16: (1, 2, 3, 4)},
    "TIFF": {8: (1, 2, 3, 4), 16: (1, 2, 3, 4), 32: (1,)},
    "WEBP": {8: (1, 2, 3, 4)},
    "JPEG": {8: (1, 3)},
    "BMP": {8: (1, 3)},
}
CHANNEL_NAMES = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}


class ImageError(ValueError):
    """An image that cannot be read, converted or written. The message is "PATH: what happened (what to do)"."""


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


def holds(format: Format, channels: int, depth: int) -> bool:
    """Whether a file of this format can hold a picture of these channels and bits, without loss but for JPEG's."""
    return channels in _HOLDS[format].get(depth, ())


def named_channels(channels: int) -> str:
    kind = f" ({CHANNEL_NAMES[channels]})" if channels in CHANNEL_NAMES else ""
    return f"{channels} channel{'s' * (channels != 1)}{kind}"
