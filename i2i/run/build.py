"""From settings to data, networks, method and health rules. Knows every room."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from i2i import registry
from i2i.config import (
    DATA,
    Config,
    ConfigError,
    Kind,
    PairedData,
    TrainConfig,
    TwoDomainsData,
    UnconditionalData,
    UnpairedData,
)
from i2i.data.dataset import Dataset, PairedImages, UnpairedImages
from i2i.data.folders import SplitError, list_split
from i2i.data.layouts import folder_names
from i2i.data.ranges import check_effect
from i2i.data.selection import HeldOut
from i2i.data.unconditional import UnconditionalImages
from i2i.errors import OptionError
from i2i.losses.adversarial import discriminator_loss_bounds
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Method
from i2i.networks.activation_checkpointing import checkpoint_activations
from i2i.networks.blocks import LEAKY_SLOPE
from i2i.networks.contract import Discriminator, Generator, check_contract
from i2i.networks.init import init_weights
from i2i.options import option_fields
from i2i.run.contradictions import check_networks
from i2i.run.warm_start import freeze
from i2i.training.health import Health, RunInfo


def open_data(config: Config, split: str = "train") -> Dataset:
    """Return the data set of `split`, its headers checked; without what is held out of training.

    Raises:
        DataError: it cannot be trained on.
    """
    if split == "train" and _holds_out(config):
        return _open(config, split, HeldOut(config.validate.share, wanted=False))
    return _open(config, split)


def open_validation(config: Config) -> Dataset:
    """Return the data set of validation: the split val, or what is held out of training.

    Raises:
        DataError: it cannot be used.
    """
    if _holds_out(config):
        return _open(config, "train", HeldOut(config.validate.share, wanted=True))
    return _open(config, "val")


def check_held_out(before: Config, after: Config) -> None:
    """Refuse that a resumed run begins or ends to hold images out of training.

    Raises:
        ConfigError: it would train on images that it was scored on, or the reverse.
    """
    if _holds_out(before) != _holds_out(after):
        reason = "would change which images are trained on: the data has no folder val"
        hint = "Add one, or begin another run with another --out"
        raise ConfigError("validate.every_images", reason, hint)


def _holds_out(config: Config) -> bool:
    """Return True if images of the training split are for validation: there is no split val."""
    data = config.data
    if config.validate.every_images is None:
        return False
    kind: Kind = next(kind for kind, section in DATA.items() if isinstance(data, section))
    names = folder_names(data) if isinstance(data, TwoDomainsData) else ()
    own = (data.pair_pattern, data.pairs) if isinstance(data, PairedData) else ((), None)
    layout = data.layout if isinstance(data, PairedData) else "auto"
    try:
        list_split(data.root, "val", kind, layout, names, patterns=own[0], table=own[1])
    except SplitError:
        return True
    return False


def _open(config: Config, split: str, part: HeldOut | None = None) -> Dataset:
    dataset = _dataset(config, split, part)
    check_effect(config.data, dataset.specs.values())
    return dataset


def _dataset(config: Config, split: str, part: HeldOut | None) -> Dataset:
    data, seed = config.data, config.train.seed
    if isinstance(data, PairedData):
        return PairedImages(data, seed=seed, split=split, part=part)
    if isinstance(data, UnpairedData):
        return UnpairedImages(data, seed=seed, split=split, part=part)
    assert isinstance(data, UnconditionalData)
    return UnconditionalImages(data, seed=seed, split=split, part=part)


def make_method(config: Config, channels: Mapping[str, int]) -> Method:
    """Return the method with freshly initialized networks for images with these channels.

    Raises:
        ConfigError: options that do not go together, or networks that do not fit the crop.
    """
    generator = registry.find("generators", config.generator.name)
    factory = registry.find("methods", config.method.name).factory
    options = config.method.options()

    def initialize(net: nn.Module) -> None:
        init_weights(net, config.train.init, config.train.init_gain)

    def make_generator(in_channels: int, out_channels: int) -> nn.Module:
        net = _build(
            "generator",
            lambda: generator.factory(in_channels, out_channels, **config.generator.options()),
        )
        check_contract(net, Generator)
        initialize(net)
        if config.train.compile:
            net.compile(dynamic=False)
        if config.train.activation_checkpointing and not checkpoint_activations(net):
            reason = f"has no effect: {config.generator.name} has none of the layers it is for"
            raise ConfigError("train.activation_checkpointing", reason, "Leave it out")
        return net

    def make_discriminator(in_channels: int) -> AdversarialLoss:
        discriminator = registry.find("discriminators", config.discriminator.name)
        net = _build(
            "discriminator",
            lambda: discriminator.factory(in_channels, **config.discriminator.options()),
        )
        check_contract(net, Discriminator)
        with _options_of("method"):
            adversarial = AdversarialLoss(net, **_select(options, AdversarialLoss))
        # compiled code has no second derivatives, which penalties need
        if config.train.compile and not adversarial.penalized:
            net.compile(dynamic=False)
        _initialize_discriminator(net, config.train)
        return adversarial

    if missing := set(factory.domains) - set(channels):
        reason = f"{config.method.name} needs the domains {', '.join(factory.domains)}"
        hint = f"The data has no {', '.join(sorted(missing))}"
        raise ConfigError("method.name", reason, hint)
    parts = {"channels": channels, "direction": getattr(config.data, "direction", None)}
    parts |= {"make_discriminator": make_discriminator, "initialize": initialize}
    arguments = _select(options, factory)
    for name in inspect.signature(factory).parameters.keys() & parts.keys():
        arguments[name] = parts[name]
    with _options_of("method"):
        method: Method = factory(make_generator, **arguments)
    if factory.kind != "paired" and not options.get("lambda_gan", 1):
        reason = f"{config.method.name} learns its target from the discriminator alone"
        raise ConfigError("method.lambda_gan", f"must be above 0: {reason}", "Use regress on pairs")
    check_networks(config, method)
    freeze(method, config.train.freeze)
    return method


def _build(section: str, construct: Callable[[], nn.Module]) -> nn.Module:
    """Return the network of `section`, unless training it needs more memory than there is."""
    with _options_of(section):
        with torch.device("meta"):  # takes no memory and no random number
            weights = count_parameters(construct())
        needed, installed = 16 * weights, installed_memory()
        if needed > installed:  # a weight, its gradient, and two moments of Adam's
            reason = f"{weights:,} weights take {needed / 1e9:,.0f} GB to train"
            machine = f"this machine has {installed / 1e9:,.0f}"
            raise ConfigError(section, f"{reason}, {machine}", "Choose a smaller width or depth")
        return construct()


def _initialize_discriminator(net: nn.Module, train: TrainConfig) -> None:
    scheme, gain = train.init_discriminator or train.init, train.init_gain_discriminator
    if gain is None and scheme == train.init:
        gain = train.init_gain
    init_weights(net, scheme, gain, LEAKY_SLOPE)


def check_device(train: TrainConfig, device: torch.device) -> None:
    """Compare `train` with the device that was picked.

    Raises:
        ConfigError: it wants CUDA graphs elsewhere, or compiled networks where torch compiles none.
    """
    if train.cuda_graphs and device.type != "cuda":
        hint = "Set it to false, or choose --device cuda"
        raise ConfigError("train.cuda_graphs", f"has no effect on {device}", hint)
    if train.compile:
        check_compiler(device)


def check_compiler(device: torch.device) -> None:
    """Compile a function of one operation.

    Raises:
        ConfigError: that fails, as it does without a C++ compiler.
    """
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:  # of many classes, of several libraries
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"torch cannot compile here ({lines[0][:200] if lines else type(error).__name__})"
        hint = "Install a C++ compiler, or leave it off"
        raise ConfigError("train.compile", reason, hint) from None


def _select(options: Mapping[str, Any], factory: type[Any]) -> dict[str, Any]:
    """Return those of `options` that `factory` has."""
    return {name: options[name] for name in option_fields(factory)}


@contextmanager
def _options_of(section: str) -> Iterator[None]:
    """Name the section of an option that a constructor refuses."""
    try:
        yield
    except OptionError as error:
        raise ConfigError(f"{section}.{error.subject}", error.reason, error.hint) from None


def health(method: Method, config: Config, processes: int) -> Health:
    """Return the health rules for a run of `method`; they know the bounds of D's loss."""
    update = config.train.batch * config.train.accumulate * processes  # images
    for net in method.children():
        if isinstance(net, AdversarialLoss):  # all discriminators have the same options
            if bounds := discriminator_loss_bounds(net.objective, net.real_target):
                perfect, chance = bounds
                return Health(RunInfo(config.to_dict(), update, chance, perfect))
            break
    return Health(RunInfo(config.to_dict(), update, None))


def installed_memory() -> int:
    """Return the bytes of memory of this machine; where that is not known, more than any has."""
    if not hasattr(os, "sysconf"):
        return 2**60
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def count_parameters(net: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in net.parameters())
