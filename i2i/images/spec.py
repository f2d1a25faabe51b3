"""From the files of one domain to pixels: the one way in which training, translating and evaluating read them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from i2i import images
from i2i.config import AlphaUse
from i2i.images import Array, Format, Header, ImageError, ValueRange


@dataclass(frozen=True)
class ChannelSpec:
    """What every image of one folder is brought to."""

    channels: int
    alpha: bool  # the last channel is alpha
    name: str = ""  # of the folder, where several are stacked


@dataclass(frozen=True)
class ImageSpec:
    """How the images of a domain are read: one file for each input, their channels stacked in this order."""

    inputs: tuple[ChannelSpec, ...]
    value_range: ValueRange = images.UNIT  # of the floats in all its files: (low, high)

    @property
    def channels(self) -> int:
        """Channels of a stack."""
        return sum(one.channels for one in self.inputs)

    @property
    def alpha(self) -> bool:
        """Whether the network sees alpha."""
        return any(one.alpha for one in self.inputs)

    def fits(self, format: Format) -> bool:
        """Whether 8-bit files of a format hold such images; 2 or 4 channels without alpha are no picture."""
        plain = self.channels in (2, 4) and not self.alpha
        return images.supports(format, self.channels, 8) and (format == "NPY" or not plain)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a weights file keeps them."""
        return {"inputs": [asdict(one) for one in self.inputs], "range": list(self.value_range)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "ImageSpec":
        """Return the reading that `to_dict` described.

        Raises:
            KeyError, TypeError, ValueError: it did not.
        """
        low, high = values["range"]
        return ImageSpec(
            tuple(ChannelSpec(**one) for one in values["inputs"]), (float(low), float(high))
        )


class Pixels(NamedTuple):
    """The files of one sample of a domain."""

    array: Array  # [H, W, C] with the channels of the reading: uint8, uint16, or float32 in [0, 1]
    alpha: Array | None  # [H, W, 1]: what is carried past the network
    depth: int  # bits of the deepest file


def read(
    files: Sequence[str],
    reading: ImageSpec,
    alpha: AlphaUse = "drop",
    max_pixels: int = images.MAX_PIXELS,
) -> Pixels:
    """Read one file for each input and stack their channels; dtypes that differ become float32.

    `alpha` says what becomes of the alpha of files whose input has none: dropped, laid over white,
        or carried.

    Raises:
        ImageError: a file cannot be read, has other channels, or another size than the first.
    """
    with opened(files, reading, alpha, max_pixels) as found:
        return found


@contextmanager
def opened(
    files: Sequence[str],
    reading: ImageSpec,
    alpha: AlphaUse = "drop",
    max_pixels: int = images.MAX_PIXELS,
) -> Iterator[Pixels]:
    """Hold what `read` returns, and the part of the memory budget of a single file; of several none, since threads
    that hold one and ask for the next would wait for each other.

    Raises:
        ImageError: as `read`.
    """
    if len(files) == 1:
        with images.decoded(files[0], max_pixels, reading.value_range) as found:
            yield _stacked(files, [found], reading, alpha)
    else:
        yield _stacked(
            files,
            [images.read(path, max_pixels, reading.value_range) for path in files],
            reading,
            alpha,
        )


def _stacked(
    files: Sequence[str], found: Sequence[tuple[Array, Header]], reading: ImageSpec, alpha: AlphaUse
) -> Pixels:
    parts: list[Array] = []
    carried, depth = None, 0
    for path, (pixels, header), one in zip(files, found, reading.inputs, strict=True):
        if header.alpha and not one.alpha:
            carried = pixels[..., -1:] if alpha == "carry" else None
            pixels = images.apply_alpha(pixels, "composite" if alpha == "composite" else "drop")
        try:
            parts.append(convert_channels(pixels, one, header.alpha))
        except ImageError as error:
            raise ImageError(f"{path}: {str(error).removeprefix('image: ')}") from None
        if parts[-1].shape[:2] != parts[0].shape[:2]:
            (height, width), (first_height, first_width) = parts[-1].shape[:2], parts[0].shape[:2]
            raise ImageError(
                f"{path}: is {width}x{height}, and {files[0]} is {first_width}x{first_height} (bring the inputs of a "
                "sample to one size)"
            )
        depth = max(depth, header.depth)
    if len({part.dtype for part in parts}) > 1:
        parts = [images.to_unit(part) for part in parts]
    return Pixels(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2), carried, depth)


def convert_channels(pixels: Array, to: ChannelSpec, alpha: bool) -> Array:
    """Return [H, W, C] with the channels of `to`; `alpha` says whether the last channel of 2 or 4 is alpha.

    Raises:
        ImageError: channels that have no relation.
    """
    have = pixels.shape[2]
    plain = (have in (2, 4) and not alpha) or (to.channels in (2, 4) and not to.alpha)
    if plain and have != to.channels:
        raise ImageError(
            f"image: has {have} channels, not {to.channels}, of which none is alpha (convert it)"
        )
    return images.match_channels(pixels, to.channels)
