"""Outputs that cost nothing, to stand beside those of a model."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.images import Array
from i2i.images.classes import class_depth
from i2i.images.missing import NEUTRAL

INPUT, MEAN = "output = input", "output = mean training picture"
COLORS = "output = linear color fit of the input"
FREQUENT = "output = most frequent class in training"
_MEAN_IMAGES = 500  # training images whose mean, or most frequent class, is a baseline
_FIT_IMAGES = 300  # training pairs of the linear fit


class Baselines:
    """Baselines fitted on training images; `outputs` are of one input.

    Args:
        targets: of training, at one size or several; the mean has the size of the first.
        pairs: input and target of training pairs.
            Pixels that have no data are NaN in both, and do not count.
    """

    def __init__(self, targets: Iterable[Array], pairs: Iterable[tuple[Array, Array]]) -> None:
        self.mean = mean_picture(islice(targets, _MEAN_IMAGES))
        self.colors = color_fit(islice(pairs, _FIT_IMAGES))

    def outputs(self, image: Array, target: Array) -> Iterator[tuple[str, Array]]:
        """Yield (name, output) for an input and a target [H, W, C] of one size."""
        if image.shape[2] == target.shape[2]:
            yield INPUT, image
        if self.mean is not None:
            mean = images.resize(self.mean, target.shape[:2])
            yield MEAN, images.to_depth(mean, images.depth_of(target))
        if self.colors is not None:
            unit = with_constant(image) @ self.colors
            unit = unit.reshape(target.shape).clip(0, 1).astype(np.float32)
            yield COLORS, images.to_depth(unit, images.depth_of(target))


class ClassBaselines:
    """Baselines of class maps: the class that training maps hold most, and the input.

    Args:
        targets: of training; pixels without data are NaN.
        classes: of the targets.
        same: the input has the same classes.
    """

    def __init__(self, targets: Iterable[Array], classes: int, same: bool) -> None:
        maps = islice(targets, _MEAN_IMAGES)
        depth = class_depth(classes)
        numbers = (images.to_depth(each[~np.isnan(each)], depth) for each in maps)
        counts = [np.bincount(each, minlength=classes) for each in numbers]
        self._frequent = int(np.sum(counts, axis=0).argmax()) if counts else None
        self._same = same

    def outputs(self, image: Array, target: Array) -> Iterator[tuple[str, Array]]:
        """Yield (name, output) for an input and a target [H, W, C] of one size."""
        if self._same:
            yield INPUT, image
        if self._frequent is not None:
            yield FREQUENT, np.full_like(target, self._frequent)


def mean_picture(targets: Iterable[Array]) -> Array | None:
    """Return the mean of images at the size and in the greatest depth of them; None without any."""
    total: NDArray[np.float64] | None = None
    counts, depth = np.zeros((1, 1, 1)), 8
    for image in targets:
        shape = image.shape[:2] if total is None else total.shape[:2]
        unit = images.to_unit(images.resize(image, shape)).astype(np.float64)
        valid = ~np.isnan(unit)
        unit[~valid] = 0
        total, counts = (unit if total is None else total + unit), counts + valid
        depth = max(depth, images.depth_of(image))
    if total is None:
        return None
    mean = np.where(counts > 0, total / np.maximum(counts, 1), NEUTRAL)
    return images.to_depth(mean.astype(np.float32), depth)


def color_fit(pairs: Iterable[tuple[Array, Array]]) -> NDArray[np.float64] | None:
    """Return the least squares fit of target channels on input channels and a constant.

    [C_in + 1, C_out], for values in [0, 1]; each pair counts alike. None without pairs. Of the
    solutions for inputs of dependent channels it is the smallest.
    """
    squares: NDArray[np.float64] | None = None
    products: NDArray[np.float64] | None = None
    for image, target in pairs:
        target = images.resize(target, image.shape[:2])
        x, y = with_constant(image), images.to_unit(target).reshape(-1, target.shape[2])
        valid = ~(np.isnan(x).any(axis=1) | np.isnan(y).any(axis=1))
        if not valid.any():
            continue
        x, y = x[valid], y[valid]
        xx, xy = x.T @ x / len(x), x.T @ y / len(x)
        squares = xx if squares is None else squares + xx
        products = xy if products is None else products + xy
    if squares is None or products is None:
        return None
    return np.linalg.lstsq(squares, products, rcond=1e-10)[0].astype(np.float64)


def with_constant(image: Array) -> NDArray[np.float64]:
    """[H, W, C] -> [H * W, C + 1], values in [0, 1], the last one 1."""
    unit = images.to_unit(image).reshape(-1, image.shape[2]).astype(np.float64)
    return np.concatenate([unit, np.ones((len(unit), 1))], axis=1)
