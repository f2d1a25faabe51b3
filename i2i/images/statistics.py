"""Brightness and contrast of training images, by which unlike inputs are recognized."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2i.images.formats import Array
from i2i.images.pixels import to_unit

LEAST = 20  # images: the spread of fewer is too uncertain
_FAR = 4.0  # deviations: of 1,204 withheld images of six data sets, 1 was as far
_SPREAD = np.array([[0.01], [0.1]])  # added to deviations: what rounding and resizing change
_EPS = np.float32(1 / 255)  # contrast that counts as none
_PIXELS = 2**14  # of an image that are measured, about


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation, over training images, of two numbers of one channel."""

    brightness: float  # mean value of an image, in [0, 1]
    brightness_std: float
    contrast: float  # logarithm of 1 / 255 + standard deviation of the values of an image
    contrast_std: float


def measure(image: Array) -> NDArray[np.float64]:
    """Return brightness and contrast of each channel of pixels [H, W, C], [2, C]."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // _PIXELS))
    some = image[::step, ::step].reshape(-1, image.shape[2])
    if some.dtype == np.float32 and (absent := np.isnan(some).any(axis=1)).any():
        some = some[~absent]  # pixels without data; of none the numbers are NaN
        if not len(some):
            return np.full((2, image.shape[2]), np.nan)
    planes = to_unit(some.T.copy())
    means = planes.mean(axis=1)
    stds = (planes - means[:, None]).std(axis=1)
    return np.stack([means, np.log(stds + _EPS)]).astype(np.float64)


def summarize(measured: Sequence[NDArray[np.float64]]) -> tuple[ChannelStatistics, ...]:
    """Return the statistics of each channel of images by what `measure` returned; () for few."""
    measured = [each for each in measured if np.isfinite(each).all()]
    if len(measured) < LEAST:
        return ()
    means, stds = np.mean(measured, axis=0), np.std(measured, axis=0)
    rows = np.stack([means[0], stds[0], means[1], stds[1]], axis=1).round(6)
    return tuple(ChannelStatistics(*row) for row in rows.tolist())


def is_far(image: Array, statistics: Sequence[ChannelStatistics]) -> bool:
    """Return True if pixels [H, W, C] are unlike training images: by 4 standard deviations.

    One channel suffices, its brightness or its contrast. Without statistics, nothing is far.
    """
    if len(statistics) != image.shape[2]:
        return False
    means = np.array([(each.brightness, each.contrast) for each in statistics]).T
    stds = np.array([(each.brightness_std, each.contrast_std) for each in statistics]).T
    return bool((abs(measure(image) - means) > _FAR * (stds + _SPREAD)).any())
