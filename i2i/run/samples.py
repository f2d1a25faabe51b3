"""Sample sheets of a run: fixed inputs or latents through the current networks."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i import images
from i2i.config import Config
from i2i.console import log
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError, SplitError
from i2i.direction import Direction
from i2i.images.spec import ImageSpec
from i2i.methods._base import Method
from i2i.networks.inference import inference, per_image_statistics
from i2i.networks.latent import LatentSpec, recalibrate_batchnorm
from i2i.run import build

Picture = NDArray[np.uint8]
Nets = Mapping[str, nn.Module]


def sample_sheet(
    settings: Config, dataset: Dataset, method: Method, device: torch.device
) -> Callable[[Nets], Picture]:
    """Return a function that draws samples, of test images where there are some.

    `dataset`: that of training.
    """
    count = settings.log.samples
    if method.latent is not None:
        return generation_sheet(count, method.latent, settings.train.seed, device)
    dataset = open_test_split(settings, dataset) or dataset
    samples = [dataset.fixed(index) for index in evenly(count, dataset)]
    return translation_sheet(samples, dataset.specs, device)


def evenly(count: int, dataset: Dataset) -> list[int]:
    """Return at most `count` samples of a data set, spread evenly."""
    count = min(count, dataset.count)
    return [index * dataset.count // count for index in range(count)]


def open_test_split(settings: Config, training: Dataset) -> Dataset | None:
    """Return the test split; None without one, or with a note if it cannot be used."""
    data = settings.data.model_copy(update={"on_bad_file": "skip"})
    try:
        dataset = build.open_data(settings.model_copy(update={"data": data}), "test")
    except SplitError:
        return None
    except DataError as error:
        log(f"note: the sample sheet shows training images, not those of the test split: {error}")
        return None
    for note in dataset.notes:
        if note.startswith("skipped"):
            log(f"note: in the test split: {note}")
    if dataset.channels != training.channels:
        log("note: the sample sheet shows training images; the test split has other channels")
        return None
    return dataset


def translation_sheet(
    samples: list[dict[str, Tensor]], specs: Mapping[str, ImageSpec], device: torch.device
) -> Callable[[Nets], Picture]:
    """Return a function that draws a row of input, output and target for each of `samples`.

    A sample is {"a", "b"}: [C, H, W] in [-1, 1]. Two directions are drawn side by side: a, its
    translation, b, its translation.
    """

    def draw(nets: Nets) -> Picture:
        rows = []
        used = {name: per_image_statistics(net) for name, net in sorted(nets.items())}
        for sample in samples:
            row = []
            for direction, net in used.items():
                source, target = Direction(direction).source, Direction(direction).target
                output = translate(net, sample[source], device)
                row += [to_rgb(sample[source], specs[source]), to_rgb(output, specs[target])]
                row += [to_rgb(sample[target], specs[target])] if len(nets) == 1 else []
            rows += row
        return images.grid(rows, columns=len(rows) // len(samples))

    return draw


def generation_sheet(
    count: int, latent: LatentSpec, seed: int, device: torch.device
) -> Callable[[Nets], Picture]:
    """Return a function that draws `count` images from latents that are fixed by `seed`."""

    def draw(nets: Nets) -> Picture:
        fakes = [to_rgb(fake) for fake in generate(nets["generate"], count, latent, seed, device)]
        return images.grid(fakes, columns=max(1, round(count**0.5)))

    return draw


def translate(net: nn.Module, image: Tensor, device: torch.device) -> Tensor:
    """Return the translation of an image [C, H, W] in [-1, 1], by a net in evaluation mode."""
    with inference(net) as used:
        output: Tensor = used(image.unsqueeze(0).to(device))[0]
    return output


def generate(
    net: nn.Module, count: int, latent: LatentSpec, seed: int, device: torch.device
) -> list[Tensor]:
    """Return `count` images [C, H, W] in [-1, 1] from latents that are fixed by `seed`."""
    latents = latent.sample(count, generator=torch.Generator().manual_seed(seed))
    with inference(recalibrate_batchnorm(net, latent)) as used:
        return [image for part in torch.split(latents, 16) for image in used(part.to(device)).cpu()]


def to_rgb(image: Tensor, spec: ImageSpec | None = None) -> Picture:
    """Convert [C, H, W] in [-1, 1] to RGB: its first three channels, or its first as gray.

    Of classes, which `spec` says, each gets a color of its own.
    """
    if spec and spec.classes:
        return spec.display(spec.pixels(image.float()))
    return images.to_display_rgb(images.from_tensor(image.cpu()), alpha=False)
