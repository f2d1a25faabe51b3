"""Weights and training state on disk: written whole or not at all, hashed, readable without running code."""

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from i2i.errors import I2IError
from i2i.files import DiskFullError, flush_file, flush_folder, sha256, write_atomically, write_error

WEIGHTS = "weights.safetensors"
CHECKPOINTS = "checkpoints"  # folder of a run
STATE = "state.pt"
MANIFEST = "manifest.json"
FORMAT = (
    2  # raise it when files change, and keep the reader of every earlier format; 1 had no seals
)

_STEP = re.compile(r"^step-(\d{8,})$")


class CheckpointError(I2IError, ValueError):
    """A file that is missing, damaged, foreign or could not be written; the message names it and the mend."""


# -- weights ---------------------------------------------------------------------------------------


def weights_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """Return a safetensors file: `tensors` named DIRECTION/PARAMETER on the CPU, and `metadata` as JSON, sealed."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    described = json.loads(json.dumps({"format": FORMAT, **metadata}))
    text = json.dumps(described | {"seal": _checksum(plain, described)}, sort_keys=True)
    return safetensors_bytes(plain, {"i2i": text})


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Return a hash of everything in a weights file: safetensors itself does not notice a flipped bit."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a weights file atomically. See `weights_bytes`."""
    write_atomically(path, weights_bytes(tensors, metadata))


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a weights file without reading its tensors.

    Raises:
        CheckpointError: not a weights file of this toolkit, or a damaged one.
    """
    return _open_weights(path, tensors=False)[1]


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of a weights file.

    Raises:
        CheckpointError: not a weights file of this toolkit, or a damaged one.
    """
    return _open_weights(path, tensors=True)


def _open_weights(path: Path, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get("i2i")
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: not a readable weights file ({error}). Is it whole?"
        ) from None
    if text is None:
        raise CheckpointError(
            f"{path}: a safetensors file of another program; `i2i import` converts known ones"
        )
    try:
        metadata = json.loads(text)
        version = metadata["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{path}: its description is damaged; take another copy") from None
    _check_format(path, version)
    seal = metadata.pop("seal", None)
    if tensors and version > 1 and seal != _checksum(found, metadata):
        raise CheckpointError(f"{path}: damaged (its seal is broken); take another copy")
    return found, metadata


# -- checkpoints -----------------------------------------------------------------------------------


def publish(folder: Path, images: int, state: Mapping[str, Any], weights: bytes, keep: int) -> Path:
    """Write `folder/step-IMAGES/` (state, weights, hashes) and point `latest.json` at it; prune all but `keep`.

    The folder appears under its name only when it is complete and on the disk.

    Raises:
        DiskFullError: there is no room; earlier checkpoints are intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{images:08d}"
    temporary = folder / f"{final.name}.tmp-{os.getpid()}"
    try:
        _need_room(folder, state, weights)
        shutil.rmtree(
            temporary, ignore_errors=True
        )  # of an earlier process with our number, in a container
        temporary.mkdir()
        with open(temporary / STATE, "wb") as file:
            torch.save(dict(state), file)
            flush_file(file)
        with open(temporary / WEIGHTS, "wb") as file:
            file.write(weights)
            flush_file(file)
        hashes = {name: sha256(temporary / name) for name in (STATE, WEIGHTS)}
        manifest = {
            "format": FORMAT,
            "images": images,
            "torch": torch.__version__,
            "sha256": hashes,
        }
        write_atomically(temporary / MANIFEST, _sealed(manifest))
        flush_folder(temporary)
        if final.exists():  # a run that was taken back to an earlier point writes this step again
            shutil.rmtree(final)
        os.replace(temporary, final)
        flush_folder(folder)
    except OSError as error:
        raise write_error(final, error) from None
    except RuntimeError as error:  # torch.save reports a full disk this way
        raise DiskFullError(
            f"{final}: could not be written ({str(error).splitlines()[0]})"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_atomically(folder / "latest.json", json.dumps({"step": final.name}).encode())
    # later ones are damaged, or of a course that was given up: they must not push out what this run
    # can go back to
    earlier = [path for seen, path in steps(folder) if seen <= images]
    for old in earlier[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """Return the text of a manifest, which ends with its own hash."""
    seal = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({**manifest, "seal": seal}, indent=1).encode()


def steps(folder: Path) -> list[tuple[int, Path]]:
    """Return (images, path) of every published checkpoint in `folder`, oldest first; nothing is verified."""
    found = [(_STEP.match(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), path) for match, path in found if match and path.is_dir())


def newest(folder: Path) -> tuple[Path, list[str]]:
    """Return the newest checkpoint whose hashes pass, and one line for each newer one that is damaged.

    Raises:
        CheckpointError: there is none.
    """
    damaged: list[str] = []
    for _, path in reversed(steps(folder)):
        try:
            verify(path)
            return path, damaged
        except CheckpointError as error:
            damaged.append(str(error))
    reasons = "".join(f"\n  {line}" for line in damaged)
    raise CheckpointError(f"{folder}: holds no checkpoint that can be resumed{reasons}")


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: the first file that is missing or differs.
    """
    try:
        text = (path / MANIFEST).read_bytes()
        manifest = json.loads(text)
        hashes, images, version = manifest["sha256"], manifest["images"], manifest["format"]
        sealed = manifest.pop("seal", None) is not None and text == _sealed(manifest)
        whole = (
            isinstance(hashes, dict)
            and set(hashes) == {STATE, WEIGHTS}
            and (sealed or version == 1)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{path / MANIFEST}: missing or damaged") from None
    _check_format(path, version)
    match = _STEP.match(path.name)
    if not whole:
        raise CheckpointError(f"{path / MANIFEST}: damaged")
    if not match or int(match[1]) != images:
        raise CheckpointError(f"{path / MANIFEST}: belongs to another checkpoint")
    for name, expected in hashes.items():
        try:
            actual = sha256(path / name)
        except OSError:
            raise CheckpointError(f"{path / name}: missing") from None
        if actual != expected:
            raise CheckpointError(f"{path / name}: damaged (its sha256 is not the manifest's)")


def load_state(path: Path) -> dict[str, Any]:
    """Return the training state of the checkpoint at `path`, on the CPU. Tensors and plain values only.

    Raises:
        CheckpointError: missing, damaged, or a pickle that would run code.
    """
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{path / STATE}: cannot be read safely ({reason})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE}: not a training state")
    return state


# -- details ---------------------------------------------------------------------------------------


def _check_format(path: Path, version: object) -> None:
    if version not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{path}: written in format {version}; this version of i2i reads 1 to {FORMAT}. Update i2i."
        )


def _need_room(folder: Path, state: Mapping[str, Any], weights: bytes) -> None:
    need = int(1.2 * (_tensor_bytes(state) + len(weights)))
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(errno.ENOSPC, f"needs {need >> 20} MiB, {free >> 20} MiB are free")


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0
