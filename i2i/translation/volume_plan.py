"""Rules for volumes among the inputs of a job, applied before anything is written."""

import os
from collections.abc import Sequence
from pathlib import Path

from i2i import images
from i2i.images import VOLUME_SUFFIXES
from i2i.images.slices import is_dicom, is_volume
from i2i.translation import TranslationError
from i2i.translation.inputs import Inputs
from i2i.translation.options import Options


def single_name(inputs: Inputs, output: str | os.PathLike[str]) -> str | None:
    """Return the name of the one output of one input; None where `output` is a folder of outputs.

    A series is one input, and its output one folder.

    Raises:
        TranslationError: the output cannot hold what the input holds.
    """
    path = Path(output)
    if inputs.kind != "file":
        return None
    source, suffix = inputs.root / inputs.relatives[0], images.suffix_of(path)
    series, volume = source.is_dir(), is_volume(source)
    is_file = suffix in images.EXTENSIONS and not path.is_dir()
    if not (series or is_file):
        return None
    if series and is_file:
        raise TranslationError(path, "a DICOM series is written as one", "Name a new folder")
    if not series and volume != (suffix in VOLUME_SUFFIXES):
        kinds = "a volume", "a picture"
        one, other = kinds if volume else kinds[::-1]
        raise TranslationError(path, f"{other}, and the input is {one}", "Choose another suffix")
    return path.name


def check_volumes(sources: Sequence[Path], options: Options, channels: int) -> None:
    """Refuse options that have no meaning for the volumes among inputs.

    Raises:
        TranslationError: there are such.
    """
    first = next(filter(is_volume, sources), None)
    if first is None:
        return
    for name, given in (
        ("size", options.size != "keep"),
        ("half", options.half is not None),
        ("format", options.format != "keep"),
    ):
        if given:
            reason = f"{first} is a volume, which keeps its grid and its format"
            raise TranslationError(f"--{name}", reason, "Leave it out")
    if channels > 1 and any(source.is_dir() for source in sources):
        reason = f"the model makes {channels} channels, a DICOM series holds one"
        raise TranslationError(first, reason, "Convert it to NIfTI")


def is_series(path: Path) -> bool:
    """Return True for a folder that holds nothing but the files of a series."""
    return (
        path.is_dir()
        and not path.is_symlink()
        and all(is_dicom(one.name) for one in path.iterdir())
    )
