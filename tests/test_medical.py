"""Volumes as slices: NIfTI and DICOM of nibabel and pydicom, read, paired, trained on and scored."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from commands import i2i
from medical import affine, body, pairs, write_nifti, write_series
from runs import final_state, rows, train_words
from states import equal

from i2i import images
from i2i.config import PairedData
from i2i.data.dataset import PairedImages
from i2i.data.selection import HeldOut
from i2i.data.walk import DataError
from i2i.images import ImageError, volumes
from i2i.images.slices import volume_of

HU = (-2048.0, 2048.0)
RANGES = {"a": HU, "b": HU}


def values(path, **options):
    """The numbers in a slice."""
    unit = images.decode(path, value_range=HU, **options).astype(np.float64)
    return np.round(unit * 4096 - 2048)


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "nifti2", "dicom", "signed dicom"])
@pytest.mark.parametrize("axis", ["", "axial:", "coronal:", "sagittal:"])
def test_slice_looks_as_in_a_viewer_and_holds_the_numbers_of_the_volume(tmp_path, kind, axis):
    array = body(shape=(10, 12, 6))
    path = tmp_path / f"x.{'nii.gz' if kind.endswith('gz') else 'nii'}"
    if "dicom" in kind:
        path = write_series(
            tmp_path / "x",
            array,
            signed="signed" in kind,
            intercept=0 if "signed" in kind else -1024,
        )
    else:
        write_nifti(path, array, kind="Nifti2Image" if kind == "nifti2" else "Nifti1Image")
    across = {"coronal:": array[:, 4, ::-1].T, "sagittal:": array[4, :, ::-1].T}
    expected = across.get(axis, array[:, :, 4].T)  # the head is on top, the first axis runs left
    assert np.array_equal(values(f"{path}::{axis}0004")[..., 0], expected)
    assert images.read_header(f"{path}::{axis}0004").sample == "int16"


def test_slices_of_a_volume_that_is_stored_in_another_order_look_the_same(tmp_path):
    array = body(shape=(10, 12, 6))
    order = np.array([[0, -1, 0, 9], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    turned = np.ascontiguousarray(array[::-1].transpose(2, 0, 1))
    path = write_nifti(tmp_path / "x.nii", turned, affine() @ order)
    assert np.array_equal(values(f"{path}::axial:0004")[..., 0], array[:, :, 4].T)
    assert np.array_equal(values(f"{path}::sagittal:0005")[..., 0], array[4, :, ::-1].T)


@pytest.mark.parametrize("sample", ["uint8", "int8", "uint16", "int16", "int32", "float32"])
def test_values_of_each_type_are_read_as_nibabel_reads_them(tmp_path, sample):
    import nibabel

    array = (np.arange(60).reshape(3, 4, 5) % 50).astype(sample)
    plain = write_nifti(tmp_path / "plain.nii.gz", array)
    header = images.read_header(f"{plain}::0002")
    assert (header.sample or {8: "uint8", 16: "uint16", 32: "float32"}[header.depth]) == sample
    scaled = write_nifti(tmp_path / "scaled.nii", array, slope=0.5, intercept=-3)
    expected = np.asanyarray(nibabel.load(scaled).dataobj)[:, :, 2].T
    assert np.array_equal(values(f"{scaled}::0002")[..., 0], np.round(expected))


def test_fourth_axis_is_read_as_channels_up_to_sixteen(tmp_path):
    array = np.arange(120, dtype=np.float32).reshape(3, 4, 5, 2) / 120
    path = write_nifti(tmp_path / "x.nii", array)
    picture = images.decode(f"{path}::0001")
    assert np.array_equal(picture, array[:, :, 1].transpose(1, 0, 2))
    path = write_nifti(tmp_path / "y.nii", np.zeros((3, 4, 5, 17), np.float32))
    with pytest.raises(ImageError, match=r"3 x 4 x 5 x 17.*one volume a file"):
        images.decode(f"{path}::0001")


@pytest.mark.parametrize(("kind", "library"), [("nii", "nibabel"), ("dicom", "pydicom")])
def test_missing_extra_is_named(tmp_path, monkeypatch, kind, library):
    array = body(shape=(4, 5, 3))
    path = tmp_path / "x.nii"
    path = write_series(tmp_path / "x", array) if kind == "dicom" else write_nifti(path, array)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImageError, match=rf"needs {library}.*i2i\[medical\]"):
        images.read_header(f"{path}::0001")


# -- data sets -------------------------------------------------------------------------------------


def data(root, **settings):
    sizes = {"load_size": 32, "crop_size": 32, "value_range": RANGES, "cache": "off"}
    return PairedImages(PairedData(root=str(root), **{**sizes, **settings}))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ""])
def test_volumes_match_by_their_stem_and_then_slice_by_slice(tmp_path, suffix):
    pairs(tmp_path, 2, suffix, (32, 32, 3), splits=("train",))
    dataset = data(tmp_path)
    names = [tuple(map(str, dataset.row_files(("a", "b"), row))) for row in range(len(dataset))]
    assert names == [
        tuple(f"{tmp_path}/train/{domain}/p{volume}{suffix}::{index:04d}" for domain in "ab")
        for volume in range(2)
        for index in range(3)
    ]
    a, b = (dataset.fixed(4)[domain].numpy() for domain in "ab")
    assert (b - a).max() == pytest.approx(2 * 100 / 4096, abs=1e-6)


def test_volumes_of_a_pair_that_differ_are_refused_by_name(tmp_path):
    write_nifti(tmp_path / "a/p.nii", body(shape=(8, 8, 4)))
    write_nifti(tmp_path / "b/p.nii.gz", body(shape=(8, 8, 5)))
    with pytest.raises(DataError, match=r"a/p.nii and .*b/p.nii.gz differ in shape: 8 x 8 x 4 and"):
        data(tmp_path)
    flipped = affine() @ np.diag([-1, 1, 1, 1.0])
    write_nifti(tmp_path / "b/p.nii.gz", body(shape=(8, 8, 4)), flipped)
    with pytest.raises(DataError, match="differ in orientation"):
        data(tmp_path)


def test_volume_that_cannot_be_read_is_skipped_whole_with_its_reason(tmp_path):
    pairs(tmp_path, 2, ".nii", (32, 32, 3), splits=("train",))
    bad = tmp_path / "train/a/p0.nii"
    bad.write_bytes(bad.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"p0.nii: truncated"):
        data(tmp_path)
    dataset = data(tmp_path, on_bad_file="skip")
    assert len(dataset) == 3


def test_slices_of_one_value_are_left_out_and_told(tmp_path):
    pairs(tmp_path, 1, ".nii", (32, 32, 4), splits=("train",))
    empty = body(shape=(32, 32, 4))
    empty[:, :, 0] = -1000
    write_nifti(tmp_path / "train/a/p0.nii", empty)
    dataset = data(tmp_path)
    assert len(dataset) == 3
    assert any("1 of 8 files are slices of one value, and are left out" in n for n in dataset.notes)


def test_settings_of_volumes_are_refused_for_pictures(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(
            tmp_path / name / "x.png"
        )
    for setting in ({"neighbors": 1}, {"slice_axis": "coronal"}):
        with pytest.raises(DataError, match=f"data.{next(iter(setting))}: .*pictures"):
            data(tmp_path, value_range={}, **setting)


def test_slices_are_kept_once_they_are_decoded(tmp_path, monkeypatch):
    pairs(tmp_path, 1, "", (32, 32, 4), splits=("train",))
    dataset = data(tmp_path, cache="ram", neighbors=1)
    dataset.open_cache()
    monkeypatch.setattr("i2i.data.cache._TICK_NS", 0)
    first = [dataset.sample(0, row) for row in range(4)]
    monkeypatch.setattr(volumes, "read_slice", None)
    again = [dataset.sample(0, row) for row in range(4)]
    assert all((x[d] == y[d]).all() for x, y in zip(first, again, strict=True) for d in "ab")


# -- training --------------------------------------------------------------------------------------


def words(root, run, *more):
    ranges = [f"data.value_range.{d}=[-2048,2048]" for d in "ab"]
    sets = [w for text in (*ranges, "data.neighbors=1") for w in ("--set", text)]
    return train_words("pix2pix", {"facades": root}, run, *sets, *more)


def test_resumed_run_on_volumes_equals_an_uninterrupted_one_and_its_scores_are_in_hu(tmp_path):
    pairs(tmp_path / "data", 2, ".nii.gz", (32, 36, 5))
    for name, lengths in (("whole", [8]), ("resumed", [4, 8])):
        for index, length in enumerate(lengths):
            more = ("--resume",) if index else ()
            ended = i2i(
                tmp_path / "log",
                *words(tmp_path / "data", tmp_path / name, "--images", length, *more),
            )
            assert ended.status == 0, ended.err
    assert equal(final_state(tmp_path / "whole"), final_state(tmp_path / "resumed"))
    assert rows(tmp_path / "whole")[-1] == rows(tmp_path / "resumed")[-1]
    scored = i2i(tmp_path / "log", "evaluate", tmp_path / "whole", tmp_path / "data", "--json")
    assert scored.status == 0, scored.err
    report = json.loads(scored.out)
    assert report["protocol"]["value_range"] == [-2048, 2048]
    assert report["protocol"]["targets"]["images"] == 10
    assert report["protocol"]["targets"]["formats"] == {"nii.gz": 10}
    assert len(report["protocol"]["targets"]["samples"]) == 10
    folders = [
        "evaluate",
        tmp_path / "data/test/a",
        tmp_path / "data/test/b",
        "--value-range",
        -2048,
        2048,
        "--json",
    ]
    compared = json.loads(i2i(tmp_path / "log", *folders).out)
    row = next(iter(compared["scores"].values()))
    tissue = np.mean([(body(100 + n, (32, 36, 5)) > -500).mean() for n in range(2)])
    assert row["l1_units"]["mean"] == pytest.approx(100 * tissue, abs=0.01)


def data_check(folder, *options):
    given = (folder / "data", "--value-range", -2048, 2048, *options)
    return i2i(folder / "log", "data", "check", *given)


def test_data_check_lists_slices_and_does_not_take_neighbors_for_copies(tmp_path):
    pairs(tmp_path / "data", 2, "", (32, 36, 5), splits=("train",))
    again = tmp_path / "data/train/a/p0"
    flat = np.full((32, 36, 5), -1000, np.int16)
    flat[..., :3] = body(shape=(32, 36, 3))
    write_series(again, flat)
    ended = data_check(tmp_path, "--fix", tmp_path / "clean")
    assert ended.status == 0, ended.out
    assert "10 DICOM; 10 of 32x36" in ended.out
    assert "p0::0001 and" not in ended.out  # neighbors of one volume look alike
    assert "leak" not in ended.out
    assert "empty slice" in ended.out
    assert len(list((tmp_path / "clean/train/a/p0").iterdir())) == 5


def test_volumes_are_unpacked_from_archives_and_checked(tmp_path):
    pairs(tmp_path / "data", 1, "", (8, 9, 3), splits=("train",))
    good = write_nifti(tmp_path / "data/train/c/x.nii.gz", body(shape=(8, 9, 3)))
    (good.parent / "bad.nii.gz").write_bytes(good.read_bytes()[:20])
    shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path / "data")
    ended = i2i(tmp_path / "log", "data", "unpack", tmp_path / "data.zip", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == sorted(
        [*(f"IM{n:04d}.dcm" for n in (1, 2, 3)), *(f"IM{n:04d}.dcm" for n in (1, 2, 3)), "x.nii.gz"]
    ), ended


def test_axis_of_slices_is_kept_in_the_model_and_checked_like_the_data(tmp_path):
    pairs(tmp_path / "data", 2, ".nii", (24, 26, 28), splits=("train",))
    axis = ("--set", "data.slice_axis=coronal")
    assert (
        i2i(
            tmp_path / "log", *words(tmp_path / "data", tmp_path / "run", "--images", 4, *axis)
        ).status
        == 0
    )
    checked = data_check(tmp_path, "--slice-axis", "coronal")
    assert "52 of 24x28" in checked.out
    ended = i2i(
        tmp_path / "log", "translate", tmp_path / "run", tmp_path / "data/train/a", tmp_path / "out"
    )
    assert ended.status == 0, ended.err
    assert images.read_header(tmp_path / "out/p0.nii::coronal:0025").width == 24


def test_slices_of_a_volume_are_held_out_together(tmp_path):
    pairs(tmp_path, 5, ".nii", (32, 32, 3), splits=("train",))
    config = PairedData(root=str(tmp_path), load_size=32, crop_size=32, value_range=RANGES)
    parts = [PairedImages(config, part=HeldOut(0.4, wanted)) for wanted in (True, False)]
    owners = [{volume_of(path) for path in part.paths["a"][0]} for part in parts]
    assert [len(each) for each in owners] == [2, 3]
    assert not owners[0] & owners[1]
    assert [part.count for part in parts] == [6, 9]
    assert any("2 of 5 volumes are held out" in note for note in parts[0].notes)


def test_scores_inside_of_masks_that_are_volumes_are_in_hu(tmp_path):
    pairs(tmp_path / "data", 2, ".nii.gz", (32, 36, 4), splits=("test",))
    for number in range(2):
        mask = (body(100 + number, (32, 36, 4)) > -500).astype(np.uint8)
        write_nifti(tmp_path / f"masks/p{number}.nii", mask)
    folders = [tmp_path / "data/test" / name for name in "ab"]
    words = [
        "evaluate",
        *folders,
        "--value-range",
        -2048,
        2048,
        "--mask",
        tmp_path / "masks",
        "--json",
    ]
    ended = i2i(tmp_path / "log", *words)
    assert ended.status == 0, ended.err
    row = next(iter(json.loads(ended.out)["scores"].values()))
    assert row["l1_units"]["mean"] == pytest.approx(100, abs=0.01)  # b is a + 100 where it counts


def test_window_in_hu_clips_values_and_is_the_range_of_a_volume(tmp_path):
    pairs(tmp_path, 1, ".nii", (32, 32, 3), splits=("train",))
    dataset = data(tmp_path, value_range=dict.fromkeys("ab", "soft_tissue"))
    low, high = dataset.specs["a"].value_range
    assert high - low == 400
    a = dataset.fixed(1)["a"].numpy()
    assert (a.min(), a.max()) == (-1, 1)


def test_neighbors_are_the_slices_before_and_after_and_repeat_at_the_ends(tmp_path):
    pairs(tmp_path, 1, ".nii.gz", (32, 32, 4), splits=("train",))
    plain, stacked = data(tmp_path), data(tmp_path, neighbors=2)
    assert stacked.channels == {"a": 5, "b": 1}
    slices = [plain.fixed(row) for row in range(4)]
    for row, wanted in ((0, (0, 0, 0, 1, 2)), (1, (0, 0, 1, 2, 3)), (3, (1, 2, 3, 3, 3))):
        sample = stacked.fixed(row)
        assert (sample["a"] == torch.cat([slices[index]["a"] for index in wanted])).all()
        assert (sample["b"] == slices[row]["b"]).all()
