"""Sizes of images once they are resized, in pixels and in bytes."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2i.config import DataConfig, height_width
from i2i.images.spec import ImageSpec

Resize = Literal["stretch", "shorter", "none"]


def resized(size: tuple[int, int], goal: tuple[int, int], rule: Resize) -> tuple[int, int]:
    """Return the (height, width) of an image of `size` under `data.resize`; `goal` is `load_size`.

    `shorter` is the smallest size of the image's aspect ratio that covers the goal.
    """
    if rule == "none":
        return size
    if rule == "stretch":
        return goal
    scale = max(goal[0] / size[0], goal[1] / size[1])
    return max(goal[0], round(size[0] * scale)), max(goal[1], round(size[1] * scale))


def resized_sizes(sizes: NDArray[np.int32], config: DataConfig) -> NDArray[np.int64]:
    """Return the (height, width) of images of `sizes`, [N, 2], resized to `load_size`."""
    load = height_width(config.load_size)
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)
    after = [resized((height, width), load, config.resize) for height, width in kinds.tolist()]
    return np.array(after, np.int64).reshape(-1, 2)[kind.reshape(-1)]


def loaded_bytes(
    spec: ImageSpec, sizes: NDArray[np.int32], config: DataConfig, nodata: bool = False
) -> NDArray[np.int64]:
    """Return the bytes of images of `sizes`, [N, 2], once resized; 0 where they are not loaded.

    With `nodata` they are floats.
    """
    short = spec.depth == 8 and not (spec.ranged_integers or nodata)
    pixel = spec.channels * (1 if short else 4)
    if spec.classes:  # kept as numbers
        pixel = (spec.depth or 16) // 8
    if config.resize != "stretch":
        areas = np.asarray(resized_sizes(sizes, config).prod(axis=1))
        areas[areas > config.max_pixels] = 0  # of which crops are read
        return areas * pixel
    height, width = height_width(config.load_size)
    return np.broadcast_to(np.int64(height * width * pixel), len(sizes))  # takes no memory
