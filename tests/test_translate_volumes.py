"""Volumes in, volumes out: through an identity network all values and what describes them stay."""

import re

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from commands import i2i
from medical import affine, body, write_nifti, write_series

from i2i.images.slices import members
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.translation import TranslationError
from i2i.translation.folder import translate_folder
from i2i.translation.options import Options
from i2i.translation.translator import Translator

HU = (-2048.0, 2048.0)


class Middle(torch.nn.Module):
    """The slice itself among its neighbors."""

    def forward(self, x):
        return x[:, x.shape[1] // 2, None]


def identity(sample="int16", value_range=HU, neighbors=0, channels=1, depth=32, **spec):
    fields = {"value_range": value_range, "depth": depth, "sample": sample, **spec}
    target = ImageSpec((ChannelSpec(channels, False),), **fields)
    source = ImageSpec((ChannelSpec(channels, False),), neighbors=neighbors, **fields)
    network = Middle() if neighbors else torch.nn.Identity()
    return Translator(network, source.channels, channels, source=source, target=target)


def run(source, output, translator=None, **options):
    return translate_folder(translator or identity(), source, output, Options(**options))


FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "descrip", "dim"),
)


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("neighbors", [0, 1])
def test_nifti_comes_out_with_the_same_values_and_fields(tmp_path, kind, suffix, neighbors):
    array = body(shape=(10, 12, 5))
    source = write_nifti(tmp_path / f"in{suffix}", array, affine(tilt=0.3), kind)
    report = run(source, tmp_path / f"out{suffix}", identity(neighbors=neighbors))
    assert (report.written, report.failed) == (1, [])
    before, after = nibabel.load(source), nibabel.load(tmp_path / f"out{suffix}")
    assert type(before) is type(after)
    assert after.get_data_dtype() == np.int16
    assert np.array_equal(np.asanyarray(after.dataobj), array)
    assert np.array_equal(before.affine, after.affine)
    for name in FIELDS:
        assert before.header[name].tobytes() == after.header[name].tobytes(), name


@pytest.mark.parametrize(
    ("sample", "depth", "limits"),
    [
        ("uint8", 8, (0, 1)),
        ("uint16", 16, (0, 1)),
        ("int32", 32, HU),
        ("float32", 32, HU),
        ("float64", 32, HU),
    ],
)
def test_each_type_of_values_comes_out_as_it_is_in_training(tmp_path, sample, depth, limits):
    array = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 2).astype(sample)
    source = write_nifti(tmp_path / "in.nii", array)
    translator = identity("" if depth < 32 else sample, limits, depth=depth)
    assert run(source, tmp_path / "out.nii", translator).failed == []
    after = nibabel.load(tmp_path / "out.nii")
    assert after.get_data_dtype() == sample
    assert np.allclose(np.asanyarray(after.dataobj), array, atol=0 if sample[0] in "iu" else 5e-4)


def test_big_endian_header_with_extension_and_channels_comes_out_alike(tmp_path):
    array = np.arange(4 * 5 * 3 * 2, dtype=">i2").reshape(4, 5, 3, 2)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a note"))
    nibabel.save(nibabel.Nifti1Image(array, affine(), header), tmp_path / "in.nii")
    assert run(tmp_path / "in.nii", tmp_path / "out.nii", identity(channels=2)).failed == []
    after = nibabel.load(tmp_path / "out.nii")
    assert np.array_equal(np.asanyarray(after.dataobj), array)
    assert after.header.extensions == nibabel.load(tmp_path / "in.nii").header.extensions


GEOMETRY = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("FrameOfReferenceUID", "PatientName", "PatientID", "StudyInstanceUID", "StudyDate"),
    *("Modality", "InstanceNumber", "Rows", "Columns"),
)


@pytest.mark.parametrize("slope", [1, 0.5])
def test_series_comes_out_as_a_derived_series_of_the_same_patient(tmp_path, slope):
    array = (body(shape=(10, 12, 5)) * slope).astype(float)
    source = write_series(tmp_path / "in", array, slope=slope)
    sample = "int16" if slope == 1 else "float32"
    for name in ("out", "again"):
        assert run(source, tmp_path / name, identity(sample)).failed == []
    before = [pydicom.dcmread(file) for file in members(tmp_path / "in")]
    after = [pydicom.dcmread(file) for file in members(tmp_path / "out")]
    assert [f.name for f in members(tmp_path / "in")] == [f.name for f in members(tmp_path / "out")]
    for one, other in zip(before, after, strict=True):
        for name in GEOMETRY:
            assert one[name].value == other[name].value, name
        values = [
            each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept)
            for each in (one, other)
        ]
        assert np.abs(values[0] - values[1]).max() <= (0 if slope == 1 else 4096 / 65535 / 2 + 1e-3)
        assert list(other.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert other.SeriesDescription == "i2i a2b: thorax"
        assert other.SourceImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
        assert (
            other.file_meta.MediaStorageSOPInstanceUID == other.SOPInstanceUID != one.SOPInstanceUID
        )
        assert not [element for element in other if element.tag.is_private]
    assert len({each.SOPInstanceUID for each in after}) == 5
    assert {each.SeriesInstanceUID for each in after} != {each.SeriesInstanceUID for each in before}
    assert len({each.SeriesInstanceUID for each in after}) == 1
    contents = [
        [file.read_bytes() for file in members(tmp_path / name)] for name in ("out", "again")
    ]
    assert contents[0] == contents[1]


def test_tilted_gantry_is_kept(tmp_path):
    def tilt(item, number):
        item.ImagePositionPatient = [-10.5, -20.25 + number, -30 + 2 * number]

    source = write_series(tmp_path / "in", body(shape=(6, 7, 4)), tilt=tilt)
    assert run(source, tmp_path / "out").failed == []
    positions = [pydicom.dcmread(file).ImagePositionPatient for file in members(tmp_path / "out")]
    assert positions == [pydicom.dcmread(file).ImagePositionPatient for file in members(source)]


def mixed(root):
    for number in range(3):
        write_nifti(root / f"deep/scan{number}.nii.gz", body(number, (10, 12, 4)))
    write_series(root / "series", body(5, (10, 12, 4)))
    np.save(root / "picture.npy", body(6, (10, 12, 4))[..., 0])
    return root


def contents(root):
    return {
        p.relative_to(root): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and p.name[0] != "."
    }


def test_folder_of_volumes_and_pictures_is_mirrored_and_a_bad_volume_stops_nothing(tmp_path):
    root = mixed(tmp_path / "in")
    bad = root / "deep/scan1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-200])
    report = run(root, tmp_path / "out")
    assert (report.written, [path for path, _ in report.failed]) == (4, ["deep/scan1.nii.gz"])
    assert "truncated" in report.failed[0][1]
    assert len(contents(tmp_path / "out")) == 2 + 4 + 1
    again = run(root, tmp_path / "out")
    assert (again.written, again.skipped) == (0, 4)
    write_nifti(bad, body(1, (10, 12, 4)))
    assert run(root, tmp_path / "out").written == 1


def test_job_that_was_killed_continues_volume_by_volume_to_equal_bytes(tmp_path, monkeypatch):
    root = mixed(tmp_path / "in")
    assert run(root, tmp_path / "whole").written == 5
    import i2i.translation.volumes as volumes

    writer, left = volumes.write_volume, [2]

    def killed(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        writer(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(volumes, "write_volume", killed)
        with pytest.raises(KeyboardInterrupt):
            run(root, tmp_path / "out")
    assert 0 < len(contents(tmp_path / "out")) < 7
    report = run(root, tmp_path / "out")
    assert report.skipped + report.written == 5 > report.written
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    changed = tmp_path / "out/series"
    next(iter(changed.iterdir())).write_bytes(b"changed")
    with pytest.raises(TranslationError, match="series: would be replaced"):
        run(root, tmp_path / "out")
    run(root, tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_folder_with_other_files_is_never_replaced_by_a_series(tmp_path):
    write_series(tmp_path / "in/series", body(shape=(6, 7, 3)))
    (tmp_path / "out/series").mkdir(parents=True)
    (tmp_path / "out/series/notes.txt").write_text("mine")
    with pytest.raises(TranslationError, match="in the way"):
        run(tmp_path / "in", tmp_path / "out", overwrite=True)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("out.png", {}, "a picture, and the input is a volume"),
        ("out.nii", {"size": 64}, "--size: .* keeps its grid"),
        ("out.nii", {"tile": 64}, "--tile: .* in one piece"),
        ("out.nii", {"half": "left"}, "--half: .* keeps its grid"),
        ("out", {"format": "npy"}, "--format: .* keeps its grid"),
    ],
)
def test_what_a_volume_cannot_be_is_refused_before_anything_is_written(
    tmp_path, name, options, text
):
    source = write_nifti(tmp_path / "in.nii", body(shape=(6, 7, 3)))
    with pytest.raises(TranslationError, match=text):
        run(source, tmp_path / name, **options)
    assert not (tmp_path / name).exists()


def test_slice_of_a_series_alone_and_pictures_for_a_model_of_neighbors_are_refused(tmp_path):
    source = write_series(tmp_path / "in", body(shape=(6, 7, 3)))
    with pytest.raises(TranslationError, match="Pass the folder of the series"):
        run(next(iter(members(source))), tmp_path / "out")
    np.save(tmp_path / "x.npy", body(shape=(10, 12, 4))[..., 0])
    report = run(tmp_path / "x.npy", tmp_path / "y.npy", identity(neighbors=1))
    assert "takes a slice with 1 on each side" in report.failed[0][1]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"hole": lambda i, n: n == 2 and setattr(i, "ImagePositionPatient", [0, 0, 9])},
            "evenly spaced|differ",
        ),
        ({"size": lambda i, n: n == 1 and setattr(i, "Rows", 6)}, "differ in pixels"),
        (
            {"spacing": lambda i, n: n == 1 and setattr(i, "PixelSpacing", [3, 3])},
            "differ in pixel spacing",
        ),
        (
            {"series": lambda i, n: n == 1 and setattr(i, "SeriesInstanceUID", "1.2.3")},
            "2 DICOM series",
        ),
        (
            {"place": lambda i, n: n == 1 and delattr(i, "ImagePositionPatient")},
            "where in the patient",
        ),
        ({"SamplesPerPixel": 3}, "in color"),
        ({"NumberOfFrames": 2}, "several frames"),
        (
            {
                "zip": lambda i, n: setattr(
                    i.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.1.99"
                )
            },
            "Deflated",
        ),
    ],
)
def test_series_that_is_not_one_volume_is_refused_by_name(tmp_path, changes, text):
    write_series(tmp_path / "in/series", body(shape=(6, 7, 4)), **changes)
    report = run(tmp_path / "in", tmp_path / "out")
    assert report.written == 0
    assert re.search(text, report.failed[0][1]), report.failed


def test_missing_slice_is_named(tmp_path):
    source = write_series(tmp_path / "in/series", body(shape=(6, 7, 6)))
    (source / "IM0003.dcm").unlink()
    ((_, reason),) = run(tmp_path / "in", tmp_path / "out").failed
    assert "5 mm between IM0004.dcm and IM0002.dcm, and 2.5 mm between most slices" in reason


def test_compressed_series_is_refused_with_the_name_of_its_compression(tmp_path):
    source = write_series(tmp_path / "in/series", body(shape=(6, 7, 4)))
    content = (source / "IM0001.dcm").read_bytes()
    plain, jpeg = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"
    length = content.index(plain) - 2
    changed = (
        content[:length]
        + len(jpeg).to_bytes(2, "little")
        + jpeg
        + content[length + 2 + len(plain) :]
    )
    (source / "IM0001.dcm").write_bytes(changed)
    ((_, reason),) = run(tmp_path / "in", tmp_path / "out").failed
    assert "JPEG Baseline" in reason
    assert "Decompress it first" in reason


def test_outputs_of_neighboring_slices_jump_no_more_than_the_truth(tmp_path):
    jumps = {"output": 0.0, "truth": 0.0}
    for split, count in (("train", 4), ("test", 2)):
        for number in range(count):
            scan = body(number + 10 * (split == "test"), (32, 32, 12))
            truth = np.where(scan > 400, 700, np.where(scan > -500, 40, -1000)).astype(np.int16)
            noise = np.random.default_rng(number).normal(0, 150, scan.shape)
            noisy = (truth * 0.5 + noise).clip(-2000, 2000).astype(np.int16)
            for name, values in (("a", noisy), ("b", truth)):
                write_nifti(tmp_path / f"data/{split}/{name}/p{number}.nii.gz", values)
    settings = (
        *("data.load_size=32", "data.crop_size=32", "data.workers=0", "data.neighbors=1"),
        *("generator.name=unet", "generator.depth=3", "generator.width=16", "optim.lr=0.004"),
        *(f"data.value_range.{domain}=[-2048,2048]" for domain in "ab"),
        *("train.batch=4", "log.tensorboard=false", "log.sample_every_images=10000"),
    )
    sets = [word for text in settings for word in ("--set", text)]
    data, model = tmp_path / "data", tmp_path / "run"
    trained = i2i(
        tmp_path / "log",
        *("train", "regress", "--data", data, "--out", model, "--images", 700, "--device", "cpu"),
        *sets,
    )
    assert trained.status == 0, trained.err
    ended = i2i(tmp_path / "log", "translate", model, data / "test/a", tmp_path / "out")
    assert ended.status == 0, ended.err
    for number in range(2):
        for name, folder in (("output", tmp_path / "out"), ("truth", data / "test/b")):
            values = np.asanyarray(nibabel.load(folder / f"p{number}.nii.gz").dataobj)
            assert values.dtype == np.int16
            jumps[name] += np.abs(np.diff(values.astype(float), axis=2)).mean()
    assert jumps["output"] <= 1.1 * jumps["truth"]
    assert jumps["output"] > 0.5 * jumps["truth"]
