"""Image specifications: how training, translation and evaluation read the files of a domain."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from i2i.config import AlphaUse
from i2i.images import reading
from i2i.images.formats import MAX_PIXELS, Array, Format, Header, ImageError, supports
from i2i.images.pixels import (
    UNIT,
    ValueRange,
    apply_alpha,
    depth_of,
    from_value_range,
    match_channels,
    to_depth,
    to_unit,
    to_value_range,
)


@dataclass(frozen=True)
class ChannelSpec:
    """Channels to which every image of one folder is converted."""

    channels: int
    alpha: bool  # the last channel is alpha
    name: str = ""  # of the folder, where several are stacked


@dataclass(frozen=True)
class ImageSpec:
    """Kind of the files of a domain: one file for each input, their channels stacked.

    What a field does not say is that of files before it was recorded, or of images that differ.
    """

    inputs: tuple[ChannelSpec, ...]
    value_range: ValueRange = UNIT  # of the floats in all its files: (low, high)
    depth: Literal[8, 16, 32] | None = None  # bits of the deepest file; 32: floats
    ranged_integers: bool = False  # value_range is that of integers of this depth, too
    mask: bool = False  # values are labels, which resampling must not mix
    size: tuple[int, int] | None = None  # (height, width) of an image; all have its aspect ratio

    @property
    def channels(self) -> int:
        """Number of stacked channels."""
        return sum(one.channels for one in self.inputs)

    @property
    def alpha(self) -> bool:
        """True if the network sees alpha."""
        return any(one.alpha for one in self.inputs)

    def fits(self, format: Format, depth: int | None = None) -> bool:
        """Return True if files of `format` hold it, with `depth` or its own.

        2 or 4 plain channels need NPY; JPEG would mix labels.
        """
        plain = self.channels in (2, 4) and not self.alpha
        holds = supports(format, self.channels, depth or self.depth or 8)
        return holds and (format == "NPY" or not plain) and not (self.mask and format == "JPEG")

    def lossless(self, depth: int | None = None) -> str:
        """Return the suffix of the usual format that holds it without loss."""
        fits = (kind for kind in ("PNG", "TIFF") if self.fits(kind, depth))
        return {"PNG": "png", "TIFF": "tif", "NPY": "npy"}[next(fits, "NPY")]

    def in_units(self, depth: int) -> bool:
        """Return True if files of `depth` hold values of `value_range`, not all their levels."""
        return depth == 32 or (self.ranged_integers and depth == self.depth)

    def stored(self, unit: Array, depth: int) -> Array:
        """Return float32 in [0, 1] as files of `depth` bits hold it; `unit` is the inverse."""
        if not self.in_units(depth):
            return to_depth(unit, depth)
        values = to_value_range(unit, self.value_range)
        return values if depth == 32 else values.round().astype(f"u{depth // 8}")

    def unit(self, stored: Array, alpha: bool = False) -> Array:
        """Return values of a file as pixels: uint8, uint16, or float32 in [0, 1].

        `alpha`: the last channel is alpha, which has no range of its own.

        Raises:
            ImageError: a value outside of the range.
        """
        floats = stored.dtype.kind == "f"
        if not floats and not self.in_units(depth_of(stored)):
            return stored
        if not alpha:
            return from_value_range(stored, self.value_range)
        opacity = stored[..., -1:]
        opacity = from_value_range(opacity, UNIT) if floats else to_unit(opacity)
        colors = from_value_range(stored[..., :-1], self.value_range)
        return np.concatenate([colors, opacity], axis=2)


class Stack(NamedTuple):
    """Pixels of one sample of a domain."""

    array: Array  # [H, W, C] with the channels of the spec: uint8, uint16, or float32 in [0, 1]
    alpha: Array | None  # [H, W, 1]: to be carried past the network
    depth: int  # bits of the deepest file


def read(
    files: Sequence[str], spec: ImageSpec, alpha: AlphaUse = "drop", max_pixels: int = MAX_PIXELS
) -> Stack:
    """Read one file for each input and stack their channels; dtypes that differ become float32.

    `alpha` is for the alpha of files whose input has none: dropped, composited over white, or
    carried.

    Raises:
        ImageError: a file cannot be read, has other channels, or another size than the first.
    """
    with opened(files, spec, alpha, max_pixels) as stack:
        return stack


@contextmanager
def opened(
    files: Sequence[str], spec: ImageSpec, alpha: AlphaUse = "drop", max_pixels: int = MAX_PIXELS
) -> Iterator[Stack]:
    """Hold what `read` returns, and the memory budget of a single file.

    Of several files none is held: threads that hold one and ask for the next would wait for each
    other. Errors are those of `read`.
    """
    if len(files) == 1:
        with reading.decoded(files[0], max_pixels, spec.value_range) as picture:
            yield _stack(files, [picture], spec, alpha)
    else:
        pictures = [reading.read(path, max_pixels, spec.value_range) for path in files]
        yield _stack(files, pictures, spec, alpha)


def _stack(
    files: Sequence[str], pictures: list[tuple[Array, Header]], spec: ImageSpec, alpha: AlphaUse
) -> Stack:
    parts: list[Array] = []
    carried, depth = None, 0
    for path, (pixels, header), target in zip(files, pictures, spec.inputs, strict=True):
        try:
            if header.depth != 32:
                pixels = spec.unit(pixels, header.alpha)
            if header.alpha and not target.alpha:
                carried = pixels[..., -1:] if alpha == "carry" else None
                pixels = apply_alpha(pixels, "composite" if alpha == "composite" else "drop")
            parts.append(convert_channels(pixels, target, header.alpha))
        except ImageError as error:
            raise error.with_subject(path) from None
        (height, width), (first_height, first_width) = parts[-1].shape[:2], parts[0].shape[:2]
        if (height, width) != (first_height, first_width):
            reason = f"is {width}x{height}, and {files[0]} is {first_width}x{first_height}"
            raise ImageError(path, reason, "Resize the inputs of a sample to one size")
        depth = max(depth, header.depth)
    if len({part.dtype for part in parts}) > 1:
        parts = [to_unit(part) for part in parts]
    return Stack(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2), carried, depth)


def convert_channels(pixels: Array, target: ChannelSpec, alpha: bool) -> Array:
    """Return [H, W, C] with the channels of `target`; `alpha`: the last of 2 or 4 is alpha.

    Raises:
        ImageError: channels that have no relation.
    """
    channels = pixels.shape[2]
    plain = channels in (2, 4) and not alpha
    plain_target = target.channels in (2, 4) and not target.alpha
    if (plain or plain_target) and channels != target.channels:
        reason = f"has {channels} channels, not {target.channels}, of which none is alpha"
        raise ImageError("image", reason, "Convert it")
    return match_channels(pixels, target.channels)
