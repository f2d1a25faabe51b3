"""Check of the scales at which networks compute before their first step, on the first batch."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from i2i.config import Config
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Images, Method
from i2i.networks.contract import Discriminator
from i2i.networks.latent import unsynchronized
from i2i.run.report import unpublished

_IMAGES = 16  # of the batch, at most
# The gain of a layer is the standard deviation of its weights times the root of its inputs, and
# 0.72 with leaky ReLU: N(0, 0.02) without norm leaves 0.028 of an image's RMS after four layers of
# 64 to 512 channels, 0.003 with a quarter of the width. With norms it is 0.72 by construction.
_FEATURES = (0.04, 1e3)  # RMS of the last hidden layer over that of D's input
# The gradient at the fake has no bound: published D start between 0.007 (CUT, whose xavier trains
# better than N(0, 0.02) all the same, docs/ablations.md) and 1,100 (DCGAN).
_INIT = {f"train.init{gain}{net}" for gain in ("", "_gain") for net in ("", "_discriminator")}
_SATURATED, _CONSTANT = 0.5, 1e-3
_END = 1 - 1 / 255  # black or white in 8 bits


@dataclass(frozen=True)
class Row:
    """One network, on the first batch: what to show of it, and what is out of bounds or ""."""

    name: str
    facts: str
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.facts}"


def check_start(method: Method, config: Config, device: torch.device, real: Images) -> list[Row]:
    """Return a row for each generator, by direction, and for each discriminator that is trained.

    All is computed on a copy, in fp32: networks, statistics and random states stay as they are, and
    no other process is waited for.

    Args:
        method: in training, of any state.
        config: its settings.
        device: where to compute.
        real: a batch, of which the first 16 images are taken.
    """
    indices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(indices):
        twin = _twin(method).to(device)
        real = {name: images[:_IMAGES].to(device) for name, images in real.items()}
        with _recording(twin.translators()) as outputs, torch.no_grad():
            fakes = twin.fakes(real)
        rows = [
            _generator_row(name, calls[0][1], config) for name, calls in outputs.items() if calls
        ]
        trained = {
            name: net
            for name, net in twin.named_children()
            if isinstance(net, AdversarialLoss) and net.lambda_gan
        }
        leaves = {name: _leaf(fake) for name, fake in fakes.items()}
        with _recording(trained) as recorded:
            for phase in twin.phases():
                if not phase.live:
                    list(phase.parts(real, leaves))
        for name, calls in recorded.items():
            # that of the fakes, since no parameter asks for a gradient
            fake_calls = [call for call in calls if call[0].requires_grad]
            if fake_calls:
                net = trained[name].net
                rows.append(_discriminator_row(name, net, *fake_calls[-1], leaves, config))
        return rows


def _twin(method: Method) -> Method:
    """Return a copy without gradients or compiled code that waits for no other process."""
    twin = copy.deepcopy(method).train().requires_grad_(False)
    unsynchronized(twin)
    for module in twin.modules():
        if isinstance(module, AdversarialLoss):
            module.peers = None
    return twin


@contextmanager
def _recording(nets: dict[str, Any]) -> Iterator[dict[str, list[tuple[Tensor, Any]]]]:
    """Yield (input, output) of each call of `nets`, by their names."""
    calls: dict[str, list[tuple[Tensor, Any]]] = {name: [] for name in nets}

    def keep(name: str, _: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        calls[name].append((inputs[0], output))

    handles = [net.register_forward_hook(partial(keep, name)) for name, net in nets.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _leaf(fake: Tensor) -> Tensor:
    return fake.float().requires_grad_() if fake.is_floating_point() else fake


def _rms(x: Tensor) -> float:
    return x.float().square().mean().sqrt().item()


def _generator_row(name: str, output: Tensor, config: Config) -> Row:
    spread = output.float().std(correction=0).item()
    saturated = (output.abs() >= _END).float().flatten(1).mean(1).max().item()
    facts = f"std of output {spread:.2g}, saturated {saturated:.0%}"
    fault = ""
    if saturated > _SATURATED:
        fault = "an image is at the ends of the range, where tanh has no slope"
    elif spread < _CONSTANT:
        fault = "its images are constant"
    advice = _advice(config, "train.init_gain=null", "train.init=normal", "generator.norm=instance")
    return Row(name, facts, fault and f"{name}: {fault} ({facts}).{advice}")


def _discriminator_row(
    name: str, net: nn.Module, x: Tensor, logits: Any, fakes: Images, config: Config
) -> Row:
    """Return the row of a discriminator that returned `logits` for x, made from `fakes`."""
    assert isinstance(net, Discriminator)
    maps = [logits] if isinstance(logits, Tensor) else list(logits)
    mean = torch.stack([each.flatten(1).mean(1) for each in maps]).mean(0).sum()
    leaves = [fake for fake in fakes.values() if fake.requires_grad]
    gradients = torch.autograd.grad(mean, leaves, allow_unused=True)
    # times the number of values: the same for every size of images
    gradient = sum(_rms(g) * g[0].numel() for g in gradients if g is not None)
    with torch.no_grad():
        hidden = [_rms(layer) for layer in net.features(x)[: -net.scales]]
    image = _rms(x)
    spread = torch.cat([each.flatten() for each in maps]).std(correction=0).item()
    facts = (
        f"RMS of input {image:.2g}, of hidden layers {' '.join(f'{rms:.2g}' for rms in hidden)}; "
        f"std of logits {spread:.2g}; gradient at the fake {gradient:.2g}"
    )
    keys = [setting.key for setting in unpublished(config)]
    if not any(key in _INIT or key.startswith("discriminator.") for key in keys):
        return Row(name, facts)  # as published: measured, without comment
    if not hidden or _FEATURES[0] * image <= hidden[-1] <= _FEATURES[1] * image:
        return Row(name, facts)
    kaiming = "train.init_discriminator=kaiming"
    if config.train.init_gain_discriminator is not None:
        kaiming += " and train.init_gain_discriminator=null"  # kaiming takes no gain
    fault = f"from images of RMS {image:.2g} its last hidden layer makes {hidden[-1]:.2g}"
    consequence = "G will learn little from it, until D has won or diverged"
    advice = _advice(config, kaiming, "discriminator.norm=instance")
    return Row(name, facts, f"{name}: {fault}: {consequence}.{advice}")


def _advice(config: Config, *options: str) -> str:
    """Return those of `options`, SECTION.KEY=VALUE, that the run knows and has not.

    An option may go on with " and " and others that it needs.
    """
    settings = config.to_dict()
    train = settings["train"]
    train["init_discriminator"] = train["init_discriminator"] or train["init"]
    if settings["discriminator"].get("spectral"):
        del train["init_discriminator"]  # spectral norm takes any scale back
    kept = []
    for option in options:
        section, key, value = option.split(" and ")[0].replace("=", ".").split(".")
        present = settings[section].get(key, value)
        if ("null" if present is None else present) != value:
            kept.append(option)
    return f" To try: {', or '.join(kept)}." if kept else ""
