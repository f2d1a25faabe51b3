"""`i2i data preview` draws what training would see: the same pixels, of every kind of data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Ended, here
from numpy.typing import NDArray
from PIL import Image
from runs import draw_scenes

from i2i.config import Layer
from i2i.run import build
from i2i.run.settings import resolve

SIDE, GAP = 192, 6  # of a tile on the sheet: 32 pixels, six times as large


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def preview(data: Path, method: str, sheet: Path, *more: object) -> Ended:
    sizes = ["--set", "data.load_size=36", "--set", "data.crop_size=32"]
    return here("data", "preview", data, method, "--out", sheet, *sizes, *more)


def tile(sheet: Path, row: int, column: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Return a picture of the sheet, counted from the bottom, since headers are above."""
    with Image.open(sheet) as image:
        pixels = np.asarray(image)
    rows = (len(pixels) - GAP) // (side + GAP)
    top = len(pixels) - (rows - row) * (side + GAP)
    left = GAP + column * (side + GAP)
    return pixels[top : top + side, left : left + side]


@pytest.mark.parametrize(
    ("method", "kind", "domains"),
    [("pix2pix", "facades", "ab"), ("dcgan", "portraits", ["image"])],
)
def test_views_on_the_sheet_are_those_of_the_first_epochs(
    method: str, kind: str, domains: Any, scenes: dict[str, Path], tmp_path: Path
) -> None:
    words = ["data.color_jitter=0.4", "data.rotate_degrees=20"]
    sheet = tmp_path / "sheet.png"
    sets = [word for text in words for word in ("--set", text)]
    done = preview(scenes[kind], method, sheet, *sets, "--count", 2, "--draws", 2)
    assert done.status == 0, done.err
    data = {"root": str(scenes[kind]), "load_size": 36, "crop_size": 32}
    data |= {"color_jitter": 0.4, "rotate_degrees": 20}
    dataset = build.open_data(resolve(method, [Layer("", {"data": data})]))
    for row, index in enumerate((0, dataset.count // 2)):
        for draw in range(2):
            seen = dataset.pixels(draw, index)
            for place, domain in enumerate(domains):
                column = len(domains) * (1 + draw) + place
                large = seen[domain].repeat(6, axis=0).repeat(6, axis=1)
                assert np.array_equal(tile(sheet, row, column), large), (row, draw, domain)
        assert dataset.files(0, index)[0].endswith(
            done.out.split(f"row {row + 1}: ")[1].split()[0].rstrip(",")
        )
    assert "32x32 -> load 36x36 -> crop 32x32, 79 % of it" in done.out
    assert "rotate by up to 20 degrees, color jitter of 0.4" in done.out


def test_domains_without_pairs_differ_in_what_is_drawn(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    done = preview(scenes["orchard"], "cyclegan", sheet, "--count", 3, "--draws", 4)
    assert done.status == 0, done.err
    with Image.open(sheet) as image:
        assert image.width == GAP + 10 * (SIDE + GAP)
    assert len({tile(sheet, 0, column).tobytes() for column in (2, 4, 6, 8)}) == 4
    assert "row 3: train/a/" in done.out


def test_stacked_deep_inputs_have_a_column_each(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    deep = random.integers(0, 65536, (3, 48, 96), np.uint16)
    for name, kind in (("depth", "I;16"), ("color", "RGB"), ("target", "RGB")):
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True)
        for number, array in enumerate(deep):
            pixels = array if kind == "I;16" else np.stack([array.astype(np.uint8)] * 3, axis=2)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    sheet = tmp_path / "sheet.png"
    inputs = ["--input", "depth", "--input", "color", "--target", "target", "--set"]
    inputs += ["data.resize=shorter", "--set", "data.flip=false", "--draws", 1, "--count", 1]
    done = preview(tmp_path / "data", "pix2pix", sheet, *inputs)
    assert done.status == 0, done.err
    with Image.open(sheet) as image:
        assert image.width == GAP + 6 * (SIDE + GAP)
    gray, color, target = (tile(sheet, 0, column).astype(int) for column in (3, 4, 5))
    assert np.abs(color - target).mean() < 1, "the same but for rounding, as float and in 8 bits"
    assert np.abs(gray - color).mean() > 10
    assert "a: 4 channels, 16 bits; 96x48 -> load 72x36 -> crop 32x32, 40 % of it" in done.out


@pytest.mark.parametrize(
    ("method", "more", "message"),
    [
        ("pix2pixel", [], "there is no method 'pix2pixel'. Did you mean pix2pix?"),
        ("pix2pix", ["--set", "data.crop_size=300"], "data.crop_size: 300x300 is larger than"),
        ("pix2pix", ["--out", "."], "must end in .png"),
    ],
)
def test_preview_that_cannot_be_drawn_is_refused(
    method: str, more: list[str], message: str, scenes: dict[str, Path], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    done = preview(scenes["facades"], method, sheet, *more)
    assert done.status == 2
    assert message in done.err
    assert not sheet.exists()
