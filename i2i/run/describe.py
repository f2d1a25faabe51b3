"""The weights file of a run: its networks, and their description."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from i2i import __version__
from i2i.config import Config, height_width
from i2i.data.dataset import Dataset
from i2i.data.ranges import evenly
from i2i.direction import Direction
from i2i.images.spec import ImageSpec
from i2i.images.statistics import measure, summarize
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Method
from i2i.model_file import (
    DISCRIMINATOR,
    GENERATE,
    DiscriminatorInfo,
    GeneratorInfo,
    ModelInfo,
    model_bytes,
    named_tensors,
)
from i2i.networks.latent import recalibrate_batchnorm

_MEASURED = 128  # images whose statistics a model keeps
Specs = Mapping[str, ImageSpec]  # by domain


def pack(
    config: Config, specs: Specs, method: Method, nets: Mapping[str, nn.Module], images: int
) -> bytes:
    """Return the weights file of `nets`, by direction, after `images` images of training.

    A method with a latent keeps its discriminator, if any, to score what the generator makes.
    """
    networks = dict(nets)
    if method.latent is not None:
        networks = {name: recalibrate_batchnorm(net, method.latent) for name, net in nets.items()}
        if discriminator := _discriminator(method):
            networks[DISCRIMINATOR] = discriminator
    return model_bytes(describe(config, specs, method, images), named_tensors(networks))


def describe(config: Config, specs: Specs, method: Method, images: int) -> ModelInfo:
    """Return the description of a run's networks after `images` images of training."""
    discriminator = None
    if method.latent is not None and _discriminator(method):
        discriminator = DiscriminatorInfo(
            name=config.discriminator.name,
            options=config.discriminator.options(),
            in_channels=specs["image"].channels,
            objective=config.method.options()["objective"],
        )
    return ModelInfo(
        method=config.method.name,
        generators={name: _generator(name, config, specs, method) for name in method.translators()},
        discriminator=discriminator,
        direction=getattr(config.data, "direction", GENERATE),
        statistics="running" if method.latent is not None else "image",
        alpha=config.data.alpha,
        layout=getattr(config.data, "layout", "auto"),
        domains=dict(specs),
        resized_to=None if config.data.resize == "none" else height_width(config.data.load_size),
        facts={
            "images": images,
            "i2i": __version__,
            "training_size": height_width(config.data.crop_size),
        },
        config=config.to_dict(),
    )


def with_statistics(dataset: Dataset, method: Method) -> dict[str, ImageSpec]:
    """Return the specs of `dataset` with the statistics of inputs: an even sample of images.

    Labels have none, and domains that no network translates.
    """
    domains = [Direction(name).source for name in method.translators() if name in list(Direction)]
    domains = [domain for domain in domains if not dataset.specs[domain].mask]
    measured: dict[str, list[NDArray[np.float64]]] = {domain: [] for domain in domains}
    for index in evenly(_MEASURED, dataset.count) if domains else ():
        arrays = dataset.fixed_pixels(index)
        for domain in domains:
            measured[domain].append(measure(arrays[domain]))
    specs = dict(dataset.specs)
    for name, rows in measured.items():
        specs[name] = replace(specs[name], statistics=summarize(rows))
    return specs


def _discriminator(method: Method) -> nn.Module | None:
    nets = (part.net for part in method.children() if isinstance(part, AdversarialLoss))
    return next(nets, None)


def _generator(name: str, config: Config, specs: Specs, method: Method) -> GeneratorInfo:
    if method.latent is not None:
        source, target = method.latent.length, specs["image"].channels
    else:
        direction = Direction(name)
        source, target = specs[direction.source].channels, specs[direction.target].channels
    return GeneratorInfo(
        name=config.generator.name,
        options=config.generator.options(),
        in_channels=source,
        out_channels=target,
        latent_distribution=method.latent.distribution if method.latent else None,
    )
