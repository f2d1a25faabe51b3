"""Scores of a model on images without targets of their own: its outputs against real images."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from i2i import images
from i2i.data.folders import domain_folders, find_images, match
from i2i.data.volumes import slices_of
from i2i.evaluation.baselines import INPUT
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.pairs import EvaluationError, Pairs, mostly_paired, resized
from i2i.evaluation.record import Evaluation, Example, Measures, Progress, Record
from i2i.images import Array
from i2i.images.missing import NEUTRAL
from i2i.images.spec import ImageSpec
from i2i.images.stacks import read
from i2i.translation.translator import Translator

MODEL = "model"
ASSUMED = "most files have no partner, so sets are compared (--paired for pairs)"
REALS = "output = training pictures of the target"


def is_paired(data: str | Path, split: str) -> bool:
    """Return False for a split of two folders in which most files have no partner."""
    folders = domain_folders(data, split)
    if folders is None:
        return True
    return mostly_paired(match(folders))


def evaluate_unpaired(
    translator: Translator,
    data: str | Path,
    measures: Measures,
    split: str,
    examples: int = 0,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Translate all inputs of a split, and compare the outputs with all real images of the target.

    Beside them stand the inputs themselves, and training images of the target: what a perfect model
    would make. Arguments and errors are those of `evaluate`.
    """
    files, names = _files(translator, data, split)
    source, target = translator.source, translator.target
    record = Record(target, names, measures, False, translator.device)
    sets = record.scorer.sets
    assert sets, "without pairs all metrics are of sets"
    collector = Collector(files)
    rows: list[Example] = []
    total = len(files) + len(names)
    for number, name in enumerate(names, 1):
        real, depth = _read(translator, name, target, measures.max_pixels)
        record.add_real(name, real, resized(real, measures.size, target.mask), depth)
        if progress:
            progress(number, total)
    for number, file in enumerate(files, len(names) + 1):
        pixels, depth = _read(translator, file, source, measures.max_pixels)
        collector.add(file, pixels)
        image = resized(pixels, measures.size, source.mask)
        output = output_of(translator, image, depth)
        record.scorer.add_fake(MODEL, output)
        sets.add(INPUT, images.to_display_rgb(image, source.alpha))
        if len(rows) < examples:
            example = ((image, source.alpha), (output, target.alpha))
            rows.append([images.to_display_rgb(*each) for each in example])
        if progress:
            progress(number, total)
    training = Pairs(translator, data, "auto", measures.size, max_pixels=measures.max_pixels)
    for real in islice(training.training_targets(), len(names)):
        record.scorer.add_fake(REALS, np.nan_to_num(real, nan=NEUTRAL))
    return record.result(
        rows,
        [*notes, *training.notes()],
        inputs=collector,
        **facts(translator, split),
    )


def facts(translator: Translator, split: str) -> dict[str, Any]:
    """Return what a protocol says of a model and the split that it is scored on."""
    return {
        "split": split,
        "direction": str(translator.direction),
        "checkpoint": translator.fingerprint,
        "precision": translator.precision,
    }


def output_of(translator: Translator, image: Array, depth: int) -> Array:
    """Return what a file of the output would hold; `depth`: bits of the target."""
    stored = translator.pixels(image[None], translator.output_depth(depth))[0]
    return translator.target.unit(stored)


def _files(translator: Translator, data: str | Path, split: str) -> tuple[list[str], list[str]]:
    """Return the files of inputs and of real images."""
    folders = domain_folders(data, split)
    if folders is None or len(translator.source.inputs) > 1:
        reason = f"the {split} split has no folders of a and b"
        raise EvaluationError("--unpaired", reason, "Compare two folders of images instead")
    source, target = ("ab".index(domain) for domain in translator.direction.domains)
    axis = translator.source.slice_axis
    inputs, reals = (slices_of(find_images(*folders[each]), axis) for each in (source, target))
    return inputs, reals


def _read(translator: Translator, name: str, spec: ImageSpec, max_pixels: int) -> tuple[Array, int]:
    stack = read([name], spec, translator.alpha, max_pixels)
    return stack.array, stack.depth
