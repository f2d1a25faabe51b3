"""DICOM series that are compressed without loss, by pydicom and imagecodecs, and what damage does to them."""

import sys

import imagecodecs
import numpy as np
import pydicom
import pytest
from medical import body, write_series
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from test_malformed_volumes import check_damaged, outcome
from test_translate_volumes import run

from i2i import images
from i2i.images import ImageError, dicom_frames
from i2i.images.slices import members

RLE, JPEG, JPEG_SV1, JPEG_LS, JPEG_2000 = (
    f"1.2.840.10008.1.2.{end}" for end in ("5", "4.57", "4.70", "4.80", "4.90")
)
SYNTAXES = (RLE, JPEG, JPEG_SV1, JPEG_LS, JPEG_2000)
HU = (-2048.0, 2048.0)


def encoded(stored, syntax, bits):
    """A frame of [rows, columns] as an encoder makes it."""
    raw = stored.view(f"u{stored.itemsize}") & np.array((1 << bits) - 1, f"u{stored.itemsize}")
    if syntax == RLE:
        kind = {"rows": stored.shape[0], "columns": stored.shape[1], "samples_per_pixel": 1}
        kind |= {"bits_allocated": 8 * stored.itemsize, "bits_stored": bits, "number_of_frames": 1}
        kind |= {"pixel_representation": int(stored.dtype.kind == "i")}
        kind |= {"photometric_interpretation": "MONOCHROME2"}
        return get_encoder(RLE).encode(stored, encoding_plugin="pydicom", **kind)
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(raw))
    if syntax == JPEG_2000:
        return bytes(imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True))
    predictor = 1 if syntax == JPEG_SV1 else 4
    options = {"lossless": True, "predictor": predictor, "bitspersample": bits}
    return bytes(imagecodecs.jpeg8_encode(raw, **options))


def compress(folder, syntax, change=lambda frame: frame):
    """Compress the files of a series where they are; frames are given to `change`."""
    for path in members(folder):
        item = pydicom.dcmread(path)
        dtype = f"<{'i' if item.PixelRepresentation else 'u'}{item.BitsAllocated // 8}"
        stored = np.frombuffer(item.PixelData, dtype).reshape(item.Rows, item.Columns)
        item.PixelData = encapsulate([change(encoded(stored, syntax, item.BitsStored))])
        item["PixelData"].VR, item["PixelData"].is_undefined_length = "OB", True
        item.file_meta.TransferSyntaxUID = syntax
        item.save_as(path)
    return folder


def values(folder, index):
    """The numbers in a slice; with None for a path that names one."""
    path = str(folder) if index is None else f"{folder}::{index:04d}"
    unit = images.decode(path, value_range=HU)
    return np.round(unit.astype(np.float64) * 4096 - 2048)[..., 0]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_slices_have_the_numbers_that_were_compressed(tmp_path, syntax, signed):
    array = body(shape=(10, 13, 3))
    options = {"signed": signed, "intercept": 0 if signed else -1024}
    source = compress(write_series(tmp_path / "x", array, **options), syntax)
    for index in range(3):
        assert np.array_equal(values(source, index), array[:, :, index].T)
    if syntax in (RLE, JPEG_2000):  # which pydicom decodes by itself, or through Pillow
        item = pydicom.dcmread(members(source)[2])
        assert np.array_equal(
            item.pixel_array.astype(int) + int(item.RescaleIntercept), array[:, :, 0].T
        )


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_all_bits_of_values_come_back(syntax, dtype):
    dtype = np.dtype(f"<{dtype}")
    info = np.iinfo(dtype)
    stored = np.random.default_rng(0).integers(info.min, info.max, (9, 14), dtype, endpoint=True)
    frame = encoded(stored, syntax, 8 * dtype.itemsize)
    decoded = dicom_frames.decode(frame + bytes(len(frame) % 2), syntax, stored.shape, dtype)
    assert decoded.dtype == dtype
    assert np.array_equal(decoded, stored.ravel())


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS])
def test_frame_may_have_fill_bytes_in_front_of_its_markers(syntax):
    stored = np.random.default_rng(0).integers(0, 4096, (9, 14), "<u2")
    start = b"\xff\xc3" if syntax == JPEG else b"\xff\xf7"
    frame = encoded(stored, syntax, 12).replace(start, b"\xff\xff" + start, 1)
    decoded = dicom_frames.decode(frame, syntax, stored.shape, stored.dtype)
    assert np.array_equal(decoded, stored.ravel())


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_compressed_series_comes_out_as_a_plain_one_with_the_same_values(tmp_path, syntax):
    array = body(shape=(10, 12, 4))
    source = compress(write_series(tmp_path / "in/x", array), syntax)
    report = run(tmp_path / "in", tmp_path / "out")
    assert (report.written, report.failed) == (1, [])
    for before, after in zip(members(source), members(tmp_path / "out/x"), strict=True):
        before, after = pydicom.dcmread(before), pydicom.dcmread(after)
        assert after.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        z = round((after.ImagePositionPatient[2] + 30.125) / 2.5)
        numbers = after.pixel_array * after.RescaleSlope + after.RescaleIntercept
        assert np.array_equal(np.round(numbers), array[:, :, z].T)
        assert (after.PatientID, after.StudyInstanceUID) == ("17", before.StudyInstanceUID)
        assert after.SeriesInstanceUID != before.SeriesInstanceUID


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frame_of_another_size_than_its_header_says_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch, syntax
):
    large = encoded(np.zeros((500, 400), "<u2"), syntax, 12)
    source = compress(
        write_series(tmp_path / "x", body(shape=(10, 12, 3))), syntax, lambda _: large
    )
    if syntax == RLE:  # of which no more is unpacked than there should be
        assert np.array_equal(values(source, 1), np.full((12, 10), -1024))
        packed = dicom_frames._runs(b"\x81\7" * 10**5, 1000)
        assert len(packed.base) < 1000 + 128
        return
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(imagecodecs, name, None)
    reason = "IM0002.dcm is corrupt: a frame of 400x500 pixels, its header says 10x12"
    assert reason in outcome(source)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frame_that_is_cut_is_refused(tmp_path, syntax):
    array = body(shape=(10, 12, 3))
    for place in range(1, 10):
        folder = write_series(tmp_path / f"{place}", array)
        compress(folder, syntax, lambda frame: frame[: len(frame) * place // 10])  # noqa: B023
        assert "IM0002.dcm is " in outcome(folder), place


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_damaged_compressed_series_is_refused_or_read_as_its_header_says(tmp_path, syntax):
    check_damaged(compress(write_series(tmp_path / "x", body(shape=(9, 10, 3))), syntax), seed=5)


def test_missing_library_of_a_compression_is_named_and_rle_needs_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    array = body(shape=(4, 5, 3))
    plain = write_series(tmp_path / "rle", array)
    item = pydicom.dcmread(members(plain)[0])
    item.compress(RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    item.save_as(members(plain)[0])
    assert outcome(plain) == ""
    item.file_meta.TransferSyntaxUID = JPEG_LS
    item.save_as(members(plain)[0])
    with pytest.raises(ImageError, match=r"JPEG-LS Lossless.* needs imagecodecs.*i2i\[medical\]"):
        images.read_header(f"{plain}::0001")


@pytest.mark.parametrize(
    ("end", "name"),
    [("4.50", "JPEG Baseline"), ("4.81", "JPEG-LS Lossy"), ("4.201", "High-Through")],
)
def test_lossy_and_rare_compressions_are_refused_by_name(tmp_path, end, name):
    source = write_series(tmp_path / "x", body(shape=(4, 5, 3)))
    item = pydicom.dcmread(members(source)[0])
    item.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    item["PixelData"].VR, item["PixelData"].is_undefined_length = "OB", True
    item.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.{end}"
    item.save_as(members(source)[0])
    assert f"transfer syntax {name}" in outcome(source)
