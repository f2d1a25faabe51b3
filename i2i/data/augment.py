"""Size, geometry and color of a sample, with albumentations (Buslaev et al., Information 2020)."""

import os
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from i2i import images
from i2i.config import DataConfig, height_width
from i2i.data.parts import LargeImage
from i2i.data.sizes import resized
from i2i.images import Array, ImageError
from i2i.seeds import key

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for news
import albumentations as A
import cv2

# before any fork: a worker that inherits a pool of threads waits forever for threads it lacks
cv2.setNumThreads(1)

Arrays = dict[str, Array]  # name -> [H, W, C], uint8 or float32 in [0, 1]
_MAX_STD = 3.0  # standard deviations of the largest displacement of a smooth random field


class Augment:
    """Resize, rotate, bend, crop and mirror the images of a sample together; jitter colors of each.

    Args:
        config: sizes and strengths.
        names: images that share their geometry.
        masks: those whose values are labels: resampled to the nearest pixel, never colored.
        color: those whose brightness, contrast and saturation may change.
    """

    def __init__(
        self,
        config: DataConfig,
        names: Sequence[str],
        *,
        masks: Collection[str] = (),
        color: Collection[str] = (),
    ) -> None:
        self.crop_size = height_width(config.crop_size)
        self.load_size = height_width(config.load_size)
        self.resize, self.flip = config.resize, config.flip
        self.classes = frozenset(getattr(config, "classes", ()))  # whose numbers stay integers
        self.names, self.masks = tuple(names), frozenset(masks)
        jittered = set(color) - self.masks if config.color_jitter else set()
        self.color = [name for name in names if name in jittered]
        # albumentations needs an "image", which is not a mask: masks come last
        self._names = sorted(names, key=lambda name: name in masks)
        self._bend = _bend(config, self._names, self.masks)
        strength = (1 - config.color_jitter, 1 + config.color_jitter)
        self._jitter = A.ColorJitter(strength, strength, strength, (0, 0), p=1)

    def __call__(self, arrays: Mapping[str, Array], seed: int) -> Arrays:
        """Return a random view of `arrays`, each [H, W, C] of any depth: a function of `seed`.

        uint8 stays, other depths become float32 in [0, 1].

        Raises:
            ImageError: once resized, they differ in size, or are smaller than the crop.
        """
        return self.view(self.load(arrays), seed)

    def load(self, arrays: Mapping[str, Array]) -> Arrays:
        """Return `arrays` in the size of `load_size`, the part of `__call__` that is not random."""
        loaded = {name: self._resized(name, arrays[name], self.load_size) for name in arrays}
        sizes = {(array.shape[0], array.shape[1]) for array in loaded.values()}
        (height, width), *others = sizes
        if others or height < self.crop_size[0] or width < self.crop_size[1]:
            given = " and ".join(f"{width}x{height}" for height, width in sorted(sizes))
            crop = f"{self.crop_size[1]}x{self.crop_size[0]}"
            reason = f"{given} pixels; crops of {crop} need one size that covers them"
            raise ImageError("image", reason)
        return loaded

    def view(self, loaded: Mapping[str, Array], seed: int) -> Arrays:
        """Return a random view of what `load` returned; it may share memory with that."""
        views = dict(loaded)
        if self._bend is not None:
            for step, transform in enumerate(self._bend.transforms):
                # one seed for all would tie the angle to the corner of the crop
                transform.set_random_seed(key(seed, step))
            bent = (views[name] for name in self._names)
            views = self._bend(**dict(zip(("image", *self._names[1:]), bent, strict=True)))
            views[self._names[0]] = views.pop("image")
        views = self._cropped(views, seed, first_step=len(self._bend or ()))
        for name in self.color:
            self._jitter.set_random_seed(key(seed, name))
            views[name] = self._colored(views[name])
        return {name: views[name] for name in loaded}

    def plain(self, arrays: Mapping[str, Array]) -> Arrays:
        """Return `arrays` without randomness: resized to the crop, then cropped at the center."""
        views = {}
        height, width = self.crop_size
        for name, array in arrays.items():
            view = self._resized(name, array, self.crop_size)
            top, left = (view.shape[0] - height) // 2, (view.shape[1] - width) // 2
            views[name] = view[top : top + height, left : left + width]
        return views

    def _resized(self, name: str, array: Array, goal: tuple[int, int]) -> Array:
        if isinstance(array, LargeImage):
            return array
        if array.dtype != np.uint8 and name not in self.classes:
            array = images.to_unit(array)
        before = (array.shape[0], array.shape[1])
        after = resized(before, goal, self.resize)
        return array if after == before else images.resize(array, after, nearest=name in self.masks)

    def _cropped(self, arrays: Arrays, seed: int, first_step: int) -> Arrays:
        """Crop all at one corner, and mirror half of the samples.

        The draws are those of albumentations' RandomCrop and HorizontalFlip, whose Compose takes
        longer than the work.
        """
        corner, mirror = (random.Random(key(seed, first_step + step)) for step in (0, 1))
        (height, width), shape = self.crop_size, arrays[self._names[0]].shape
        top = int((shape[0] - height + 1) * corner.random())
        left = int((shape[1] - width + 1) * corner.random())
        mirrored = self.flip and mirror.random() < 0.5
        views = {}
        for name, array in arrays.items():
            view = array[top : top + height, left : left + width]
            # cv2 drops a single channel, and is 30 times faster than numpy
            views[name] = cv2.flip(view, 1).reshape(view.shape) if mirrored else view
        return views

    def _colored(self, array: Array) -> Array:
        colors = array.shape[2] - (array.shape[2] in (2, 4))  # without alpha
        given = np.ascontiguousarray(array[..., :colors])
        missing = np.isnan(given) if given.dtype == np.float32 else np.False_
        if missing.any() and not missing.all():  # contrast is relative to the mean
            given = np.where(missing, given[~missing].mean(), given)
        jittered = self._jitter(image=given)["image"].reshape(given.shape)
        if missing.any():
            jittered[missing] = np.nan
        return np.concatenate([jittered, array[..., colors:]], axis=2)


def _bend(config: DataConfig, names: Sequence[str], masks: Collection[str]) -> Any:
    """Return the rotation and the elastic deformation; None without any."""
    height, width = height_width(config.crop_size)
    all_masks = names[0] in masks
    smooth = cv2.INTER_NEAREST if all_masks else cv2.INTER_LINEAR
    border = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1}
    steps: list[Any] = []
    if config.rotate_degrees:
        limit = (-config.rotate_degrees, config.rotate_degrees)
        steps.append(A.Rotate(limit, interpolation=smooth, **border))
    if config.elastic_pixels:
        sigma = max(2.0, min(height, width) / 32)  # pixels over which the displacement varies
        # blurred uniform noise has a standard deviation of 1 / sqrt(3) / (2 sqrt(pi) sigma)
        alpha = config.elastic_pixels / _MAX_STD * np.sqrt(12 * np.pi) * sigma
        elastic = A.ElasticTransform(alpha, sigma, smooth, noise_distribution="uniform", **border)
        steps.append(elastic)
    kinds = {name: "mask" if name in masks and not all_masks else "image" for name in names[1:]}
    return A.Compose(steps, additional_targets=kinds) if steps else None
