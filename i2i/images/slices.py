"""Names of slices: `PATH::INDEX` is one slice of the volume at PATH, an image like any other.

`PATH::coronal:INDEX` is a slice across another axis than that of acquisition. A volume is a NIfTI
file, or a folder with the DICOM files of one series.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from i2i.images.formats import VOLUME_SUFFIXES, suffix_of

SliceAxis = Literal["acquisition", "sagittal", "coronal", "axial"]
AXES: tuple[SliceAxis, ...] = get_args(SliceAxis)
MAX_NEIGHBORS = 7  # slices on each side that are stacked around one
DICOM_SUFFIX = ".dcm"
_NAME = re.compile(rf"(?s)(.+)::(?:({'|'.join(AXES[1:])}):)?([0-9]{{4,9}})")


@dataclass(frozen=True)
class Slice:
    """One slice of a volume."""

    volume: str  # path
    axis: SliceAxis
    index: int  # from 0

    @property
    def name(self) -> str:
        """The path by which it is an image; `parse` is the inverse."""
        axis = "" if self.axis == "acquisition" else f"{self.axis}:"
        return f"{self.volume}::{axis}{self.index:04d}"


def parse(path: object) -> Slice | None:
    """Return the slice that a path names; None for other paths, and for streams."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    match = _NAME.fullmatch(text) if isinstance(text, str) and "::" in text else None
    return Slice(match[1], match[2] or "acquisition", int(match[3])) if match else None  # type: ignore[arg-type]


def volume_of(path: str) -> str:
    """Return the path of the file or folder that holds an image: of a slice, its volume."""
    part = parse(path)
    return part.volume if part else path


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Return True for the path of a volume: a NIfTI file, or a folder with files of a series."""
    if suffix_of(path) in VOLUME_SUFFIXES:
        return True
    try:
        return Path(path).is_dir() and bool(members(path))
    except OSError:
        return False


def members(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that hold an image or a volume, in the order of their names.

    Raises:
        OSError: a folder cannot be listed.
    """
    volume = Path(volume_of(os.fspath(path)))
    if not volume.is_dir():
        return [volume]
    with os.scandir(volume) as entries:
        return sorted(volume / entry.name for entry in entries if is_dicom(entry.name))


def is_dicom(name: str) -> bool:
    """Return True for the name of a file of a series."""
    return name.lower().endswith(DICOM_SUFFIX) and not name.startswith(".")


def statuses(path: str | os.PathLike[str]) -> list[os.stat_result]:
    """Return the status of each file that holds an image or a volume.

    Raises:
        OSError: one is not there.
    """
    status = Path(volume_of(os.fspath(path))).stat()
    if not stat.S_ISDIR(status.st_mode):
        return [status]
    return [file.stat() for file in members(path)] or [status]
