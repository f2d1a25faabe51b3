"""Drawn scenes and datasets of them: worlds without a download, equal from the same seed."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.scenes import digits, facades, orchard, portraits

Mode = Literal["paired", "unpaired", "single"]
MIN_COUNT: dict[Mode, int] = {"paired": 2, "unpaired": 3, "single": 1}  # fills every folder
TEST_EVERY = 5  # scenes 0, 5, ... are held out: a larger dataset contains the smaller one


@dataclass(frozen=True)
class Kind:
    """A kind of scene; `modes`: styles (a, b) or (all,) by form of a dataset, the default first."""

    draw: Callable[[int, int, int, str], NDArray[np.uint8]]  # seed, index, size, style -> [S, S, 3]
    styles: tuple[str, ...]
    modes: dict[Mode, tuple[str, ...]]

    def form(self, unpaired: bool) -> tuple[Mode, tuple[str, ...]]:
        if unpaired and "unpaired" not in self.modes:
            raise ValueError("unpaired: these scenes have one domain")
        mode: Mode = "unpaired" if unpaired else next(iter(self.modes))
        return mode, self.modes[mode]


KINDS: dict[str, Kind] = {
    "digits": Kind(digits.draw, ("stacked",), {"single": ("stacked",)}),
    "facades": Kind(facades.draw, ("labels", "day", "dusk"),
                    {"paired": ("labels", "day"), "unpaired": ("day", "dusk")}),
    "orchard": Kind(orchard.draw, ("red", "yellow"), {"unpaired": ("red", "yellow")}),
    "portraits": Kind(portraits.draw, ("drawn", "ink"),
                      {"single": ("drawn",), "unpaired": ("drawn", "ink")}),
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A planned file: `path` relative to the dataset."""

    path: Path
    index: int
    style: str


@dataclass(frozen=True)
class Written:
    """A written dataset; `files` counts by folder: {"train/a": 80, "test/a": 20} or {".": 100}."""

    out: Path
    mode: Mode
    styles: tuple[str, ...]
    files: dict[str, int]


def draw(kind: str, seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Draw scene `index` of `seed`, [size, size, 3] uint8, the same in every style and size.

    Raises ValueError for a kind, style, size (16 to 2048), seed or index out of range.
    """
    styles = _find(kind).styles
    if style not in styles:
        raise ValueError(f"style: {style!r} is not known here (choose from {', '.join(styles)})")
    if not 16 <= size <= 2048:  # features vanish below, nobody trains above
        raise ValueError(f"size: must be from 16 to 2048 pixels, got {size}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index: must be at least 0, got {seed} and {index}")
    return KINDS[kind].draw(seed, index, size, style)


def plan(kind: str, count: int, unpaired: bool = False) -> list[Drawing]:
    """List the files of a dataset of `count` scenes by index.

    Every fifth scene is for testing, in both styles. The others are for training, in both styles
    if paired; else in one, alternating: no scene is in both domains, no name occurs twice.
    Raises ValueError for an unknown kind, or too few scenes to fill every folder.
    """
    mode, styles = _find(kind).form(unpaired)
    if count < (least := MIN_COUNT[mode]):
        raise ValueError(f"count: must be at least {least} for {mode} {kind}, got {count}")
    drawings = []
    for index in range(count):
        phase, name = index % TEST_EVERY, f"{index:06d}.png"
        split = "train" if phase else "test"
        for n, style in enumerate(styles):
            if mode != "unpaired" or phase == 0 or phase % 2 != n:
                path = Path(name) if mode == "single" else Path(split, "ab"[n], name)
                drawings.append(Drawing(path, index, style))
    return drawings


def write_dataset(
    kind: str,
    out: Path,
    count: int,
    size: int,
    seed: int,
    unpaired: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Draw the `plan` into `out`: {train,test}/{a,b}/NAME.png, or NAME.png for one domain.

    All files are drawn in a draft folder and moved at the end, so `out` is complete or empty.
    `progress` is called with images drawn and their total.
    Raises ValueError for a bad kind, count, size or seed, or where `out` is a file or not empty.
    """
    drawings, (mode, styles) = plan(kind, count, unpaired), _find(kind).form(unpaired)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: exists and is not an empty folder (name a new one)")
    draw(kind, seed, 0, size, styles[0])  # a bad size or seed fails before anything is on disk
    draft, moved = out / f".drawing-{os.getpid()}", list[Path]()
    try:
        for number, drawing in enumerate(drawings, 1):
            path = draft / drawing.path
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = draw(kind, seed, drawing.index, size, drawing.style)
            Image.fromarray(picture).save(path, "PNG")
            if progress:
                progress(number, len(drawings))
        for item in sorted(draft.iterdir()):
            moved.append(out / item.name)
            item.rename(moved[-1])
    except BaseException:
        for item in moved:
            shutil.rmtree(item) if item.is_dir() else item.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    files = Counter(drawing.path.parent.as_posix() for drawing in drawings)
    return Written(out, mode, styles, dict(files))


def _find(kind: str) -> Kind:
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is not known (choose from {', '.join(KINDS)})")
    return KINDS[kind]
