"""Scores of a model on images with known targets, with bootstrap intervals, next to baselines."""

from collections.abc import Sequence
from pathlib import Path

from i2i import images
from i2i.config import Layout
from i2i.evaluation.baselines import Baselines
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.pairs import EvaluationError, PairFiles, Pairs, resized
from i2i.evaluation.record import Evaluation, Example, Progress, Record
from i2i.evaluation.scoring import PAIRED
from i2i.images import Array
from i2i.translation.options import TargetSize, check_size
from i2i.translation.translator import Translator

MODEL = "model"  # the row of its scores


def evaluate(
    translator: Translator,
    data: str | Path,
    *,
    layout: Layout = "auto",
    split: str = "test",
    size: TargetSize = "keep",
    examples: int = 0,
    pair_pattern: Sequence[str] = (),
    pairs: str | None = None,
    metrics: Sequence[str] = PAIRED,
    mask: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Translate the input of every pair in `data` and score the output against the target.

    Args:
        translator: its direction determines which image of a pair is the input.
        data: folder with two folders matched by stem, or with side-by-side images; also an unpaired
            data set whose `split` is paired.
        layout: of the pairs, as in the config.
        split: images to score; a folder without splits is its own `train`.
        size: images are resized to it before anything else.
        examples: number of rows of images to return.
        pair_pattern, pairs: settings of `data` with these names; `pairs` is the table of `split`.
        metrics: names of `METRICS`.
        mask: folder of masks with the stems of the targets; only pixels above 0 count.
        progress: is called with pairs scored and their total.

    Raises:
        DataError, ImageError: there are no pairs, or one cannot be read.
        TranslationError: `size` is out of range.
        EvaluationError: an input and its target differ in size or are too small for SSIM, a layout
            is given for a model whose inputs and target have folders of their own names, or a mask
            does not fit.
    """
    check_size(size)
    pair_files = Pairs(translator, data, layout, size, pair_pattern, pairs, split)
    job = _Job(pair_files, pair_files.files(split), metrics, mask, examples)
    for number in range(len(job.files)):
        job.score(number)
        if progress:
            progress(number + 1, len(job.files))
    return job.record.result(
        job.rows,
        inputs=job.inputs,
        split=split,
        direction=str(translator.direction),
        checkpoint=translator.fingerprint,
        precision=translator.precision,
    )


class _Job:
    """Evaluation of a model on pairs, one by one."""

    def __init__(
        self,
        pairs: Pairs,
        files: Sequence[PairFiles],
        metrics: Sequence[str],
        mask: str | Path | None,
        examples: int,
    ) -> None:
        self.pairs, self.files, self.examples = pairs, files, examples
        source, target = pairs.translator.direction.domains
        self.names = [(pair.file(source), pair.file(target)) for pair in files]
        self.inputs = Collector(name for name, _ in self.names)
        self.baselines = Baselines(pairs.training_targets(), pairs.training_pairs())
        targets = [name for _, name in self.names]
        self.record = Record(pairs.translator.target, targets, metrics, pairs.size, mask)
        self.rows: list[Example] = []

    def score(self, number: int) -> None:
        """Translate the input of a pair, and score the output."""
        translator, size, pair = self.pairs.translator, self.pairs.size, self.files[number]
        source, _ = self.pairs.read(pair, translator.direction.source)
        read, depth = self.pairs.read(pair, translator.direction.target)
        self.inputs.add(self.names[number][0], source)
        image = resized(source, size, translator.source.mask)
        target = resized(read, size, translator.target.mask)
        _check_sizes(pair.a[0], image, target)
        output = _output(translator, image, depth)
        outputs = [(MODEL, output), *self.baselines.outputs(image, target)]
        self.record.add(self.names[number][1], read, target, outputs, depth)
        if len(self.rows) < self.examples:
            self.rows.append(_example(translator, image, output, target))


def _example(translator: Translator, image: Array, output: Array, target: Array) -> Example:
    source = images.to_display_rgb(image, translator.source.alpha)
    return [
        source,
        *(images.to_display_rgb(each, translator.target.alpha) for each in (output, target)),
    ]


def _output(translator: Translator, image: Array, depth: int) -> Array:
    """Return what a file of the output would hold; `depth`: bits of the target."""
    stored = translator.pixels(image[None], translator.output_depth(depth))[0]
    return translator.target.unit(stored)


def _check_sizes(name: str, image: Array, target: Array) -> None:
    (height, width), other = image.shape[:2], target.shape[:2]
    if (height, width) != other:
        reason = f"{width}x{height} pixels, but its target has {other[1]}x{other[0]}"
        raise EvaluationError(name, reason, "Pass --size")
