"""A sheet of what the networks of a run would see, before anything is trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.config import Config, Layer, PairedData, UnpairedData, height_width
from i2i.data.dataset import Dataset
from i2i.data.preview import Stages, stages
from i2i.images import Array, ImageError
from i2i.images.spec import ImageSpec
from i2i.report.sheet import CELL, write_sheet
from i2i.run import build
from i2i.run.samples import evenly
from i2i.run.settings import resolve

_LARGEST = 384  # pixels of a side on the sheet: 4 columns fill a screen


def preview(method: str, layers: Sequence[Layer], path: Path, count: int, draws: int) -> list[str]:
    """Write a PNG with a row for each of `count` samples: the files, then `draws` random views.

    Stacked inputs have a column each.

    Returns:
        Lines on the data: what an epoch is, sizes on the way to the networks, the files of a row.

    Raises:
        ConfigError, DataError: such a run could not be trained.
        ImageError: a file cannot be read.
        WriteError: the sheet cannot be written.
    """
    settings = resolve(method, layers)
    dataset = build.open_data(settings)
    samples, bad = _samples(dataset, evenly(count, dataset), draws)
    crop = max(height_width(settings.data.crop_size))
    side = min(_LARGEST, crop * max(1, round(CELL / crop)))
    rows = []
    for sample in samples:
        arrays = [sample.decoded, *sample.views]
        parts = [
            part for each in arrays for d in each for part in _inputs(each[d], dataset.specs[d])
        ]
        rows.append([_fitted(part, side) for part in parts])
    headers = [
        f"{name}, {f'draw {draw}' if draw else 'file'}"
        for draw in range(draws + 1)
        for name in _names(dataset, samples[0])
    ]
    write_sheet(rows, headers, path)
    return [
        f"data: {dataset.epoch_rule}",
        *(f"{domain}: {_sizes(domain, dataset, samples)}" for domain in samples[0].decoded),
        *_changes(settings),
        *(f"note: {note}" for note in (*dataset.notes, *bad)),
        *(f"row {row}: {_files(settings, each)}" for row, each in enumerate(samples, 1)),
    ]


def _files(settings: Config, sample: Stages) -> str:
    """Return the files of a sample, below the data where they are."""
    root = f"{Path(settings.data.root).as_posix()}/"
    return ", ".join(Path(file).as_posix().removeprefix(root) for file in sample.files)


def _samples(dataset: Dataset, indices: list[int], draws: int) -> tuple[list[Stages], list[str]]:
    """Return the samples that can be read, and why others cannot."""
    samples, bad = [], []
    for index in indices:
        try:
            samples.append(stages(dataset, index, draws))
        except ImageError as error:
            if dataset.config.on_bad_file == "fail" or (index == indices[-1] and not samples):
                raise
            bad.append(f"skipped {error}")
    return samples, bad


def _inputs(array: Array, spec: ImageSpec) -> list[Array]:
    """Return the images that are stacked in [H, W, C]; class numbers in colors."""
    if spec.classes:
        return [spec.display(array)]
    ends = np.cumsum([each.channels for each in spec.inputs])
    return np.split(array, ends[:-1], axis=2)


def _names(dataset: Dataset, sample: Stages) -> Iterator[str]:
    """Yield the name of each column of a draw."""
    for domain in sample.decoded:
        inputs = dataset.specs[domain].inputs
        yield from (f"{domain} ({each.name})" if each.name else domain for each in inputs)


def _fitted(array: Array, side: int) -> NDArray[np.uint8]:
    """Return a picture as RGB, its longer side `side`, or a whole fraction of it if smaller."""
    picture = images.shrink(images.to_display_rgb(array), side)
    factor = max(1, side // max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _sizes(domain: str, dataset: Dataset, samples: Sequence[Stages]) -> str:
    """Return the format of a domain, and the sizes of its images from file to network."""
    spec, (height, width) = dataset.specs[domain], height_width(dataset.config.crop_size)
    steps = [[each.decoded[domain], each.resized[domain]] for each in samples]
    shares = sorted({round(100 * height * width / (x.shape[0] * x.shape[1])) for _, x in steps})
    share = f"{shares[0]} %" if len(shares) == 1 else f"{shares[0]} to {shares[-1]} %"
    stretches = [
        (new.shape[1] / new.shape[0]) / (old.shape[1] / old.shape[0]) - 1 for old, new in steps
    ]
    stretch = max(stretches, key=abs)
    shape = f", {abs(stretch):.0%} {'wider' if stretch > 0 else 'narrower'} than the file"
    depth = "floats" if spec.depth == 32 else f"{spec.depth} bits"
    return (
        f"{spec.channels} channels, {depth}; {_range([x for x, _ in steps])} -> "
        f"load {_range([x for _, x in steps])}{shape if abs(stretch) >= 0.01 else ''} -> "
        f"crop {width}x{height}, {share} of it"
    )


def _range(arrays: Sequence[Array]) -> str:
    """Return the size of `arrays`, or the smallest and the largest."""
    sizes = sorted({(x.shape[0] * x.shape[1], x.shape[1], x.shape[0]) for x in arrays})
    first, last = (f"{width}x{height}" for _, width, height in (sizes[0], sizes[-1]))
    return first if len(sizes) == 1 else f"{first} to {last}"


def _changes(settings: Config) -> Iterator[str]:
    """Yield what is translated to what, and what is changed at random, here and later."""
    data = settings.data
    if isinstance(data, PairedData | UnpairedData):
        yield f"direction: {data.direction}"
    fits = data.resize == "stretch" and height_width(data.load_size) == height_width(data.crop_size)
    words = ["corner of the crop"] * (not fits) + ["mirror"] * data.flip
    for key, unit in (("rotate_degrees", "degrees"), ("elastic_pixels", "pixels")):
        if strength := getattr(data, key):
            words.append(f"{key.partition('_')[0]} by up to {strength:g} {unit}")
    if data.color_jitter:
        words.append(f"color jitter of {data.color_jitter:g}")
    yield f"at random: {', '.join(words) or 'nothing'}"
    policy = getattr(settings.method, "augment", "none")
    if policy != "none":
        yield f"D sees reals and fakes with method.augment={policy} besides, which is not shown"
