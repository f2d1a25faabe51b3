"""Scores of a model on images with known targets, with bootstrap intervals, next to baselines."""

from collections.abc import Sequence
from pathlib import Path

from i2i.config import Layout
from i2i.evaluation.baselines import Baselines, ClassBaselines
from i2i.evaluation.features import NO_WEIGHTS, FeatureWeights
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.pairs import (
    EvaluationError,
    PairFiles,
    Pairs,
    check_sizes,
    resized,
    with_data,
)
from i2i.evaluation.record import Evaluation, Example, Measures, Progress, Record
from i2i.evaluation.unpaired import ASSUMED, MODEL, evaluate_unpaired, facts, is_paired, output_of
from i2i.images import MAX_PIXELS, Array
from i2i.translation.options import TargetSize
from i2i.translation.translator import Translator

FITTED = "baselines are fitted on the images that are scored, which favors them"
BY_NAME = "files of one name are taken as pairs (--unpaired compares sets)"


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
    paired: bool | None = None,
    metrics: Sequence[str] = (),
    mask: str | Path | None = None,
    weights: FeatureWeights = NO_WEIGHTS,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Evaluation:
    """Translate the inputs in `data` and score the outputs against the targets.

    Args:
        translator: its direction determines which image of a pair is the input.
        data: folder with two folders matched by stem, or with side-by-side images; also an unpaired
            data set.
        layout: of the pairs, as in the config.
        split: images to score; a folder without splits is its own `train`.
        size: images are resized to it before anything else.
        examples: number of rows of images to return.
        pair_pattern, pairs: settings of `data` with these names; `pairs` is the table of `split`.
        paired: each input has its target; None: unless most files of two folders have no partner.
        metrics: names of `METRICS`; (): `PAIRED`, `OF_CLASSES`, or `OF_SETS` without pairs.
        mask: folder of masks with the stems of the targets; only pixels above 0 count.
        weights: files of pretrained networks that some metrics need.
        max_pixels: of an image that is read.
        progress: is called with images scored and their total.

    Raises:
        DataError, ImageError: there are no pairs, or one cannot be read.
        TranslationError: `size` is out of range.
        EvaluationError: images, a layout, a mask or a metric do not fit each other.
        SetError, FeatureError: a metric of sets cannot be computed.
    """
    measures = Measures(metrics, size, mask, weights, max_pixels)
    given = layout != "auto" or bool(pair_pattern) or pairs is not None
    if not _pairs_wanted(paired, given, data, split):
        notes = [ASSUMED] if paired is None else []
        return evaluate_unpaired(translator, data, measures, split, examples, notes, progress)
    pair_files = Pairs(translator, data, layout, size, pair_pattern, pairs, split, max_pixels)
    job = _Job(pair_files, pair_files.files(split), measures, examples)
    for number in range(len(job.files)):
        job.score(number)
        if progress:
            progress(number + 1, len(job.files))
    return job.record.result(
        job.rows,
        _notes(job.files, split, assumed=paired is None and not given) + pair_files.notes(),
        inputs=job.inputs,
        **facts(translator, split),
    )


def _pairs_wanted(paired: bool | None, given: bool, data: str | Path, split: str) -> bool:
    """Return True for pairs; `given`: the command says how they are found."""
    if paired is False and given:
        reason = "has no effect on a layout, a pattern or a table of pairs"
        raise EvaluationError("--unpaired", reason, "Leave it out")
    return given or is_paired(data, split) if paired is None else paired


def _notes(files: Sequence[PairFiles], split: str, assumed: bool) -> list[str]:
    notes = [FITTED] if split == "train" else []
    if assumed and files[0].layout == "folders":
        notes.append(BY_NAME)
    return notes


class _Job:
    """Evaluation of a model on pairs, one by one."""

    def __init__(
        self,
        pairs: Pairs,
        files: Sequence[PairFiles],
        measures: Measures,
        examples: int,
    ) -> None:
        self.pairs, self.files, self.examples = pairs, files, examples
        source, target = pairs.translator.direction.domains
        self.names = [(pair.file(source), pair.file(target)) for pair in files]
        self.inputs = Collector(name for name, _ in self.names)
        self.baselines: Baselines | ClassBaselines
        if (target_spec := pairs.translator.target).classes:
            same = pairs.translator.source.classes == target_spec.classes
            self.baselines = ClassBaselines(pairs.training_targets(), target_spec.classes, same)
        else:
            self.baselines = Baselines(pairs.training_targets(), pairs.training_pairs())
        targets = [name for _, name in self.names]
        translator = pairs.translator
        self.record = Record(translator.target, targets, measures, device=translator.device)
        self.rows: list[Example] = []

    def score(self, number: int) -> None:
        """Translate the input of a pair, and score the output."""
        translator, size, pair = self.pairs.translator, self.pairs.size, self.files[number]
        source, _, absent = self.pairs.read(pair, translator.direction.source)
        read, depth, missing = self.pairs.read(pair, translator.direction.target)
        self.inputs.add(self.names[number][0], source)
        image = resized(source, size, translator.source.mask)
        target = resized(read, size, translator.target.mask)
        check_sizes(pair.a[0], image, target)
        output = output_of(translator, image, depth)
        outputs = [(MODEL, output), *self.baselines.outputs(image, target)]
        valid = with_data(size, absent, missing)
        self.record.add(self.names[number][1], read, target, outputs, depth, valid)
        if len(self.rows) < self.examples:
            self.rows.append(_example(translator, image, output, target))


def _example(translator: Translator, image: Array, output: Array, target: Array) -> Example:
    source, target_spec = translator.source, translator.target
    return [source.display(image), *(target_spec.display(each) for each in (output, target))]
