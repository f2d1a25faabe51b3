"""The check of a folder: every planted fault is found and named, and a clean copy is clean."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i import images
from i2i.config import PairedData
from i2i.data.check import CheckReport, check_folder, write_clean
from i2i.data.dataset import PairedImages
from i2i.data.folders import DataError
from i2i.files import WriteError


def issues(report: CheckReport) -> dict[str, tuple[str, ...]]:
    return {issue.name: issue.files for issue in report.issues}


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> images.Array:
    """Smooth shapes, as photographs have: noise has no dhash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return images.resize(coarse, size)


@pytest.fixture
def paired_folder(write: Any) -> None:
    for split, seeds in (("train", range(6)), ("test", range(6, 8))):
        for seed in seeds:
            write(f"{split}/a/{seed}.png", pixels=picture(seed))
            write(f"{split}/b/{seed}.png", pixels=picture(100 + seed))


@pytest.mark.usefixtures("paired_folder")
def test_clean_folder_has_no_issues(tmp_path: Path) -> None:
    report = check_folder(tmp_path)
    assert report.ok
    assert report.kind == "paired"
    assert report.issues == ()
    assert [(group.name, group.files) for group in report.groups] == [
        ("train a", 6), ("train b", 6), ("test a", 2), ("test b", 2),
    ]  # fmt: skip
    assert report.groups[0].sizes == {"64x64": 6}
    assert len(report.clean) == 16


@pytest.mark.usefixtures("paired_folder")
def test_every_planted_fault_of_pairs_is_found(write: Any, tmp_path: Path) -> None:
    (tmp_path / "train/a/0.png").write_bytes((tmp_path / "train/a/0.png").read_bytes()[:60])
    write("train/a/lonely.png", pixels=picture(50))
    write("train/a/1.webp", pixels=picture(51))
    write("train/b/2.png", pixels=picture(52, (32, 64)))
    write("train/b/3.png", pixels=np.full((64, 64, 3), 9, np.uint8))
    write("train/a/copy.webp", pixels=picture(4))  # the same pixels in another format
    write("train/b/copy.webp", pixels=picture(104))
    write("train/a/leak.png", pixels=picture(6))
    write("train/b/leak.png", pixels=picture(106))
    (tmp_path / "train/a/notes.txt").touch()
    report = check_folder(tmp_path)
    assert not report.ok
    assert issues(report) == {
        "unreadable": ("train/a/0.png",),
        "unmatched": ("train/a/lonely.png",),
        "same stem": ("train/a/1.webp",),
        "leak": ("train/a/leak.png", "train/b/leak.png"),
        "duplicate": ("train/a/copy.webp", "train/b/copy.webp"),
        "constant": ("train/b/3.png",),
        "unequal pair": ("train/a/2.png", "train/b/2.png"),
        "other file": ("train/a/notes.txt",),
    }


@pytest.mark.usefixtures("paired_folder")
def test_clean_copy_passes_the_check_and_trains_and_the_original_is_untouched(
    write: Any, tmp_path: Path
) -> None:
    write("train/a/lonely.png", pixels=picture(50))
    write("train/a/leak.png", pixels=picture(6))
    write("train/b/leak.png", pixels=picture(106))
    (tmp_path / "train/b/1.png").write_bytes(b"")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    target = tmp_path.with_name(tmp_path.name + "-clean")
    report = check_folder(tmp_path)
    assert not report.ok
    assert write_clean(report, target) == 14
    assert check_folder(target).issues == ()
    assert len(PairedImages(PairedData(root=str(target), load_size=32, crop_size=32))) == 5
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before
    with pytest.raises(WriteError, match="is not empty"):
        write_clean(report, target)


@pytest.mark.usefixtures("paired_folder")
def test_image_of_one_color_is_a_fault_unless_its_domain_holds_labels(
    write: Any, tmp_path: Path
) -> None:
    color = np.full((64, 64, 4), 9, np.uint8)
    color[:32, :, 3] = 200  # opacity that differs makes no picture
    write("train/b/3.png", pixels=color)
    report = check_folder(tmp_path)
    assert not report.ok
    assert issues(report) == {"constant": ("train/b/3.png",)}
    assert "train/a/3.png" not in report.clean
    with pytest.raises(DataError, match="one value"):
        PairedImages(PairedData(root=str(tmp_path), load_size=32, crop_size=32))
    assert check_folder(tmp_path, masks=["b"]).issues == ()
    with pytest.raises(DataError, match="only pairs"):
        check_folder(tmp_path / "train/a", masks=["b"])


@pytest.mark.parametrize("inside", [".", "train/copy", ".."])
@pytest.mark.usefixtures("paired_folder")
def test_clean_copy_into_or_around_the_original_is_refused(tmp_path: Path, inside: str) -> None:
    with pytest.raises(DataError, match="overlap"):
        write_clean(check_folder(tmp_path), tmp_path / inside)


def test_near_duplicates_and_near_leaks_are_named_with_what_they_look_like(
    write: Any, tmp_path: Path
) -> None:
    for seed in range(8):
        write(f"train/{seed}.png", pixels=picture(seed))
    write("train/again.jpg", pixels=picture(3))
    write("test/2.png", pixels=np.clip(picture(2).astype(int) + 2, 0, 255).astype(np.uint8))
    report = check_folder(tmp_path)
    assert report.ok
    assert report.kind == "unconditional"
    assert {issue.name: issue.reasons for issue in report.issues} == {
        "near duplicate": ("train/again.jpg and train/3.png",),
        "near leak": ("train/2.png and test/2.png",),
    }


def test_side_by_side_images_are_recognized(write: Any, tmp_path: Path) -> None:
    for seed in range(3):
        write(f"train/{seed}.png", pixels=picture(seed, (40, 80)))
    report = check_folder(tmp_path)
    assert (report.kind, report.groups[0].name) == ("paired", "train side by side")
    write("train/odd.png", pixels=picture(9, (40, 41)))
    assert check_folder(tmp_path).kind == "unconditional"
    found = issues(check_folder(tmp_path, "paired"))
    assert found == {"odd width": ("train/odd.png",), "small": ("train/odd.png",)}


def test_folders_without_common_stems_are_unpaired(write: Any, tmp_path: Path) -> None:
    for seed in range(3):
        write(f"trainA/a{seed}.png", pixels=picture(seed))
        write(f"trainB/b{seed}.png", pixels=picture(seed))
    report = check_folder(tmp_path)
    assert report.kind == "unpaired"
    assert report.ok
    assert len(check_folder(tmp_path, "unconditional").clean) == 3
    with pytest.raises(DataError, match="no folders for a and b"):
        check_folder(tmp_path / "trainA", "unpaired")


def test_table_and_json_say_the_same(write: Any, tmp_path: Path) -> None:
    write("1.png", pixels=picture(1, (16, 64)))
    report = check_folder(tmp_path)
    assert report.rows() == [
        (
            "",
            "train",
            1,
            "1 PNG; 1 of 64x16; 1 of 3 channels; 1 of 8 bits; values from 0 to 255, the central 99 % cover 100 % of 0 to 255",
        ),
        ("warning", "small", 1, "are smaller than 32x32: 1.png is 64x16"),
    ]
    read = json.loads(report.to_json())
    assert read["ok"] is True
    assert read["issues"][0]["files"] == ["1.png"]
    assert read["groups"][0]["sizes"] == {"64x16": 1}


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images"):
        check_folder(tmp_path)


def test_check_leaves_the_global_generator_alone(write: Any, tmp_path: Path) -> None:
    write("1.png")
    before = torch.get_rng_state()
    check_folder(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_real_monets_and_photographs_pass(real_data: Path) -> None:
    report = check_folder(real_data / "monet2photo")
    assert report.ok
    assert report.kind == "unpaired"
    assert [group.files for group in report.groups] == [180, 240, 30, 30]
