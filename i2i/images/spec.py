"""Image specifications: how training, translation and evaluation read the files of a domain."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from i2i.config import AlphaUse
from i2i.images import reading
from i2i.images.formats import MAX_PIXELS, Array, Format, Header, ImageError, supports
from i2i.images.pixels import UNIT, ValueRange, apply_alpha, match_channels, to_unit


@dataclass(frozen=True)
class ChannelSpec:
    """Channels to which every image of one folder is converted."""

    channels: int
    alpha: bool  # the last channel is alpha
    name: str = ""  # of the folder, where several are stacked


@dataclass(frozen=True)
class ImageSpec:
    """Channels and value range of a domain: one file for each input, their channels stacked."""

    inputs: tuple[ChannelSpec, ...]
    value_range: ValueRange = UNIT  # of the floats in all its files: (low, high)

    @property
    def channels(self) -> int:
        """Number of stacked channels."""
        return sum(one.channels for one in self.inputs)

    @property
    def alpha(self) -> bool:
        """True if the network sees alpha."""
        return any(one.alpha for one in self.inputs)

    def fits(self, format: Format) -> bool:
        """Return True if 8-bit files of `format` hold it; 2 or 4 plain channels need NPY."""
        plain = self.channels in (2, 4) and not self.alpha
        return supports(format, self.channels, 8) and (format == "NPY" or not plain)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a weights file."""
        inputs = [asdict(one) for one in self.inputs]
        return {"inputs": inputs, "value_range": list(self.value_range)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "ImageSpec":
        """Return the specification of `to_dict`, which once called the value range "range".

        Raises:
            KeyError, TypeError, ValueError: a missing or invalid value.
        """
        low, high = values["range" if "range" in values else "value_range"]
        inputs = tuple(ChannelSpec(**one) for one in values["inputs"])
        return ImageSpec(inputs, (float(low), float(high)))


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
        if header.alpha and not target.alpha:
            carried = pixels[..., -1:] if alpha == "carry" else None
            pixels = apply_alpha(pixels, "composite" if alpha == "composite" else "drop")
        try:
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
