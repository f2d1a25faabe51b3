"""Volumes as slices that look as in a viewer: the patient's left at the right, head on top."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.images.formats import (
    NUMBERS,
    SAMPLES,
    VOLUME_SUFFIXES,
    Array,
    Format,
    Header,
    ImageError,
    Source,
    not_supported,
    suffix_of,
)
from i2i.images.held import Held
from i2i.images.pixels import ValueRange, from_value_range
from i2i.images.sanity import check_size
from i2i.images.slices import AXES, Slice, SliceAxis, parse, statuses

NO_LIMIT = 2**62  # pixels, for headers of which no value is read
_MAX_FOURTH = 16  # values of a voxel: echoes, contrasts; longer ones are of time
_MAX_SIDE = 65_535  # voxels: what DICOM can count, and twice what NIfTI-1 can
_OPEN = 64  # volumes whose headers are kept


@dataclass(frozen=True)
class Volume:
    """A volume of values [n0, n1, n2, C]; the third axis is the one that it was acquired along."""

    path: str
    format: Format
    shape: tuple[int, int, int]
    channels: int
    sample: str  # NumPy type of its values, slope and intercept applied
    axes: NDArray[np.float64]  # [3, 3], columns: step along each axis, mm to left, back and head
    plane: Callable[[int, int], NDArray[Any]] = field(repr=False)  # (axis, index) -> [*, *, C]
    extra_bytes: int = 0  # of memory that reading a slice takes, beside its own
    origin: Any = field(default=None, repr=False, compare=False)  # what its writer takes over

    @property
    def depth(self) -> int:
        """8 or 16 for unsigned integers of so many bits, 32 for other numbers."""
        return {"uint8": 8, "uint16": 16}.get(self.sample, 32)

    def across(self, axis: SliceAxis) -> int:
        """Return the number of the axis that runs through the slices."""
        if axis == "acquisition":
            return 2
        return self._world.index(AXES[1:].index(axis))

    def count(self, axis: SliceAxis) -> int:
        """Return the number of slices."""
        return self.shape[self.across(axis)]

    def size(self, axis: SliceAxis) -> tuple[int, int]:
        """Return the (height, width) of a slice."""
        rows, columns = self._view(axis)[:2]
        return self.shape[rows], self.shape[columns]

    def picture(self, plane: NDArray[Any], axis: SliceAxis) -> Array:
        """Return a plane [*, *, C], its axes in the order of the volume, as [H, W, C]."""
        rows, columns, up, left = self._view(axis)
        image = plane if rows < columns else plane.swapaxes(0, 1)
        return image[:: -1 if up else 1, :: -1 if left else 1]

    def plane_of(self, image: Array, axis: SliceAxis) -> Array:
        """Return the inverse of `picture`."""
        rows, columns, up, left = self._view(axis)
        image = image[:: -1 if up else 1, :: -1 if left else 1]
        return image if rows < columns else image.swapaxes(0, 1)

    @cached_property
    def _world(self) -> list[int]:
        """For each axis the axis of the patient that it is nearest to."""
        steps = np.abs(self.axes)
        lengths = steps.max(axis=0)
        if not (np.isfinite(steps).all() and lengths.all()):
            return [0, 1, 2]
        steps, world = steps / lengths, [0, 0, 0]
        for _ in range(3):
            patient, own = divmod(int(steps.argmax()), 3)
            world[own] = patient
            steps[patient], steps[:, own] = -1, -1
        return world

    def _view(self, axis: SliceAxis) -> tuple[int, int, bool, bool]:
        """Return the axes of rows and columns of a slice, and which of the two are flipped."""
        world, across = self._world, self.across(axis)
        columns, rows = sorted({0, 1, 2} - {across}, key=lambda one: world[one])
        signs = [self.axes[world[one], one] < 0 for one in (rows, columns)]
        if world[rows] == 2:  # the head is on top
            signs[0] = not signs[0]
        return rows, columns, signs[0], signs[1]

    def names(self, axis: SliceAxis) -> list[str]:
        """Return the paths of its slices, in order."""
        return [Slice(self.path, axis, index).name for index in range(self.count(axis))]


def value_type(
    dtype: np.dtype[Any], slope: float, intercept: float, limits: tuple[int, int]
) -> str:
    """Return the NumPy type of stored values of `dtype`, within `limits`, once they are rescaled.

    Raises:
        ImageError: numbers that are not read.
    """
    if dtype.name not in NUMBERS:
        hint = "Save it as integers or floats of at most 64 bits"
        raise not_supported(f"a volume of {str(dtype)[:40]}", hint)
    if (slope, intercept) == (1, 0):
        return dtype.name
    if dtype.kind == "f" or slope % 1 or intercept % 1:
        return "float64" if dtype.itemsize == 8 else "float32"
    ends = [int(end) * int(slope) + int(intercept) for end in limits]
    for name in ("int16", "int32", "int64"):
        info = np.iinfo(name)
        if info.min <= min(ends) and max(ends) <= info.max:
            return name
    return "float64"


def rescaled(stored: NDArray[Any], slope: float, intercept: float, sample: str) -> NDArray[Any]:
    """Return values of the type that `value_type` says."""
    native = stored.dtype.newbyteorder("=")
    if (slope, intercept) == (1, 0):
        return stored.astype(native, copy=False).astype(sample, copy=False)
    return (stored.astype(np.float64) * slope + intercept).astype(sample)


def check_shape(shape: tuple[int, ...], max_pixels: int) -> tuple[tuple[int, int, int], int]:
    """Return the sides and the channels of a volume from the sizes in its header.

    Raises:
        ImageError: other dimensions, or slices of more than `max_pixels`.
    """
    sides = [*map(int, shape)]
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    sides += [1] * (3 - len(sides))
    if min(sides) < 1:
        raise ImageError("image", f"no values: its sides are {str(sides)[:80]}")
    if len(sides) == 5 and sides[3] == 1:  # a vector at each voxel
        del sides[3]
    if len(sides) > 4 or (len(sides) == 4 and sides[3] > _MAX_FOURTH):
        what = f"a volume of {' x '.join(map(str, sides))[:80]}"
        hint = f"A fourth axis of at most {_MAX_FOURTH} is read as channels: save one volume a file"
        raise not_supported(what, hint)
    if max(sides) > _MAX_SIDE:
        raise ImageError("image", f"a side of {max(sides)}, the limit is {_MAX_SIDE}")
    for one, other in ((0, 1), (1, 2), (0, 2)):
        check_size(sides[one], sides[other], max_pixels)
    return (sides[0], sides[1], sides[2]), sides[3] if len(sides) == 4 else 1


# -- opening ---------------------------------------------------------------------------------------


_opened = Held[Volume](_OPEN)


def open_volume(path: str | os.PathLike[str], max_pixels: int) -> Volume:
    """Return a volume, of which no value has been read; the last ones are kept, while unchanged.

    Raises:
        ImageError: it cannot be read, or its slices have more than `max_pixels`.
        OSError: it is not there.
    """
    path = os.fspath(path)
    files = statuses(path)
    if not all(stat.S_ISREG(file.st_mode) for file in files):  # a pipe would wait for its writer
        raise ImageError(path, "neither a file nor a folder of .dcm files")
    stamp = tuple((file.st_size, file.st_mtime_ns, file.st_ino) for file in files)
    return _opened.get((path, max_pixels, stamp), 1, lambda: _open(path, max_pixels))


def _open(path: str, max_pixels: int) -> Volume:
    from i2i.images import dicom, nifti

    if suffix_of(path) in VOLUME_SUFFIXES and not Path(path).is_dir():
        return nifti.open_volume(path, max_pixels)
    return dicom.open_volume(path, max_pixels)


def slice_header(part: Slice, max_pixels: int) -> tuple[Header, Volume]:
    """Return the header of a slice, and its volume.

    Raises:
        ImageError, OSError: see `open_volume`; there is no such slice.
    """
    volume = open_volume(part.volume, max_pixels)
    count = volume.count(part.axis)
    if part.index >= count:
        raise ImageError("image", f"the volume has {count} slices", "Count from 0")
    height, width = volume.size(part.axis)
    sample = volume.sample if volume.sample != SAMPLES[volume.depth] else ""
    kind = (width, height, volume.channels, volume.depth, volume.format)
    return Header(*kind, alpha=False, sample=sample), volume


def read_slice(volume: Volume, part: Slice, value_range: ValueRange) -> Array:
    """Return a slice [H, W, C]: uint8, uint16, or float32 with `value_range` as [0, 1].

    Raises:
        ImageError: values outside of the range, or that cannot be read.
    """
    plane = volume.plane(volume.across(part.axis), part.index)
    values = np.ascontiguousarray(volume.picture(plane, part.axis))
    return from_value_range(values, value_range) if volume.depth == 32 else values


def write_volume(
    path: Path,
    values: NDArray[Any],
    origin: Volume,
    value_range: ValueRange,
    key: str,
    what: str,
) -> None:
    """Write values [n0, n1, n2, C] in the format and with the metadata of `origin`.

    Args:
        value_range: of floats, for a format that stores levels.
        key: all that decides the values: equal ones give equal files.
        what: made them, for people.

    Raises:
        ImageError: the format cannot hold them.
        OSError: it cannot be written.
    """
    from i2i.images import dicom_writing, nifti

    if origin.format == "NIFTI":
        nifti.write(path, values, origin.origin)
    else:
        dicom_writing.write(path, values, origin.origin, value_range, key, what)


def around(path: Source, neighbors: int) -> list[Source]:
    """Return the slices from `neighbors` before to as many after a slice; those at an end repeat.

    Raises:
        ImageError: not a slice, or its volume cannot be read.
    """
    if not neighbors:
        return [path]
    part = parse(path)
    if part is None:
        reason = f"the model takes a slice with {neighbors} on each side"
        subject = path if isinstance(path, str | os.PathLike) else "image"
        raise ImageError(subject, reason, "Translate volumes")
    last = open_volume(part.volume, NO_LIMIT).count(part.axis) - 1
    offsets = range(-neighbors, neighbors + 1)
    return [replace(part, index=min(max(part.index + by, 0), last)).name for by in offsets]
