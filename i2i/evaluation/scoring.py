"""Scores of several outputs for each target, collected image by image."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from i2i import images
from i2i.evaluation.class_maps import ClassScorer
from i2i.evaluation.features import NO_WEIGHTS, FeatureWeights
from i2i.evaluation.features.load import load_lpips
from i2i.evaluation.metric import METRICS, Interval
from i2i.evaluation.paired import MS_SSIM_SIDE, WINDOW, bootstrap, l1, ms_ssim, psnr, ssim
from i2i.evaluation.set_scoring import SetScorer
from i2i.images import Array, ValueRange
from i2i.images.spec import ImageSpec

PAIRED = ("psnr", "ssim", "ms_ssim", "l1", "l1_units")  # computed of pairs by default, in order
OF_CLASSES = ("pixel_accuracy", "miou")  # computed of pairs of class maps
OF_SETS = ("swd",)  # computed of what is not paired
_WORST = (
    "ssim",
    "psnr",
    "ms_ssim",
    "l1",
    "l1_units",
    "miou",
    "pixel_accuracy",
)  # the first that is computed orders images
# psnr (dB), ssim, l1 (of the range 0 to 1), l1_units (of the range of files) -> mean, 95 % interval
Scores = dict[str, Interval]
Mask = NDArray[np.bool_]


class ImageScores(NamedTuple):
    """Metrics of one output."""

    name: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Scored:
    """Scores of each row of a table."""

    scores: Mapping[str, Scores]
    images: Mapping[str, Sequence[ImageScores]]  # of each row, the worst by `ordered_by` first
    ordered_by: str  # name of a paired metric, "" without any
    not_computed: Mapping[str, str]  # metric -> reason
    depth: int  # bits of the deepest target; 32: floats
    value_range: ValueRange  # of the targets; PSNR and SSIM are relative to its width


def counts(inside: Mask | None) -> bool:
    """Return True if a pixel of `inside` is at the center of a window of SSIM."""
    edge = WINDOW // 2
    return inside is None or bool(inside[edge:-edge, edge:-edge].any())


def masked(
    outputs: Iterable[tuple[str, Array]], target: Array, valid: Mask | None
) -> list[tuple[str, Array]]:
    """Return (row, output) with the values of `target` outside of `valid`, for windows across."""
    if valid is None:
        return [*outputs]
    inside = valid[..., None]
    return [(row, _composite(output, target, inside)) for row, output in outputs]


def _composite(output: Array, target: Array, inside: Mask) -> Array:
    if images.depth_of(output) != images.depth_of(target):
        output, target = images.to_unit(output), images.to_unit(target)
    composite: Array = np.where(inside, output, target)
    return composite


class Scorer:
    """Scores outputs against targets as files hold them.

    Args:
        metrics: names of `METRICS`; those of sets compare all outputs of a row with all targets.
        spec: of the targets.
        weights: files of pretrained networks that some metrics need.
        device: of these networks.

    Raises:
        SetError, FeatureError: a metric lacks an extra or a file.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        spec: ImageSpec,
        weights: FeatureWeights = NO_WEIGHTS,
        device: torch.device | str = "cpu",
    ) -> None:
        self.metrics = tuple(name for name in metrics if METRICS[name].kind == "paired")
        of_sets = [name for name in metrics if METRICS[name].kind == "set"]
        self.sets = SetScorer(of_sets, weights, device) if of_sets else None
        self.lpips = load_lpips(weights, device) if "lpips" in metrics else None
        self.spec = spec
        self.depth = 8
        self._names: list[str] = []
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._maps: dict[str, ClassScorer] = defaultdict(ClassScorer)
        self._small: list[str] = []
        self._masked = False

    def add(
        self,
        name: str,
        target: Array,
        outputs: Iterable[tuple[str, Array]],
        depth: int,
        inside: Mask | None = None,
    ) -> None:
        """Score (row, output) against a target, [H, W, C] each.

        Args:
            name: of the target.
            depth: bits of the target's file.
            inside: pixels [H, W] that count; at least one at the center of a window of SSIM.
        """
        self._names.append(name)
        self.depth = max(self.depth, depth)
        self._masked |= inside is not None
        height, width = target.shape[:2]
        if min(height, width) < MS_SSIM_SIDE:
            self._small.append(f"{name}, {width}x{height}")
        if self.sets:
            self.add_real(target, depth)
        for row, output in outputs:
            if self.sets:
                self.add_fake(row, output)
            if self.spec.classes:
                values = self._maps[row].add(output, target, inside)
            else:
                values = self._paired(output, target, inside)
            for metric, value in values.items():
                self._values[row][metric].append(value)

    def add_real(self, image: Array, depth: int) -> None:
        """Add a real image [H, W, C] for metrics of sets, read from a file of `depth` bits."""
        assert self.sets, "a metric of sets is computed"
        self.depth = max(self.depth, depth)
        self.sets.add(None, images.to_display_rgb(image, self.spec.alpha))

    def add_fake(self, row: str, image: Array) -> None:
        """Add an output [H, W, C] of a row for metrics of sets."""
        assert self.sets, "a metric of sets is computed"
        self.sets.add(row, images.to_display_rgb(image, self.spec.alpha))

    def _paired(self, output: Array, target: Array, inside: Mask | None) -> dict[str, float]:
        depth = max(images.depth_of(output), images.depth_of(target))
        one, other = images.to_tensor(output)[None], images.to_tensor(target)[None]
        mask = None if inside is None else torch.from_numpy(inside)[None]
        values = {}
        for name, metric in (("psnr", psnr), ("ssim", ssim), ("l1", l1)):
            if name in self.metrics or (name == "l1" and "l1_units" in self.metrics):
                values[name] = float(metric(one, other, depth, mask))
        if "ms_ssim" in self.metrics and not self._small and not self._masked:
            values["ms_ssim"] = float(ms_ssim(one, other, depth))
        if self.lpips:
            pictures = (images.to_display_rgb(each, self.spec.alpha) for each in (output, target))
            values["lpips"] = self.lpips(*pictures)
        return values

    def result(self) -> Scored:
        """Return the scores of all images so far.

        Raises:
            SetError: there are too few for a metric of sets.
        """
        low, high = self.value_range
        omitted = self._not_computed()
        wanted = [metric for metric in self.metrics if metric not in omitted]
        order = next((metric for metric in _WORST if metric in wanted), "")
        scores: dict[str, Scores] = {}
        ranked: dict[str, list[ImageScores]] = {}
        for row, values in self._values.items():
            if "l1" in values:
                values["l1_units"] = [value * (high - low) for value in values["l1"]]
            if self.spec.classes:
                intervals = self._maps[row].scores()
                scores[row] = {name: intervals[name] for name in wanted}
            else:
                tensors = {name: torch.tensor(values[name], dtype=torch.float64) for name in wanted}
                scores[row] = {name: bootstrap(each) for name, each in tensors.items()}
            columns = zip(*(values[metric] for metric in wanted), strict=True)
            ranked[row] = [
                ImageScores(name, dict(zip(wanted, column, strict=True)))
                for name, column in zip(self._names, columns, strict=True)
            ]
            if order:
                best = METRICS[order].higher_is_better
                ranked[row].sort(key=lambda each: each.values[order] * (1 if best else -1))
        for row, intervals in (self.sets.scores() if self.sets else {}).items():
            scores[row] = scores.get(row, {}) | intervals
        return Scored(scores, ranked, order, omitted, self.depth, self.value_range)

    @property
    def value_range(self) -> ValueRange:
        """The lowest and highest value that targets may have."""
        if self.spec.classes:
            return 0.0, float(self.spec.classes - 1)
        return self.spec.limits(self.depth)

    def _not_computed(self) -> dict[str, str]:
        if "ms_ssim" not in self.metrics:
            return {}
        if self._masked:
            return {"ms_ssim": "its coarse scales have no mask"}
        if self._small:
            count = f"{len(self._small)} of {len(self._names)} images"
            side = f"a side below {MS_SSIM_SIDE} pixels"
            return {"ms_ssim": f"{count} have {side} (first: {self._small[0]})"}
        return {}
