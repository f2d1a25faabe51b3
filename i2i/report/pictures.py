"""Pictures of a run as JPEG inside of a page, at the size at which they are shown."""

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.config import height_width
from i2i.errors import I2IError
from i2i.files import VALIDATION
from i2i.images import decode, to_display_rgb
from i2i.report.record import ImageScore, Json, Record, image_scores, sheets

Picture = NDArray[np.uint8]  # [H, W, 3]
Role = Literal["input", "output", "target"]
ROLES: tuple[Role, ...] = ("input", "output", "target")

SIDE = 256  # pixels of the longer side of a picture, at most
SHEET_SIDE = 1600  # of a sheet that is shown in one piece
QUALITY = 88
GAP = 2  # pixels between the pictures of a sample sheet
MAX_STEPS, MAX_SAMPLES = 40, 8  # points in time, and fixed samples
MAX_CARDS = 200  # validation images with pictures
MAX_BYTES = 12_000_000  # of the pictures of a section


def data_uri(picture: Picture, side: int = SIDE) -> str:
    """Return a picture as a JPEG of at most `side` pixels on its longer side, colors in full."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def load(path: Path) -> Picture | None:
    """Return the picture of a file as RGB; None where there is none, or it cannot be read."""
    try:
        return to_display_rgb(decode(path), alpha=False) if path.is_file() else None
    except (I2IError, OSError):
        return None


# -- fixed samples over time -----------------------------------------------------------------------


@dataclass
class Samples:
    """Fixed samples at several points of training; a cell holds indices of `uris` by step."""

    steps: list[int] = field(default_factory=list)  # images seen
    labels: list[str] = field(default_factory=list)  # of the columns
    cells: list[list[list[int]]] = field(default_factory=list)  # by sample, column and step
    uris: list[str] = field(default_factory=list)
    left_out: str = ""
    sheet: bool = False  # one cell is a sheet in one piece

    def newest(self, sample: int, column: int) -> str:
        return self.uris[self.cells[sample][column][-1]]


def samples_over_time(record: Record) -> Samples:
    """Cut the sample sheets of a run into their pictures; equal pictures are embedded once.

    A sheet whose form is not that of the settings is shown in one piece.
    """
    paths = sheets(record.folder)
    result, numbers, size = Samples(), dict[bytes, int](), 0
    chosen = _spread(paths, MAX_STEPS)
    for count, (images, path) in enumerate(chosen, 1):
        sheet = load(path)
        if sheet is None:
            continue
        labels, cells = _cut(sheet, record.settings)
        if result.steps and (labels != result.labels or len(cells) != len(result.cells)):
            result, numbers, size = Samples(), {}, 0  # the settings changed: keep what came after
        if not result.steps:
            result.labels, result.sheet = labels, len(cells) == 1 and labels == ["sheet"]
            result.cells = [_empty_lists(len(row)) for row in cells]
        for row, columns in zip(cells, result.cells, strict=True):
            for picture, column in zip(row, columns, strict=True):
                key = hashlib.sha256(picture.tobytes()).digest()
                if key not in numbers:
                    uri = data_uri(picture, SHEET_SIDE if result.sheet else SIDE)
                    numbers[key] = len(numbers)
                    result.uris.append(uri)
                    size += len(uri)
                column.append(numbers[key])
        result.steps.append(images)
        if size > MAX_BYTES * count / len(chosen) and count == 1:
            chosen[1:] = _spread(chosen[1:], max(1, MAX_BYTES // size))
    if len(result.steps) < len(paths):
        result.left_out = f"{len(result.steps)} of {len(paths)} sheets, evenly spread."
    return result


def _empty_lists(count: int) -> list[list[int]]:
    return [[] for _ in range(count)]


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most `count` items, evenly spread, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[-1]]
    return [items[round(n * (len(items) - 1) / (count - 1))] for n in range(count)]


def _cut(sheet: Picture, settings: Json) -> tuple[list[str], list[list[Picture]]]:
    """Return the labels of the columns, and the pictures of each sample."""
    data = settings.get("data", {})
    try:
        height, width = height_width(data["crop_size"])
        (rows, row_rest), (columns, column_rest) = (
            divmod(side - GAP, cell + GAP)
            for side, cell in zip(sheet.shape, (height, width), strict=False)
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ["sheet"], [[sheet]]
    if row_rest or column_rest or not rows or not columns:
        return ["sheet"], [[sheet]]
    tiles = []
    for top in range(GAP, rows * (height + GAP), height + GAP):
        lefts = range(GAP, columns * (width + GAP), width + GAP)
        tiles.append([sheet[top : top + height, left : left + width] for left in lefts])
    if "direction" not in data:  # generated from noise
        return ["sample"], [[tile] for tile in chain(*tiles)][: 3 * MAX_SAMPLES]
    labels = {3: ["input", "output", "target"], 4: ["a", "a to b", "b", "b to a"]}.get(columns)
    return (labels, tiles[:MAX_SAMPLES]) if labels else (["sheet"], [[sheet]])


# -- validation images -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """A validation image with its pictures; `rank` counts from the worst, 0."""

    rank: int
    score: ImageScore
    uris: dict[Role, str]
    small: bool  # pixels are to be seen


@dataclass
class Gallery:
    """Validation images, worst first, of the networks after `images` images of training."""

    images: int = 0
    scores: list[ImageScore] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    left_out: str = ""

    @property
    def metrics(self) -> list[str]:
        return list(self.scores[0].values) if self.scores else []

    @property
    def roles(self) -> list[Role]:
        present = set(chain.from_iterable(card.uris for card in self.cards))
        return [role for role in ROLES if role in present]

    @property
    def directions(self) -> list[str]:
        return list(dict.fromkeys(score.direction for score in self.scores))

    @property
    def median(self) -> Card | None:
        """The card nearest to the middle of all validation images."""
        middle = (len(self.scores) - 1) / 2
        cards = [card for card in self.cards if "output" in card.uris]
        return min(cards, key=lambda card: abs(card.rank - middle), default=None)


def gallery(record: Record) -> Gallery:
    """Return the validation images of the best networks, or of the newest that left pictures."""
    root, best = record.folder / VALIDATION, record.headline
    folders = {
        int(path.name): path
        for path in (root.iterdir() if root.is_dir() else ())
        if path.name.isdecimal() and path.is_dir()
    }
    if not folders:
        return Gallery()
    images = best.images if best and best.images in folders else max(folders)
    result, size = Gallery(images, image_scores(folders[images], best.metric if best else "")), 0
    ranks = _ranks(len(result.scores))
    for rank in ranks:
        score = result.scores[rank]
        stem = folders[images] / score.direction / score.name
        if not _inside(stem, folders[images]):
            continue
        pictures = {role: load(stem.with_name(f"{stem.name}.{role}.png")) for role in ROLES}
        present = {role: picture for role, picture in pictures.items() if picture is not None}
        uris = {role: data_uri(picture) for role, picture in present.items()}
        if not uris:
            continue
        size += sum(map(len, uris.values()))
        if size > MAX_BYTES:
            break
        small = max(present[next(iter(present))].shape[:2]) <= SIDE // 2
        result.cards.append(Card(rank, score, uris, small))
    result.cards.sort(key=lambda card: card.rank)
    if len(result.cards) < len(result.scores):
        result.left_out = (
            f"{len(result.cards):,} of {len(result.scores):,} images are shown, "
            "the worst ones, and others evenly spread."
        )
    return result


def _ranks(count: int) -> list[int]:
    """Return which of `count` images get pictures: the worst half of them, the rest spread."""
    worst = list(range(min(count, MAX_CARDS // 2)))
    return worst + _spread(range(len(worst), count), MAX_CARDS - len(worst))


def _inside(path: Path, folder: Path) -> bool:
    return ".." not in path.parts and path.is_relative_to(folder)
