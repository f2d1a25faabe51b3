"""Options of translating a folder, and the sizes that they ask for."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from i2i import images
from i2i.translation import TranslationError
from i2i.translation.shards import Shard, check_shard

OutputFormat = Literal["keep", "png", "jpg", "webp", "tif", "npy"]
Half = Literal["left", "right", "whole"]
TargetSize = Literal["keep"] | int | tuple[int, int]  # the shorter side, or (height, width), pixels


@dataclass(frozen=True)
class Options:
    """Options of translating a folder.

    Raises:
        TranslationError: a value out of range.
    """

    format: OutputFormat = "keep"  # of the outputs; keep: as the input's suffix says
    size: TargetSize = "keep"  # inputs are resized to it before they are translated
    half: Half | None = None  # of side-by-side inputs; None: if they have the form of training
    batch: int | None = None  # images of one size at once; None: as many as make sense
    threads: int | None = None  # that decode, and that encode; None: one a processor, at most 16
    overwrite: bool = False  # False: refuse to begin where a file of other origin would be replaced
    shard: Shard = (0, 1)
    verify: bool = False  # compare the content of what is done, also where sizes and times agree
    retry_killed: bool = False  # False: leave out images that an earlier run did not survive
    max_pixels: int = images.MAX_PIXELS  # of what is decoded and translated as a whole
    tile: int | None = None  # side, pixels; None: tiles only where an image is too large as a whole
    overlap: int | None = None  # of tiles, pixels on each side; None: what the network sees

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("format", self.format, get_args(OutputFormat)),
            ("half", self.half, (None, *get_args(Half))),
        ):
            if value not in choices:
                names = ", ".join(choice for choice in choices if choice)
                raise TranslationError(name, f"expected one of {names}, got {value!r}")
        for name, number in (
            ("batch", self.batch),
            ("threads", self.threads),
            ("max-pixels", self.max_pixels),
            ("tile", self.tile),
        ):
            if number is not None and number < 1:
                raise TranslationError(name, f"must be at least 1, got {number}")
        if self.overlap is not None and (self.tile is None or self.overlap < 0):
            reason = f"needs --tile, and is at least 0, got {self.overlap}"
            raise TranslationError("overlap", reason)
        if self.tile and self.size != "keep":
            reason = "images are resized as a whole, and not in tiles"
            raise TranslationError("size", reason, "Leave out --tile, or resize the images first")
        check_size(self.size, self.max_pixels)
        check_shard(self.shard)


def parse_size(text: str) -> TargetSize:
    """Return the size that "keep", "N" (shorter side) or "WxH" (width x height) names.

    Raises:
        TranslationError: another form.
    """
    if text == "keep":
        return "keep"
    match = re.fullmatch(r"([0-9]{1,9})(?:[x×]([0-9]{1,9}))?", text.strip())
    if not match:
        raise TranslationError("size", f"expected keep, N (shorter side) or WxH, got {text!r}")
    return (int(match[2]), int(match[1])) if match[2] else int(match[1])


def check_size(size: TargetSize, max_pixels: int = images.MAX_PIXELS) -> None:
    """Raise TranslationError if images of this size have no pixels, or more than `max_pixels`."""
    if size == "keep":
        return
    height, width = size if isinstance(size, tuple) else (size, size)
    if min(height, width) < 1:
        raise TranslationError("size", f"must be at least 1, got {min(height, width)}")
    if height * width > max_pixels:
        reason = f"{width}x{height} is {height * width / 1e6:,.0f} megapixels"
        raise TranslationError("size", f"{reason}, the limit is {max_pixels / 1e6:.0f}")


def target_size(height: int, width: int, size: TargetSize) -> tuple[int, int]:
    """Return the (height, width) to which `size` brings an image of `height` x `width` pixels."""
    if size == "keep":
        return height, width
    if isinstance(size, tuple):
        return size
    shorter = min(height, width)
    return round(height * size / shorter), round(width * size / shorter)  # never below `size`
