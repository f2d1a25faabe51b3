"""Image specifications: how training, translation and evaluation read the files of a domain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.images.classes import check_classes, class_colors, class_map, class_tensor
from i2i.images.formats import (
    Array,
    Format,
    ImageError,
    installed,
    supports,
)
from i2i.images.histogram import WatchedRange
from i2i.images.pixels import (
    MAX_VALUE,
    UNIT,
    ValueRange,
    depth_of,
    from_tensor,
    from_value_range,
    to_depth,
    to_display_rgb,
    to_tensor,
    to_unit,
    to_value_range,
)
from i2i.images.slices import SliceAxis
from i2i.images.statistics import ChannelStatistics, is_far

Half = Literal["left", "right"]
VALID = "valid"  # name of the mask [1, H, W] that goes with a sample: above 0 where all have data
LOSSY: tuple[Format, ...] = ("JPEG",)  # formats that mix labels


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
    clips: bool = False  # values outside of value_range are clipped, not refused
    sample: str = ""  # NumPy type of the values in all its files, where the depth does not say it
    mask: bool = False  # values are labels, which resampling must not mix
    classes: int = 0  # values are class numbers below this, of which the network sees one-hot
    edges: bool = False  # and, as one channel more, where classes change
    size: tuple[int, int] | None = None  # (height, width) of an image; all have its aspect ratio
    half: Half | None = None  # of files with a and b side by side
    slice_axis: SliceAxis = "acquisition"  # of volumes
    neighbors: int = 0  # slices of the same volume, stacked before and after each one
    statistics: tuple[ChannelStatistics, ...] = ()  # of training images, as the network saw them

    @property
    def channels(self) -> int:
        """Number of stacked channels that the network sees."""
        return self.classes + self.edges or self.file_channels

    @property
    def file_channels(self) -> int:
        """Number of stacked channels in files: 1 of class numbers."""
        return sum(one.channels for one in self.stacked)

    @property
    def stacked(self) -> tuple[ChannelSpec, ...]:
        """One for each image of a stack: of each input, its neighbors, too."""
        return tuple(one for one in self.inputs for _ in range(2 * self.neighbors + 1))

    @property
    def alpha(self) -> bool:
        """True if the network sees alpha."""
        return any(one.alpha for one in self.inputs)

    @property
    def text(self) -> str:
        """Text of all that decides how files are read and written, which fingerprints hash."""
        inputs = [
            {"channels": one.channels, "alpha": one.alpha, "name": one.name} for one in self.inputs
        ]
        text = str({"inputs": inputs, "range": list(self.value_range)})
        later = (self.depth, self.ranged_integers, self.mask)  # than the first manifests
        text += "" if later == (None, False, False) else f" {later}"
        text += " clips" if self.clips else ""
        slices = (self.slice_axis, self.neighbors)
        text += "" if slices == ("acquisition", 0) else f" {slices}"
        text += f" {self.classes} classes" if self.classes else ""
        text += " edges" if self.edges else ""
        return f"{text} {self.sample}" if self.sample else text

    def fits(self, format: Format, depth: int | None = None, extras: bool = True) -> bool:
        """Return True if files of `format` hold it, with `depth` or its own, perhaps by extras.

        2 or 4 plain channels need NPY, or an extra; JPEG would mix labels.
        """
        sample = "" if depth else self.sample
        holds = supports(format, self.file_channels, depth or self.depth or 8, sample, extras)
        if self.file_channels in (2, 4) and not self.alpha:
            holds &= format in ("NPY", "NIFTI") or (extras and installed(format))
        return holds and not (self.mask and format == "JPEG")

    def half_of(self, height: int, width: int) -> Half | None:
        """Return the half of a file that holds the image, if it has the form of files in training.

        Both sides matter: an image that is no pair is not cut.
        """
        if self.half is None or self.size is None or width % 2:
            return None
        return self.half if width * self.size[0] == 2 * height * self.size[1] else None

    def cut(self, image: Array, part: Half | Literal["whole"] | None = None) -> Array:
        """Return a part of an image [H, W, C]; None: as `half_of` finds, or the whole.

        Raises:
            ImageError: its width is odd.
        """
        height, width = image.shape[:2]
        part = part or self.half_of(height, width)
        if part not in ("left", "right"):
            return image
        if width % 2:
            raise ImageError("image", f"a width of {width} pixels cannot be cut into halves")
        middle = width // 2
        return np.ascontiguousarray(image[:, :middle] if part == "left" else image[:, middle:])

    def lossless(self, depth: int | None = None) -> str:
        """Return the suffix of the usual format that holds it without loss."""
        fits = (kind for kind in ("PNG", "TIFF") if self.fits(kind, depth, extras=False))
        return {"PNG": "png", "TIFF": "tif", "NPY": "npy"}[next(fits, "NPY")]

    def in_units(self, depth: int) -> bool:
        """Return True if files of `depth` hold values of `value_range`, not all their levels."""
        return depth == 32 or (self.ranged_integers and depth == self.depth)

    def limits(self, depth: int) -> ValueRange:
        """Return the lowest and highest value that files of `depth` may hold."""
        return self.value_range if self.in_units(depth) else (0.0, float(MAX_VALUE[depth]))

    def taken_depth(self, depth: int) -> int:
        """Return the depth as which files of `depth` bits are taken: labels as in training.

        They are numbers, not shares of a range: 3 is 3 at any depth.
        """
        if not self.mask or self.depth is None or 32 in (self.depth, depth):
            return depth
        # In a stack other inputs may have the depth, and it is not known which.
        return self.depth if depth > self.depth or len(self.inputs) == 1 else depth

    def stored(self, unit: Array, depth: int) -> Array:
        """Return pixels as files of `depth` bits hold them; `unit` is the inverse.

        Raises:
            ImageError: a label that the depth cannot hold.
        """
        taken = self.taken_depth(depth)
        if taken != depth:
            return _relabeled(self.stored(unit, taken), depth, f"{depth} bits cannot hold them")
        if not self.in_units(depth):
            return to_depth(unit, depth)
        values = to_value_range(unit, self.value_range)
        return values if depth == 32 else values.round().astype(f"u{depth // 8}")

    def tensor(self, pixels: Array, device: torch.device | str = "cpu") -> Tensor:
        """Return pixels [..., H, W, C] as the network takes them: [..., C, H, W] in [-1, 1]."""
        if self.classes:
            return class_tensor(pixels, self.classes, device, self.edges)
        return to_tensor(pixels, device)

    def pixels(self, tensor: Tensor, depth: int = 8) -> Array:
        """Return what `tensor` was made from, of a depth (32: float32); class numbers by argmax.

        Raises:
            ImageError: a value is not finite.
        """
        if self.classes:
            return class_map(tensor[..., : self.classes, :, :])
        return from_tensor(tensor, depth)

    def display(self, pixels: Array) -> NDArray[np.uint8]:
        """Return pixels [H, W, C] as RGB for people; class numbers in distinct colors."""
        return class_colors(pixels) if self.classes else to_display_rgb(pixels, self.alpha)

    def watched(self) -> WatchedRange:
        """Return the value range for one reading of files."""
        return WatchedRange(self.value_range, self.clips)

    def typed(self, stored: Array) -> Array:
        """Return values of files in the type that those of training have."""
        if not self.sample or stored.dtype.name == self.sample:
            return stored
        if self.sample == "bool":
            return stored > MAX_VALUE[depth_of(stored)] / 2
        if self.sample.startswith("float"):
            return stored.astype(self.sample)
        limits = np.iinfo(self.sample)
        rounded = stored.astype(np.float64).round()
        return rounded.clip(limits.min, limits.max).astype(self.sample)

    def unit(
        self, stored: Array, alpha: bool = False, value_range: WatchedRange | None = None
    ) -> Array:
        """Return values of a file as pixels: uint8, uint16, or float32 in [0, 1].

        `alpha`: the last channel is alpha, which has no range of its own. `value_range`: that of
        the reading, from `watched`.

        Raises:
            ImageError: a value outside of the range, or a label that training files cannot hold.
        """
        if self.classes and not alpha:
            return check_classes(stored, self.classes)
        floats = stored.dtype not in (np.uint8, np.uint16)
        if not floats and (depth := self.taken_depth(depth_of(stored))) != depth_of(stored):
            labels, opacity = np.split(stored, [stored.shape[2] - alpha], axis=2)
            labels = _relabeled(labels, depth, f"the model was trained on {depth}-bit ones")
            stored = np.concatenate([labels, to_depth(opacity, depth)], axis=2)
        if not floats and not self.in_units(depth_of(stored)):
            return stored
        value_range = value_range or self.watched()
        if not alpha:
            return from_value_range(stored, value_range)
        opacity = stored[..., -1:]
        opacity = from_value_range(opacity, UNIT) if floats else to_unit(opacity)
        colors = from_value_range(stored[..., :-1], value_range)
        return np.concatenate([colors, opacity], axis=2)


def _relabeled(labels: Array, depth: int, reason: str) -> Array:
    highest = labels.max()
    if highest > MAX_VALUE[depth]:
        hint = "Convert them to the values of training, and choose a depth that holds them"
        raise ImageError("image", f"holds labels up to {highest}, and {reason}", hint)
    return labels.astype(f"u{depth // 8}")


Clipped = tuple[int, int]  # values that were clipped, and those that have a value range


def unlike_note(pixels: Array, spec: ImageSpec) -> tuple[str, ...]:
    """Return the note on pixels, as the network takes them, that are unlike those of training."""
    if not is_far(pixels, spec.statistics):
        return ()
    return ("inputs whose brightness or contrast is far from that of the training images",)


def clip_note(
    clipped: Sequence[int], count: int, value_range: ValueRange, kind: str = "input"
) -> str:
    """Return the note on values that were clipped."""
    low, high = value_range
    share = f"{100 * clipped[0] / max(clipped[1], 1):.2g} % of the values"
    of = f"{count} {kind}{'s' * (count != 1)}"
    return f"{share} of {of} were outside of {low:g} to {high:g} and were clipped"
