"""Series of DICOM slices (NEMA PS3.3, C.7.6.2) through pydicom: one folder holds one series."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i.images import dicom_frames, dicom_groups
from i2i.images.extras import require
from i2i.images.formats import ImageError, not_supported
from i2i.images.held import held
from i2i.images.sanity import REPLACE
from i2i.images.slices import members, statuses
from i2i.images.volumes import Volume, check_shape, rescaled, value_type

PLAIN = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<"}  # PS3.5, A.1 and A.2
_ANGLE = 1e-3  # difference of direction cosines that is rounding
_UNEVEN = 0.05  # of the distance of two slices: beyond it they are not evenly spaced


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
    syntax: str = ""  # UID of the transfer syntax
    frame: int = 0  # number in its file
    frames: int = 1  # of its file

    @property
    def name(self) -> str:
        """The name of the file, and the number of the frame from 1 where it has several."""
        return self.path.name + (f" (frame {self.frame + 1})" if self.frames > 1 else "")


class Origin(NamedTuple):
    """All that an output takes over from its input: its files, in the order of slices."""

    files: tuple[Path, ...]
    order: tuple[int, ...] = ()  # of one file with several frames: that of each slice


class _Pixels(NamedTuple):
    """Pixels of a file as they are stored."""

    content: bytes
    offsets: tuple[bytes, bytes] | None  # and lengths of compressed frames, where it says them


def open_volume(path: str, max_pixels: int) -> Volume:
    """Return a series from the headers of its files.

    Raises:
        ImageError: not one complete series of evenly spaced slices, or of a kind that is not read.
        OSError: a file cannot be read.
    """
    pydicom = library()
    paths = members(path)
    if not paths:
        raise ImageError("image", "a folder without .dcm files", "Pass the folder of a series")
    files = _sorted([frame for file in paths for frame in _read(file, pydicom)])
    first, several = files[0], len(files) > len(paths)
    if several and len(paths) > 1:
        reason = f"a folder of {len(paths)} DICOM files, of which one has several frames"
        raise ImageError("image", reason, "Put each file into a folder of its own")
    shape, _ = check_shape((*first.shape, len(files)), max_pixels)
    samples = {_value_type(file) for file in files}
    sample = samples.pop() if len(samples) == 1 else _wider(samples)

    def plane(axis: int, index: int) -> NDArray[Any]:
        if axis == 2 and not several:
            return _values(files[index], sample, _pixels(files[index], pydicom), pydicom)
        key = (tuple(files), *((s.st_mtime_ns, s.st_size, s.st_ino) for s in statuses(path)))
        size = shape[0] * shape[1] * shape[2] * np.dtype(sample).itemsize
        size += first.path.stat().st_size if several else 0
        values: NDArray[Any] = held(key, size, stacked).take(index, axis)
        return values

    def stacked() -> NDArray[Any]:
        pixels = _pixels(first, pydicom) if several else None
        slices = (_values(one, sample, pixels or _pixels(one, pydicom), pydicom) for one in files)
        return np.stack([*slices], axis=2)

    rows, columns = (np.array(first.orientation[start : start + 3]) for start in (3, 0))
    through = np.cross(columns, rows) * first.thickness
    if len(files) > 1:  # not along the normal, where the gantry was tilted
        through = (np.array(files[-1].position) - first.position) / (len(files) - 1)
    axes = np.stack([rows * first.spacing[0], columns * first.spacing[1], through], axis=1)
    kind = ("DICOM", shape, 1, sample, axes)
    origin = Origin(tuple(file.path for file in files))
    if several:
        origin = Origin((first.path,), tuple(file.frame for file in files))
    return Volume(path, *kind, plane, origin=origin)  # type: ignore[arg-type]


def library() -> Any:
    """Return pydicom, which would warn about every odd value of a file."""
    pydicom = require("pydicom", "medical", "a DICOM series")
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def _read(path: Path, pydicom: Any) -> list[_File]:
    """Return the header of a file, of each of its frames.

    Raises:
        ImageError: corrupt, or of a kind that is not read.
    """
    try:
        syntax = str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if syntax not in PLAIN:  # a deflated one would be decompressed as a whole
            name = pydicom.uid.UID(syntax).name if syntax else "that it does not name"
            dicom_frames.check_syntax(path.name, syntax, name)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        frames = dicom_groups.frames(path.name, header) or [header]
        return [
            _file(path, each)._replace(syntax=syntax, frame=frame, frames=len(frames))
            for frame, each in enumerate(frames)
        ]
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
        raise not_supported(
            f"{name} has values that do not end at the lowest bit", "Convert it to NIfTI"
        )
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
        for what, mine, usual in (
            ("pixels", file.shape, first.shape),
            ("pixel spacing", file.spacing, first.spacing),
            ("orientation", file.orientation, first.orientation),
        ):
            if not np.allclose(mine, usual, atol=_ANGLE):
                reason = f"{file.name} and {first.name} differ in {what}"
                raise ImageError("image", reason, "Leave out localizers and other series")
    placed = sorted((float(np.dot(file.position, normal)), file.path, file) for file in files)
    steps = [(after[0] - before[0], before[2], after[2]) for before, after in pairwise(placed)]
    median = float(np.median([step for step, *_ in steps])) if steps else 1.0
    for step, one, other in steps:
        between = f"{one.name} and {other.name}"
        if step < _ANGLE:
            reason = f"two slices at one position: {between}"
            raise ImageError("image", reason, "Keep one of each position")
        if abs(step - median) > _UNEVEN * median:
            reason = f"{step:g} mm between {between}, and {median:g} mm between most slices"
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


def _pixels(file: _File, pydicom: Any) -> _Pixels:
    with _named_errors(file):
        item = pydicom.dcmread(file.path)
        offsets = [item.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
        return _Pixels(item.PixelData, (offsets[0], offsets[1]) if all(offsets) else None)


@contextmanager
def _named_errors(file: _File) -> Iterator[None]:
    """Name the file in errors about its content, which may be any."""
    try:
        yield
    except OSError:
        raise
    except ImageError as error:
        raise ImageError("image", f"{file.name} is {error.reason}", error.hint) from None
    except Exception as error:
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ImageError("image", f"{file.name} is corrupt: {reason}", REPLACE) from error


def _values(file: _File, sample: str, pixels: _Pixels, pydicom: Any) -> NDArray[Any]:
    """Return the values of a slice, [rows, columns, 1]."""
    dtype, count = np.dtype(file.dtype), file.shape[0] * file.shape[1]
    size, content = count * dtype.itemsize, pixels.content
    with _named_errors(file):
        if file.syntax not in PLAIN:
            frame = pydicom.encaps.get_frame(
                content,
                file.frame,
                number_of_frames=file.frames,
                extended_offsets=pixels.offsets,
            )
            stored = dicom_frames.decode(frame, file.syntax, file.shape, dtype)
        elif len(content) < file.frames * size:
            reason = f"{len(content):,} bytes of pixels instead of {file.frames * size:,}"
            raise ImageError("image", f"truncated: {reason}", REPLACE)
        else:
            stored = np.frombuffer(content, dtype, count, file.frame * size)
    if unused := 8 * dtype.itemsize - file.bits:  # bits above may hold anything
        stored = (stored << unused) >> unused  # of signed values the sign is spread
    return rescaled(stored, file.slope, file.intercept, sample).reshape(*file.shape, 1)
