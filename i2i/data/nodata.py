"""Pixels without data in samples: NaN while images are resized, bent and cropped, then a mask.

Whatever is computed from a NaN is one, so that the mask covers all that resampling mixed with it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from i2i.data.augment import Arrays
from i2i.images import Array, ImageError
from i2i.images.missing import NEUTRAL
from i2i.images.spec import VALID
from i2i.seeds import key

LEAST_VALID = 0.1  # share of the pixels of a crop; with less it is drawn again
MAX_DRAWS = 20


def draw(
    view: Callable[[int], Arrays],
    seed: int,
    masked: bool,
    labels: Collection[str],
    files: Sequence[str],
) -> Arrays:
    """Return the `view` of a seed, or of others where it has too little data.

    `masked`: with the mask of what has none; otherwise all must have.

    Raises:
        ImageError: no crop of `files` has enough data.
    """
    least = LEAST_VALID if masked else 1.0
    seeds = (key(seed, "again", step) if step else seed for step in range(MAX_DRAWS))
    views = _first_valid(map(view, seeds), least)
    share = _share(views)
    if share == 0 or (share < 1 and not masked):
        much = "data" if masked else "nothing but data, and only pairs are trained on with gaps"
        raise ImageError(
            files[0], f"none of {MAX_DRAWS} crops has {much}", "Leave it out, or crop it"
        )
    return only_data(views, labels) if masked else views


def _first_valid(views: Iterable[Arrays], least: float) -> Arrays:
    """Return the first views of which a share of `least` has data, else those with the most."""
    best, largest = Arrays(), -1.0
    for each in views:
        if (share := _share(each)) > largest:
            best, largest = each, share
        if share >= least:
            break
    return best


def _share(views: Arrays) -> float:
    """Return the share of pixels that have data in all images."""
    return float(_valid(views).mean())


def only_data(views: Arrays, labels: Collection[str] = ()) -> Arrays:
    """Return `views` without NaN, and as `VALID` which pixels had none: uint8 [H, W, 1], 0 or 255.

    Of `labels` NaN becomes the least.
    """
    filled = {}
    for name, view in views.items():
        neutral = np.float32(0 if name in labels else NEUTRAL)
        floats = view.dtype == np.float32
        filled[name] = np.where(np.isnan(view), neutral, view) if floats else view
    filled[VALID] = _valid(views)[..., None].astype(np.uint8) * np.uint8(255)
    return filled


def _valid(views: Arrays) -> Array:
    """Return [H, W], True where no image has NaN."""
    masks = [~np.isnan(view).any(axis=2) for view in views.values() if view.dtype == np.float32]
    height, width = next(iter(views.values())).shape[:2]
    return np.asarray(np.logical_and.reduce([np.ones((height, width), np.bool_), *masks]))
