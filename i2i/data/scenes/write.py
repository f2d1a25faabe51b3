"""Datasets of drawn scenes on disk, in the canonical layout; unpaired ones withhold their pairs from training alone."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from i2i.data.scenes.kinds import KINDS, Kind, Mode, find

TEST_EVERY = 5  # scenes 0, 5, 10, ... are held out: a larger dataset of the same seed contains the smaller one


@dataclass(frozen=True)
class Drawing:
    """One file to be: `path` relative to the dataset."""

    path: Path
    index: int
    style: str


@dataclass(frozen=True)
class Written:
    """What a dataset came to: numbers of files by folder, such as {"train/a": 80, "test/a": 20} or {".": 100}."""

    out: Path
    mode: Mode
    styles: tuple[str, ...]
    files: dict[str, int]


def plan(kind: str, count: int, unpaired: bool = False) -> list[Drawing]:
    """The files of a dataset of `count` scenes, test and training together, by index.

    Every fifth scene, the first among them, is a test scene and has both of its styles under one name in test/a and
    test/b. The others are for training: paired, in both styles; unpaired, in one style only, in turns, so that no
    scene is in both training domains and no name occurs twice. `single` kinds have one folder and no test scenes.

    Raises:
        ValueError: an unknown kind, a kind without an unpaired form, or too few scenes to fill every folder.
    """
    found = find(kind)
    mode = _mode(kind, found, unpaired)
    fewest = {"paired": 2, "unpaired": 3, "single": 1}[mode]
    if count < fewest:
        raise ValueError(f"count: must be at least {fewest} for {mode} {kind}, got {count}")
    styles = found.modes[mode]
    drawings = []
    for index in range(count):
        name = f"{index:06d}.png"
        if mode == "single":
            drawings.append(Drawing(Path(name), index, styles[0]))
            continue
        held_out = index % TEST_EVERY == 0
        for turn, (domain, style) in enumerate(zip("ab", styles, strict=True)):
            if held_out or mode == "paired" or index % TEST_EVERY % 2 != turn:
                drawings.append(
                    Drawing(Path("test" if held_out else "train", domain, name), index, style)
                )
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

    Everything is drawn beside its place and moved there at the end, so `out` is complete or empty.

    Raises:
        ValueError: a bad kind, count, size or seed, or an `out` that is a file or has something in it.
    """
    found, drawings = find(kind), plan(kind, count, unpaired)
    mode = _mode(kind, found, unpaired)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out}: exists and is not an empty folder (name a new one, or remove it first)"
        )
    found.draw(
        seed, 0, size, found.styles[0]
    )  # a bad size or seed ends here, before anything is on disk
    draft = out / f".drawing-{os.getpid()}"
    moved: list[Path] = []
    try:
        for number, drawing in enumerate(drawings, 1):
            target = draft / drawing.path
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(found.draw(seed, drawing.index, size, drawing.style)).save(
                target, "PNG"
            )
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
    files: dict[str, int] = {}
    for drawing in drawings:
        folder = drawing.path.parent.as_posix()
        files[folder] = files.get(folder, 0) + 1
    return Written(out, mode, found.modes[mode], files)


def _mode(kind: str, found: Kind, unpaired: bool) -> Mode:
    if not unpaired:
        return found.default
    if "unpaired" not in found.modes:
        able = ", ".join(name for name, each in KINDS.items() if "unpaired" in each.modes)
        raise ValueError(f"unpaired: {kind} has one style only (choose from {able})")
    return "unpaired"
