"""Pretrained networks whose features metrics compare, and the metrics that can be computed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from i2i.evaluation.features import effnet, inception, lpips
from i2i.evaluation.features.network import FeatureError as FeatureError
from i2i.evaluation.features.network import FeatureNetwork, Pretrained
from i2i.evaluation.metric import METRICS, Kind, Network
from i2i.evaluation.neighbors import NEIGHBORS
from i2i.evaluation.wasserstein import DIRECTIONS, PATCH, PATCHES
from i2i.files import sha256
from i2i.images.spectrum import WINDOW


@dataclass(frozen=True)
class FeatureWeights:
    """Files with weights of pretrained networks; None: its metrics are not available."""

    inception: Path | None = None
    lpips: Path | None = None


NO_WEIGHTS = FeatureWeights()
NETWORKS: dict[Network, type[Pretrained]] = {
    "effnet": effnet.EfficientNetLite0,
    "inception": inception.Inception,
    "alexnet": lpips.AlexNet,
}


def networks_of(metrics: Iterable[str]) -> list[Network]:
    """Return the names of the networks that metrics need, each once."""
    names = dict.fromkeys(METRICS[name].network for name in metrics)
    return [name for name in names if name]


def weights_file(network: Network, weights: FeatureWeights = NO_WEIGHTS) -> Path:
    """Return the file with the weights of a network.

    Raises:
        FeatureError: an extra or a file is missing.
    """
    path = _files(weights)[network]
    if path is None:
        raise FeatureError(network, "has no weights here", NETWORKS[network].source)
    if not path.is_file():
        raise FeatureError(path, "no such file")
    return path


def quantity_of(metric: str) -> str:
    """Return what a metric computes, whatever the network: "kid" for "kid_effnet"."""
    return "fd" if metric == "fid" else metric.removesuffix("_effnet")


def available(
    kind: Kind, weights: FeatureWeights = NO_WEIGHTS, of_classes: bool = False
) -> list[str]:
    """Return the names of the metrics of a kind that can be computed here, in order."""
    files = _files(weights)
    every = METRICS.values()
    chosen = [each for each in every if (each.kind, each.of_classes) == (kind, of_classes)]
    return [each.name for each in chosen if each.network is None or files[each.network]]


def feature_facts(metrics: Iterable[str], weights: FeatureWeights = NO_WEIGHTS) -> dict[str, str]:
    """Return what makes numbers of metrics of sets comparable, for their protocol."""
    quantities = {quantity_of(name) for name in metrics}
    facts = {
        "swd": f"patches of {PATCH}x{PATCH}, up to {PATCHES} an image and level, scaled by the "
        f"moments of the reals, {DIRECTIONS} directions",
        "grid": f"power at 1/2 over 7/16 cycles a pixel, Hann windows of {WINDOW}x{WINDOW}, mean "
        "dB over rows, columns and both",
        "kid": "kernel (x·y / D + 1)^3, all pairs, unbiased",
        "fd": "unbiased covariances, float64",
        **{name: f"k = {neighbors}" for name, neighbors in NEIGHBORS.items()},
    }
    facts = {name: fact for name, fact in facts.items() if name in quantities}
    for network in networks_of(metrics):
        kind, path = NETWORKS[network], weights_file(network, weights)
        facts[network] = kind.title
        if issubclass(kind, FeatureNetwork):
            facts[f"{network}_input"] = f"{kind.side} pixels, Pillow bicubic of each float channel"
        facts[f"{network}_sha256"] = sha256(path)
    return facts


def _files(weights: FeatureWeights) -> dict[Network, Path | None]:
    return {
        "effnet": effnet.weights_file(),
        "inception": weights.inception,
        "alexnet": weights.lpips,
    }
