"""Scores of a model on images with known targets, with bootstrap intervals, next to baselines."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from i2i import images
from i2i.config import Layout
from i2i.data.dataset import halves
from i2i.data.folders import (
    DataError,
    Listing,
    SplitError,
    domain_folders,
    find_images,
    find_pairs,
)
from i2i.data.rules import check_guess
from i2i.direction import Domain
from i2i.errors import I2IError
from i2i.evaluation.paired import WINDOW, Interval, bootstrap, score_pairs
from i2i.images import MAX_VALUE, Array, ValueRange
from i2i.images.spec import read
from i2i.translation.options import TargetSize, check_size, target_size
from i2i.translation.translator import Translator

# psnr (dB), ssim, l1 (of the range 0 to 1), l1_units (of the range of files) -> mean, 95 % interval
Scores = dict[str, Interval]
_COLUMNS = {  # title, decimals
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "l1": ("L1", 4),
    "l1_units": ("L1 in units of the files", 4),
}
Find = partial[Listing]  # `find_pairs`, with the arguments of the command
_MEAN_IMAGES = 500  # training images whose mean is a baseline


class EvaluationError(I2IError, ValueError):
    """A data set on which nothing can be scored."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model and of baselines on the same images."""

    count: int
    scores: Mapping[str, Scores]  # "model", "output = input", "output = mean training picture"
    examples: list[list[NDArray[np.uint8]]]  # rows of input, output, target, [H, W, 3]
    depth: int  # bits of the most_bits target; 32: floats
    value_range: ValueRange  # of the targets; PSNR and SSIM are relative to its width


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
    progress: Callable[[int, int], None] | None = None,
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
        progress: is called with pairs scored and their total.

    Raises:
        DataError, ImageError: there are no pairs, or one cannot be read.
        TranslationError: `size` is out of range.
        EvaluationError: an input and its target differ in size or are too small for SSIM, or a
            layout is given for a model whose inputs and target have folders of their own names.
    """
    check_size(size)
    find = partial(find_pairs, patterns=pair_pattern, table=pairs, table_split=split)
    samples = _pairs(translator, data, find, layout, split)
    mean = _mean_target(translator, data, find, layout, size)
    values: dict[str, list[torch.Tensor]] = defaultdict(list)
    rows: list[list[NDArray[np.uint8]]] = []
    depths = {8}
    for number, pair in enumerate(samples, 1):
        image, _ = _read(translator, pair, translator.direction.source, size)
        target, depth = _read(translator, pair, translator.direction.target, size)
        _check_sizes(pair, image, target)
        depths.add(depth)
        output = _output(translator, image, depth)
        values["model"].append(_score(output, target))
        if image.shape[2] == target.shape[2]:
            values["output = input"].append(_score(image, target))
        if mean is not None:
            constant = images.resize(mean, target.shape[:2])
            values["output = mean training picture"].append(_score(constant, target))
        if len(rows) < examples:
            specs = (translator.source, translator.target, translator.target)
            row = zip(specs, (image, output, target), strict=True)
            rows.append([images.to_display_rgb(array, spec.alpha) for spec, array in row])
        if progress:
            progress(number, len(samples))
    depth, spec = max(depths), translator.target
    limits = spec.value_range if spec.in_units(depth) else (0.0, float(MAX_VALUE[depth]))
    scores = {name: _intervals(v, limits) for name, v in values.items()}
    return Evaluation(len(samples), scores, rows, depth, limits)


def table(result: Evaluation) -> list[list[str]]:
    """Return rows of text: a header, then a row of means with their 95 % intervals per name.

    For targets of 8 bits, which are pictures, L1 is of the range 0 to 1 only.
    """
    plain = result.value_range == (0, MAX_VALUE[8])
    columns = {key: column for key, column in _COLUMNS.items() if key != "l1_units" or not plain}
    rows = [["", *(title for title, _ in columns.values())]]
    for name, intervals in result.scores.items():
        cells = []
        for metric, (_, decimals) in columns.items():
            mean, low, high = (f"{value:.{decimals}f}" for value in intervals[metric])
            cells.append(f"{mean} [{low}, {high}]")
        rows.append([name, *cells])
    return rows


def aligned(rows: Iterable[list[str]]) -> str:
    """Return rows as lines with columns of equal width."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)) for row in rows)


def _output(translator: Translator, image: Array, depth: int) -> Array:
    """Return what a file of the output would hold; `depth`: bits of the target."""
    stored = translator.pixels(image[None], translator.output_depth(depth))[0]
    return translator.target.unit(stored)


def _score(output: Array, target: Array) -> torch.Tensor:
    depth = max(images.depth_of(output), images.depth_of(target))
    scores = score_pairs(images.to_tensor(output)[None], images.to_tensor(target)[None], depth)
    return torch.cat([*scores.values()])


def _intervals(values: list[torch.Tensor], limits: ValueRange) -> Scores:
    """Return the interval of each metric over images; `values` are scores [metrics] per image."""
    psnr, ssim, l1 = map(bootstrap, torch.stack(values, dim=1))
    units = Interval(*(value * (limits[1] - limits[0]) for value in l1))
    return {"psnr": psnr, "ssim": ssim, "l1": l1, "l1_units": units}


class _PairFiles(NamedTuple):
    a: tuple[str, ...]  # one file per stacked input
    b: tuple[str, ...]
    layout: Literal["ab", "ba", "folders"]
    form_of_training: bool  # the layout was not asked for: files must look like those of training


def _layout(translator: Translator, data: str | Path, split: str) -> Layout:
    """Return the layout of training, unless the data has folders of a and b."""
    source, half = translator.direction.source, translator.source.half
    if half is None or domain_folders(data, split) is not None:
        return "folders" if translator.layout == "folders" else "auto"
    return "ab" if (half == "left") == (source == "a") else "ba"


def _pairs(
    translator: Translator, data: str | Path, find: Find, layout: Layout, split: str
) -> list[_PairFiles]:
    specs = sorted(  # those of a before that of b
        [
            (translator.direction.source, translator.source),
            (translator.direction.target, translator.target),
        ],
        key=lambda pair: pair[0],
    )
    names = [each.name for _, spec in specs for each in spec.inputs]
    listed = find.keywords["table"] is not None
    folders = names if any(names) and not listed else []  # that the model was trained on
    if folders and layout != "auto":
        reason = f"this model reads the folders {', '.join(names)}"
        raise EvaluationError(f"--layout {layout}", reason, "Leave it out")
    trained = _layout(translator, data, split) if layout == "auto" and not folders else "auto"
    try:
        wanted = trained if layout == "auto" else layout
        pairs = find(data, split, wanted, folders, outside=False)
    except SplitError:
        if len(folders) != 2:  # a stack is known by its names only
            raise
        pairs = find(data, split)
    check_guess(pairs)
    rows = zip(*pairs.files, strict=True)
    checked = trained in ("ab", "ba") and translator.source.size is not None
    return [_PairFiles(row[:-1] or row, row[-1:], pairs.layout, checked) for row in rows]


def _read(
    translator: Translator, pair: _PairFiles, domain: Domain, size: TargetSize
) -> tuple[Array, int]:
    """Return an image of a pair, and the bits of its file."""
    spec = translator.source if domain == translator.direction.source else translator.target
    stack = read(pair.a if domain == "a" else pair.b, spec, translator.alpha)
    array = stack.array
    if pair.layout != "folders":
        height, width = array.shape[:2]
        if pair.form_of_training and not translator.source.half_of(height, width):
            reason = f"{width}x{height} pixels: not the form of the pairs side by side in training"
            hint = f"If it is a pair, pass --layout {pair.layout}"
            raise EvaluationError(pair.a[0], reason, hint)
        array = halves(array, pair.layout)[domain]
    return _resized(array, size, spec.mask), stack.depth


def _check_sizes(pair: _PairFiles, image: Array, target: Array) -> None:
    (height, width), other = image.shape[:2], target.shape[:2]
    if (height, width) != other:
        reason = f"{width}x{height} pixels, but its target has {other[1]}x{other[0]}"
        raise EvaluationError(pair.a[0], reason, "Pass --size")
    if min(height, width) < WINDOW:
        reason = f"{width}x{height} pixels, smaller than the {WINDOW}x{WINDOW} window of SSIM"
        raise EvaluationError(pair.a[0], reason, "Pass a larger --size")


def _resized(array: Array, size: TargetSize, nearest: bool) -> Array:
    goal = target_size(array.shape[0], array.shape[1], size)
    resized: Array = images.resize(array, goal, nearest)
    return resized


def _mean_target(
    translator: Translator, data: str | Path, find: Find, layout: Layout, size: TargetSize
) -> Array | None:
    """Return the mean of the first training targets at the size of the first, None without any."""
    total: NDArray[np.float32] | None = None
    count, depth = 0, 8
    for image in _training_targets(translator, data, find, layout, size):
        shape = image.shape[:2] if total is None else total.shape[:2]
        unit = images.to_unit(images.resize(image, shape))
        total, count = (unit if total is None else total + unit), count + 1
        depth = max(depth, images.depth_of(image))
    return None if total is None else images.to_depth(total / count, depth)


def _training_targets(
    translator: Translator, data: str | Path, find: Find, layout: Layout, size: TargetSize
) -> Iterator[Array]:
    domain = translator.direction.target
    try:
        stacked = any(each.name for each in translator.target.inputs)
        folders = None if stacked else domain_folders(data, "train")
        if folders is None:
            for pair in _pairs(translator, data, find, layout, "train")[:_MEAN_IMAGES]:
                yield _read(translator, pair, domain, size)[0]
        else:  # of any kind of data: only one domain is read
            for path in find_images(*folders["ab".index(domain)])[:_MEAN_IMAGES]:
                array = read([path], translator.target, translator.alpha).array
                yield _resized(array, size, translator.target.mask)
    except DataError:
        return  # no training images, no mean
