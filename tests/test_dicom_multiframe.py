"""Enhanced DICOM, whose one file holds all slices, against nibabel's reader of such files."""

import random

import numpy as np
import pydicom
import pytest
from medical import body, write_enhanced
from nibabel.nicom.dicomwrappers import MultiframeWrapper
from pydicom.encaps import encapsulate, encapsulate_extended
from test_dicom_compressed import JPEG_2000, JPEG_LS, RLE, encoded, values
from test_malformed_volumes import damaged, outcome
from test_translate_volumes import identity, run

from i2i import images
from i2i.images.slices import members

ORDER = (2, 0, 3, 1)  # of slices in the file


def file_of(folder):
    return members(folder)[0]


def read_by_nibabel(folder):
    """[rows, columns, slices] from foot to head, and the steps along these axes in mm.

    nibabel orders slices along its own normal, from head to foot.
    """
    wrapper = MultiframeWrapper(pydicom.dcmread(file_of(folder)))
    return wrapper.get_data()[..., ::-1], wrapper.affine[:3, :3] * (1, 1, -1)


@pytest.mark.parametrize("order", [range(4), ORDER])
def test_slices_of_one_file_are_those_that_nibabel_reads(tmp_path, order):
    array = body(shape=(10, 12, 4))
    source = write_enhanced(tmp_path / "x", array, order)
    expected, steps = read_by_nibabel(source)
    assert images.read_header(f"{source}::0000").sample == "int16"
    for index in range(4):
        assert np.array_equal(values(source, index), array[:, :, index].T)
        assert np.array_equal(values(source, index), expected[..., index])
    axes = images.open_volume(source).axes
    if order == range(4):  # nibabel takes the step from the first two frames
        np.testing.assert_allclose(axes, steps, atol=1e-6)
    assert np.array_equal(values(f"{source}::coronal:0004", None), array[:, 4, ::-1].T)


def test_slope_and_intercept_of_each_frame_are_applied(tmp_path):
    array = (body(shape=(10, 12, 4)) // 2) * 2
    source = write_enhanced(tmp_path / "x", array, ORDER, slopes=[1, 2, 1, 2])
    for index in range(4):
        assert np.array_equal(values(source, index), array[:, :, index].T)


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("table", ["basic", "none", "extended"])
def test_compressed_frames_of_one_file_are_its_slices(tmp_path, syntax, table):
    array = body(shape=(10, 12, 4))
    source = write_enhanced(
        tmp_path / "x", array, ORDER, change=lambda item: compress(item, syntax, table)
    )
    for index in range(4):
        assert np.array_equal(values(source, index), array[:, :, index].T)


def compress(item, syntax, table):
    shape = item.NumberOfFrames, item.Rows, item.Columns
    frames = [
        encoded(one, syntax, 12) for one in np.frombuffer(item.PixelData, "<u2").reshape(shape)
    ]
    if table == "extended":
        extended = encapsulate_extended(frames)
        item.PixelData, item.ExtendedOffsetTable, item.ExtendedOffsetTableLengths = extended
    else:
        item.PixelData = encapsulate(frames, has_bot=table == "basic")
    item["PixelData"].VR, item["PixelData"].is_undefined_length = "OB", True
    item.file_meta.TransferSyntaxUID = syntax


@pytest.mark.parametrize("syntax", ["", RLE])
def test_file_of_several_frames_comes_out_as_a_derived_one_with_the_same_frames(tmp_path, syntax):
    array = body(shape=(10, 12, 4))
    change = (lambda item: compress(item, syntax, "extended")) if syntax else None
    source = write_enhanced(tmp_path / "in/x", array, ORDER, change=change)
    report = run(tmp_path / "in", tmp_path / "out", identity(neighbors=1))
    assert (report.written, report.failed) == (1, [])
    before, after = (pydicom.dcmread(file_of(path)) for path in (source, tmp_path / "out/x"))
    for index in range(4):  # one that is read again, and by nibabel
        assert np.array_equal(values(tmp_path / "out/x", index), array[:, :, index].T)
    theirs, _ = read_by_nibabel(tmp_path / "out/x")
    assert np.array_equal(np.round(theirs), array.transpose(1, 0, 2))
    for one, other in zip(
        before.PerFrameFunctionalGroupsSequence, after.PerFrameFunctionalGroupsSequence, strict=True
    ):
        assert one.PlanePositionSequence == other.PlanePositionSequence
        assert "PixelValueTransformationSequence" not in other
    shared = after.SharedFunctionalGroupsSequence[0]
    assert (
        shared.PixelMeasuresSequence
        == before.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    )
    assert shared.CTImageFrameTypeSequence[0].FrameType[:2] == ["DERIVED", "PRIMARY"]
    assert after.ImageType[:2] == ["DERIVED", "PRIMARY"]
    assert (after.PatientID, after.StudyInstanceUID) == ("17", before.StudyInstanceUID)
    assert len({before.SOPInstanceUID, after.SOPInstanceUID}) == 2
    assert len({before.SeriesInstanceUID, after.SeriesInstanceUID}) == 2
    assert "RescaleSlope" not in after
    assert "ExtendedOffsetTable" not in after


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda item: setattr(item, "NumberOfFrames", 5),
            "IM0001.dcm is corrupt: 5 frames, and functional groups of 4",
        ),
        (
            lambda item: setattr(item, "PixelData", item.PixelData[:-2]),
            "is truncated: 958 bytes of pixels instead of 960",
        ),
        (
            lambda item: delattr(item, "PerFrameFunctionalGroupsSequence"),
            "IM0001.dcm, a DICOM file of several frames",
        ),
        (
            lambda item: delattr(item.PerFrameFunctionalGroupsSequence[2], "PlanePositionSequence"),
            "IM0001.dcm does not say where in the patient it is",
        ),
    ],
)
def test_file_whose_frames_do_not_fit_its_header_is_refused(tmp_path, change, reason):
    source = write_enhanced(tmp_path / "x", body(shape=(10, 12, 4)), change=change)
    assert reason in outcome(source)


def test_frames_at_one_position_and_several_such_files_are_refused_by_name(tmp_path):
    source = write_enhanced(tmp_path / "x", body(shape=(10, 12, 4)), (0, 1, 2, 1))
    reason = "two slices at one position: IM0001.dcm (frame 2) and IM0001.dcm (frame 4)"
    assert reason in outcome(source)
    source = write_enhanced(tmp_path / "y", body(shape=(10, 12, 4)))
    copy = pydicom.dcmread(file_of(source))
    copy.save_as(source / "IM0002.dcm")
    for group in copy.PerFrameFunctionalGroupsSequence:
        group.PlanePositionSequence[0].ImagePositionPatient[2] += 10
    copy.save_as(source / "IM0002.dcm")
    assert "a folder of 2 DICOM files, of which one has several frames" in outcome(source)


def test_damaged_file_of_several_frames_is_refused_or_read_as_its_header_says(tmp_path):
    source = write_enhanced(tmp_path / "x", body(shape=(9, 10, 3)))
    content = file_of(source).read_bytes()
    for name, copy in damaged(content, random.Random(6)):
        file_of(source).write_bytes(copy)
        reason = outcome(source)
        assert reason or "cut" not in name
        if reason:
            assert "IM0" in reason or "volume has" in reason, reason


def test_series_of_files_with_groups_of_one_frame_are_read_and_written(tmp_path):
    array = body(shape=(10, 12, 3))
    for z in range(3):
        source = write_enhanced(tmp_path / f"in{z}", array[:, :, z : z + 1])
        item = pydicom.dcmread(file_of(source))
        place = item.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        place.ImagePositionPatient[2] += 2.5 * z
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{z + 1}"
        (tmp_path / "in/x").mkdir(parents=True, exist_ok=True)
        item.save_as(tmp_path / f"in/x/IM{z}.dcm")
    report = run(tmp_path / "in", tmp_path / "out")
    assert (report.written, report.failed) == (1, [])
    for z in range(3):
        assert np.array_equal(values(tmp_path / "out/x", z), array[:, :, z].T)
