"""NIfTI and DICOM files that are damaged, absurd or hostile: refused with a reason, and nothing else stops."""

import gzip
import os
import random
import struct

import nibabel
import numpy as np
import pytest
from medical import body, write_nifti, write_series
from test_translate_volumes import identity, run

from i2i import images
from i2i.images import ImageError
from i2i.images.slices import members

DIM, TYPE, PIXDIM, OFFSET, SLOPE = 40, 70, 76, 108, 112  # in the header of NIfTI-1


def damaged(content, rng):
    """Yield copies that end early at 20 places, and that differ in a byte or in many."""
    for place in range(20):
        yield f"cut{place}", content[: len(content) * place // 20]
    for number in range(60):
        copy = bytearray(content)
        limit = 348 if number % 2 else len(copy)  # most of all, headers
        for _ in range(1 + number // 20 * 5):
            copy[rng.randrange(min(limit, len(copy)))] ^= rng.randrange(1, 256)
        yield f"flipped{number}", bytes(copy)


def absurd(content):
    """Yield a healthy NIfTI-1 with single fields of its header set to what they cannot be."""
    for name, offset, form, values in (
        ("dims", DIM, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1)),
        ("thin", DIM, "<8h", (3, 1, 1, 32767, 1, 1, 1, 1)),
        ("none", DIM, "<8h", (3, 0, 4, 4, 1, 1, 1, 1)),
        ("negative", DIM, "<8h", (3, -5, 4, 4, 1, 1, 1, 1)),
        ("seven", DIM, "<8h", (7, 2, 2, 2, 2, 2, 2, 2)),
        ("many", DIM, "<h", (30000,)),
        ("type", TYPE, "<h", (12345,)),
        ("complex", TYPE, "<h", (32,)),
        ("colors", TYPE, "<h", (128,)),
        ("nowhere", OFFSET, "<f", (1e30,)),
        ("nan", OFFSET, "<f", (float("nan"),)),
        ("before", OFFSET, "<f", (16.0,)),
        ("slope", SLOPE, "<2f", (float("inf"), 0)),
        ("steep", SLOPE, "<2f", (1e38, 1e38)),
        ("grid", PIXDIM, "<4f", (float("nan"),) * 4),
    ):
        copy = bytearray(content)
        struct.pack_into(form, copy, offset, *values)
        yield name, bytes(copy)


def outcome(path):
    """Read the header and a slice; what is no error of ours is raised."""
    try:
        header = images.read_header(f"{path}::0001")
        pixels = images.decode(f"{path}::0001", value_range=(-1e6, 1e6))
    except ImageError as error:
        return error.explanation
    assert pixels.shape == (header.height, header.width, header.channels)
    return ""


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_nifti_is_refused_or_read_as_its_header_says(tmp_path, suffix):
    path = write_nifti(tmp_path / f"x{suffix}", body(shape=(9, 10, 4)))
    content = path.read_bytes()
    copies = dict(damaged(content, random.Random(1)))
    if suffix == ".nii":
        copies |= absurd(content)
    else:
        plain = gzip.decompress(content)
        copies |= {
            f"plain-{n}": gzip.compress(c)
            for n, c in (*damaged(plain, random.Random(2)), *absurd(plain))
        }
    reasons = {}
    for name, copy in copies.items():
        (bad := tmp_path / f"{name}{suffix}").write_bytes(copy)
        reasons[name] = outcome(bad)
    assert all(reasons[name] for name in copies if "cut" in name)
    prefix = "plain-" if suffix == ".nii.gz" else ""
    for name in (
        "dims",
        "none",
        "negative",
        "seven",
        "type",
        "complex",
        "colors",
        "nowhere",
        "nan",
        "before",
    ):
        assert reasons[prefix + name], name
    assert len({*reasons.values()}) > 10


def check_damaged(source, seed):
    """Damage a file of a series in many ways: it is refused by name, or read as its header says."""
    first = members(source)[1]
    for name, copy in damaged(first.read_bytes(), random.Random(seed)):
        first.write_bytes(copy)
        reason = outcome(source)
        assert reason or "cut" not in name
        if reason:
            assert "IM0" in reason or "series" in reason, reason


def test_damaged_series_is_refused_or_read_as_its_header_says(tmp_path):
    check_damaged(write_series(tmp_path / "x", body(shape=(9, 10, 3))), seed=3)


def test_bomb_is_refused_by_its_header_and_never_unpacked(tmp_path, monkeypatch):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1000, 1000, 1000))
    header["vox_offset"] = 352
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + os.urandom(2**20)))
    monkeypatch.setattr("i2i.images.nifti._decompress", None)
    assert "1,000,000,000 bytes of values, the limit is 8 x 100,000,000" in outcome(path)


def test_stream_that_never_ends_is_read_as_far_as_its_header_says(tmp_path):
    plain = write_nifti(tmp_path / "x.nii", body(shape=(9, 10, 4))).read_bytes()
    endless = tmp_path / "y.nii.gz"
    endless.write_bytes(gzip.compress(plain + bytes(2**28), 1))
    assert outcome(endless) == ""


def test_sparse_file_of_countless_slices_is_refused_before_they_are_listed(tmp_path):
    header = nibabel.Nifti2Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1, 1, 2**33))
    path = tmp_path / "x.nii"
    path.write_bytes(header.binaryblock + bytes(4))
    os.truncate(path, 2**33 + 544)
    assert "a side of 8589934592, the limit is 65535" in outcome(path)


def test_job_with_bad_volumes_translates_the_good_ones(tmp_path):
    good = write_nifti(tmp_path / "in/good.nii.gz", body(shape=(9, 10, 4)))
    content = good.read_bytes()
    for name, copy in damaged(content, random.Random(4)):
        if "cut" in name:
            (tmp_path / f"in/{name}.nii.gz").write_bytes(copy)
    write_series(tmp_path / "in/series", body(shape=(9, 10, 3)))
    series = write_series(tmp_path / "in/holes", body(shape=(9, 10, 5)))
    members(series)[2].write_bytes(b"")
    os.mkfifo(tmp_path / "in/pipe.nii")
    report = run(tmp_path / "in", tmp_path / "out", identity())
    assert report.written == 2
    assert len(report.failed) == 22
    assert all(reason for _, reason in report.failed)
