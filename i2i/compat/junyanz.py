"""Weights of pytorch-CycleGAN-and-pix2pix (Zhu et al., ICCV 2017; Isola et al., CVPR 2017).

Those of CUT's code (contrastive-unpaired-translation; Park et al., ECCV 2020) too, where the
networks have the same names; its fixed low-pass filters are buffers `filt` there.

A file there is one plain state dict named `{epoch}_net_{G|G_A|G_B|D|D_A|D_B}.pth`. Nothing in it
says what network it belongs to: that is read off the names and shapes of its tensors.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from i2i.compat.state_file import ForeignFileError, State, first_names
from i2i.compat.state_file import read as read
from i2i.direction import Direction
from i2i.model_file import DiscriminatorInfo, GeneratorInfo, ModelInfo, Statistics
from i2i.networks.blocks import NormName

Architecture = GeneratorInfo | DiscriminatorInfo

_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def import_model(
    path: Path, statistics: Statistics | None = None, network: str | None = None
) -> tuple[ModelInfo, State]:
    """Read the generator file, or all generators of the checkpoint folder, at `path`.

    Args:
        statistics: what BatchNorm normalizes by; None: running ones where the file has them.
        network: name in the file of the generator to take, where there are several.

    Raises:
        ForeignFileError: there is no generator, or a file is something else.
    """
    generators: dict[str, GeneratorInfo] = {}
    tensors: State = {}
    for direction, file in find(path).items():
        state = read(file, network)
        try:
            generator = guess(state)
            if isinstance(generator, DiscriminatorInfo):
                reason = f"this is a discriminator ({generator.name}), which translates nothing"
                raise ForeignFileError("", reason, "Give the file net_G")
            converted = convert(state, generator)
        except ForeignFileError as error:
            raise error.with_subject(file) from None
        except ValueError as error:  # of a constructor: an option out of range
            raise ForeignFileError(file, str(error)) from None
        generators[str(direction)] = generator
        tensors |= {f"{direction}/{name}": value for name, value in converted.items()}
    first, generator = next(iter(generators.items()))
    try:
        info = ModelInfo(
            method="import",
            generators=generators,
            direction=first,
            statistics=statistics
            or ("running" if generator.options["norm"] == "batch" else "image"),
            facts={"imported_from": path.name},
        )
    except ValueError:
        raise ForeignFileError(path, "the generators differ in channels", "Give one file") from None
    return info, tensors


def find(path: Path) -> dict[Direction, Path]:
    """Return the generator files at `path`: G and G_A translate a2b, G_B translates b2a.

    In a folder each generator's `latest` file is taken, without one that of the highest epoch.

    Raises:
        ForeignFileError: there is none, or both G and G_A claim a2b.
    """
    if not path.exists():
        raise ForeignFileError(path, "no such file or folder")
    if path.is_file():
        return {Direction.B2A if path.stem.endswith("net_G_B") else Direction.A2B: path}
    files: dict[str, tuple[float, Path]] = {}
    for file in path.glob("*_net_G*.pth"):
        match = re.fullmatch(r"(?:iter_)?(latest|\d+)_net_(G|G_A|G_B)", file.stem)
        if match:
            age = float("inf") if match[1] == "latest" else float(match[1])
            files[match[2]] = max(files.get(match[2], (-1.0, file)), (age, file))
    if not files:
        names = "no *_net_G.pth, *_net_G_A.pth or *_net_G_B.pth"
        raise ForeignFileError(path, f"no generator here ({names})")
    if "G" in files and len(files) > 1:
        reason = f"holds the generators of two models, {', '.join(sorted(files))}"
        raise ForeignFileError(path, reason, "Give one file")
    directions = {"G": Direction.A2B, "G_A": Direction.A2B, "G_B": Direction.B2A}
    return {directions[name]: file for name, (_, file) in sorted(files.items())}


# -- architectures ---------------------------------------------------------------------------------


def guess(state: State) -> Architecture:
    """Return the network that a state dict was taken from, by its keys and shapes alone.

    Dropout in a U-Net leaves no trace in the file; `dropout` is then True, as the reference trains
    pix2pix.

    Raises:
        ForeignFileError: none of the reference's networks; the reason says what it looks like.
    """
    if "main.0.weight" in state:
        reason = "looks like the DCGAN of pytorch/examples (main.0.weight)"
        raise ForeignFileError("", f"{reason}, not an image translator")
    if _has(state, "model.model.0.weight", 4):
        return _guess_unet(state)
    if _has(state, "model.1.weight", 7) and any(".conv_block." in key for key in state):
        return _guess_resnet(state)
    if _has(state, "model.0.weight", 4):
        return _guess_patchgan(state)
    if _has(state, "net.0.weight", 1) and _has(state, "net.2.weight", 1):
        width, channels = state["net.0.weight"].shape[:2]
        options = {"width": width, "norm": _norm(state, "net.2.bias")}
        return DiscriminatorInfo(name="pixel", options=options, in_channels=channels)
    raise _unknown(state)


def _guess_resnet(state: State) -> GeneratorInfo:
    blocks = {match[1] for key in state if (match := re.match(r"model\.(\d+)\.conv_block\.", key))}
    # The second convolution of a block is its layer 5, or after a dropout its layer 6.
    second = [key for key in state if re.fullmatch(r"model\.\d+\.conv_block\.6\.weight", key)]
    behind = min(map(int, blocks), default=0) + len(blocks)  # the first doubling, or its filter
    options = {
        "blocks": len(blocks),
        "norm": _norm(state, "model.1.bias"),
        "dropout": any(state[key].ndim == 4 for key in second),
        "antialias": _has(state, "model.7.filt", 3),
        "upsample": "bilinear" if _has(state, f"model.{behind}.filt", 4) else "deconv",
    }
    last = _kernel(state, f"{_resnet_modules(options)['head']}.weight")
    return _generator("resnet", state["model.1.weight"], last.shape[0], options)


def _guess_unet(state: State) -> GeneratorInfo:
    last = _kernel(state, "model.model.3.weight")
    options = {
        "depth": max(key.count(".model") for key in state),  # every level nests once
        "norm": _norm(state, "model.model.0.bias"),
        "dropout": True,
    }
    return _generator("unet", state["model.model.0.weight"], last.shape[1], options)


def _generator(name: str, first: Tensor, out: int, options: dict[str, Any]) -> GeneratorInfo:
    options = {"width": first.shape[0], "upsample": "deconv", **options}
    return GeneratorInfo(name=name, options=options, in_channels=first.shape[1], out_channels=out)


def _guess_patchgan(state: State) -> DiscriminatorInfo:
    width, channels = state["model.0.weight"].shape[:2]
    kernels = [key for key in state if state[key].ndim == 4 and not key.endswith(".filt")]
    options: dict[str, Any] = {
        "width": width,
        "layers": len(kernels) - 2,
        "antialias": _has(state, "model.2.filt", 3),
    }
    names = _patchgan_modules(options)
    if options["layers"] < 1 or _kernel(state, f"{names['head.conv']}.weight").shape[0] != 1:
        raise _unknown(state)
    options["norm"] = _norm(state, f"{names['layers.1.conv']}.bias")
    return DiscriminatorInfo(name="patchgan", options=options, in_channels=channels)


def _norm(state: State, bias: str) -> NormName:
    """Return the norm; `bias` is one that the reference has with InstanceNorm only."""
    scales = [f"{key[:-11]}weight" for key in state if key.endswith("running_var")]
    if any(scale in state for scale in scales):
        return "batch"
    return "instance" if scales or bias in state else "none"  # InstanceNorm of 2017 had no scale


def _has(state: State, key: str, kernel: int) -> bool:
    value = state.get(key)
    return value is not None and value.ndim == 4 and value.shape[-2:] == (kernel, kernel)


def _kernel(state: State, key: str) -> Tensor:
    value = state.get(key)
    if value is None or value.ndim != 4:
        raise _unknown(state)
    return value


def _unknown(state: State) -> ForeignFileError:
    shapes = [f"{key} {list(value.shape)}" for key, value in state.items()]
    network = "no network of pytorch-CycleGAN-and-pix2pix"
    return ForeignFileError("", f"{network} has these tensors: {first_names(shapes)}")


# -- conversion ------------------------------------------------------------------------------------


def convert(state: State, architecture: Architecture) -> State:
    """Return the same weights for `architecture.build()`: float32, to be loaded strictly.

    Biases in front of InstanceNorm are dropped (the norm subtracts them), as are the running
    statistics that InstanceNorm stored before PyTorch 0.4. Biases that only this package has are
    zero.

    Raises:
        ForeignFileError: tensors that are missing, left over or of another shape.
    """
    with torch.device("meta"):
        expected = architecture.build().state_dict()
    norm, name = architecture.options["norm"], f"{architecture.name} {architecture.options}"
    modules = _modules(architecture)
    rest = _without_filters(state, architecture)
    converted: State = {}
    for key, target in expected.items():
        module, _, kind = key.rpartition(".")
        theirs = f"{modules[module]}.{kind}"
        source = rest.pop(theirs, None)
        if source is not None:
            if source.shape != target.shape:
                reason = f"{theirs} is {list(source.shape)}, expected {list(target.shape)}"
                raise ForeignFileError("", reason)
            converted[key] = source.detach().to(target.dtype).clone()
        elif kind == "num_batches_tracked" or (kind == "bias" and norm == "none"):
            converted[key] = torch.zeros(target.shape, dtype=target.dtype)
        else:
            raise ForeignFileError("", f"{theirs} is missing for a {name}")
    if norm == "instance":
        for module, theirs in modules.items():
            if module.endswith(".norm"):
                rest.pop(f"{modules[f'{module[:-5]}.conv']}.bias", None)
                for kind in _RUNNING:
                    rest.pop(f"{theirs}.{kind}", None)
    if rest:
        raise ForeignFileError("", f"{first_names(rest)} do not belong to a {name}")
    return converted


def _without_filters(state: State, architecture: Architecture) -> State:
    """Return `state` without CUT's low-pass filters, which the networks here compute.

    Raises:
        ForeignFileError: there are others, more or fewer than `architecture` has.
    """
    options, sizes = architecture.options, []
    if options.get("antialias"):
        sizes += [3] * options.get("layers", 2)  # halvings: of a discriminator, or of a ResNet
    if options.get("upsample") == "bilinear":
        sizes += [4, 4]
    filters = {key: value for key, value in state.items() if key.endswith(".filt")}
    for key, value in filters.items():
        row = torch.tensor([1.0, 2.0, 1.0] if value.shape[-1:] == (3,) else [1.0, 3.0, 3.0, 1.0])
        expected = row[:, None] * row / 16
        if value.shape[1:] != (1, *expected.shape) or not bool((value == expected).all()):
            reason = f"{key} is another filter than CUT's [1, 2, 1] and [1, 3, 3, 1]"
            raise ForeignFileError("", reason)
    if sorted(value.shape[-1] for value in filters.values()) != sizes:
        given = first_names(filters) if filters else "none"
        reason = f"{given}: not the filters of a {architecture.name} {options}"
        raise ForeignFileError("", reason)
    return {key: value for key, value in state.items() if key not in filters}


def _modules(architecture: Architecture) -> dict[str, str]:
    """Return our module -> the reference's, for each convolution and norm."""
    options = architecture.options
    match architecture.name:
        case "resnet":
            return _resnet_modules(options)
        case "unet":
            return _unet_modules(options["depth"])
        case "patchgan":
            return _patchgan_modules(options)
    names = {"layers.0.conv": "net.0", "head.conv": "net.5"}
    return names | _conv_and_norm("layers.1", "net", 2)


def _resnet_modules(options: Mapping[str, Any]) -> dict[str, str]:
    # layers of each halving and doubling: convolution, norm, ReLU; and behind or before it a filter
    halving = 4 if options["antialias"] else 3
    doubling = 4 if options["upsample"] == "bilinear" else 3
    first, last = 4 + 2 * halving, 4 + 2 * halving + options["blocks"]  # block, and doubling
    names = _conv_and_norm("stem", "model", 1)
    for number in (0, 1):
        names |= _conv_and_norm(f"downs.{number}", "model", 4 + halving * number)
        names |= _conv_and_norm(f"ups.{number}", "model", last + doubling * (number + 1) - 3)
    for number in range(options["blocks"]):
        theirs = f"model.{first + number}.conv_block"
        names |= _conv_and_norm(f"blocks.{number}.first", theirs, 1)
        names |= _conv_and_norm(f"blocks.{number}.second", theirs, 6 if options["dropout"] else 5)
    return names | {"head": f"model.{last + 2 * doubling + 1}"}


def _patchgan_modules(options: Mapping[str, Any]) -> dict[str, str]:
    step, layers = 4 if options["antialias"] else 3, options["layers"]
    names = {"layers.0.conv": "model.0", "head.conv": f"model.{step * layers + 2}"}
    for layer in range(1, layers + 1):
        names |= _conv_and_norm(f"layers.{layer}", "model", step * layer - 1)
    return names


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
