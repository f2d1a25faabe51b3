"""One evaluation while it runs: scores, and the fingerprints of all images that made them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from i2i.data.folders import preview
from i2i.evaluation.features import NO_WEIGHTS, FeatureWeights, feature_facts
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.masks import Masks
from i2i.evaluation.metric import METRICS
from i2i.evaluation.paired import WINDOW
from i2i.evaluation.pairs import EvaluationError
from i2i.evaluation.protocol import Protocol
from i2i.evaluation.scoring import OF_CLASSES, OF_SETS, PAIRED, Mask, Scored, Scorer, masked
from i2i.images import MAX_PIXELS, Array
from i2i.images.spec import ImageSpec
from i2i.translation.options import TargetSize, check_size

Progress = Callable[[int, int], None]  # called with images scored and their total
Example = list[NDArray[np.uint8]]  # images side by side, [H, W, 3]


@dataclass(frozen=True)
class Evaluation(Scored):
    """Scores of a model and of baselines, or of a folder, on the same images."""

    count: int  # outputs scored
    protocol: Protocol
    examples: list[Example]  # rows of input, output, target
    notes: Sequence[str] = ()  # what was assumed or left out


@dataclass(frozen=True)
class Measures:
    """Metrics, and the form of the images that they are computed on.

    Raises:
        EvaluationError: a metric is unknown, or a mask has no effect on it.
        TranslationError: `size` is out of range.
    """

    metrics: Sequence[str] = ()  # names of `METRICS`; (): those of the kind of data
    size: TargetSize = "keep"  # to which images are resized before they are scored
    mask: str | Path | None = None  # folder of masks; None: whole images count
    weights: FeatureWeights = NO_WEIGHTS  # files of networks that some metrics need
    max_pixels: int = MAX_PIXELS  # of an image that is read

    def __post_init__(self) -> None:
        check_size(self.size)
        for name in self.metrics:
            if name not in METRICS:
                raise EvaluationError(
                    "--metrics", f"no metric {name}", f"Choose among {', '.join(METRICS)}"
                )
            if self.mask and (METRICS[name].kind == "set" or name == "lpips"):
                reason = f"has no effect on {name}, which compares whole images"
                raise EvaluationError("--mask", reason, "Leave one out")
        networks = {METRICS[name].network for name in self.metrics}
        for flag, file, network in (
            ("--inception-weights", self.weights.inception, "inception"),
            ("--lpips-weights", self.weights.lpips, "alexnet"),
        ):
            if file and network not in networks:
                raise EvaluationError(flag, "no metric that is computed needs it", "See --metrics")

    def names(self, paired: bool, classes: bool = False) -> Sequence[str]:
        """Return the metrics to compute; `classes`: of class numbers.

        Raises:
            EvaluationError: one needs pairs, and there are none; or it is not of class numbers.
        """
        if classes and not paired:
            raise EvaluationError("--unpaired", "class maps are compared in pairs", "Leave it out")
        for name in self.metrics:
            if METRICS[name].of_classes != classes:
                kinds = ("class numbers", "shades")
                has, needs = kinds if classes else kinds[::-1]
                fitting = OF_CLASSES if classes else (*PAIRED, *OF_SETS)
                reason = f"compares {needs}, and targets hold {has}"
                hint = f"Choose among {', '.join(fitting)}"
                raise EvaluationError(f"--metrics {name}", reason, hint)
        if paired:
            return self.metrics or (OF_CLASSES if classes else PAIRED)
        for name in self.metrics:
            if METRICS[name].kind == "paired":
                raise EvaluationError(f"--metrics {name}", "needs pairs, and the data has none")
        if self.mask:
            raise EvaluationError("--mask", "has no effect without pairs", "Leave it out")
        return self.metrics or OF_SETS


def resizer_of(spec: ImageSpec) -> str:
    """Return the name of the filter that resizes images of a domain."""
    return "nearest" if spec.mask else "bicubic, antialiased"


class Record:
    """Collects the scores of an evaluation and its protocol.

    Args:
        spec: of the targets.
        names: files of the targets.
        measures: to take.
        paired: each output has its target.
        device: of networks that metrics need.

    Raises:
        DataError, EvaluationError: there is no mask for each image, or a metric cannot be computed.
    """

    def __init__(
        self,
        spec: ImageSpec,
        names: Sequence[str],
        measures: Measures,
        paired: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spec, self.measures, self.paired = spec, measures, paired
        self.metrics = measures.names(paired, spec.classes > 0)
        self.scorer = Scorer(self.metrics, spec, measures.weights, device)
        self.masks = Masks(measures.mask, names) if measures.mask else None
        self._targets = Collector(names)
        self._order: list[str] = []
        self._outside: list[str] = []

    def add(
        self,
        name: str,
        read: Array,
        target: Array,
        outputs: Sequence[tuple[str, Array]],
        depth: int,
        valid: Mask | None = None,
    ) -> None:
        """Score outputs, (name of their row, image), against the target in the file `name`.

        `read`: the target [H, W, C] as its file of `depth` bits holds it; `target`: resized;
        `valid`: its pixels [H, W] that have data, as the input; None: all.

        Raises:
            EvaluationError: an image is too small for SSIM, or its mask does not fit.
        """
        self._order.append(self._targets.add(name, read))
        inside = (
            self.masks.read(name, read, self.measures.size, self.measures.max_pixels)
            if self.masks
            else None
        )
        if not self.spec.classes:  # whose metrics have no windows
            outputs = masked(outputs, target, valid)
        inside = inside if valid is None else valid if inside is None else inside & valid
        height, width = target.shape[:2]
        ssim = "ssim" in self.metrics
        if ssim and min(height, width) < WINDOW:
            reason = f"{width}x{height} pixels, smaller than the {WINDOW}x{WINDOW} window of SSIM"
            raise EvaluationError(name, reason, "Pass a larger --size")
        edge = WINDOW // 2 if ssim else 0
        if inside is None or inside[edge : height - edge, edge : width - edge].any():
            self.scorer.add(name, target, outputs, depth, inside)
        else:
            self._outside.append(name)

    def add_real(self, name: str, read: Array, target: Array, depth: int) -> None:
        """Add a target without an output of its own; arguments as in `add`."""
        self._order.append(self._targets.add(name, read))
        self.scorer.add_real(target, depth)

    def result(
        self,
        examples: list[Example],
        notes: Iterable[str] = (),
        inputs: Collector | None = None,
        outputs: Collector | None = None,
        **facts: Any,
    ) -> Evaluation:
        """Return the evaluation; `facts` are further fields of its protocol.

        Raises:
            EvaluationError: no image has anything inside its mask, or no metric can be computed.
            SetError: there are too few images for a metric of sets.
        """
        scored = self.scorer.result()
        if len(self._outside) == len(self._order):
            raise EvaluationError("--mask", "no mask has a pixel that counts", "Check the masks")
        if not scored.scores:
            metric, reason = next(iter(scored.not_computed.items()))
            raise EvaluationError(f"--metrics {metric}", reason, "Add another metric")
        if self._outside:
            left_out = f"{len(self._outside)} images ({preview(self._outside)})"
            notes = [*notes, f"left out, nothing inside of their masks: {left_out}"]
        order = self._order if self.paired else ()
        count = len(self._order) - len(self._outside)
        if not self.paired:
            count = max(each.result().images for each in (inputs, outputs) if each)
        protocol = Protocol(
            paired=self.paired,
            size=self._size(),
            resizer=self._resizer(),
            channels=self.spec.channels,
            depth=scored.depth,
            value_range=scored.value_range,
            targets=self._targets.result(),
            inputs=inputs.result(order) if inputs else None,
            masks=self.masks.collector.result(order) if self.masks else None,
            outputs=outputs.result(order) if outputs else None,
            features=self._features(),
            **facts,
        )
        return Evaluation(
            **vars(scored), count=count, protocol=protocol, examples=examples, notes=tuple(notes)
        )

    def _size(self) -> str:
        size = self.measures.size
        return f"{size[1]}x{size[0]}" if isinstance(size, tuple) else str(size)

    def _resizer(self) -> str:
        if self.measures.size == "keep":
            return "none"
        return resizer_of(self.spec)

    def _features(self) -> dict[str, str] | None:
        plain = [
            name for name, each in METRICS.items() if each.kind == "paired" and not each.network
        ]
        names = [name for name in self.metrics if name not in plain]
        return feature_facts(names, self.measures.weights) if names else None
