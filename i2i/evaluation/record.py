"""One evaluation while it runs: scores, and the fingerprints of all images that made them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.data.folders import preview
from i2i.evaluation.fingerprint import Collector, Fingerprint
from i2i.evaluation.masks import Masks
from i2i.evaluation.paired import WINDOW
from i2i.evaluation.pairs import EvaluationError
from i2i.evaluation.protocol import Protocol
from i2i.evaluation.scoring import Scored, Scorer
from i2i.images import Array
from i2i.images.spec import ImageSpec
from i2i.translation.options import TargetSize

Progress = Callable[[int, int], None]  # called with images scored and their total
Example = list[NDArray[np.uint8]]  # images side by side, [H, W, 3]


@dataclass(frozen=True)
class Evaluation(Scored):
    """Scores of a model and of baselines, or of a folder, on the same images."""

    count: int  # images scored
    protocol: Protocol
    examples: list[Example]  # rows of input, output, target
    notes: Sequence[str] = ()  # what was assumed or left out


class Record:
    """Collects the scores of an evaluation and its protocol.

    Args:
        spec: of the targets.
        names: files of the targets.
        metrics: names of `METRICS`.
        size: to which images are resized before they are scored.
        mask: folder of masks; None: whole images count.

    Raises:
        DataError, EvaluationError: there is no mask for each image.
    """

    def __init__(
        self,
        spec: ImageSpec,
        names: Sequence[str],
        metrics: Sequence[str],
        size: TargetSize = "keep",
        mask: str | Path | None = None,
    ) -> None:
        self.spec, self.size = spec, size
        self.scorer = Scorer(metrics, spec)
        self.masks = Masks(mask, names) if mask else None
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
    ) -> None:
        """Score outputs, (name of their row, image), against the target in the file `name`.

        `read`: the target [H, W, C] as its file of `depth` bits holds it; `target`: resized.

        Raises:
            EvaluationError: an image is too small for SSIM, or its mask does not fit.
        """
        self._order.append(self._targets.add(name, read))
        inside = self.masks.read(name, read, self.size) if self.masks else None
        height, width = target.shape[:2]
        ssim = "ssim" in self.scorer.metrics
        if ssim and min(height, width) < WINDOW:
            reason = f"{width}x{height} pixels, smaller than the {WINDOW}x{WINDOW} window of SSIM"
            raise EvaluationError(name, reason, "Pass a larger --size")
        edge = WINDOW // 2 if ssim else 0
        if inside is None or inside[edge : height - edge, edge : width - edge].any():
            self.scorer.add(name, target, outputs, depth, inside)
        else:
            self._outside.append(name)

    def result(
        self,
        examples: list[Example],
        notes: Iterable[str] = (),
        inputs: Collector | None = None,
        outputs: Fingerprint | None = None,
        **facts: Any,
    ) -> Evaluation:
        """Return the evaluation; `facts` are further fields of its protocol.

        Raises:
            EvaluationError: no image has anything inside its mask.
        """
        scored = self.scorer.result()
        if not scored.scores:
            raise EvaluationError("--mask", "no mask has a pixel that counts", "Check the masks")
        if self._outside:
            notes = [*notes, f"left out, nothing inside of their masks: {self._left_out()}"]
        height_width = self.size if isinstance(self.size, tuple) else None
        size = f"{height_width[1]}x{height_width[0]}" if height_width else str(self.size)
        resizer = "nearest" if self.spec.mask else "bicubic, antialiased"
        protocol = Protocol(
            paired=True,
            size=size,
            resizer="none" if self.size == "keep" else resizer,
            channels=self.spec.channels,
            depth=scored.depth,
            value_range=scored.value_range,
            targets=self._targets.result(),
            inputs=inputs.result(self._order) if inputs else None,
            masks=self.masks.collector.result(self._order) if self.masks else None,
            outputs=outputs,
            **facts,
        )
        count = len(self._order) - len(self._outside)
        return Evaluation(
            **vars(scored), count=count, protocol=protocol, examples=examples, notes=tuple(notes)
        )

    def _left_out(self) -> str:
        return f"{len(self._outside)} images ({preview(self._outside)})"
