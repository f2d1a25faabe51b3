"""Series of DICOM slices (NEMA PS3.3, C.7.6.2) through pydicom: one folder holds one series."""

import hashlib
import shutil
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i.files import temporary_path
from i2i.images import dicom_frames
from i2i.images.extras import require
from i2i.images.formats import ImageError, not_supported
from i2i.images.held import held
from i2i.images.pixels import ValueRange
from i2i.images.sanity import REPLACE
from i2i.images.slices import members, statuses
from i2i.images.volumes import Volume, check_shape, rescaled, value_type

_PLAIN = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<"}  # PS3.5, A.1 and A.2
_ANGLE = 1e-3  # difference of direction cosines that is rounding
_UNEVEN = 0.05  # of the distance of two slices: beyond it they are not evenly spaced
_OF_PIXELS = (  # elements that describe the values of the input, or show them
    *("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "IconImageSequence", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenterWidthExplanation", "RescaleType", "RealWorldValueMappingSequence"),
    *("InstanceCreationDate", "InstanceCreationTime"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


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


class Origin(NamedTuple):
    """All that an output takes over from its input: its files, in the order of slices."""

    files: tuple[Path, ...]


def open_volume(path: str, max_pixels: int) -> Volume:
    """Return a series from the headers of its files.

    Raises:
        ImageError: not one complete series of evenly spaced slices, or of a kind that is not read.
        OSError: a file cannot be read.
    """
    pydicom = _library()
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
        key = (tuple(files), *((s.st_mtime_ns, s.st_size, s.st_ino) for s in statuses(path)))
        size = shape[0] * shape[1] * shape[2] * np.dtype(sample).itemsize
        values: NDArray[Any] = held(key, size, stacked).take(index, axis)
        return values

    def stacked() -> NDArray[Any]:
        return np.stack([_values(file, sample, pydicom) for file in files], axis=2)

    rows, columns = (np.array(first.orientation[start : start + 3]) for start in (3, 0))
    through = np.cross(columns, rows) * first.thickness
    if len(files) > 1:  # not along the normal, where the gantry was tilted
        through = (np.array(files[-1].position) - first.position) / (len(files) - 1)
    axes = np.stack([rows * first.spacing[0], columns * first.spacing[1], through], axis=1)
    kind = ("DICOM", shape, 1, sample, axes)
    return Volume(path, *kind, plane, origin=Origin(tuple(file.path for file in files)))  # type: ignore[arg-type]


def _library() -> Any:
    """Return pydicom, which would warn about every odd value of a file."""
    pydicom = require("pydicom", "medical", "a DICOM series")
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


def _read(path: Path, pydicom: Any) -> _File:
    """Return the header of a file.

    Raises:
        ImageError: corrupt, or of a kind that is not read.
    """
    try:
        syntax = str(pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))
        if syntax not in _PLAIN:  # a deflated one would be decompressed as a whole
            name = pydicom.uid.UID(syntax).name if syntax else "that it does not name"
            dicom_frames.check_syntax(path.name, syntax, name)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        return _file(path, header)._replace(syntax=syntax)
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
                reason = f"{file.path.name} and {first.path.name} differ in {what}"
                raise ImageError("image", reason, "Leave out localizers and other series")
    placed = sorted((float(np.dot(file.position, normal)), file.path, file) for file in files)
    steps = [(after[0] - before[0], before[1], after[1]) for before, after in pairwise(placed)]
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


def _values(file: _File, sample: str, pydicom: Any) -> NDArray[Any]:
    """Return the values of a slice, [rows, columns, 1]."""
    dtype, count = np.dtype(file.dtype), file.shape[0] * file.shape[1]
    try:
        content = pydicom.dcmread(file.path).PixelData
        if file.syntax not in _PLAIN:
            encoded = pydicom.encaps.get_frame(content, 0, number_of_frames=1)
            stored = dicom_frames.decode(encoded, file.syntax, file.shape, dtype)
        elif len(content) < count * dtype.itemsize:
            reason = f"{len(content):,} bytes of pixels instead of {count * dtype.itemsize:,}"
            raise ImageError("image", f"truncated: {reason}", REPLACE)
        else:
            stored = np.frombuffer(content, dtype, count)
    except OSError:
        raise
    except ImageError as error:
        reason = f"{file.path.name} is {error.reason}"
        raise ImageError("image", reason, error.hint) from None
    except Exception as error:
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ImageError("image", f"{file.path.name} is corrupt: {reason}", REPLACE) from error
    if unused := 8 * dtype.itemsize - file.bits:  # bits above may hold anything
        stored = (stored << unused) >> unused  # of signed values the sign is spread
    return rescaled(stored, file.slope, file.intercept, sample).reshape(*file.shape, 1)


# -- writing ---------------------------------------------------------------------------------------


def write(
    folder: Path,
    values: NDArray[Any],
    origin: Origin,
    value_range: ValueRange,
    key: str,
    what: str,
) -> None:
    """Write [rows, columns, slices, 1] as a derived series, in one step.

    Patient, study and geometry are those of the input. Instances and the series have UIDs of their
    own, which `key` decides, and say `what` made them. What described the pixels of the input, or
    shows them, is left out: private elements, overlays, icons, windows of values.

    Args:
        values: floats are stored as 65,536 levels of `value_range`, by slope and intercept.

    Raises:
        ImageError: more than one channel, or an input that cannot be taken over.
        OSError: it cannot be written.
    """
    pydicom = _library()
    if values.shape[3] != 1:
        reason = f"a DICOM series holds one channel, the output has {values.shape[3]}"
        raise ImageError("image", reason, "Convert the input to NIfTI")
    temporary = temporary_path(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for index, file in enumerate(origin.files):
            try:
                item = pydicom.dcmread(file)
                _derive(item, key, what, pydicom)
                _store(item, values[:, :, index, 0], value_range)
                pydicom.dcmwrite(temporary / file.name, item, enforce_file_format=True)
            except OSError:
                raise
            except Exception as error:  # of untrusted content: any
                reason = " ".join(str(error)[:200].split()) or type(error).__name__
                raise ImageError("image", f"{file.name} cannot be taken over: {reason}") from error
        if folder.exists():
            last = temporary_path(folder.with_name(f"{folder.name}.replaced"))
            folder.rename(last)
            temporary.rename(folder)
            shutil.rmtree(last)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _derive(item: Any, key: str, what: str, pydicom: Any) -> None:
    """Make a dataset a derived one of a new series. PS3.3, C.7.6.1.1.2 and C.12.4."""
    instance = pydicom.dataset.Dataset()
    instance.ReferencedSOPClassUID = item.SOPClassUID
    instance.ReferencedSOPInstanceUID = item.SOPInstanceUID
    item.SourceImageSequence = [instance]
    item.SOPInstanceUID = _uid(key, item.SOPInstanceUID)
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item.SeriesInstanceUID = _uid(key, item.get("SeriesInstanceUID", ""))
    kinds = item.get("ImageType") or []
    item.ImageType = ["DERIVED", "SECONDARY", *list(kinds)[2:]]
    item.SeriesDescription = f"{what}: {item.get('SeriesDescription', '')}".rstrip(": ")[:64]
    item.DerivationDescription = f"{what}: an estimate by a neural network"
    item.remove_private_tags()
    for name in _OF_PIXELS:
        if name in item:
            delattr(item, name)
    for tag in [element.tag for element in item if element.tag.group & 0xFF01 == 0x6000]:
        del item[tag]  # overlays


def _store(item: Any, values: NDArray[Any], value_range: ValueRange) -> None:
    """Put values [rows, columns] into a dataset, with the slope and intercept that restore them."""
    slope, intercept = 1.0, 0.0
    low, high = value_range
    if values.dtype.kind == "f":
        slope, intercept = (high - low) / 65_535, low
        stored = ((values.astype(np.float64) - low) / slope).round().clip(0, 65_535)
        values = stored.astype(np.uint16)
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8)
    elif values.dtype.itemsize > 4:
        values = values.clip(-(2**31), 2**31 - 1).astype(np.int32)
    signed = values.dtype.kind == "i"
    if values.dtype == np.int8:  # of 8 bits, values are unsigned
        values = values.astype(np.int16)
    bits = 8 * values.dtype.itemsize
    item.BitsAllocated = item.BitsStored = bits
    item.HighBit, item.PixelRepresentation = bits - 1, int(signed)
    item.RescaleSlope, item.RescaleIntercept = _decimal(slope), _decimal(intercept)
    item.WindowCenter, item.WindowWidth = _decimal((low + high) / 2), _decimal(high - low)
    content = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()
    if str(item.file_meta.TransferSyntaxUID) not in _PLAIN:  # of the input; this is not compressed
        item.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        del item.PixelData
    item.PixelData = content + b"\0" * (len(content) % 2)
    item["PixelData"].VR = "OW" if bits > 8 else "OB"


def _decimal(number: float) -> str:
    """Return a number in at most the 16 characters of a decimal string. PS3.5, 6.2."""
    return next(text for digits in range(16, 0, -1) if len(text := f"{number:.{digits}g}") <= 16)


def _uid(*parts: object) -> str:
    """Return a UID that depends on `parts` alone, in the form of a UUID. PS3.5, B.2."""
    digest = hashlib.blake2b(repr([*map(str, parts)]).encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"
