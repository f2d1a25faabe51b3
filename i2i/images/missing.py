"""Pixels without data: the value that the network sees there, and where they are."""

from collections.abc import Sequence

import numpy as np

from i2i.images.formats import Array, Header
from i2i.images.pixels import ValueRange

NEUTRAL = 0.5  # of [0, 1]: the middle of the range, 0 to the networks


def filled(pixels: Array, missing: Array | None, limits: ValueRange, labels: bool) -> Array:
    """Return integers with the middle of their range where they are `missing`, [H, W, C] both.

    It is 0 to the network, as padding is, and depends on no other pixel: a part of a file is read
    as the file. Of labels it is the least.
    """
    if missing is None:
        return pixels
    low, high = limits
    neutral = np.array(low if labels else (low + high) // 2).astype(pixels.dtype)
    values: Array = np.where(missing, neutral, pixels)
    return values


def missing_values(headers: Sequence[Header], parts: Sequence[Array]) -> Array | None:
    """Return which values of stacked `parts`, [H, W, C] each, have no data; None for none."""
    if all(header.missing is None for header in headers):
        return None
    masks = map(_missing, headers, parts)
    return np.concatenate([*masks], axis=2)


def _missing(header: Header, part: Array) -> Array:
    if header.missing is None:
        return np.broadcast_to(np.False_, part.shape)
    missing = header.missing[..., : header.channels - header.alpha]
    if missing.shape[2] == part.shape[2]:
        return missing
    return np.repeat(missing.any(axis=2, keepdims=True), part.shape[2], axis=2)
