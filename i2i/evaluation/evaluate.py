"""Scores of a model on images whose truth is known, with bootstrap intervals, beside what costs nothing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from i2i import images
from i2i.data.dataset import halves
from i2i.data.folders import Layout, find_pairs
from i2i.errors import I2IError
from i2i.evaluation.paired import Interval, bootstrap, score_pairs
from i2i.images import Array
from i2i.images.spec import ImageSpec, read
from i2i.translation.folder import target_size
from i2i.translation.plan import Size
from i2i.translation.translator import Translator

Scores = dict[str, Interval]  # psnr (dB), ssim, l1 (of the range 0 to 1) -> mean and 95 % interval
METRICS = {"psnr": "PSNR, dB", "ssim": "SSIM", "l1": "L1"}


class EvaluationError(I2IError, ValueError):
    """A data set on which nothing can be scored."""


@dataclass(frozen=True)
class Evaluation:
    """What a model, and what no model, scores on the same images."""

    count: int
    scores: Mapping[str, Scores]  # "model", "output = input", "output = mean training picture"
    examples: list[list[NDArray[np.uint8]]]  # rows of input, output, truth, [H, W, 3]


def evaluate(
    translator: Translator,
    data: str | Path,
    *,
    layout: Layout = "auto",
    split: str = "test",
    size: Size = "keep",
    examples: int = 0,
) -> Evaluation:
    """Translate the inputs of every pair of `data` and score the outputs against their partners.

    Args:
        translator: its direction says which half of a pair is the input.
        data: folder with two folders matched by stem, or side-by-side images; also the test split
            of an unpaired world whose pairing is known.
        layout: of the pairs, as in the config.
        split: which images; a folder without splits is its own `train`.
        size: images are resized to it before anything else.
        examples: rows of pictures to return.

    Raises:
        DataError, ImageError: there are no pairs, or one cannot be read.
        EvaluationError: an input and its truth differ in size, or a layout is given for a model
            whose inputs and target have folders of their own names.
    """
    source, target = translator.direction.source, translator.direction.target
    values: dict[str, list[torch.Tensor]] = {"model": [], "output = input": []}
    mean = _mean_picture(translator, data, layout, target, size)
    rows: list[list[NDArray[np.uint8]]] = []
    pairs = _pairs(translator, data, layout, split)
    for pair in pairs:
        given, truth = _read(translator, pair, source, size), _read(translator, pair, target, size)
        if given.shape[:2] != truth.shape[:2]:
            (height, width), (other_height, other_width) = given.shape[:2], truth.shape[:2]
            raise EvaluationError(
                f"{pair.a[0]}: {width}x{height} and its partner {other_width}x{other_height} differ in size; pass "
                "--size"
            )
        output = translator.pixels(given[None])[0]
        values["model"].append(_scored(output, truth))
        if given.shape[2] == truth.shape[2]:
            values["output = input"].append(_scored(given, truth))
        if mean is not None:
            flat = images.resize(mean, truth.shape[:2])
            values.setdefault("output = mean training picture", []).append(_scored(flat, truth))
        if len(rows) < examples:
            specs = (translator.source, translator.target, translator.target)
            rows.append([_shown(p, r) for p, r in zip((given, output, truth), specs, strict=True)])
    scores = {
        name: {key: bootstrap(torch.stack([v[i] for v in found])) for i, key in enumerate(METRICS)}
        for name, found in values.items()
        if found
    }
    return Evaluation(len(pairs), scores, rows)


def table(scores: Mapping[str, Scores]) -> list[list[str]]:
    """Return rows of text: a header, then one row of means with their 95 % intervals for each name."""
    rows = [["", *METRICS.values()]]
    for name, found in scores.items():
        digits = {"psnr": 2, "ssim": 3, "l1": 4}
        cells = [
            f"{i.mean:.{digits[k]}f} [{i.low:.{digits[k]}f}, {i.high:.{digits[k]}f}]"
            for k, i in found.items()
        ]
        rows.append([name, *cells])
    return rows


def aligned(rows: Iterable[list[str]]) -> str:
    """Return rows as lines with columns of equal width."""
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _scored(output: Array, truth: Array) -> torch.Tensor:
    found = score_pairs(images.to_tensor(output)[None], images.to_tensor(truth)[None])
    return torch.stack([found[key][0] for key in METRICS])


class _Pair(NamedTuple):
    a: tuple[str, ...]  # one file for each input that is stacked
    b: tuple[str, ...]
    layout: Literal["ab", "ba", "folders"]


def _pairs(translator: Translator, data: str | Path, layout: Layout, split: str) -> list[_Pair]:
    names = [one.name for one in (*translator.source.inputs, *translator.target.inputs)]
    folders = names if any(names) else []  # trained on inputs and a target with names of their own
    if folders and layout != "auto":
        raise EvaluationError(
            f"--layout {layout}: this model reads the folders {', '.join(names)}; leave it out"
        )
    pairs = find_pairs(data, split, layout, folders, outside=False)
    rows = zip(*pairs.files, strict=True)
    return [_Pair(row[:-1] or row, row[-1:], pairs.layout) for row in rows]


def _read(translator: Translator, pair: _Pair, domain: str, size: Size) -> Array:
    reading = translator.source if domain == translator.direction.source else translator.target
    array = read(pair.a if domain == "a" else pair.b, reading, translator.alpha).array
    if pair.layout != "folders":
        array = halves(array, pair.layout)[domain]
    return _resized(array, size)


def _resized(array: Array, size: Size) -> Array:
    resized: Array = images.resize(array, target_size(array.shape[0], array.shape[1], size))
    return resized


def _shown(picture: Array, reading: ImageSpec) -> NDArray[np.uint8]:
    plain = (
        picture.shape[2] in (2, 4) and not reading.alpha
    )  # the last channel would be taken for alpha
    return images.shown(picture[..., :-1] if plain else picture)


def _mean_picture(
    translator: Translator, data: str | Path, layout: Layout, target: str, size: Size
) -> Array | None:
    """The mean of up to 500 training pictures of one domain, at the size of the first; None without a train split."""
    total, count, shape = None, 0, None
    for picture in _training_pictures(translator, data, layout, target, size):
        shape = shape or picture.shape[:2]
        unit = images.to_unit(images.resize(picture, shape))
        total, count = (unit if total is None else total + unit), count + 1
    return None if total is None else np.round(total / count * 255).astype(np.uint8)


def _training_pictures(
    translator: Translator, data: str | Path, layout: Layout, target: str, size: Size
) -> Iterator[Array]:
    from i2i.data.folders import DataError, domain_folders, find_images

    try:
        named = any(one.name for one in translator.target.inputs)
        folders = None if named else domain_folders(data, "train")
        if folders is not None:  # paired or not: only one domain is looked at
            for path in find_images(*folders["ab".index(target)])[:500]:
                yield _resized(read([path], translator.target, translator.alpha).array, size)
        else:
            for pair in _pairs(translator, data, layout, "train")[:500]:
                yield _read(translator, pair, target, size)
    except DataError:
        return  # nothing to train on is nothing to take a mean of
