"""Images of a domain as its specification says: read, converted, and stacked as channels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from i2i.config import AlphaUse
from i2i.images import reading
from i2i.images.classes import check_classes
from i2i.images.formats import (
    MAX_PIXELS,
    Array,
    Header,
    ImageError,
    Source,
)
from i2i.images.histogram import WatchedRange
from i2i.images.metadata import NO_METADATA, Metadata
from i2i.images.missing import filled, missing_values
from i2i.images.pixels import (
    apply_alpha,
    match_channels,
    to_unit,
)
from i2i.images.spec import LOSSY, ChannelSpec, Clipped, ImageSpec
from i2i.images.volumes import around


class Stack(NamedTuple):
    """Pixels of one sample of a domain."""

    array: Array  # [H, W, C] with the channels of the spec: uint8, uint16, or float32 in [0, 1]
    alpha: Array | None  # [H, W, 1]: to be carried past the network
    depth: int  # bits of the deepest file; of labels as they were taken
    notes: tuple[str, ...] = ()  # what files do not say as well as those of training
    metadata: Metadata = NO_METADATA  # of the only file
    clipped: Clipped = (0, 0)
    missing: Array | None = None  # [H, W, C], True for values of pixels without data


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
    files: Sequence[Source], spec: ImageSpec, alpha: AlphaUse = "drop", max_pixels: int = MAX_PIXELS
) -> Iterator[Stack]:
    """Hold what `read` returns, and the memory budget of a single file.

    Of several files none is held: threads that hold one and ask for the next would wait for each
    other. Errors are those of `read`.
    """
    watched = spec.watched()
    files = [name for file in files for name in around(file, spec.neighbors)]
    if len(files) == 1:
        with reading.decoded(files[0], max_pixels, watched) as picture:
            yield stack(files, [picture], spec, alpha, watched)
    else:
        pictures = [reading.read(path, max_pixels, watched) for path in files]
        yield stack(files, pictures, spec, alpha, watched)


def stack(
    files: Sequence[Source],
    pictures: Sequence[tuple[Array, Header]],
    spec: ImageSpec,
    alpha: AlphaUse,
    watched: WatchedRange,
) -> Stack:
    """Stack what `images.read` returned for each file, or windows of it; errors: see `read`.

    `watched`: the value range with which they were read.
    """
    parts: list[Array] = []
    carried, depth = None, 0
    notes: list[str] = []
    for path, (pixels, header), target in zip(files, pictures, spec.stacked, strict=True):
        notes += (*header.notes, *_notes(pixels, header, spec))
        try:
            if header.depth != 32:
                pixels = filled(pixels, header.missing, spec.limits(header.depth), spec.mask)
                pixels = spec.unit(pixels, header.alpha, watched)
            if spec.mask and target.channels < 3:
                _check_gray(pixels)
            if header.alpha and not target.alpha:
                carried = pixels[..., -1:] if alpha == "carry" else None
                pixels = apply_alpha(pixels, "composite" if alpha == "composite" else "drop")
            part = convert_channels(pixels, target, header.alpha)
            parts.append(check_classes(part, spec.classes) if spec.classes else part)
        except ImageError as error:
            raise error.with_subject(path) from None
        check_alike(path, parts[-1].shape[:2], files[0], parts[0].shape[:2])
        depth = max(depth, spec.taken_depth(header.depth))
    if len({part.dtype for part in parts}) > 1:
        parts = [to_unit(part) for part in parts]
    array = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    metadata = pictures[0][1].metadata if len(pictures) == 1 else NO_METADATA
    clipped = (watched.outside, watched.values)
    absent = missing_values([header for _, header in pictures], parts)
    return Stack(array, carried, depth, tuple(dict.fromkeys(notes)), metadata, clipped, absent)


def check_alike(
    path: object, size: tuple[int, ...], first_path: object, first: tuple[int, ...]
) -> None:
    """Raise ImageError if two inputs of a sample differ in (height, width)."""
    if size != first:
        reason = f"is {size[1]}x{size[0]}, and {first_path} is {first[1]}x{first[0]}"
        raise ImageError(path, reason, "Resize the inputs of a sample to one size")


def _notes(pixels: Array, header: Header, spec: ImageSpec) -> Iterator[str]:
    if spec.mask and header.format in LOSSY:
        yield f"labels were read from {header.format} files, whose compression mixes them"
    if spec.classes:
        return
    if (taken := spec.taken_depth(header.depth)) != header.depth:
        yield f"{header.depth}-bit labels were read as the same numbers of {taken} bits"
    elif spec.ranged_integers and spec.depth and header.depth < spec.depth:
        low, high = spec.value_range
        yield (
            f"{header.depth}-bit inputs were spread over {low:g} to {high:g}, the range of the "
            f"{spec.depth}-bit files of training"
        )
    elif spec.depth == 8 and header.depth == 16:
        colors = pixels[..., :-1] if header.alpha else pixels
        if colors.max() < 2**12:
            yield (
                "values of 16-bit inputs are below 4096, of 65535 that stand for the 255 of the "
                "8-bit files of training: they look dark to the model"
            )


def _check_gray(pixels: Array) -> None:
    """Raise ImageError for colors, which would become luma: a mixture of labels."""
    if pixels.shape[2] in (3, 4) and (pixels[..., :1] != pixels[..., :3]).any():
        reason = "holds colors, and the labels of the model are gray"
        raise ImageError("image", reason, "Convert it to the values of training")


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
