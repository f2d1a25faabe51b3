"""Weights of pytorch-CycleGAN-and-pix2pix (Zhu et al., ICCV 2017; Isola et al., CVPR 2017), read into these networks.

A file there is one plain state dict named `{epoch}_net_{G|G_A|G_B|D|D_A|D_B}.pth`. Nothing in it
says what network it belongs to: that is read off the names and shapes of its tensors.
"""

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2i.errors import I2IError
from i2i.networks.blocks import NormName
from i2i.networks.discriminators.patchgan import PatchGAN
from i2i.networks.discriminators.pixel import Pixel
from i2i.networks.generators.resnet import ResNet
from i2i.networks.generators.unet import UNet

State = dict[str, Tensor]
Option = int | bool | str

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resnet": ResNet,
    "unet": UNet,
    "patchgan": PatchGAN,
    "pixel": Pixel,
}
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


class ForeignFileError(I2IError, ValueError):
    """A file or state dict that is not a network of pytorch-CycleGAN-and-pix2pix; the message says what was seen."""


@dataclass(frozen=True)
class Architecture:
    """What a state dict was taken from, in the names of this package; `options` are the constructor's keywords."""

    kind: Literal["generator", "discriminator"]
    name: str
    in_channels: int
    out_channels: int
    options: dict[str, Option]


@dataclass(frozen=True)
class ImportedGenerator:
    """A generator ready to be saved: `tensors` load strictly into network `name` with these channels and options.

    `statistics` is "running" if the file brought running statistics of BatchNorm, otherwise
    "image".
    """

    name: str
    in_channels: int
    out_channels: int
    options: dict[str, Option]
    tensors: State
    statistics: Literal["running", "image"]


def import_generators(path: Path) -> dict[str, ImportedGenerator]:
    """Read the generator file, or all generators of the checkpoint folder, at `path`: direction -> generator.

    Raises FileNotFoundError, or ForeignFileError for anything else than generators; its message
    starts with the path.
    """
    found = {}
    for direction, file in find(path).items():
        state = read(file)
        try:
            architecture = guess(state)
            if architecture.kind != "generator":
                raise ForeignFileError(
                    f"this is a discriminator ({architecture.name}), which translates nothing (give the file net_G)"
                )
            tensors = convert(state, architecture)
        except ValueError as error:
            raise ForeignFileError(f"{file}: {error}") from None
        found[direction] = ImportedGenerator(
            architecture.name,
            architecture.in_channels,
            architecture.out_channels,
            architecture.options,
            tensors,
            "running" if architecture.options["norm"] == "batch" else "image",
        )
    return found


def find(path: Path) -> dict[str, Path]:
    """The generator files at `path`, by direction: G and G_A translate a2b, G_B translates b2a.

    In a folder each generator's `latest` file is taken, without one that of the highest epoch.
    Raises FileNotFoundError if there is none, and ForeignFileError if both G and G_A claim a2b.
    """
    if path.is_file():
        return {"b2a" if path.stem.endswith("net_G_B") else "a2b": path}
    files: dict[str, tuple[float, Path]] = {}
    for file in path.glob("*_net_G*.pth"):
        match = re.fullmatch(r"(?:iter_)?(latest|\d+)_net_(G|G_A|G_B)", file.stem)
        if match:
            age = float("inf") if match[1] == "latest" else float(match[1])
            files[match[2]] = max(files.get(match[2], (-1.0, file)), (age, file))
    if not files:
        raise FileNotFoundError(
            f"{path}: no generator here (no *_net_G.pth, *_net_G_A.pth or *_net_G_B.pth)"
        )
    if "G" in files and len(files) > 1:
        raise ForeignFileError(
            f"{path}: holds the generators of two models, {', '.join(sorted(files))} (give one file)"
        )
    return {"b2a" if name == "G_B" else "a2b": file for name, (_, file) in sorted(files.items())}


def read(path: Path) -> State:
    """The state dict in a file, on the CPU; a `{"state_dict": ...}` around it and `module.` prefixes are taken off.

    Never runs code from the file. Raises FileNotFoundError, or ForeignFileError for a file that is
    not a state dict; its message starts with the path.
    """
    content = _load(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ForeignFileError(f"{path}: not a state dict but {type(content).__name__}")
    strange = [
        key
        for key, value in content.items()
        if not (isinstance(key, str) and isinstance(value, Tensor))
    ]
    if strange:
        raise ForeignFileError(
            f"{path}: not the state dict of one network: {_listed(strange)} hold no tensor"
        )
    state: State = dict(content)
    while prefix := next((p for p in _WRAPPERS if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "global" in str(error).lower():
                raise ForeignFileError(
                    f"{path}: refused: besides tensors it holds Python objects, and loading those can run code "
                    "(save net.state_dict() with the program that made it)"
                ) from error
            raise ForeignFileError(f"{path}: not a file of torch.save, or cut off") from error
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            LookupError,
            AttributeError,
            TypeError,
        ) as error:
            raise ForeignFileError(f"{path}: not a file of torch.save, or cut off") from error


def guess(state: State) -> Architecture:
    """The network that a state dict was taken from, told by its keys and shapes alone.

    Dropout in a U-Net leaves no trace in the file; `dropout` is then True, as the reference trains
    pix2pix. Raises ForeignFileError, saying what the file looks like, if it is none of the
    reference's networks.
    """
    if any(key.endswith(".filt") for key in state):
        raise ForeignFileError(
            "looks like CUT's anti-aliased ResNet (*.filt buffers), whose layers differ (train CUT with "
            "--no_antialias --no_antialias_up to get weights that fit)"
        )
    if "main.0.weight" in state:
        raise ForeignFileError(
            "looks like the DCGAN of pytorch/examples (main.0.weight), not an image translator"
        )
    if _has(state, "model.model.0.weight", 4, 4):
        return _guess_unet(state)
    if _has(state, "model.1.weight", 4, 7) and any(".conv_block." in key for key in state):
        return _guess_resnet(state)
    if _has(state, "model.0.weight", 4, 4):
        return _guess_patchgan(state)
    if _has(state, "net.0.weight", 4, 1) and _has(state, "net.2.weight", 4, 1):
        first = state["net.0.weight"]
        options: dict[str, Option] = {"width": first.shape[0], "norm": _norm(state, "net.2.bias")}
        return Architecture("discriminator", "pixel", first.shape[1], 1, options)
    raise _unknown(state)


def network(architecture: Architecture) -> nn.Module:
    """The network of this package that an architecture names, with random weights."""
    make = _NETWORKS[architecture.name]
    if architecture.kind == "generator":
        return make(architecture.in_channels, architecture.out_channels, **architecture.options)
    return make(architecture.in_channels, **architecture.options)


def convert(state: State, architecture: Architecture) -> State:
    """The same weights for `network(architecture)`: float32, to be loaded strictly.

    Biases in front of InstanceNorm are dropped (the norm subtracts them), as are the running
    statistics that InstanceNorm stored before PyTorch 0.4. Biases that only this package has are
    zero. Raises ForeignFileError for tensors that are missing, left over or of another shape.
    """
    with torch.device("meta"):
        expected = network(architecture).state_dict()
    modules = _modules(architecture)
    rest = dict(state)
    converted: State = {}
    for key, target in expected.items():
        module, _, kind = key.rpartition(".")
        theirs = f"{modules[module]}.{kind}"
        source = rest.pop(theirs, None)
        if source is not None and source.shape != target.shape:
            raise ForeignFileError(
                f"{theirs} is {list(source.shape)}, expected {list(target.shape)}"
            )
        if source is not None:
            converted[key] = source.detach().to(target.dtype).clone()
        elif kind == "num_batches_tracked" or (
            kind == "bias" and architecture.options["norm"] == "none"
        ):
            converted[key] = torch.zeros(target.shape, dtype=target.dtype)
        else:
            raise ForeignFileError(f"{theirs} is missing for a {_described(architecture)}")
    if architecture.options["norm"] == "instance":
        for module in (name for name in modules if name.endswith(".norm")):
            rest.pop(f"{modules[module.removesuffix('norm') + 'conv']}.bias", None)
            for kind in _RUNNING:
                rest.pop(f"{modules[module]}.{kind}", None)
    if rest:
        raise ForeignFileError(
            f"{_listed(list(rest))} have no place in a {_described(architecture)}"
        )
    return converted


def _guess_resnet(state: State) -> Architecture:
    first = state["model.1.weight"]
    blocks = {match[1] for key in state if (match := re.match(r"model\.(\d+)\.conv_block\.", key))}
    dropout = any(
        re.fullmatch(r"model\.\d+\.conv_block\.6\.weight", key) and state[key].ndim == 4
        for key in state
    )
    last = state.get(f"model.{len(blocks) + 17}.weight")
    if last is None or last.ndim != 4:
        raise _unknown(state)
    options: dict[str, Option] = {
        "width": first.shape[0],
        "blocks": len(blocks),
        "norm": _norm(state, "model.1.bias"),
        "dropout": dropout,
        "upsample": "deconv",
    }
    return Architecture("generator", "resnet", first.shape[1], last.shape[0], options)


def _guess_unet(state: State) -> Architecture:
    first, last = state["model.model.0.weight"], state.get("model.model.3.weight")
    if last is None or last.ndim != 4:
        raise _unknown(state)
    options: dict[str, Option] = {
        "width": first.shape[0],
        "depth": max(key.count(".model") for key in state),  # every level nests once
        "norm": _norm(state, "model.model.0.bias"),
        "dropout": True,
        "upsample": "deconv",
    }
    return Architecture("generator", "unet", first.shape[1], last.shape[1], options)


def _guess_patchgan(state: State) -> Architecture:
    first = state["model.0.weight"]
    layers = sum(value.ndim == 4 for value in state.values()) - 2
    last = state.get(f"model.{3 * layers + 2}.weight")
    if layers < 1 or last is None or last.shape[0] != 1:
        raise _unknown(state)
    options: dict[str, Option] = {
        "width": first.shape[0],
        "layers": layers,
        "norm": _norm(state, "model.2.bias"),
    }
    return Architecture("discriminator", "patchgan", first.shape[1], 1, options)


def _norm(state: State, telltale: str) -> NormName:
    """The norm of a state dict; `telltale` is a bias that the reference's networks have with InstanceNorm only."""
    scales = [
        f"{key.removesuffix('running_var')}weight" for key in state if key.endswith(".running_var")
    ]
    if any(scale in state for scale in scales):
        return "batch"
    return (
        "instance" if scales or telltale in state else "none"
    )  # statistics, no scale: InstanceNorm of 2017


def _modules(architecture: Architecture) -> dict[str, str]:
    """Our module -> the reference's, for each convolution and norm; the norms that hold no tensors are included."""
    options = architecture.options
    match architecture.name:
        case "resnet":
            return _resnet_modules(int(options["blocks"]), bool(options["dropout"]))
        case "unet":
            return _unet_modules(int(options["depth"]))
        case "patchgan":
            layers = int(options["layers"])
            names = {"layers.0.conv": "model.0", "head.conv": f"model.{3 * layers + 2}"}
            for layer in range(1, layers + 1):
                names |= _conv_and_norm(f"layers.{layer}", "model", 3 * layer - 1)
            return names
        case _:
            return {
                "layers.0.conv": "net.0",
                "head.conv": "net.5",
                **_conv_and_norm("layers.1", "net", 2),
            }


def _resnet_modules(blocks: int, dropout: bool) -> dict[str, str]:
    names = _conv_and_norm("stem", "model", 1)
    for number in (0, 1):
        names |= _conv_and_norm(f"downs.{number}", "model", 4 + 3 * number)
        names |= _conv_and_norm(f"ups.{number}", "model", 10 + blocks + 3 * number)
    for number in range(blocks):
        theirs = f"model.{10 + number}.conv_block"
        names |= _conv_and_norm(f"blocks.{number}.first", theirs, 1)
        names |= _conv_and_norm(
            f"blocks.{number}.second", theirs, 6 if dropout else 5
        )  # dropout takes an index
    return names | {"head": f"model.{blocks + 17}"}


def _unet_modules(depth: int) -> dict[str, str]:
    names = {"downs.0.conv": "model.model.0", f"ups.{depth - 1}.conv": "model.model.3"}
    theirs = "model.model.1.model"
    for level in range(1, depth - 1):
        names |= _conv_and_norm(f"downs.{level}", theirs, 1)
        names |= _conv_and_norm(f"ups.{depth - 1 - level}", theirs, 5)
        theirs += ".3.model"
    return names | {f"downs.{depth - 1}.conv": f"{theirs}.1"} | _conv_and_norm("ups.0", theirs, 3)


def _conv_and_norm(ours: str, theirs: str, index: int) -> dict[str, str]:
    return {f"{ours}.conv": f"{theirs}.{index}", f"{ours}.norm": f"{theirs}.{index + 1}"}


def _has(state: State, key: str, dimensions: int, kernel: int) -> bool:
    value = state.get(key)
    return value is not None and value.ndim == dimensions and value.shape[-2:] == (kernel, kernel)


def _described(architecture: Architecture) -> str:
    options = ", ".join(f"{key} {value}" for key, value in architecture.options.items())
    return f"{architecture.name} ({architecture.in_channels} -> {architecture.out_channels} channels, {options})"


def _listed(keys: list[Any]) -> str:
    return ", ".join(str(key) for key in keys[:3]) + (
        f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    )


def _unknown(state: State) -> ForeignFileError:
    seen = ", ".join(f"{key} {list(value.shape)}" for key, value in list(state.items())[:4])
    return ForeignFileError(
        f"no network of pytorch-CycleGAN-and-pix2pix has these tensors: {seen}{' ...' if len(state) > 4 else ''}"
    )
