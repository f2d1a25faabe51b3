"""Sheets show every pixel they are given; files that are not code are installed."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import i2i
from i2i.report.sheet import GAP, write_sheet


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_sheet_shows_every_pixel_enlarged_by_one_whole_factor(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)] for _ in range(2)]
    write_sheet(rows, ["input", "output", "target"], tmp_path / "s.png")
    whole = read(tmp_path / "s.png")
    side = 64 * 3
    assert whole.shape[1] == GAP + 3 * (side + GAP)
    bottom = whole.shape[0] - GAP
    for r, row in enumerate(reversed(rows)):
        for c, picture in enumerate(row):
            top, left = bottom - side - r * (side + GAP), GAP + c * (side + GAP)
            assert np.array_equal(whole[top : top + side : 3, left : left + side : 3], picture)
    head = whole[: whole.shape[0] - 2 * (side + GAP) - GAP]
    assert all(
        (head[:, GAP + c * (side + GAP) :][:, :side] < 128).any() for c in range(3)
    )  # text over each column


def test_a_sheet_takes_gray_deep_and_transparent_pictures_of_different_sizes(
    tmp_path: Path,
) -> None:
    gray = np.full((40, 40, 1), 65535, np.uint16)
    clear = np.zeros((20, 30, 4), np.uint8)
    unit = np.full((40, 20, 3), 0.5, np.float32)
    large = np.zeros((300, 500, 3), np.uint8)
    write_sheet(
        [[gray, clear], [unit]],
        ["a very long header that cannot fit in its column", ""],
        tmp_path / "s.png",
    )
    whole = read(tmp_path / "s.png")
    assert (whole[-GAP - 3, GAP + 3] == 128).all()
    assert (whole[:-GAP, -GAP - 100 :][60:] == 255).all()  # what is transparent is white
    write_sheet([[large]], ["large"], tmp_path / "l.png")
    assert read(tmp_path / "l.png").shape[1] == 500 + 2 * GAP  # never made smaller


def test_a_sheet_without_pictures_or_headers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs at least one image"):
        write_sheet([], [], tmp_path / "s.png")
    with pytest.raises(ValueError, match="1 headers for rows of up to 2 images"):
        write_sheet([[np.zeros((4, 4, 3), np.uint8)] * 2], ["one"], tmp_path / "s.png")
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_package_that_are_not_code_are_installed_with_it() -> None:
    root = Path(i2i.__file__).parent
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text("utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["i2i"]
    installed = {path for pattern in patterns for path in root.glob(pattern)}
    other = {
        path for path in root.rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert other == installed
