"""Series of DICOM slices (NEMA PS3.3, C.7.6.2) through pydicom: one folder holds one series."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i.images.extras import require
from i2i.images.formats import ImageError, not_supported
from i2i.images.sanity import REPLACE
from i2i.images.slices import members
from i2i.images.volumes import Volume, check_shape, rescaled, value_type

_PLAIN = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<"}  # PS3.5, A.1 and A.2
_ANGLE = 1e-3  # difference of direction cosines that is rounding
_UNEVEN = 0.05  # of the distance of two slices: beyond it they are not evenly spaced
_HINT = "Decompress it first, as with gdcmconv --raw"
_MAX_SIDE = 65_535


class _File(NamedTuple):
    """One slice of a series."""

    path: Path
    series: str
    shape: tuple[int, int]
    orientation: tuple[float, ...]  # direction cosines of rows and columns
    position: tuple[float, ...]  # of the first pixel, mm to left, back and head
    spacing: tuple[float, float]  # between rows and between columns, mm
    thickness: float  # mm
    dtype: str
    bits: int  # that are used of each value
    slope: float
    intercept: float


class Origin(NamedTuple):
    """All that an output takes over from its input: its files, in the order of slices."""

    files: tuple[Path, ...]


def open_volume(path: str, max_pixels: int) -> Volume:
    """Return a series from the headers of its files.

    Raises:
        ImageError: not one complete series of evenly spaced slices, or of a kind that is not read.
        OSError: a file cannot be read.
    """
    pydicom = require("pydicom", "medical", "a DICOM series")
    paths = members(path)
    if not paths:
        raise ImageError("image", "a folder without .dcm files", "Pass the folder of a series")
    files = _sorted([_read(file, pydicom) for file in paths])
    first = files[0]
    shape, _ = check_shape((*first.shape, len(files)), max_pixels)
    samples = {_value_type(file) for file in files}
    sample = samples.pop() if len(samples) == 1 else _wider(samples)

    def plane(axis: int, index: int) -> NDArray[Any]:
        if axis == 2:
            return _values(files[index], sample, pydicom)
        planes = [_values(file, sample, pydicom) for file in files]
        return np.stack([each.take(index, axis) for each in planes], axis=1)

    rows, columns = (np.array(first.orientation[start : start + 3]) for start in (3, 0))
    through = np.cross(columns, rows) * first.thickness
    if len(files) > 1:  # not along the normal, where the gantry was tilted
        through = (np.array(files[-1].position) - first.position) / (len(files) - 1)
    axes = np.stack([rows * first.spacing[0], columns * first.spacing[1], through], axis=1)
    kind = ("DICOM", shape, 1, sample, axes)
    return Volume(path, *kind, plane, origin=Origin(tuple(file.path for file in files)))  # type: ignore[arg-type]


def _read(path: Path, pydicom: Any) -> _File:
    """Return the header of a file.

    Raises:
        ImageError: corrupt, or of a kind that is not read.
    """
    try:
        syntax = str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if syntax not in _PLAIN:  # a deflated one would be decompressed as a whole
            name = pydicom.uid.UID(syntax).name if syntax else "that it does not name"
            raise not_supported(f"{path.name} has the transfer syntax {name}", _HINT)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        return _file(path, header)
    except OSError:
        raise
    except ImageError as error:
        raise error
    except Exception as error:  # of untrusted content: any
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ImageError("image", f"{path.name} is corrupt: {reason}", REPLACE) from error


def _file(path: Path, header: Any) -> _File:
    name = path.name
    for key, only, what in (
        ("SamplesPerPixel", 1, "in color"),
        ("NumberOfFrames", 1, "of several frames"),
    ):
        if int(header.get(key) or only) != only:
            raise not_supported(f"{name}, a DICOM file {what}", "Convert it to NIfTI")
    if "ImagePositionPatient" not in header or "ImageOrientationPatient" not in header:
        reason = f"{name} does not say where in the patient it is (ImagePositionPatient)"
        raise ImageError("image", reason, "Convert single pictures to PNG")
    missing = [key for key in ("Rows", "Columns", "PixelSpacing") if header.get(key) is None]
    if missing:
        raise ImageError("image", f"{name} has no {missing[0]}", REPLACE)
    allocated, signed = int(header.BitsAllocated), int(header.PixelRepresentation)
    bits = int(header.get("BitsStored") or allocated)
    if allocated not in (8, 16, 32) or signed not in (0, 1) or not 1 <= bits <= allocated:
        raise not_supported(f"{name} has {bits} of {allocated} bits a value", "Convert it to NIfTI")
    if int(header.get("HighBit", bits - 1)) != bits - 1:
        raise not_supported(f"{name} has values that do not end at the lowest bit", _HINT)
    slope, intercept = (
        float(header.get(key, default))
        for key, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    numbers = (
        _floats(header.ImageOrientationPatient, 6),
        _floats(header.ImagePositionPatient, 3),
        _floats(header.PixelSpacing, 2),
    )
    if not np.isfinite([*sum(numbers, ()), slope, intercept]).all():
        raise ImageError("image", f"{name} has numbers that are not finite", REPLACE)
    return _File(
        path,
        str(header.get("SeriesInstanceUID", "")),
        (int(header.Rows), int(header.Columns)),
        *numbers,  # type: ignore[arg-type]
        float(header.get("SliceThickness") or 1),
        f"<{'i' if signed else 'u'}{allocated // 8}",
        bits,
        slope,
        intercept,
    )


def _floats(values: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"{count} numbers expected, got {len(numbers)}")
    return numbers


def _sorted(files: Sequence[_File]) -> list[_File]:
    """Return the files of one series along its normal.

    Raises:
        ImageError: several series, slices that differ, or that are not evenly spaced.
    """
    series = Counter(file.series for file in files)
    if len(series) > 1:
        reason = f"a folder of {len(series)} DICOM series"
        raise ImageError("image", reason, "Put the files of each into a folder of their own")
    first = files[0]
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    if not np.linalg.norm(normal) > 0.9:  # its directions have length 1, and are at right angles
        raise ImageError("image", f"{first.path.name} has directions that span no plane", REPLACE)
    for file in files[1:]:
        for what, one, other in (
            ("pixels", file.shape, first.shape),
            ("pixel spacing", file.spacing, first.spacing),
            ("orientation", file.orientation, first.orientation),
        ):
            if not np.allclose(one, other, atol=_ANGLE):
                reason = f"{file.path.name} and {first.path.name} differ in {what}"
                raise ImageError("image", reason, "Leave out localizers and other series")
    placed = sorted((float(np.dot(file.position, normal)), file.path, file) for file in files)
    steps = [(after[0] - before[0], before[1], after[1]) for before, after in pairwise(placed)]
    usual = float(np.median([step for step, *_ in steps])) if steps else 1.0
    for step, one, other in steps:
        between = f"{one.name} and {other.name}"
        if step < _ANGLE:
            reason = f"two slices at one position: {between}"
            raise ImageError("image", reason, "Keep one of each position")
        if abs(step - usual) > _UNEVEN * usual:
            reason = f"{step:g} mm between {between}, and {usual:g} mm between most slices"
            hint = "Add the slices that are missing, or resample the series"
            raise ImageError("image", f"not evenly spaced: {reason}", hint)
    return [file for *_, file in placed]


def _value_type(file: _File) -> str:
    high = 2 ** (file.bits - 1) if "i" in file.dtype else 2**file.bits
    limits = (-high if "i" in file.dtype else 0, high - 1)
    return value_type(np.dtype(file.dtype), file.slope, file.intercept, limits)


def _wider(samples: set[str]) -> str:
    """Return a type for the values of slices of several types."""
    dtype = np.result_type(*map(np.dtype, samples))
    return dtype.name if dtype.kind in "iu" else "float32"


def _values(file: _File, sample: str, pydicom: Any) -> NDArray[Any]:
    """Return the values of a slice, [rows, columns, 1]."""
    try:
        content = pydicom.dcmread(file.path).PixelData
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ImageError("image", f"{file.path.name} is corrupt: {reason}", REPLACE) from error
    dtype, count = np.dtype(file.dtype), file.shape[0] * file.shape[1]
    if len(content) < count * dtype.itemsize:
        reason = f"{len(content):,} bytes of pixels instead of {count * dtype.itemsize:,}"
        raise ImageError("image", f"{file.path.name} is truncated: {reason}", REPLACE)
    stored = np.frombuffer(content, dtype, count)
    if unused := 8 * dtype.itemsize - file.bits:  # bits above may hold anything
        stored = (stored << unused) >> unused  # of signed values the sign is spread
    return rescaled(stored, file.slope, file.intercept, sample).reshape(*file.shape, 1)
