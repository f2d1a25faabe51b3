"""Images above the limit of pixels: crops of them are read, the same as of the loaded image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from i2i import images
from i2i.config import PairedData, UnconditionalData, UnpairedData
from i2i.data.check import check_folder
from i2i.data.dataset import Dataset, PairedImages, UnpairedImages
from i2i.data.folders import DataError
from i2i.data.parts import LargeImage
from i2i.data.unconditional import UnconditionalImages

CROP = {"resize": "none", "crop_size": 24, "load_size": 24, "epoch_images": 12, "workers": 0}


def picture(seed: int, channels: int = 3, dtype: str = "u2") -> NDArray[Any]:
    values = np.random.default_rng(seed).random((90, 70, channels))
    return values.astype(dtype) if dtype[0] == "f" else (values * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Large and small images: floats, 16 bits, tiles, gray with alpha."""
    for name in ("trainA", "trainB"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "trainA" / "0.npy", picture(0, 3, "f4"))
    tifffile.imwrite(tmp_path / "trainA" / "1.tif", picture(1), tile=(32, 32), photometric="rgb")
    images.encode(picture(2)[:40, :40], tmp_path / "trainA" / "2.png")
    for number, size in enumerate((90, 90, 40)):
        np.save(
            tmp_path / "trainB" / f"{number}.npy", picture(number, 1, "u1")[:size, : min(size, 70)]
        )
    return tmp_path


def dataset(kind: str, root: Path, **settings: Any) -> Dataset:
    settings = {**CROP, **settings}
    if kind == "paired":
        return PairedImages(PairedData(root=str(root), layout="folders", **settings))
    if kind == "unpaired":
        return UnpairedImages(UnpairedData(root=str(root), **settings))
    return UnconditionalImages(UnconditionalData(root=str(root / "trainA"), **settings))


@pytest.mark.parametrize("kind", ["paired", "unpaired", "unconditional"])
def test_crops_of_large_images_are_those_of_loaded_ones(
    kind: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = dataset(kind, root, max_pixels=1600, color_jitter=0.2)
    loaded = dataset(kind, root, color_jitter=0.2)
    parts = 0
    one = LargeImage.__getitem__

    def counted(self: LargeImage, part: tuple[slice, slice]) -> Any:
        nonlocal parts
        parts += 1
        return one(self, part)

    monkeypatch.setattr(LargeImage, "__getitem__", counted)
    for each in (loaded, read):
        each.open_cache()
    assert read.specs == loaded.specs
    for epoch in range(2):
        for index in range(12):
            expected, got = loaded.pixels(epoch, index), read.pixels(epoch, index)
            assert expected.keys() == got.keys()
            for name, array in expected.items():
                np.testing.assert_array_equal(got[name], array, strict=True)
    for index in range(3):
        expected, got = loaded.fixed(index), read.fixed(index)
        assert all(bool((expected[name] == got[name]).all()) for name in expected)
    assert parts > 9


def test_class_numbers_of_large_images_stay_numbers(root: Path) -> None:
    for number in range(3):
        side = 40 if number == 2 else 90
        labels = np.random.default_rng(number).integers(0, 300, (side, min(side, 70)), np.uint16)
        np.save(root / "trainB" / f"{number}.npy", labels)
    loaded = dataset("paired", root, classes={"b": 300})
    read = dataset("paired", root, classes={"b": 300}, max_pixels=1600)
    for index in range(12):
        expected, got = loaded.pixels(0, index), read.pixels(0, index)
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array, strict=True)


@pytest.mark.parametrize(
    "settings",
    [{"resize": "shorter"}, {"rotate_degrees": 5.0}, {"elastic_pixels": 2.0}],
)
def test_a_large_image_that_is_needed_as_a_whole_is_refused(
    settings: dict[str, Any], root: Path
) -> None:
    with pytest.raises(DataError, match=r"(?s)0\.npy.*megapixels"):
        dataset("paired", root, max_pixels=1600, **settings)


def test_a_large_image_without_windows_is_refused(root: Path) -> None:
    images.encode(picture(0), root / "trainA" / "3.png")
    with pytest.raises(DataError, match=r"(?s)3\.png.*megapixels"):
        dataset("unconditional", root, max_pixels=1600)


def test_value_ranges_are_fitted_to_windows_of_large_images(tmp_path: Path) -> None:
    for domain, dtype in (("trainA", "f4"), ("trainB", "u2")):
        (tmp_path / domain).mkdir()
        for number in range(2):
            np.save(
                tmp_path / domain / f"{number}.npy", (picture(number, 1, dtype) / 2).astype(dtype)
            )
    ranges = {"a": "percentile(0, 100)", "b": "percentile(0, 100)"}
    settings = {**CROP, "value_range": ranges, "layout": "folders"}
    loaded, read = (
        PairedImages(PairedData(root=str(tmp_path), max_pixels=limit, **settings))
        for limit in (10_000, 1600)
    )
    assert read.config.value_range == loaded.config.value_range != ranges


def test_check_says_which_files_are_read_by_crops_only(root: Path) -> None:
    report = check_folder(root, max_pixels=1600, value_range="percentile(0, 100)")
    issues = {issue.name: (issue.level, set(issue.files)) for issue in report.issues}
    large = {"trainA/0.npy", "trainA/1.tif", "trainB/0.npy", "trainB/1.npy"}
    assert issues["large"] == ("warning", large)
    assert not {"unreadable", "duplicate", "near duplicate"} & issues.keys()
    assert set(report.clean) >= large
