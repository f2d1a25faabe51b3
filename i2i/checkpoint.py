"""Training state on disk: written completely or not at all, hashed, read without running code."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from i2i.errors import I2IError
from i2i.files import (
    DiskFullError,
    flush_file,
    flush_folder,
    own_folder,
    read_own,
    replace,
    sha256,
    temporary_path,
    write_atomically,
    write_error,
)
from i2i.model_file import FORMAT, ModelFileError, check_format
from i2i.model_path import CHECKPOINTS as CHECKPOINTS
from i2i.model_path import WEIGHTS as WEIGHTS
from i2i.model_path import step_name as step_name
from i2i.model_path import steps as steps

STATE = "state.pt"
MANIFEST = "manifest.json"

_FILES = (STATE, WEIGHTS, MANIFEST)


class CheckpointError(I2IError, ValueError):
    """A checkpoint that is missing, damaged, or not safe to read."""


def publish(
    folder: Path,
    images: int,
    state: Mapping[str, Any],
    weights: bytes,
    keep: int,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Write `folder/step-IMAGES/` (state, weights, hashes), name it in `latest.json`, and `prune`.

    The folder appears under its name only when it is complete and on the disk. `facts`, plain
    values that a resumed run is compared with, become part of the manifest.

    Raises:
        DiskFullError: there is no room; earlier checkpoints are intact.
    """
    own_folder(folder)
    final = folder / step_name(images)
    temporary = temporary_path(final, hidden=False)
    try:
        _check_room(folder, state, weights)
        shutil.rmtree(temporary, ignore_errors=True)  # in containers, process numbers come again
        temporary.mkdir()
        with open(temporary / STATE, "wb") as file:
            torch.save(dict(state), file)
            flush_file(file)
        write_atomically(temporary / WEIGHTS, weights)
        hashes = {name: sha256(temporary / name) for name in (STATE, WEIGHTS)}
        manifest = {"format": FORMAT, "images": images, "torch": torch.__version__, **facts}
        write_atomically(temporary / MANIFEST, _with_checksum({**manifest, "sha256": hashes}))
        flush_folder(temporary)
        _remove(final)  # a run that was taken back to an earlier point writes this step again
        replace(temporary, final)
        flush_folder(folder)
    except OSError as error:
        raise write_error(final, error) from None
    except RuntimeError as error:  # torch.save reports a full disk this way
        reason = f"could not be written ({str(error).splitlines()[0]})"
        raise DiskFullError(final, reason) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_atomically(folder / "latest.json", json.dumps({"step": final.name}).encode())
    prune(folder, images, keep)
    return final


def prune(folder: Path, images: int, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints of at most `images` images.

    Later ones neither count nor go: they are damaged, or of a course that was given up, and must
    not push out what the run can go back to. Nor do links: what they lead to is somebody else's.
    """
    published = [each for each in steps(folder) if not each[1].is_symlink()]
    earlier = [path for count, path in published if count <= images]
    for path in earlier[:-keep]:
        with suppress(OSError):
            _remove(path)


def newest(folder: Path) -> tuple[Path, list[str]]:
    """Return the newest intact checkpoint, and one line for each newer one that is damaged.

    Raises:
        CheckpointError: there is none.
    """
    damaged: list[str] = []
    for _, path in reversed(steps(folder)):
        try:
            verify(path)
            return path, damaged
        except (CheckpointError, ModelFileError) as error:
            damaged.append(str(error))
    lines = "".join(f"\n  {line}" for line in damaged)
    raise CheckpointError(folder, f"holds no checkpoint that can be resumed{lines}")


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest, and the manifest against its checksum.

    Raises:
        CheckpointError: the first file that is missing or differs.
        ModelFileError: written in a format that this version cannot read.
    """
    manifest = read_manifest(path)
    hashes, images = manifest["sha256"], manifest["images"]
    if path.name != step_name(images):
        raise CheckpointError(path / MANIFEST, "belongs to another checkpoint")
    for name, expected in hashes.items():
        try:
            actual = sha256(path / name)
        except OSError:
            raise CheckpointError(path / name, "missing") from None
        if actual != expected:
            raise CheckpointError(path / name, "corrupt (sha256 mismatch)")


def facts(folder: Path) -> dict[str, Any]:
    """Return the newest manifest in `folder` that is intact; {} where there is none."""
    for _, path in reversed(steps(folder)):
        with suppress(CheckpointError, ModelFileError):
            return read_manifest(path)
    return {}


def load_state(path: Path) -> dict[str, Any]:
    """Return the training state of the checkpoint at `path`, on the CPU: tensors and plain values.

    Raises:
        CheckpointError: missing, damaged, or a pickle that would run code.
    """
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows as many errors: of zip, pickle, storage and more
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(path / STATE, f"cannot be read safely ({reason})") from None
    if not isinstance(state, dict):
        raise CheckpointError(path / STATE, "not a training state")
    return state


# -- details ---------------------------------------------------------------------------------------


def _remove(path: Path) -> None:
    """Remove a checkpoint, or a link in its path; what others have put there gets another name.

    Raises:
        OSError: it is still there.
    """
    if path.is_symlink():
        return path.unlink()
    for name in _FILES:
        with suppress(OSError):
            (path / name).unlink()
    with suppress(OSError):
        path.rmdir()
    if path.exists():
        names = (f"{path}.kept{number or ''}" for number in itertools.count())
        path.rename(next(name for name in names if not os.path.lexists(name)))


def _with_checksum(manifest: Mapping[str, Any]) -> bytes:
    """Return the text of a manifest, which ends with its own hash."""
    name = "seal" if manifest["format"] == 2 else "checksum"
    checksum = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({**manifest, name: checksum}, indent=1).encode()


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint: "sha256" of its files, "images", and facts."""
    file = path / MANIFEST
    try:
        text = read_own(file)
        manifest = json.loads(text)
        check_format(path, manifest["format"])
        checksums = [manifest.pop(name) for name in ("seal", "checksum") if name in manifest]
        hashes, images = manifest["sha256"], manifest["images"]
        intact = text == _with_checksum(manifest) if checksums else manifest["format"] == 1
    except ModelFileError:
        raise
    except (OSError, I2IError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(file, "missing or corrupt") from None
    if not intact or type(images) is not int or set(hashes) != {STATE, WEIGHTS}:
        raise CheckpointError(file, "corrupt (checksum mismatch)")
    return dict(manifest)


def _check_room(folder: Path, state: Mapping[str, Any], weights: bytes) -> None:
    need = int(1.2 * (_tensor_bytes(state) + len(weights)))
    with suppress(OSError):  # some network file systems do not know, or say 0 of 0
        usage = shutil.disk_usage(folder)
        if usage.total and usage.free < need:
            sizes = f"needs {_size(need, up=True)}, {_size(usage.free)} are free"
            hint = "Free some space; nothing was replaced"
            raise DiskFullError(folder, f"the disk is full ({sizes})", hint)


def _size(count: int, up: bool = False) -> str:
    """Return bytes as text; rounded `up`, what is needed is never what is free."""
    bits, unit = (20, "MiB") if count >> 20 else (10, "KiB")
    return f"{-(-count >> bits) if up else count >> bits} {unit}"


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(_tensor_bytes, value.values()))
    return sum(map(_tensor_bytes, value)) if isinstance(value, list | tuple) else 0
