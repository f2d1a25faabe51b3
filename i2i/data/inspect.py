"""Read the headers of all files before training, and refuse what training would stumble over hours later."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.config import AlphaUse, DataConfig, height_width
from i2i.data.content import is_flat
from i2i.data.folders import DataError
from i2i.images import MAX_PIXELS, Header, ImageError, ValueRange
from i2i.images.spec import ChannelSpec, ImageSpec

_SHOWN = 20  # files named in one message
_BLOCK = 4096  # files handed to the threads at once: a list of millions must not become millions of futures


class Headers(NamedTuple):
    """One row for each file of a list; zeros where the header cannot be read."""

    sizes: NDArray[np.int32]  # [N, 2], height and width as shown, in pixels
    channels: NDArray[np.uint8]  # [N], alpha counted
    alpha: NDArray[np.bool_]  # [N], the last channel is alpha
    floats: NDArray[np.bool_]  # [N], values are floats
    bad: dict[int, str]  # row -> "PATH: what happened (what to do)"

    def keep(self, rows: NDArray[np.bool_]) -> "Headers":
        """Return only the rows that `rows`, [N], marks; all of them readable."""
        return Headers(
            self.sizes[rows], self.channels[rows], self.alpha[rows], self.floats[rows], {}
        )

    def halved(self) -> "Headers":
        """Return the rows of either half of side-by-side images."""
        return self._replace(sizes=self.sizes // np.array([1, 2], np.int32))


def inspect(
    files: Sequence[str],
    threads: int = 8,
    decode: bool = False,
    flat: bool = True,
    value_range: ValueRange = images.UNIT,
) -> Headers:
    """Read the header of every file; with `decode` its pixels too, and without `flat` images of one value are bad.

    Floats outside `value_range` are bad where pixels are decoded.
    """
    read = partial(_read, decode=decode, flat=flat, value_range=value_range)
    sizes = np.zeros((len(files), 2), np.int32)
    channels = np.zeros(len(files), np.uint8)
    alpha, floats = np.zeros((2, len(files)), np.bool_)
    bad: dict[int, str] = {}
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), _BLOCK):
            for row, found in enumerate(pool.map(read, files[start : start + _BLOCK]), start):
                if isinstance(found, str):
                    bad[row] = found
                else:
                    sizes[row], channels[row] = (found.height, found.width), found.channels
                    alpha[row], floats[row] = found.alpha, found.depth == 32
    return Headers(sizes, channels, alpha, floats, bad)


def _read(path: str, decode: bool, flat: bool, value_range: ValueRange) -> Header | str:
    try:
        if not decode:
            return images.read_header(path)
        with images.decoded(path, value_range=value_range) as (pixels, header):
            constant = not flat and is_flat(pixels[..., :-1] if header.alpha else pixels)
    except ImageError as error:
        return str(error)
    if constant:
        return (
            f"{path}: all pixels have one value, which instance norm turns into noise (remove it, or declare labels "
            "in data.masks)"
        )
    return header


def too_long(files: Sequence[str], sizes: NDArray[np.int32], config: DataConfig) -> dict[int, str]:
    """Return row -> reason for thin images that `data.resize` would blow up beyond all memory; `sizes` is [N, 2]."""
    thin = np.flatnonzero((sizes.max(axis=1) > 100 * sizes.min(axis=1)) & (sizes.min(axis=1) > 0))
    reasons = {}
    for row in thin.tolist():
        height, width = resized(
            (int(sizes[row, 0]), int(sizes[row, 1])), height_width(config.load_size), config.resize
        )
        if height * width > MAX_PIXELS:
            reasons[row] = (
                f"{files[row]}: {_shown(sizes[row])} becomes {width}x{height} under data.resize={config.resize} "
                "(remove it, or set data.resize=stretch)"
            )
    return reasons


def check_bad(reasons: Sequence[str]) -> None:
    """Raise DataError if there is any reason, with the first of them, one a line."""
    if reasons:
        more = [f"  … and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
        listed = "\n".join([f"  {reason}" for reason in reasons[:_SHOWN]] + more)
        raise DataError(
            f"data.root: {len(reasons)} files cannot be read. Mend or remove them, "
            f"or set data.on_bad_file=skip.\n{listed}"
        )


def domain_input(
    name: str, files: Sequence[str], head: Headers, alpha: AlphaUse, folder: str = ""
) -> tuple[ChannelSpec, tuple[str, ...]]:
    """Return what all images of a domain, or of one of its folders, are brought to, and a note where files differ.

    Of gray and color in one domain color is taken; where `alpha` is kept, it becomes opaque in
    images without any.

    Raises:
        DataError: channels that have no relation, as 5 and 3.
    """
    kept = head.alpha & (alpha == "keep")
    color = head.channels - head.alpha
    brought = ChannelSpec(int(color.max()) + int(kept.any()), bool(kept.any()), folder)
    used = color + kept
    kinds, first, counts = np.unique(used, return_index=True, return_counts=True)
    if len(kinds) == 1:
        return brought, ()
    mixed = ", ".join(f"{count} with {kind}" for kind, count in zip(kinds, counts, strict=True))
    if not set(color.tolist()) <= {1, 3}:
        named = ", ".join(
            f"{files[row]} has {kind}" for row, kind in zip(first.tolist(), kinds, strict=True)
        )
        raise DataError(
            f"data.root: images of domain {name} differ in channels ({mixed}: {named}), and only gray and color can be "
            "brought to one another. Keep files of one kind."
        )
    return brought, (
        f"images of domain {name} differ in channels ({mixed}): all are brought to {brought.channels}.",
    )


def check_color(name: str, reading: ImageSpec) -> None:
    """Raise DataError if the images of a domain have channels for which color jitter is not defined."""
    if len(reading.inputs) > 1 or reading.channels - reading.alpha not in (1, 3):
        stacked = f", stacked from {len(reading.inputs)} folders" if len(reading.inputs) > 1 else ""
        raise DataError(
            f"data.color_jitter: jitter of brightness, contrast and saturation is defined for gray and RGB, images of domain "
            f"{name} have {reading.channels} channels{stacked}. Set data.color_jitter=0."
        )


def check_range(name: str, heads: Sequence[Headers]) -> None:
    """Raise DataError if a domain that has a range holds no floats."""
    if not any(bool(head.floats.any()) for head in heads):
        raise DataError(
            f"data.value_range.{name}: no file of domain {name} holds floats; of integers the whole range is used. Leave it "
            "out."
        )


def check_carry(name: str, channels: int) -> None:
    """Raise DataError if alpha cannot be put back onto the images of a domain."""
    if channels not in (1, 3):
        raise DataError(
            f"data.alpha: carry puts alpha back onto gray or RGB, images of domain {name} have {channels} channels. "
            "Set data.alpha=drop."
        )


def resized(size: tuple[int, int], goal: tuple[int, int], rule: str) -> tuple[int, int]:
    """Return the (height, width) that `data.resize` brings an image of `size` to; `goal` is `load_size`.

    `shorter` is the smallest size of the image's aspect ratio that covers the goal.
    """
    if rule == "none":
        return size
    if rule == "stretch":
        return goal
    scale = max(goal[0] / size[0], goal[1] / size[1])
    return max(goal[0], round(size[0] * scale)), max(goal[1], round(size[1] * scale))


def check_small(files: Sequence[str], sizes: NDArray[np.int32], config: DataConfig) -> None:
    """Raise DataError if the crop does not fit into a resized image; `sizes` is [N, 2], height and width."""
    crop, load = height_width(config.crop_size), height_width(config.load_size)
    kinds, kind_of = np.unique(sizes, axis=0, return_inverse=True)
    brought = [resized((int(height), int(width)), load, config.resize) for height, width in kinds]
    small = np.array([height < crop[0] or width < crop[1] for height, width in brought])[
        kind_of.reshape(-1)
    ]
    if small.any():
        first = int(np.argmax(small))
        larger = "set data.resize=shorter" if config.resize == "none" else "raise data.load_size"
        raise DataError(
            f"data.crop_size: {int(small.sum())} images are smaller than the crop of {_shown(crop)} "
            f"(first: {files[first]}, {_shown(sizes[first])}; width x height). "
            f"Lower data.crop_size, or {larger}."
        )


def check_odd(files: Sequence[str], sizes: NDArray[np.int32]) -> None:
    """Raise DataError if a side-by-side image, `sizes` [N, 2], cannot be cut into halves."""
    odd = sizes[:, 1] % 2 == 1
    if odd.any():
        first = int(np.argmax(odd))
        raise DataError(
            f"data.layout: {int(odd.sum())} images have an odd width and cannot be cut into halves "
            f"(first: {files[first]}, {_shown(sizes[first])}). Mend them, or use two folders: data.layout=folders."
        )


def check_unequal(
    a: Sequence[str],
    b: Sequence[str],
    sizes_a: NDArray[np.int32],
    sizes_b: NDArray[np.int32],
    mend: str = "Set data.resize=stretch, which brings both to data.load_size.",
) -> None:
    """Raise DataError if the two images of a pair, sizes [N, 2] each, differ; `mend` says what to do."""
    unequal = (sizes_a != sizes_b).any(axis=1)
    if unequal.any():
        first = int(np.argmax(unequal))
        raise DataError(
            f"data.resize: {int(unequal.sum())} pairs differ in size (first: {a[first]}, {_shown(sizes_a[first])}; "
            f"{b[first]}, {_shown(sizes_b[first])}). {mend}"
        )


def _shown(size: Sequence[int] | NDArray[np.int32]) -> str:
    return f"{size[1]}x{size[0]}"
