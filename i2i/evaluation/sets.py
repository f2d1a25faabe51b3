"""Scores of a set of generated images against a set of real ones, with bootstrap intervals."""

from collections.abc import Callable, Iterable, Sequence
from operator import length_hint

import numpy as np
import torch
from numpy.typing import NDArray

from i2i.errors import I2IError
from i2i.evaluation.features import NO_WEIGHTS, FeatureWeights
from i2i.evaluation.influence import interval, mean
from i2i.evaluation.metric import METRICS
from i2i.evaluation.paired import Interval
from i2i.evaluation.wasserstein import MIN_SIDE, PatchStore, distances

Progress = Callable[[int, int], None]  # called with images done and images in all; 0: not known
Picture = NDArray[np.uint8]  # [H, W, 3], RGB


class SetError(I2IError, ValueError):
    """Sets of images that a metric cannot compare."""


class ImageSet:
    """Descriptors of images that metrics of sets compare: of a complete set, or a part of it.

    Args:
        metrics: names of metrics of sets that will be computed.
        seed: of the patches that are drawn.
    """

    def __init__(self, metrics: Sequence[str], seed: int = 0) -> None:
        check_metrics(metrics)
        self.metrics = list(metrics)
        self.patches = PatchStore(seed)
        self.numbers: list[int] = []  # of the images, in the complete set

    def add(self, picture: Picture, number: int) -> None:
        """Add an image, whose `number` in the complete set no other one has.

        Raises:
            SetError: it is too small for a metric.
        """
        if min(picture.shape[:2]) < MIN_SIDE:
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            reason = f"image {number} has {size} pixels, SWD needs sides of at least {MIN_SIDE}"
            raise SetError("swd", reason, "Choose a larger size")
        planes = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0)
        self.patches.add(planes.float() / 255, number)
        self.numbers.append(number)

    def merge(self, other: "ImageSet") -> None:
        """Add the images of another part; scores are those of one set of all images."""
        self.patches.merge(other.patches)
        self.numbers += other.numbers


def set_scores(
    reals: Iterable[Picture],
    fakes: Iterable[Picture],
    metrics: Sequence[str],
    weights: FeatureWeights = NO_WEIGHTS,
    seed: int = 0,
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Interval]:
    """Return each metric of two sets of images and its 95 % bootstrap interval over images.

    Args:
        reals, fakes: RGB images [H, W, 3] uint8 (`images.to_display_rgb`), read once, in turn.
        metrics: names of metrics of sets, see `METRICS`.
        weights: files of pretrained networks that some metrics need.
        seed: of what is drawn: patches, directions, resamplings.
        device: of networks that compute features.
        progress: is called with images done and the length of both sets, 0 where one has none.

    Raises:
        SetError: a set has fewer than 2 images, or one is too small for a metric.
        FeatureError: a metric needs an extra or a file that is missing.
    """
    lengths = length_hint(reals), length_hint(fakes)
    done, total = 0, sum(lengths) if all(lengths) else 0
    sets: list[ImageSet] = []
    for images in (reals, fakes):
        collected = ImageSet(metrics, seed)
        for number, picture in enumerate(images):
            collected.add(picture, number)
            done += 1
            if progress:
                progress(done, total)
        sets.append(collected)
    return compare(sets[0], sets[1], seed)


def compare(reals: ImageSet, fakes: ImageSet, seed: int = 0) -> dict[str, Interval]:
    """Return each metric of two complete sets, as `set_scores`, which see.

    Raises:
        SetError: a set has fewer than 2 images.
    """
    for name, images in (("reals", reals), ("fakes", fakes)):
        if len(images.numbers) < 2:
            reason = f"{len(images.numbers)} images, a metric of sets needs at least 2"
            raise SetError(name, reason)
    levels = distances(reals.patches, fakes.patches)
    return {"swd": interval(mean(levels), seed, lowest=0)}


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse names that are not metrics of sets.

    Raises:
        SetError: one is not.
    """
    for name in metrics:
        if name not in METRICS or METRICS[name].kind != "set":
            sets = ", ".join(each.name for each in METRICS.values() if each.kind == "set")
            raise SetError(name, "no metric of sets of images", f"Choose among {sets}")
