"""Scores of a run on images that it does not train on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.config import Config, Kind, height_width
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError
from i2i.direction import Direction
from i2i.evaluation.features import available
from i2i.evaluation.metric import METRICS
from i2i.evaluation.paired import Interval, bootstrap, score_pairs
from i2i.evaluation.sets import set_scores
from i2i.files import VALIDATION
from i2i.images.spec import ImageSpec
from i2i.methods._base import Method
from i2i.networks.inference import per_image_statistics
from i2i.run import build
from i2i.run.contradictions import check_metrics
from i2i.run.gallery import Gallery, Row, picture_name, prune
from i2i.run.samples import evenly, generate, to_rgb, translate
from i2i.training.validation import Nets, Validated

Picture = NDArray[np.uint8]  # [H, W, 3]


class _Sample(NamedTuple):
    """An output, what it was made from, and an image of the domain that it imitates."""

    output: Tensor  # [C, H, W] in [-1, 1], as are the others
    input: Tensor | None
    real: Tensor  # of pairs the target
    file: str  # of the input, or a number where there is no input
    real_file: str


class RunValidation:
    """Validation of one run. It changes nothing of the training, not even a random state.

    Raises:
        ConfigError: a metric cannot be computed here.
        DataError: the images cannot be used, or differ in channels from those of training.
    """

    def __init__(
        self,
        folder: Path,
        settings: Config,
        training: Dataset,
        method: Method,
        device: torch.device,
    ) -> None:
        check_metrics(settings, method.kind)
        dataset = build.open_validation(settings)
        if dataset.channels != training.channels:
            reason = f"validation has channels {dataset.channels}, training {training.channels}"
            raise DataError("data.root", reason, "Give both the same kind of images")
        self.folder, self.device, self.latent = folder / VALIDATION, device, method.latent
        self.dataset, self.indices = dataset, evenly(settings.validate.images, dataset)
        self.seed, self.paired = settings.train.seed, method.kind == "paired"
        self.metrics, self.metric = chosen_metrics(settings, method.kind)
        self.protocol = _protocol(settings, dataset, len(self.indices), self.metrics)

    def score(self, nets: Nets, position: int, busy: Callable[[], None]) -> Validated:
        """Score networks, by direction, after `position` images; `busy` is called now and then.

        Raises:
            ImageError: an image cannot be read any more.
            SetError, FeatureError: a metric cannot be computed.
        """
        gallery = Gallery(self.folder, position)
        scorers = {name: _Scorer(self.metrics, self._spec(name)) for name in sorted(nets)}
        for direction, sample in self._samples(nets):
            name = scorers[direction].add(sample)
            parts = {"input": sample.input, "output": sample.output}
            if self.paired:
                parts["target"] = sample.real
            pictures = {part: to_rgb(image) for part, image in parts.items() if image is not None}
            gallery.add(direction, name, pictures)
            busy()
        scores = {name: scorer.scores(self.device, busy) for name, scorer in scorers.items()}
        gallery.publish(self._worst_first(scorers))
        return Validated(
            scores,
            self.protocol,
            _short_hash(self.protocol),
            self.metric,
            fmean(each[self.metric].mean for each in scores.values()),
            METRICS[self.metric].higher_is_better,
            gallery.trouble,
        )

    def prune(self, *keep: int) -> None:
        """Remove the pictures of all positions but those to keep."""
        prune(self.folder, keep)

    def _spec(self, direction: str) -> ImageSpec:
        return self.dataset.specs["image" if self.latent else Direction(direction).target]

    def _samples(self, nets: Nets) -> Iterator[tuple[str, _Sample]]:
        """Yield (direction, sample): each input once."""
        if self.latent is not None:
            net, count = nets["generate"], len(self.indices)
            fakes = generate(net, count, self.latent, self.seed, self.device)
            for number, (index, fake) in enumerate(zip(self.indices, fakes, strict=True)):
                real, file = self.dataset.fixed(index)["image"], self.dataset.names(index)["image"]
                yield "generate", _Sample(fake, None, real, f"{number:06d}", file)
            return
        seen: set[tuple[str, str]] = set()  # of a smaller domain, images come again
        used = {name: per_image_statistics(net) for name, net in sorted(nets.items())}
        for index in self.indices:
            reals, files = self.dataset.fixed(index), self.dataset.names(index)
            for direction, net in used.items():
                source, target = Direction(direction).source, Direction(direction).target
                if (source, files[source]) in seen:
                    continue
                seen.add((source, files[source]))
                output = translate(net, reals[source], self.device).cpu()
                sample = _Sample(output, reals[source], reals[target], files[source], files[target])
                yield direction, sample

    def _worst_first(self, scorers: Mapping[str, "_Scorer"]) -> list[Row]:
        """Return a row for each image, ordered by the metric that chooses, or by the first."""
        rows: list[Row] = [
            (direction, name, values)
            for direction, scorer in scorers.items()
            for name, values in scorer.values.items()
        ]
        own = [name for name in self.metrics if METRICS[name].kind == "paired"]
        if own:
            by = self.metric if self.metric in own else own[0]
            rows.sort(key=lambda row: row[2][by] * (1 if METRICS[by].higher_is_better else -1))
        return rows


class _Scorer:
    """Scores of one direction, collected image by image."""

    def __init__(self, metrics: tuple[str, ...], spec: ImageSpec) -> None:
        self.own = [name for name in metrics if METRICS[name].kind == "paired"]
        self.of_sets = [name for name in metrics if METRICS[name].kind == "set"]
        depth = spec.taken_depth(spec.depth or 8)
        self.depth = 32 if spec.in_units(depth) else depth
        low, high = spec.value_range if spec.in_units(depth) else (0, 2**depth - 1)
        self.width = high - low
        self.values: dict[str, dict[str, float]] = {}  # by name of the image
        self.fakes: dict[str, Picture] = {}  # by file
        self.reals: dict[str, Picture] = {}

    def add(self, sample: _Sample) -> str:
        """Score a sample and return its name."""
        name = picture_name(sample.file, self.values)
        values = {}
        if self.own:
            pair = sample.output.float()[None].cpu(), sample.real[None]
            values = {key: float(each) for key, each in score_pairs(*pair, self.depth).items()}
            values["l1_units"] = values["l1"] * self.width
        self.values[name] = {metric: values[metric] for metric in self.own}
        if self.of_sets:
            self.fakes[sample.file] = to_rgb(sample.output)
            self.reals[sample.real_file] = to_rgb(sample.real)
        return name

    def scores(self, device: torch.device, busy: Callable[[], None]) -> dict[str, Interval]:
        """Return the interval of each metric."""
        scores = {}
        for metric in self.own:
            column = [values[metric] for values in self.values.values()]
            scores[metric] = bootstrap(torch.tensor(column, dtype=torch.float64))
        if self.of_sets:
            sets = list(self.reals.values()), list(self.fakes.values())
            scores |= set_scores(
                *sets, self.of_sets, device=device, progress=lambda _done, _total: busy()
            )
        return scores


def chosen_metrics(settings: Config, kind: Kind) -> tuple[tuple[str, ...], str]:
    """Return the metrics of a validation, and the one that chooses the best."""
    section = settings.validate
    if section.metrics:
        metrics = section.metrics
    elif kind == "paired":
        metrics = ("psnr", "ssim", "l1")
    else:
        computable = available("set")
        metrics = tuple(name for name in ("kid_effnet", "swd") if name in computable)
    metric = section.metric or ("ssim" if kind == "paired" and "ssim" in metrics else metrics[0])
    return (metrics if metric in metrics else (*metrics, metric)), metric


def _protocol(
    settings: Config, dataset: Dataset, images: int, metrics: tuple[str, ...]
) -> dict[str, Any]:
    """Return all that makes the numbers of a validation, as plain values."""
    held_out = f"{settings.validate.share:g} of train, seed {settings.train.seed}"
    height, width = height_width(settings.data.crop_size)
    return {
        "split": held_out if dataset.part else "val",
        "data": dataset.fingerprint(),
        "images": images,
        "size": f"{width}x{height}",
        "resize": settings.data.resize,
        "metrics": list(metrics),
    }


def _short_hash(protocol: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]
