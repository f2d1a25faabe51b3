"""Sheets show every pixel they are given; a page needs no other file, escapes every text and survives odd curves."""

import base64
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import i2i
from i2i.report.page import html_report
from i2i.report.run import newest_sheet
from i2i.report.sheet import GAP, write_sheet


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def page(path: Path, **given: object) -> tuple[str, Page]:
    parts: dict[str, object] = {
        "title": "t",
        "facts": {},
        "table": [],
        "events": [],
        "pictures": {},
        "curves": {},
    } | given
    html_report(path, **parts)  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


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


def test_a_page_stands_alone(tmp_path: Path) -> None:
    content = b"\x89PNG not looked into"
    text, parsed = page(
        tmp_path / "r.html",
        facts={"method": "pix2pix", "images": 400},
        table=[["", "PSNR"], ["model", "21.5"]],
        events=[(1234, "health", "D wins: D is right")],
        pictures={"Held-out scenes": content},
        curves={"G_gan": [(0, 1.0), (10, 2.0)]},
    )
    tags = [tag for tag, _ in parsed.tags]
    assert not {"script", "link", "iframe", "object"} & set(tags)
    assert re.search(r"https?://|@import|url\(", text) is None
    (source,) = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    assert source is not None
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == content
    assert all(
        word in parsed.words
        for word in ("pix2pix", "400", "PSNR", "21.5", "Held-out scenes", "G_gan")
    )
    assert "health after 1,234 images" in parsed.words
    assert "D wins: D is right" in parsed.words
    assert "default-src 'none'" in text
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_page_escapes_every_text_it_is_given(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>&'
    text, parsed = page(
        tmp_path / "r.html",
        title=evil,
        facts={evil: evil},
        table=[[evil], [evil]],
        events=[(3, evil, evil)],
        pictures={evil: b""},
        curves={evil: [(0, 1)], evil + "2": []},
    )
    assert "<script" not in text
    assert (
        parsed.words.count(evil) == 11
    )  # title twice, name, value, two cells, an event's two, caption, two curves
    assert all(
        attributes.get("alt", evil) == evil for tag, attributes in parsed.tags if tag == "img"
    )


def test_curves_survive_gaps_constants_and_great_length(tmp_path: Path) -> None:
    curves = {
        "gaps": [(0, 1.0), (1, float("nan")), (2, float("inf")), (3, 4.0)],
        "flat": [(0, 0.5), (5, 0.5)],
        "point": [(7, -2.0)],
        "nothing": [(0, float("nan"))],
        "long": [(n, n % 7) for n in range(10_001)],
    }
    text, parsed = page(tmp_path / "r.html", curves=curves)
    lines = [
        attributes
        for tag, attributes in parsed.tags
        if tag == "polyline" and attributes["class"] == "raw"
    ]
    numbers = [[float(v) for v in re.findall(r"-?[\d.]+", line["points"] or "")] for line in lines]
    assert [len(spots) // 2 for spots in numbers[:3]] == [2, 2, 1]
    assert len(numbers) == 4
    assert 200 < len(numbers[3]) // 2 <= 302
    assert numbers[3][-2] == 320  # the last point is kept
    assert re.search(r"\b(nan|inf)\b", text, re.IGNORECASE) is None
    assert "no finite values" in parsed.words


def test_newest_sheet_of_a_run_is_not_a_picture_that_somebody_put_there(tmp_path: Path) -> None:
    assert newest_sheet(tmp_path) == {}
    (tmp_path / "samples").mkdir()
    for name in ("00000004.png", "00000020.png", "zoom.png"):
        (tmp_path / "samples" / name).write_bytes(name.encode())
    assert newest_sheet(tmp_path) == {"Samples after 20 images": b"00000020.png"}


def test_files_of_the_package_that_are_not_code_are_installed_with_it() -> None:
    root = Path(i2i.__file__).parent
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text("utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["i2i"]
    installed = {path for pattern in patterns for path in root.glob(pattern)}
    other = {
        path for path in root.rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert other == installed
