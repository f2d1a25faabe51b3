"""Size, geometry and color of a sample, by albumentations (Buslaev et al., Information 2020)."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from i2i import images
from i2i.config import DataConfig, height_width
from i2i.data.rules import resized
from i2i.images import Array
from i2i.seeds import key

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for news
import albumentations as A
import cv2

cv2.setNumThreads(
    1
)  # before any fork: a worker that inherits a pool of threads waits for ever on threads it has not

Arrays = dict[str, Array]  # name -> [H, W, C], uint8 or float32 in [0, 1]
# the largest displacement of a smooth random field, in standard deviations
_MAX_STD = 3.0


class Augment:
    """Random resizing, rotation, deformation, crop and flip of the images of a sample; color jitter.

    The geometry is the same for all images of the sample.

    Args:
        config: sizes and strengths.
        names: the images that share their geometry.
        masks: those of them whose values are labels: resampled to the nearest pixel, never colored.
        color: those of them whose brightness, contrast and saturation may change.
    """

    def __init__(
        self,
        config: DataConfig,
        names: Sequence[str],
        *,
        masks: Collection[str] = (),
        color: Collection[str] = (),
    ) -> None:
        self.crop, self.load, self.resize = (
            height_width(config.crop_size),
            height_width(config.load_size),
            config.resize,
        )
        self.masks = frozenset(masks)
        self.color = [
            name for name in names if name in color and name not in masks and config.color_jitter
        ]
        self._names = sorted(
            names, key=lambda name: name in masks
        )  # albumentations needs an "image": not a mask
        self._geometry = _geometry(config, self._names, self.masks)
        low, high = 1 - config.color_jitter, 1 + config.color_jitter
        self._jitter = A.ColorJitter((low, high), (low, high), (low, high), (0, 0), p=1)

    def __call__(self, arrays: Mapping[str, Array], seed: int) -> Arrays:
        """Return a random view of `arrays`, each [H, W, C] of any depth: a function of `seed`.

        All have one size once resized; uint8 stays, other depths become float32 in [0, 1].
        """
        for step, transform in enumerate(self._geometry.transforms):
            transform.set_random_seed(
                key(seed, step)
            )  # one seed for all would tie the angle to the crop's corner
        loaded = [self._resized(name, arrays[name], self.load) for name in self._names]
        given = dict(zip(("image", *self._names[1:]), loaded, strict=True))
        done = self._geometry(**given)
        done[self._names[0]] = done.pop("image")
        for name in self.color:
            self._jitter.set_random_seed(key(seed, name))
            done[name] = self._colored(done[name])
        return {name: done[name] for name in arrays}

    def plain(self, arrays: Mapping[str, Array]) -> Arrays:
        """Return `arrays` without augmentation: resized to the crop, then cropped around the center."""
        return {
            name: _centered(self._resized(name, array, self.crop), self.crop)
            for name, array in arrays.items()
        }

    def _resized(self, name: str, array: Array, goal: tuple[int, int]) -> Array:
        if array.dtype != np.uint8:
            array = images.to_unit(array)
        before = (array.shape[0], array.shape[1])
        after = resized(before, goal, self.resize)
        return array if after == before else images.resize(array, after, nearest=name in self.masks)

    def _colored(self, array: Array) -> Array:
        colors = array.shape[2] - (array.shape[2] in (2, 4))  # without alpha
        changed = self._jitter(image=np.ascontiguousarray(array[..., :colors]))["image"]
        return np.concatenate(
            [changed.reshape(*array.shape[:2], colors), array[..., colors:]], axis=2
        )


def _geometry(config: DataConfig, names: Sequence[str], masks: Collection[str]) -> Any:
    height, width = height_width(config.crop_size)
    all_masks = names[0] in masks
    smooth = cv2.INTER_NEAREST if all_masks else cv2.INTER_LINEAR
    steps: list[Any] = []
    if config.rotate_degrees:
        limit = (-config.rotate_degrees, config.rotate_degrees)
        steps.append(A.Rotate(limit, interpolation=smooth, border_mode=cv2.BORDER_REFLECT_101, p=1))
    if config.elastic_pixels:
        sigma = max(2.0, min(height, width) / 32)  # pixels over which the displacement varies
        # blurred uniform noise has a standard deviation of 1 / sqrt(3) / (2 sqrt(pi) sigma)
        alpha = config.elastic_pixels / _MAX_STD * np.sqrt(12 * np.pi) * sigma
        border = cv2.BORDER_REFLECT_101
        noise = "uniform"
        steps.append(
            A.ElasticTransform(
                alpha, sigma, smooth, noise_distribution=noise, border_mode=border, p=1
            )
        )
    steps.append(A.RandomCrop(height, width, p=1))
    if config.flip:
        steps.append(A.HorizontalFlip(p=0.5))
    kinds = {name: "mask" if name in masks and not all_masks else "image" for name in names[1:]}
    return A.Compose(steps, additional_targets=kinds)


def _centered(array: Array, size: tuple[int, int]) -> Array:
    top, left = ((have - want) // 2 for have, want in zip(array.shape, size, strict=False))
    return array[top : top + size[0], left : left + size[1]]
