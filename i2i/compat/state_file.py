"""State dicts in files of other programs: read without running code, found in what wraps them."""

import pickle
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from i2i.errors import I2IError

State = dict[str, Tensor]

# First convolutions of the networks, with the sides of their kernels.
_GENERATORS = {"model.1.weight": 7, "model.model.0.weight": 4}
_OTHERS = {"model.0.weight": 4, "net.0.weight": 1, "main.0.weight": 4}
_WRAPPERS = ("state_dict", "module", "_orig_mod")  # which name no network
_MAX_DEPTH = 5  # of nested mappings
_NEITHER = "not a file of torch.save or safetensors"
_EXPANSION = 4  # largest ratio of tensors to file; a file holds each number


class ForeignFileError(I2IError, ValueError):
    """A file or state dict that is not a network of pytorch-CycleGAN-and-pix2pix."""


def read(path: Path, network: str | None = None) -> State:
    """Return the state dict of one network in a file, on the CPU, without prefixes of its names.

    Never runs code from the file. Mappings in mappings ({"state_dict": …}, {"netG": …}) and
    prefixes of modules (`module.`, `netG.`, of Lightning) are looked through; the generator is
    taken where there is one.

    Args:
        network: name in the file of the network to take, such as "netG_A".

    Raises:
        ForeignFileError: no state dict, several generators, or tensors that are no plain weights.
    """
    content = _load(path)
    if not isinstance(content, dict) or not content:
        raise ForeignFileError(path, f"expected a state dict, got {type(content).__name__}")
    entries = dict(_flattened(content, "", 0))
    prefix = _choose(path, entries, network)
    part = {key[len(prefix) :]: v for key, v in entries.items() if key.startswith(prefix)}
    if others := [key for key, value in part.items() if not isinstance(value, Tensor)]:
        reason = f"not the state dict of one network: {first_names(others)} hold no tensor"
        raise ForeignFileError(path, reason)
    total = sum(value.numel() * value.element_size() for value in part.values())
    size = path.stat().st_size
    if total > _EXPANSION * size + 2**20:
        reason = f"claims {total / 1e9:,.3g} GB of tensors in a file of {size / 1e9:,.3g} GB"
        raise ForeignFileError(path, reason)
    for key, value in part.items():
        if fault := _fault(key, value):
            hint = "Save plain float tensors with the program that made it"
            raise ForeignFileError(path, f"{key} is {fault}; not supported", hint)
    return part


def first_names(names: Iterable[object]) -> str:
    """Return the first three of `names` for a message."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def _flattened(values: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            yield from _flattened(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def _choose(path: Path, entries: Mapping[str, Any], network: str | None) -> str:
    """Return the prefix of the names of one network: that called `network`, or the generator."""
    generators = _prefixes(entries, _GENERATORS)
    # the inner layers of a U-Net look like another network
    inner = {f"{generator}model." for generator in generators}
    others = [prefix for prefix in _prefixes(entries, _OTHERS) if prefix not in inner]
    chosen = generators or others
    if network is not None:
        chosen = [prefix for prefix in generators + others if network in prefix.split(".")]
        if not chosen:
            names = ", ".join(map(_name, generators + others)) or "no network with a name"
            raise ForeignFileError(path, f"no network {network} here", f"There is {names}")
    if len(chosen) > 1:
        names = ", ".join(map(_name, chosen))
        raise ForeignFileError(path, f"several networks in the file: {names}", "Pass --network")
    return chosen[0] if chosen else ""


def _prefixes(entries: Mapping[str, Any], firsts: Mapping[str, int]) -> list[str]:
    """Return what stands before the name of a network's first convolution."""
    prefixes = []
    for key, value in entries.items():
        plain = isinstance(value, Tensor) and not value.is_nested  # nested ones have no shape
        side = value.shape[-1] if plain and value.ndim == 4 else None
        for first, kernel in firsts.items():
            before = key.removesuffix(first)
            if side == kernel and key == before + first and before[-1:] in ("", "."):
                prefixes.append(before)
    return prefixes


def _name(prefix: str) -> str:
    parts = [part for part in prefix.split(".") if part and part not in _WRAPPERS]
    return ".".join(parts) or "the one without a name"


def _fault(key: str, value: Tensor) -> str:
    """Return what makes a tensor no plain weight; "" if nothing does."""
    if value.is_meta:
        return "a meta tensor, without values"
    if value.layout != torch.strided or value.is_nested:
        return "sparse or nested"
    if value.is_quantized:
        return "quantized"
    if value.is_complex():
        return "complex"
    if not value.is_floating_point():
        counter = key.endswith("num_batches_tracked")
        return "" if counter else f"of {value.dtype}, no floats"
    if not bool(torch.isfinite(value.float()).all()):
        return "not finite (NaN or infinite)"
    return ""


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except FileNotFoundError:
        raise ForeignFileError(path, "no such file") from None
    except OSError as error:
        raise ForeignFileError(path, f"cannot be read ({error.strerror or error})") from None
    if head.startswith(b"version https://git-lfs"):
        reason = "a Git LFS pointer, which stands for the weights"
        raise ForeignFileError(path, reason, "Run git lfs pull")
    try:
        with warnings.catch_warnings():  # of torch, about kinds of tensors that are refused later
            warnings.simplefilter("ignore")
            return _parsed(path, head)
    except (I2IError, MemoryError):
        raise
    except SafetensorError as error:
        raise ForeignFileError(path, f"truncated, or no safetensors file ({error})") from None
    except Exception as error:  # damage shows as many errors: of zip, pickle, storage and more
        if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
            reason = "besides tensors it holds Python objects, and loading those can run code"
            hint = "Save net.state_dict() with the program that made it"
            raise ForeignFileError(path, reason, hint) from error
        usual = head.startswith((b"PK", b"\x80")) or not head
        reason = "truncated, or not a file of torch.save" if usual else _NEITHER
        raise ForeignFileError(path, reason) from error


def _parsed(path: Path, head: bytes) -> Any:
    if head[8:9] == b"{":
        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            names = {name.partition("/")[2] for name in archive.namelist()}
        if unpacked > _EXPANSION * path.stat().st_size + 2**20:
            raise ForeignFileError(path, "compressed more than any file of torch.save")
        if "constants.pkl" in names:
            hint = "Save its state_dict() with torch.save"
            raise ForeignFileError(path, "not supported: a TorchScript file", hint)
        if "data.pkl" not in names:
            raise ForeignFileError(path, _NEITHER)
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)
