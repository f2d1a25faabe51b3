"""Scores of a set of generated images against a set of real ones, with bootstrap intervals."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import count, islice
from math import inf
from operator import length_hint

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.errors import I2IError
from i2i.evaluation.distances import frechet_distance, kernel_distance
from i2i.evaluation.features import NO_WEIGHTS, FeatureWeights, networks_of, quantity_of
from i2i.evaluation.features.load import load_networks
from i2i.evaluation.features.network import Features
from i2i.evaluation.influence import Influence, interval, mean
from i2i.evaluation.metric import METRICS, Interval
from i2i.evaluation.neighbors import MIN_IMAGES, NEIGHBORS, neighbor_scores
from i2i.evaluation.wasserstein import MIN_SIDE, PatchStore, distances
from i2i.images.spectrum import WINDOW, grid_excess

Progress = Callable[[int, int], None]  # called with images done and images in all; 0: not known
Picture = NDArray[np.uint8]  # [H, W, 3], RGB


class SetError(I2IError, ValueError):
    """Sets of images that a metric cannot compare."""


@dataclass
class ImageSet:
    """Descriptors of images that metrics of sets compare: of a complete set, or a part of it."""

    patches: PatchStore | None = None  # where a metric needs them
    # name of a network -> features [D] of each image number
    features: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    grids: dict[int, Tensor] = field(default_factory=dict)  # image number -> dB, 0-d

    def merge(self, other: "ImageSet") -> None:
        """Add the images of another part; scores are those of one set of all images."""
        if self.patches and other.patches:
            self.patches.merge(other.patches)
        self.grids.update(other.grids)
        for name, features in other.features.items():
            self.features[name].update(features)

    def matrix(self, network: str) -> Tensor:
        """Return the features [N, D] of a network, in the order of image numbers."""
        return _in_order(self.features[network])


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
        device: of the networks that compute features.
        progress: is called with images done and the length of both sets, 0 where one has none.

    Raises:
        SetError: a set has too few images, or one is too small for a metric.
        FeatureError: a metric needs an extra or a file that is missing.
    """
    check_metrics(metrics)
    networks = load_networks(metrics, weights, device)
    lengths = length_hint(reals), length_hint(fakes)
    total = sum(lengths) if all(lengths) else 0
    done = 0

    def counted(images: Iterable[Picture]) -> Iterator[Picture]:
        nonlocal done
        for image in images:
            yield image
            done += 1
            if progress:
                progress(done, total)

    one, other = (describe(counted(images), metrics, networks, seed) for images in (reals, fakes))
    return compare(one, other, metrics, seed)


def describe(
    images: Iterable[Picture],
    metrics: Sequence[str],
    networks: Mapping[str, Features],
    seed: int = 0,
    numbers: Iterable[int] | None = None,
) -> ImageSet:
    """Return descriptors of images, for `compare`.

    Args:
        images: RGB [H, W, 3] uint8.
        metrics: that will be computed.
        networks: from `load_networks`.
        seed: of the patches that are drawn.
        numbers: of the images, in the complete set of which they are a part, such as
            `range(rank, count, ranks)`; None: they are complete.

    Raises:
        SetError: an image is too small for a metric.
    """
    part = ImageSet(PatchStore(seed) if "swd" in metrics else None)
    part.features = {name: {} for name in networks}
    numbered = zip(count() if numbers is None else numbers, images, strict=False)
    size = max((network.batch for network in networks.values()), default=1)
    while batch := list(islice(numbered, size)):
        for number, image in batch:
            if part.patches:
                part.patches.add(_planes(image, number, "swd", MIN_SIDE), number)
            if "grid" in metrics:
                planes = _planes(image, number, "grid", WINDOW).double()
                part.grids[number] = grid_excess(2 * planes[None] - 1).mean()
        for name, network in networks.items():
            features = network([image for _, image in batch])
            part.features[name].update(zip((n for n, _ in batch), features, strict=True))
    return part


def compare(
    reals: ImageSet, fakes: ImageSet, metrics: Sequence[str], seed: int = 0
) -> dict[str, Interval]:
    """Return each metric of two complete sets and its 95 % bootstrap interval over images.

    Raises:
        SetError: a set has too few images for a metric.
    """
    check_metrics(metrics)
    check_counts(reals, fakes, metrics)
    scores: dict[str, Influence] = {}
    if "swd" in metrics:
        stores = [each.patches or PatchStore(seed) for each in (reals, fakes)]
        scores["swd"] = mean(distances(*stores))
    if "grid" in metrics:
        one, other = (_in_order(each.grids) for each in (reals, fakes))
        scores["grid"] = Influence(float(other.mean() - one.mean()), -one, other)
    for network in networks_of(metrics):
        names = {quantity_of(name): name for name in metrics if METRICS[name].network == network}
        one, other = reals.matrix(network), fakes.matrix(network)
        for quantity, score in _feature_scores(one, other, names.keys()).items():
            scores[names[quantity]] = score
    lowest = {name: -inf if quantity_of(name) in ("kid", "grid") else 0 for name in metrics}
    return {name: interval(scores[name], seed, lowest[name]) for name in metrics}


def check_counts(reals: ImageSet, fakes: ImageSet, metrics: Sequence[str]) -> None:
    """Refuse sets that are too small.

    Raises:
        SetError: a set has too few images for a metric.
    """
    for name in metrics:
        network = METRICS[name].network
        if name == "grid":
            counts = [len(reals.grids), len(fakes.grids)]
        elif network is None:
            counts = [len(each.patches.images if each.patches else ()) for each in (reals, fakes)]
        else:
            counts = [len(each.features.get(network, ())) for each in (reals, fakes)]
        _check_counts(name, counts, MIN_IMAGES if quantity_of(name) in NEIGHBORS else 2)


def _feature_scores(one: Tensor, other: Tensor, wanted: Set[str]) -> dict[str, Influence]:
    scores: dict[str, Influence] = {}
    if "kid" in wanted:
        scores["kid"] = kernel_distance(one, other)
    if "fd" in wanted:
        scores["fd"] = frechet_distance(one, other)
    if wanted & NEIGHBORS.keys():
        scores |= neighbor_scores(one, other)
    return {name: scores[name] for name in wanted}


def _in_order(descriptors: Mapping[int, Tensor]) -> Tensor:
    return torch.stack([descriptors[number] for number in sorted(descriptors)])


def _check_counts(metric: str, counts: Sequence[int], fewest: int = 2) -> None:
    if min(counts) < fewest:
        reason = f"{counts[0]} reals and {counts[1]} fakes, needs at least {fewest} of each"
        raise SetError(metric, reason)


def _planes(picture: Picture, number: int, metric: str, side: int) -> Tensor:
    """Return [3, H, W] in [0, 1] for a metric that needs sides of `side` pixels."""
    height, width = picture.shape[:2]
    if min(height, width) < side:
        needed = f"{METRICS[metric].title} needs sides of at least {side}"
        reason = f"image {number} has {width}x{height} pixels, {needed}"
        raise SetError(metric, reason, "Choose a larger size")
    pixels = np.require(picture, requirements=["C", "W"])
    return torch.from_numpy(pixels).movedim(-1, 0).float() / 255


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse names that are not metrics of sets.

    Raises:
        SetError: one is not.
    """
    for name in metrics:
        if name not in METRICS or METRICS[name].kind != "set":
            sets = ", ".join(each.name for each in METRICS.values() if each.kind == "set")
            raise SetError(name, "no metric of sets of images", f"Choose among {sets}")
