"""Reading data: i2i's pipeline against that of the field, from files to batches."""

import os
import random
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data import Dataset as TorchDataset

from i2i.bench import machine, report
from i2i.bench.pictures import write_photos
from i2i.bench.turns import BenchError, Contender, Turn, take_turns, timed
from i2i.bench.variants import VARIANTS, Variant
from i2i.config import Config, Layer, height_width
from i2i.data.dataset import Dataset
from i2i.data.loader import batches
from i2i.run import build
from i2i.run.settings import resolve

_WORKERS = (0, 1, 2)
_WARM_UP = 2_000  # samples at most; an epoch, if that is shorter


@dataclass(frozen=True)
class Job:
    """Samples of a folder, or of drawn JPEGs."""

    folder: str | None
    method: str = "cyclegan"
    load_size: int = 286  # pixels a side
    crop_size: int = 256  # pixels a side
    batch: int = 1
    samples: int = 200  # of one repetition
    images: int | None = None  # that are drawn, of each domain; None: 100, or no drawn ones
    size: int | None = None  # pixels a side of drawn ones; None: 256, as those of horse2zebra
    repeats: int = 5

    def settings(self, folder: str) -> Config:
        """Return the settings of reading `folder`."""
        data = {"root": folder, "load_size": self.load_size, "crop_size": self.crop_size}
        return resolve(self.method, [Layer("the benchmark", {"data": data})])


class Reading:
    """One pipeline with its workers, seen from a process that takes its batches."""

    weights = 0

    def __init__(self, job: Job, folder: str, variant: Variant, workers: int) -> None:
        self.device, self.job, self.workers = torch.device("cpu"), job, workers
        torch.set_num_threads(1)
        if not workers and hasattr(os, "sched_setaffinity"):  # all threads on one core
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        self.dataset = build.open_data(job.settings(folder))
        pipelines: dict[Variant, Callable[..., Generator[Any, None, None]]] = {
            "default": _default,
            "baseline": _plain,
        }
        self.stream = pipelines[variant](self.dataset, job.batch, workers)

    def warm_up(self) -> None:
        self._take(min(len(self.dataset), _WARM_UP))

    def repeat(self) -> Turn:
        # what workers have made ready since the last turn was not timed
        self._take(self.job.batch * 2 * self.workers)
        count = -(-self.job.samples // self.job.batch) * self.job.batch
        return timed(count, partial(self._take, count), self.device)

    def facts(self) -> dict[str, Any]:
        if self.workers:
            return {"helpers": self.workers}
        pixels = self.job.crop_size**2
        moved = 0
        for path in self.dataset.files(0, 0):
            with Image.open(path) as image:
                moved += 3 * image.width * image.height + 4 * 3 * pixels
        return {"bytes": moved, "copy_rate": machine.copy_rate(self.device)}

    def close(self) -> None:
        self.stream.close()

    def _take(self, samples: int) -> None:
        for _ in islice(self.stream, -(-samples // self.job.batch)):
            pass


# -- pipelines -------------------------------------------------------------------------------------


def _default(dataset: Dataset, batch: int, workers: int) -> Generator[Any, None, None]:
    """Yield the batches of `i2i train`."""
    with closing(batches(dataset, 0, batch, workers=workers)) as stream:
        yield from stream


def _plain(dataset: Dataset, batch: int, workers: int) -> Generator[Any, None, None]:
    """Yield batches of the same files as PyTorch programs read them."""
    samples = _Plain(dataset)
    endless = RandomSampler(samples, replacement=True, num_samples=10**9)
    yield from DataLoader(samples, batch, sampler=endless, num_workers=workers)


class _Plain(TorchDataset[list[Tensor]]):
    """Samples by the transforms of pytorch-CycleGAN-and-pix2pix, `resize_and_crop`."""

    def __init__(self, dataset: Dataset) -> None:
        data = dataset.config
        self.files, self.length = partial(dataset.files, 0), len(dataset)
        self.load, self.crop = height_width(data.load_size), height_width(data.crop_size)
        self.halves = getattr(dataset, "layout", "folders") != "folders"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Tensor]:
        pictures = [Image.open(path).convert("RGB") for path in self.files(index)]
        if self.halves:
            (pair,) = pictures
            width, height = pair.size
            boxes = ((0, 0, width // 2, height), (width // 2, 0, width, height))
            pictures = [pair.crop(box) for box in boxes]
        return [self.transform(picture) for picture in pictures]

    def transform(self, picture: Image.Image) -> Tensor:
        """Return [3, crop height, crop width], float32 in [-1, 1]."""
        (height, width), (rows, columns) = self.load, self.crop
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        left, top = random.randint(0, width - columns), random.randint(0, height - rows)
        picture = picture.crop((left, top, left + columns, top + rows))
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255).sub(0.5).div(0.5)


# -- measuring -------------------------------------------------------------------------------------


def bench(job: Job) -> dict[str, Any]:
    """Measure, print and return the numbers: see `i2i.bench`.

    Raises:
        BenchError, ConfigError, DataError: it cannot be measured.
    """
    if job.folder:
        for flag, value in (("--images", job.images), ("--size", job.size)):
            if value is not None:
                raise BenchError(flag, "only for drawn images", "Leave it or the folder out")
        return _bench(job, job.folder)
    with TemporaryDirectory(prefix="i2i-bench-") as folder:
        for domain in ("a", "b"):
            target = Path(folder, "train", domain)
            write_photos(target, job.images or 100, job.size or 256, domain)
        return _bench(job, folder)


def _bench(job: Job, folder: str) -> dict[str, Any]:
    build.open_data(job.settings(folder))  # it can be read
    facts = machine.facts(torch.device("cpu"))
    machine.print_facts(facts)
    contenders = [
        Contender(f"{variant}, {count} workers", [partial(Reading, job, folder, variant, count)])
        for count in _WORKERS
        for variant in VARIANTS
    ]
    take_turns(contenders, job.repeats)
    rows = [report.row(each) for each in contenders]
    ratios = [report.ratio(*pair) for pair in zip(rows[::2], rows[1::2], strict=True)]
    report.print_rows(rows, "sample")
    report.print_ratios(ratios)
    return report.numbers("data", facts, job, rows, ratios)
