"""The pages of docs/recipes: their commands run as they stand, on small drawn data in the formats they are about."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import here
from numpy.typing import NDArray
from PIL import Image

from i2i import images

PAGES = Path(__file__).resolve().parent.parent / "docs/recipes"
TOY = ["data.load_size=32", "data.crop_size=32", "data.workers=0", "generator.name=unet"]
TOY += ["generator.depth=4", "generator.width=4", "discriminator.width=4", "discriminator.layers=1"]
TOY += ["train.batch=1", "log.tensorboard=false", "log.samples=1"]
SIDE = 40  # pixels


def scene(number: int) -> NDArray[np.float64]:
    """A smooth picture in [0, 1] with an object whose place depends on its number."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    y, x = random.uniform(0.2, 0.8, 2)
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 0.05) * 0.8 + 0.1 * rows + 0.05


def pairs(folders: tuple[str, str], write: Callable[[str, int, Path], None], suffix: str) -> None:
    for split, numbers in (("train", range(3)), ("test", range(90, 92))):
        for folder in folders:
            for number in numbers:
                path = Path(split, folder, f"{number:02}{suffix}")
                path.parent.mkdir(parents=True, exist_ok=True)
                write(folder, number, path)


def color(gray: NDArray[np.float64], top: float) -> NDArray[np.float64]:
    return np.stack([gray, 1 - gray, gray**2], axis=2) * top


def draw_thermal() -> None:
    def write(folder: str, number: int, path: Path) -> None:
        gray = scene(number)
        if folder == "thermal":
            images.encode((21_000 + 900 * gray[..., None]).astype(np.uint16), path)
        else:
            images.encode(color(gray, 255).astype(np.uint8), path)

    pairs(("thermal", "visible"), write, ".png")


def draw_slides() -> None:
    import tifffile

    def write(folder: str, number: int, path: Path) -> None:
        picture = color(scene(number) if folder == "he" else 1 - scene(number), 255)
        tifffile.imwrite(
            path,
            np.kron(picture, np.ones((2, 2, 1))).astype(np.uint8),
            tile=(32, 32),
            compression="deflate",
            photometric="rgb",
            resolution=(40_000, 40_000),
            resolutionunit="CENTIMETER",
        )

    pairs(("he", "ihc"), write, ".tif")


def draw_heads() -> None:
    import nibabel

    def write(folder: str, number: int, path: Path) -> None:
        base = scene(number)
        volume = np.stack([base * level for level in (0.7, 0.85, 1.0, 0.85)], axis=2)
        values = volume * 900 if folder == "mr" else volume * 2000 - 1000
        affine = np.diag([1.5, 1.5, 3, 1])
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), path)

    pairs(("mr", "ct"), write, ".nii.gz")


def draw_radar() -> None:
    import rasterio

    def write(folder: str, number: int, path: Path) -> None:
        gray = scene(number)
        if folder == "sar":
            bands = np.stack([30 * gray - 30, 25 * gray - 35]).astype(np.float32)
            bands[:, :4, :4] = -9999
        else:
            bands = color(gray, 6000).transpose(2, 0, 1).astype(np.uint16)
        options = {"dtype": bands.dtype, "nodata": -9999 if folder == "sar" else None}
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=SIDE,
            height=SIDE,
            count=len(bands),
            crs="EPSG:32632",
            transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000),
            **options,
        ) as file:
            file.write(bands)

    pairs(("sar", "optical"), write, ".tif")


DRAW = {
    "thermal_to_visible": ("pairs", draw_thermal),
    "stain_to_stain": ("slides", draw_slides),
    "mr_to_ct": ("head", draw_heads),
    "sar_to_optical": ("scenes", draw_radar),
}


def commands(page: str) -> list[list[str]]:
    lines = (PAGES / f"{page}.md").read_text("utf-8").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("    i2i ")]


def test_every_recipe_is_on_the_list_and_runs_here() -> None:
    names = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert names == set(DRAW)
    assert all(f"({name}.md)" in (PAGES / "README.md").read_text("utf-8") for name in names)


@pytest.mark.parametrize("page", DRAW)
def test_commands_of_a_recipe_run_one_after_the_other(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, draw = DRAW[page]
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    draw()
    monkeypatch.chdir(tmp_path)
    for words in commands(page):
        if words[0] == "train":
            toy = [text for text in TOY if words[1] != "regress" or "discriminator" not in text]
            words += ["--images", "3", *(w for text in toy for w in ("--set", text))]
            words = [word.replace("epoch_images=4000", "epoch_images=6") for word in words]
            words = [word.replace("epoch_images=20000", "epoch_images=6") for word in words]
        if words[0] != "data":
            words = [*words, "--device", "cpu"]
        ended = here(*words)
        assert ended.status == 0, (words, ended.out, ended.err)
    check(page)


def check(page: str) -> None:
    """Compare what outputs say with what their inputs and the targets of training say."""
    if page == "thermal_to_visible":
        header = images.read_header("out/90.png")
        assert (header.depth, header.channels) == (8, 3)
    elif page == "stain_to_stain":
        with Image.open("out/90.tif") as output:
            assert output.size == (2 * SIDE, 2 * SIDE)
            assert output.info["dpi"] == pytest.approx((101_600, 101_600), rel=1e-3)
    elif page == "mr_to_ct":
        import nibabel

        output, source = nibabel.load("out/90.nii.gz"), nibabel.load("head/test/mr/90.nii.gz")
        assert (output.shape, output.get_data_dtype()) == (source.shape, np.int16)
        np.testing.assert_array_equal(output.affine, source.affine)
        assert 10 < np.abs(output.get_fdata()).max() <= 3071  # Hounsfield units
        one = nibabel.load("90-ct.nii.gz")
        np.testing.assert_array_equal(one.get_fdata(), output.get_fdata())
    else:
        import rasterio

        with rasterio.open("out/90.tif") as output, rasterio.open("scenes/test/sar/90.tif") as sar:
            assert (output.crs, output.transform) == (sar.crs, sar.transform)
            assert (output.count, output.dtypes[0]) == (3, "uint16")
            assert not output.dataset_mask()[:4, :4].any()
            assert output.dataset_mask()[4:, 4:].all()
