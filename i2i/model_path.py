"""Weights by the name of their run: RUN, RUN@best, RUN@last, and RUN@IMAGES of a checkpoint."""

import re
from pathlib import Path

from i2i.errors import I2IError
from i2i.files import BEST

WEIGHTS = "weights.safetensors"  # in run folders and checkpoints
CHECKPOINTS = "checkpoints"  # folder of a run

_STEP = re.compile(r"step-(\d{8,})")
_CONVERT = "Convert files of known toolkits with `i2i import`"


class ModelFileError(I2IError, ValueError):
    """A weights file that is missing, damaged, not written by i2i, or of another version."""


def step_name(images: int) -> str:
    """Return the name of the checkpoint after `images` images."""
    return f"step-{images:08d}"


def steps(folder: Path) -> list[tuple[int, Path]]:
    """Return (images, path) of every published checkpoint in `folder`, oldest first, unverified."""
    published = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _STEP.fullmatch(path.name)
        if match and path.is_dir():
            published.append((int(match[1]), path))
    return sorted(published)


def model_path(path: Path) -> Path:
    """Return the file or folder that a MODEL names: of RUN@NAME the one in RUN, else `path`.

    A path that exists is itself, whatever its name.

    Raises:
        ModelFileError: the run has no weights of that name.
    """
    run, mark, name = str(path).rpartition("@")
    folder = Path(run)
    if not mark or path.exists() or not folder.is_dir():
        return path
    choices = {"best": folder / BEST, "last": folder}
    choices = {key: each for key, each in choices.items() if (each / WEIGHTS).is_file()}
    choices |= {str(images): each for images, each in steps(folder / CHECKPOINTS)}
    if name not in choices:
        there = ", ".join(f"{run}@{key}" for key in choices) or "none"
        hint = "Set validate.every_images in training to keep the best" if name == "best" else ""
        raise ModelFileError(path, f"no such weights in this run; there are {there}", hint)
    return choices[name]


def weights_file(path: Path) -> Path:
    """Return the weights file of a run folder or a checkpoint folder, or the file itself.

    `path`: also as `model_path` takes it.

    Raises:
        ModelFileError: there is none.
    """
    path = model_path(path)
    file = path / WEIGHTS if path.is_dir() else path
    if file.suffix in (".pth", ".pt", ".ckpt", ".pkl") and file.exists():
        raise ModelFileError(path, "not written by i2i", _CONVERT)
    if not file.exists() and any(path.glob("*.pth")):
        raise ModelFileError(path, "a folder of another toolkit", _CONVERT)
    if not file.exists():
        reason = f"no {WEIGHTS} in this folder" if path.is_dir() else "no such model"
        raise ModelFileError(path, reason, "Give a run folder, a checkpoint, or a weights file")
    if not file.is_file():  # a pipe would wait for its writer
        raise ModelFileError(file, "not a regular file", "Move it away")
    return file
