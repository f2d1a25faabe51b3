"""Composition root: from settings to data, networks, method and trainer. The only file that knows every room."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from i2i import __version__, registry
from i2i.checkpoint import weights_bytes
from i2i.config import (
    DATA,
    Config,
    ConfigError,
    Layer,
    PairedData,
    Schema,
    UnconditionalData,
    UnpairedData,
    component_schema,
    height_width,
    load,
    merge,
)
from i2i.data.dataset import Dataset, PairedImages, UnconditionalImages, UnpairedImages
from i2i.images.spec import ImageSpec
from i2i.losses.adversarial import discriminator_loss_bounds
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Method
from i2i.methods.dcgan import DCGAN, recalibrate_batchnorm
from i2i.networks.init import init_weights
from i2i.registry import Found
from i2i.training.health import Health, RunInfo

Made = TypeVar("Made")


# -- settings --------------------------------------------------------------------------------------


def resolve(method: str, layers: Sequence[Layer]) -> Config:
    """Return the settings of a run of `method`: its published defaults, then `layers`, later ones first.

    Raises:
        ConfigError: every setting that is unknown, of the wrong type or out of range.
    """
    found = registry.find("methods", method)
    defaults = merge(
        [Layer("", {"method": {"name": method}}), Layer("", dict(found.factory.defaults))]
    )
    layers = [_one_length(layer) for layer in layers]
    raw = merge([Layer("", defaults), *layers])
    _check_sections(raw, method)
    networks = {
        room: registry.find(rooms, raw[room]["name"])
        for room, rooms in (("generator", _GENERATORS), ("discriminator", _DISCRIMINATORS))
    }
    schema = Schema(
        DATA[found.factory.kind],
        component_schema(method, [found.factory, AdversarialLoss], {}),
        *(component_schema(net.name, [net.factory], net.preset) for net in networks.values()),
    )
    if "size" in schema.generator.model_fields:
        defaults["generator"]["size"] = _crop(raw)
    if raw["discriminator"].get("head") == "image":
        defaults["discriminator"]["size"] = _crop(raw)
    for section, model in (
        ("generator", schema.generator),
        ("discriminator", schema.discriminator),
    ):
        # published options of another network than the chosen one mean nothing
        known = set(model.model_fields)
        defaults[section] = {key: value for key, value in defaults[section].items() if key in known}
        defaults[section]["name"] = raw[section]["name"]
    return load([Layer("defaults", defaults), *layers], schema)


_GENERATORS: registry.Room = "generators"
_DISCRIMINATORS: registry.Room = "discriminators"


def _check_sections(raw: Mapping[str, Any], method: str) -> None:
    for section in raw:
        if (
            section in Config.model_fields
            and section != "version"
            and not isinstance(raw[section], Mapping)
        ):
            raise ConfigError(
                f"{section}: must hold settings, such as {section}: {{...}}, not {raw[section]!r}"
            )
    if raw["method"]["name"] != method:
        raise ConfigError(
            f"method.name: the settings are for {raw['method']['name']}, the command is for {method}"
        )
    for section in ("generator", "discriminator"):
        if not isinstance(raw[section].get("name"), str):
            raise ConfigError(f"{section}.name: must be a name, not {raw[section].get('name')!r}")


def _one_length(layer: Layer) -> Layer:
    """A layer that sets the length one way takes back what an earlier one said the other way."""
    train = layer.values.get("train")
    if not isinstance(train, dict):
        return layer
    if train.get("total_images") is not None and train.get("epochs") is not None:
        raise ConfigError(
            f"train.total_images, train.epochs: one of them sets the length; {layer.source} gives both"
        )
    extra = (
        {"total_images": None}
        if "epochs" in train
        else {"epochs": None}
        if "total_images" in train
        else {}
    )
    return Layer(layer.source, layer.values | {"train": extra | train})


def _crop(raw: Mapping[str, Any]) -> Any:
    crop = raw.get("data", {}).get("crop_size", 256)
    return [crop, crop] if isinstance(crop, int) else crop


# -- parts -----------------------------------------------------------------------------------------


def open_data(config: Config, split: str = "train") -> Dataset:
    """Return the data set of `split`, its headers checked.

    Raises:
        DataError: it cannot be trained on.
    """
    data, seed = config.data, config.train.seed
    if isinstance(data, PairedData):
        return PairedImages(data, seed=seed, split=split)
    if isinstance(data, UnpairedData):
        return UnpairedImages(data, seed=seed, split=split)
    assert isinstance(data, UnconditionalData)
    return UnconditionalImages(data, seed=seed)


def make_method(config: Config, channels: Mapping[str, int]) -> Method:
    """Return the method with freshly initialized networks for images with these channels.

    Raises:
        ConfigError: options that do not go together.
    """
    generator = registry.find("generators", config.generator.name)
    discriminator = registry.find("discriminators", config.discriminator.name)
    method = registry.find("methods", config.method.name)
    options = config.method.options()

    def make_generator(in_channels: int, out_channels: int) -> nn.Module:
        net = _made("generator", generator, in_channels, out_channels, config.generator.options())
        return _prepared(net, config, config.train.compile)

    def make_discriminator(in_channels: int) -> AdversarialLoss:
        net = _made("discriminator", discriminator, in_channels, config.discriminator.options())
        adversary = _build(
            "method", lambda: AdversarialLoss(net, **_accepted(AdversarialLoss, options))
        )
        # compiled code has no second derivatives, which penalties need
        _prepared(net, config, config.train.compile and not adversary.penalized)
        return adversary

    parts: dict[str, Any] = {
        "channels": channels,
        "direction": getattr(config.data, "direction", None),
    }
    takes = inspect.signature(method.factory).parameters
    own = _accepted(method.factory, options) | {
        key: value for key, value in parts.items() if key in takes
    }
    made: Method = _build(
        "method", lambda: method.factory(make_generator, make_discriminator, **own)
    )
    _check_sizes(config, made)
    return made


def _prepared(net: nn.Module, config: Config, compiled: bool) -> nn.Module:
    init_weights(net, config.train.init, config.train.init_gain)
    if compiled:
        net.compile(dynamic=False)
    return net


def _made(section: str, found: Found, *arguments: Any) -> nn.Module:
    *positional, options = arguments
    net: nn.Module = _build(section, lambda: found.factory(*positional, **options))
    return net


def _build(section: str, make: Callable[[], Made]) -> Made:
    """Constructors refuse what makes no sense with a ValueError that begins with the option's name."""
    try:
        return make()
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{section}.{error}") from None


def _accepted(factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters.values()
    names = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    return {key: value for key, value in options.items() if key in names}


def _check_sizes(config: Config, method: Method) -> None:
    height, width = height_width(config.data.crop_size)
    for net in method.modules():
        smallest, fixed = getattr(net, "min_size", 0), getattr(net, "size", None)
        if min(height, width) < smallest:
            raise ConfigError(
                f"data.crop_size: {config.discriminator.name} needs sides of at least {smallest} pixels, not "
                f"{height}x{width}. Choose a larger crop, or fewer discriminator.layers."
            )
        if fixed is not None and tuple(fixed) != (height, width):
            raise ConfigError(
                f"generator.size, discriminator.size: {tuple(fixed)} is not data.crop_size, {height}x{width}. "
                "Leave size out: it follows the crop."
            )
    for net in method.translators().values():
        multiple = int(getattr(net, "size_divisor", 1))
        if height % multiple or width % multiple:
            raise ConfigError(
                f"data.crop_size: {config.generator.name} takes sides that are multiples of {multiple}, not "
                f"{height}x{width}. Choose another crop, or a generator with fewer halvings (generator.depth)."
            )


# -- what a weights file says ----------------------------------------------------------------------


@dataclass(frozen=True)
class ModelDescription:
    """Writes the description that makes a weights file usable without any option."""

    config: Config
    specs: Mapping[str, ImageSpec]  # by domain
    generation: DCGAN | None = (
        None  # its discriminator is kept too, to score what the generator makes
    )

    def metadata(self, images: int) -> dict[str, Any]:
        """Return the metadata after `images` images of training."""
        config = self.config
        facts = {
            "images": images,
            "i2i": __version__,
            "training_size": list(height_width(config.data.crop_size)),
        }
        return {
            "method": config.method.name,
            "generators": self._generators(),
            "direction": getattr(config.data, "direction", "generate"),
            "statistics": "running" if isinstance(config.data, UnconditionalData) else "image",
            "alpha": config.data.alpha,
            "domains": {domain: reading.to_dict() for domain, reading in self.specs.items()},
            "facts": facts,
            "config": config.to_dict(),
        }

    def pack(self, nets: Mapping[str, nn.Module], images: int) -> bytes:
        """Return a weights file of `nets` by direction."""
        if (method := self.generation) is not None:
            nets = {
                name: recalibrate_batchnorm(net, method.latent, method.latent_distribution)
                for name, net in nets.items()
            }
        directions = {name: net.state_dict() for name, net in nets.items()}
        tensors = {
            f"{name}/{key}": value
            for name, state in directions.items()
            for key, value in state.items()
        }
        metadata = self.metadata(images)
        metadata["generators"] = {name: metadata["generators"][name] for name in nets}
        if method is not None:
            tensors |= {
                f"discriminator/{key}": value for key, value in method.D.net.state_dict().items()
            }
            options = self.config.to_dict()["discriminator"]
            shape = {
                "name": options.pop("name"),
                "options": options,
                "in_channels": self.specs["image"].channels,
            }
            metadata["discriminator"] = shape | {
                "objective": self.config.method.options()["objective"]
            }
        return weights_bytes(tensors, metadata)

    def _generators(self) -> dict[str, Any]:
        options = self.config.to_dict()["generator"]
        name = options.pop("name")
        shape = {"name": name, "options": options}
        channels = {domain: reading.channels for domain, reading in self.specs.items()}
        if "image" in channels:
            method = self.config.method.options()
            latent = {
                "in_channels": method["latent"],
                "out_channels": channels["image"],
                "latent_distribution": method["latent_distribution"],
            }
            return {"generate": shape | latent}
        return {
            f"{source}2{target}": shape
            | {"in_channels": channels[source], "out_channels": channels[target]}
            for source, target in (("a", "b"), ("b", "a"))
        }


def health(method: Method, config: Config, processes: int) -> Health:
    """Return the watch over a run of `method`: it knows the settings, and what D's loss is while D can only guess."""
    update = config.train.batch * config.train.accumulate * processes
    limits = [
        discriminator_loss_bounds(net.objective, net.real_target)
        for net in method.children()
        if isinstance(net, AdversarialLoss)
    ]
    if not limits or limits[0] is None:
        return Health(RunInfo(config.to_dict(), update, guessing=None))
    certain, guessing = limits[0]  # every discriminator of a method has the same options
    return Health(RunInfo(config.to_dict(), update, guessing, certain))


def count_parameters(net: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def with_length(config: Config, epoch_images: int) -> Config:
    """Return `config` with its length in images, now that an epoch's length is known.

    Raises:
        ConfigError: it has no length.
    """
    train = config.train
    if train.total_images is None and train.epochs is None:
        raise ConfigError("train.total_images, train.epochs: one of them sets the length")
    images = train.total_images or max(1, round((train.epochs or 0) * epoch_images))
    return config.model_copy(
        update={"train": train.model_copy(update={"total_images": images, "epochs": None})}
    )
