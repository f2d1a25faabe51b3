"""Pretrained networks whose features metrics compare, and the metrics that can be computed."""

from dataclasses import dataclass
from pathlib import Path

from i2i.evaluation.metric import METRICS, Kind


@dataclass(frozen=True)
class FeatureWeights:
    """Files with weights of pretrained networks; None: its metrics are not available."""

    inception: Path | None = None
    lpips: Path | None = None


NO_WEIGHTS = FeatureWeights()


def available(kind: Kind, weights: FeatureWeights = NO_WEIGHTS) -> list[str]:
    """Return the names of the metrics of a kind that this installation can compute, in order."""
    return [name for name, metric in METRICS.items() if metric.kind == kind]
