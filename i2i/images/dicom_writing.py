"""Derived DICOM series: those of an input, with other values and UIDs of their own."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.files import temporary_path
from i2i.images import dicom_groups
from i2i.images.dicom import PLAIN, Origin, library
from i2i.images.formats import ImageError
from i2i.images.pixels import ValueRange

_OF_PIXELS = (  # elements that describe the values of the input, or show them
    *("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "IconImageSequence", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenterWidthExplanation", "RescaleType", "RealWorldValueMappingSequence"),
    *("InstanceCreationDate", "InstanceCreationTime"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


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
    pydicom = library()
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
                if origin.order:  # all slices, in the order of their frames
                    frames = np.empty((len(origin.order), *values.shape[:2]), values.dtype)
                    frames[list(origin.order)] = values[..., 0].transpose(2, 0, 1)
                    _store(item, frames, value_range, pydicom)
                else:
                    _store(item, values[:, :, index, 0], value_range, pydicom)
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
    # PS3.3, C.8.16.1.2: of functional groups it is always PRIMARY
    second = "PRIMARY" if dicom_groups.PER_FRAME in item else "SECONDARY"
    item.ImageType = ["DERIVED", second, *list(kinds)[2:]]
    item.SeriesDescription = f"{what}: {item.get('SeriesDescription', '')}".rstrip(": ")[:64]
    item.DerivationDescription = f"{what}: an estimate by a neural network"
    item.remove_private_tags()
    for name in _OF_PIXELS:
        if name in item:
            delattr(item, name)
    for tag in [element.tag for element in item if element.tag.group & 0xFF01 == 0x6000]:
        del item[tag]  # overlays


def _store(item: Any, values: NDArray[Any], value_range: ValueRange, pydicom: Any) -> None:
    """Put values [..., rows, columns] into a dataset, with slope and intercept to restore them."""
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
    grouped = dicom_groups.PER_FRAME in item
    rescale, window = (pydicom.Dataset(), pydicom.Dataset()) if grouped else (item, item)
    rescale.RescaleSlope, rescale.RescaleIntercept = _decimal(slope), _decimal(intercept)
    window.WindowCenter, window.WindowWidth = _decimal((low + high) / 2), _decimal(high - low)
    if grouped:
        rescale.RescaleType = "US"  # not specified
        dicom_groups.derive(item, rescale, window)
    content = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()
    if str(item.file_meta.TransferSyntaxUID) not in PLAIN:  # of the input; this is not compressed
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
