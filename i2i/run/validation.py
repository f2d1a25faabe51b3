"""Scores of a run on images that it does not train on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from i2i import images
from i2i.config import Config, height_width
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError
from i2i.direction import Direction
from i2i.evaluation.features import NO_WEIGHTS, feature_facts
from i2i.evaluation.features.load import load_networks
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.metric import METRICS, Interval
from i2i.evaluation.protocol import Protocol
from i2i.evaluation.record import resizer_of
from i2i.evaluation.scoring import ImageScores, Scorer, counts, masked
from i2i.evaluation.sets import ImageSet, Picture, check_counts, compare, describe
from i2i.files import VALIDATION
from i2i.images import Array
from i2i.images.spec import VALID, ImageSpec
from i2i.methods._base import Method
from i2i.networks.inference import per_image_statistics
from i2i.run import build
from i2i.run.contradictions import check_metrics, chosen_metrics
from i2i.run.gallery import Gallery, Row, picture_name, prune
from i2i.run.samples import evenly, generate, to_rgb, translate
from i2i.training.validation import Nets, Validated

Reals = dict[str, dict[int | str, tuple[str, Array]]]  # domain -> file and image of each


class _Sample(NamedTuple):
    """An output, what it was made from, and of pairs the target; [C, H, W] in [-1, 1]."""

    file: str  # of the input, or a number where there is no input
    output: Tensor
    input: Tensor | None = None
    target: Tensor | None = None
    valid: Tensor | None = None  # [1, H, W], above 0 where pixels have data; None: all have


class RunValidation:
    """Validation of one run. It changes nothing of the training, not even a random state.

    Raises:
        ConfigError: a metric cannot be computed here.
        DataError: the images cannot be used, or differ in channels from those of training.
        FeatureError: the weights of a feature network are damaged.
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
        self.dataset = build.open_validation(settings)
        if self.dataset.channels != training.channels:
            channels = f"{self.dataset.channels}, those of training {training.channels}"
            reason = f"images of validation have channels {channels}"
            raise DataError("data.root", reason, "Give both the same kind of images")
        self.folder, self.device, self.latent = folder / VALIDATION, device, method.latent
        self.indices = evenly(settings.validate.images, self.dataset)
        self.seed, self.paired = settings.train.seed, method.kind == "paired"
        self.metrics, self.metric = chosen_metrics(settings, method.kind)
        of_sets = [name for name in self.metrics if METRICS[name].kind == "set"]
        self.networks = load_networks(of_sets, NO_WEIGHTS, device)
        reals: Reals = {domain: {} for domain in self.dataset.specs}
        for index in self.indices:
            files = self.dataset.names(index)
            sample = self.dataset.fixed(index)
            for domain, image in ((domain, sample[domain]) for domain in self.dataset.specs):
                key = index if self.paired else files[domain]  # of a smaller one, they repeat
                spec = self.dataset.specs[domain]
                array = spec.pixels(image, _depth(spec))
                reals[domain].setdefault(key, (files[domain], array))
        self.directions = sorted(method.translators())
        self.protocol = self._protocol(settings, reals, of_sets)
        self.real_sets: dict[str, ImageSet] = {}  # by direction
        for direction in self.directions if of_sets else ():
            arrays = [array for _, array in reals[_target(direction)].values()]
            pictures = [images.to_display_rgb(array, alpha=False) for array in arrays]
            real_set = describe(pictures, of_sets, self.networks)
            check_counts(real_set, real_set, of_sets)  # before training, not at a validation
            self.real_sets[direction] = real_set

    def score(self, nets: Nets, position: int, busy: Callable[[], None]) -> Validated:
        """Score networks, by direction, after `position` images; `busy` is called now and then.

        Raises:
            ImageError: an image cannot be read any more.
            SetError: there are too few images for a metric, or one is too small.
        """
        gallery = Gallery(self.folder, position)
        scores, rows = {}, []
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for direction in self.directions:
                busy()
                scores[direction], own = self._score(nets, direction, gallery, busy)
                rows += [(direction, each.name, each.values) for each in own]
        gallery.publish(self._worst_first(rows))
        return Validated(
            scores,
            self.protocol.as_json() | {"checkpoint": f"after {position} images"},
            self.protocol.hash,
            self.metric,
            fmean(each[self.metric].mean for each in scores.values()),
            METRICS[self.metric].higher_is_better,
            gallery.trouble,
        )

    def prune(self, *keep: int) -> None:
        """Remove the pictures of all positions but those to keep."""
        prune(self.folder, keep)

    def _score(
        self, nets: Nets, direction: str, gallery: Gallery, busy: Callable[[], None]
    ) -> tuple[dict[str, Interval], Sequence[ImageScores]]:
        """Return the scores of a direction, and those of each image."""
        spec = self.dataset.specs[_target(direction)]
        own = [name for name in self.metrics if METRICS[name].kind == "paired"]
        of_sets = [name for name in self.metrics if METRICS[name].kind == "set"]
        scorer, depth = Scorer(own, spec), _depth(spec)
        outputs: dict[str, Picture] = {}
        for sample in self._samples(nets, direction):
            name = picture_name(sample.file, outputs)
            parts = {"input": sample.input, "output": sample.output, "target": sample.target}
            pictures = {
                part: to_rgb(image, spec) for part, image in parts.items() if image is not None
            }
            if sample.input is not None:
                pictures["input"] = to_rgb(sample.input, self.dataset.specs[_source(direction)])
            gallery.add(direction, name, pictures)
            outputs[name] = pictures["output"]
            if sample.target is not None and own:
                output, target = (
                    spec.pixels(each, depth) for each in (sample.output, sample.target)
                )
                valid = None if sample.valid is None else sample.valid[0].numpy() > 0
                if counts(valid):
                    scored = [(direction, output)]
                    if not spec.classes:
                        scored = masked(scored, target, valid)
                    scorer.add(name, target, scored, depth, valid)
            busy()
        scores: dict[str, Interval] = {}
        each_image = [ImageScores(name, {}) for name in outputs]
        if own:
            result = scorer.result()
            scores |= result.scores[direction]
            each_image = list(result.images[direction])
        if of_sets:
            fakes = describe(outputs.values(), of_sets, self.networks)
            busy()
            scores |= compare(self.real_sets[direction], fakes, of_sets)
        return scores, each_image

    def _samples(self, nets: Nets, direction: str) -> Iterator[_Sample]:
        """Yield a sample for each input."""
        if self.latent is not None:
            count = len(self.indices)
            fakes = generate(nets[direction], count, self.latent, self.seed, self.device)
            for number, fake in enumerate(fakes):
                yield _Sample(f"{number:06d}", fake)
            return
        source, net = Direction(direction).source, per_image_statistics(nets[direction])
        done: set[str] = set()  # of a smaller domain, images come again
        for index in self.indices:
            file = self.dataset.names(index)[source]
            if self.paired or file not in done:
                done.add(file)
                reals = self.dataset.fixed(index)
                output = translate(net, reals[source], self.device).float().cpu()
                target = reals[_target(direction)] if self.paired else None
                valid = reals.get(VALID) if self.paired else None
                yield _Sample(file, output, reals[source], target, valid)

    def _worst_first(self, rows: list[Row]) -> list[Row]:
        """Return a row for each image, ordered by the metric that chooses, or by the first."""
        own = [name for name in self.metrics if METRICS[name].kind == "paired"]
        if not own:
            return rows
        by = self.metric if self.metric in own else own[0]
        sign = 1 if METRICS[by].higher_is_better else -1
        return sorted(rows, key=lambda row: sign * row[2][by])

    def _protocol(self, settings: Config, reals: Reals, of_sets: list[str]) -> Protocol:
        """Return all that makes the numbers, the same for every validation of a run."""
        targets = [_target(direction) for direction in self.directions]
        sources = [] if self.latent else [Direction(each).source for each in self.directions]
        spec = self.dataset.specs[targets[0]]
        depth, part = _depth(spec), self.dataset.part
        prints, order = [], list[str]()  # of pairs: hashes of the targets
        for domains in (targets, sources):
            pictures = [each for domain in domains for each in reals[domain].values()]
            collector = Collector(file for file, _ in pictures)
            hashes = [collector.add(*picture) for picture in pictures]
            order = order or hashes
            prints.append(collector.result(order if self.paired else ()) if pictures else None)
        of_targets, of_inputs = prints
        assert of_targets is not None, "a data set is not empty"
        height, width = height_width(settings.data.crop_size)
        return Protocol(
            split=f"{part.share:g} of train" if part else "val",
            direction=", ".join(self.directions),
            paired=self.paired,
            size=f"{width}x{height}",
            resizer=f"{resizer_of(spec)}; {settings.data.resize}, cropped at the center",
            channels=spec.channels,
            depth=depth,
            value_range=spec.limits(depth),
            targets=of_targets,
            inputs=of_inputs,
            features=feature_facts(of_sets) if of_sets else None,
            precision="fp32",
        )


def _target(direction: str) -> str:
    """Return the domain that a direction makes images of."""
    return Direction(direction).target if direction in list(Direction) else "image"


def _source(direction: str) -> str:
    """Return the domain that a direction makes images from."""
    return Direction(direction).source


def _depth(spec: ImageSpec) -> int:
    """Return the bits in which images of a domain are scored; 32: floats."""
    depth = spec.taken_depth(spec.depth or 8)
    return 32 if spec.in_units(depth) else depth
