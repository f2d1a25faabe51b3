"""Pretrained networks whose features metrics compare, and the metrics that can be computed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from i2i.errors import I2IError
from i2i.evaluation.features import effnet
from i2i.evaluation.metric import METRICS, Kind, Network
from i2i.evaluation.neighbors import NEIGHBORS
from i2i.evaluation.wasserstein import DIRECTIONS, PATCH, PATCHES


class FeatureError(I2IError, ValueError):
    """Weights of a feature network that are missing or not those that a metric is defined by."""


@dataclass(frozen=True)
class FeatureWeights:
    """Files with weights of pretrained networks; None: its metrics are not available."""

    inception: Path | None = None
    lpips: Path | None = None


NO_WEIGHTS = FeatureWeights()


def networks_of(metrics: Iterable[str]) -> list[Network]:
    """Return the names of the networks that metrics need, each once."""
    names = dict.fromkeys(METRICS[name].network for name in metrics)
    return [name for name in names if name]


def quantity_of(metric: str) -> str:
    """Return what a metric computes, whatever the network: "kid" for "kid_effnet"."""
    return "fd" if metric == "fid" else metric.removesuffix("_effnet")


def available(kind: Kind, weights: FeatureWeights = NO_WEIGHTS) -> list[str]:
    """Return the names of the metrics of a kind that can be computed here, in order."""
    present = {None, "effnet"} if effnet.weights_file() else {None}
    chosen = [metric for metric in METRICS.values() if metric.kind == kind]
    return [metric.name for metric in chosen if metric.network in present]


def feature_facts(metrics: Iterable[str], weights: FeatureWeights = NO_WEIGHTS) -> dict[str, str]:
    """Return what makes numbers of metrics of sets comparable, for their protocol."""
    quantities = {quantity_of(name) for name in metrics}
    facts = {
        "swd": f"patches of {PATCH}x{PATCH}, up to {PATCHES} an image and level, scaled by the "
        f"moments of the reals, {DIRECTIONS} directions",
        "kid": "kernel (x·y / D + 1)^3, all pairs, unbiased",
        "fd": "unbiased covariances, float64",
        **{name: f"k = {neighbors}" for name, neighbors in NEIGHBORS.items()},
    }
    facts = {name: fact for name, fact in facts.items() if name in quantities}
    for network in networks_of(metrics):
        facts[network] = "EfficientNet-Lite0 on ImageNet, pooled"
        facts[f"{network}_input"] = (
            f"{effnet.EfficientNetLite0.side} pixels, Pillow bicubic of each float channel"
        )
        facts[f"{network}_sha256"] = effnet.SHA256
    return facts
