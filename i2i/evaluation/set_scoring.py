"""Metrics of sets for several rows at once, while their images come one by one."""

from collections import defaultdict
from collections.abc import Sequence

import torch

from i2i.evaluation.features import NO_WEIGHTS, FeatureWeights
from i2i.evaluation.features.load import load_networks
from i2i.evaluation.metric import Interval
from i2i.evaluation.sets import ImageSet, Picture, check_metrics, compare, describe

_BATCH_IMAGES, _BATCH_BYTES = 32, 2**25  # of a row that wait to be described together


class SetScorer:
    """Compares the images of rows with the reals, as `set_scores` does of one row.

    Args:
        metrics: names of metrics of sets, in order.
        weights: files of pretrained networks that some metrics need.
        device: of these networks.
        seed: of what is drawn.

    Raises:
        SetError, FeatureError: a metric is unknown, or lacks an extra or a file.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        weights: FeatureWeights = NO_WEIGHTS,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        check_metrics(metrics)
        self.metrics, self.seed = metrics, seed
        self.networks = load_networks(metrics, weights, device)
        self._sets: dict[str | None, ImageSet] = {}
        self._waiting: dict[str | None, list[Picture]] = defaultdict(list)
        self._counts: dict[str | None, int] = defaultdict(int)

    def add(self, row: str | None, picture: Picture) -> None:
        """Add an image [H, W, 3] to a row; None: to the reals.

        Raises:
            SetError: it is too small for a metric.
        """
        waiting = self._waiting[row]
        waiting.append(picture)
        many = len(waiting) == _BATCH_IMAGES
        if many or sum(each.nbytes for each in waiting) > _BATCH_BYTES:
            self._describe(row)

    def scores(self) -> dict[str, dict[str, Interval]]:
        """Return the metrics of each row.

        Raises:
            SetError: a set has too few images.
        """
        for row in list(self._waiting):
            self._describe(row)
        reals = self._sets.get(None, ImageSet())
        rows = {row: each for row, each in self._sets.items() if row is not None}
        return {row: compare(reals, each, self.metrics, self.seed) for row, each in rows.items()}

    def _describe(self, row: str | None) -> None:
        pictures = self._waiting.pop(row, [])
        if not pictures:
            return
        numbers = range(self._counts[row], self._counts[row] + len(pictures))
        part = describe(pictures, self.metrics, self.networks, self.seed, numbers)
        self._counts[row] += len(pictures)
        if row in self._sets:
            self._sets[row].merge(part)
        else:
            self._sets[row] = part
