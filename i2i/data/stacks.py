"""Pairs whose input is several folders, stacked as channels: a.png of `depth` and a.npy of `normals`, for a.jpg."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from i2i.config import PairedData
from i2i.data import inspect as headers
from i2i.data.augment import Arrays, Augment
from i2i.data.dataset import Dataset, Paths
from i2i.data.folders import SPLITS, DataError, named, stems


class Stacks(NamedTuple):
    """Folders matched by stem."""

    rows: list[tuple[str, ...]]  # one file of each folder, ordered by name
    left_out: int  # stems that are not in every folder


def find_stacks(
    root: str | os.PathLike[str],
    names: Sequence[str],
    split: str = "train",
    allow_unmatched: bool = False,
    outside: bool = True,
) -> Stacks:
    """Return the files of one split that have a partner in each of the folders `names`, and how many have not.

    `outside`: names may be paths of their own; without it, all are folders below `root`.

    Raises:
        DataError: a folder is missing or named twice, has no images, or two of one stem; a file
            without partners, unless allowed.
    """
    places = [_folder(root, name, split, outside) for name in names]
    if len(set(places)) < len(places):
        raise DataError(
            f"data.inputs: {', '.join(names)}: two of these are one folder. Name each once."
        )
    found = []
    for folder, skip in places:
        files, clashes = stems(folder, skip)
        if clashes:
            first = named((f"{one} and {other}" for one, other in clashes), 5)
            raise DataError(
                f"data.root: files of one stem in one folder: {first}. Remove or rename one of each."
            )
        found.append(files)
    every = dict.fromkeys(stem for files in found for stem in files)
    whole = sorted(stem for stem in every if all(stem in files for files in found))
    lacking = []
    for (folder, _), files in zip(places, found, strict=True):
        if missing := [stem for stem in every if stem not in files]:
            lacking.append(
                f"{folder.as_posix()} lacks {len(missing)} of {len(every)} stems (first: {min(missing)})"
            )
    if not whole:
        raise DataError(
            f"data.root: no stem is in all folders: {'; '.join(lacking)}. Rename the files."
        )
    if lacking and not allow_unmatched:
        raise DataError(f"data.root: {'; '.join(lacking)}. Add them, or pass --allow-unmatched.")
    return Stacks(
        [tuple(files[stem] for files in found) for stem in whole], len(every) - len(whole)
    )


def _folder(
    root: str | os.PathLike[str], name: str, split: str, outside: bool
) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of an input or of the target, and the subfolders that are no part of it: other splits."""
    top, own = Path(root).expanduser(), Path(name).expanduser()
    places: list[tuple[Path, tuple[str, ...]]] = (
        [(top / split / name, ())] if not own.is_absolute() else []
    )
    flat = [(top / name, SPLITS)] if split == "train" else []
    places += flat
    if outside:
        places += [(own / split, ())] + ([(own, SPLITS)] if split == "train" else [])
    for place in places:
        if place[0].is_dir():
            return place
    looked = ", ".join(dict.fromkeys(place.as_posix() for place, _ in places))
    raise DataError(
        f"data.inputs, data.target: no folder {name} of the {split} split. Looked for {looked}."
    )


class StackedImages(Dataset):
    """Pairs whose `a` is a stack of the images of `data.inputs`, and whose `b` is that of `data.target`.

    Raises:
        DataError: what was found cannot be trained on.
    """

    def __init__(self, config: PairedData, *, seed: int = 0, split: str = "train") -> None:
        super().__init__(config, seed)
        assert config.target is not None
        names = (*config.inputs, config.target)
        found = find_stacks(config.root, names, split, config.allow_unmatched)
        short = [
            Path(name).name for name in names
        ]  # a weights file names folders, not where they lay
        if len(set(short)) < len(short):
            raise DataError(
                f"data.inputs, data.target: two folders are called near_duplicate ({', '.join(names)}). Rename one."
            )
        columns = [list(column) for column in zip(*found.rows, strict=True)]
        domains = ["a"] * len(config.inputs) + ["b"]
        files, heads = self._inspect(*columns, domains=domains, masks=config.masks)
        for other, head in zip(files[1:-1], heads[1:-1], strict=True):
            headers.check_unequal(
                files[0], other, heads[0].sizes, head.sizes, "Bring the inputs to one size."
            )
        if config.resize != "stretch":
            headers.check_unequal(files[0], files[-1], heads[0].sizes, heads[-1].sizes)
        both = list(zip(files, heads, strict=True))
        *inputs, target = short
        self._admit("a", *both[:-1], names=inputs, color="a" not in config.masks)
        self._admit("b", both[-1], names=(target,), color=False)
        if found.left_out:
            self.notes += (f"{found.left_out} stems that are not in every folder are left out.",)
        self._files = [Paths(column) for column in files]
        self._augment = Augment(config, ("a", "b"), masks=config.masks, color=("a",))
        self.epoch_rule = (
            f"one epoch = every pair once ({len(self)} pairs, {len(config.inputs)} inputs stacked)"
        )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._files[0])

    def files(self, epoch: int, index: int) -> list[str]:
        """Return the file of each input, then that of the target."""
        return [column[index] for column in self._files]

    def _random(self, epoch: int, index: int, seed: int) -> Arrays:
        return self._augment(self._read(index), seed)

    def _plain(self, index: int) -> Arrays:
        return self._augment.plain(self._read(index))

    def _read(self, index: int) -> Arrays:
        *inputs, target = self.files(0, index)
        return {"a": self._decode("a", *inputs), "b": self._decode("b", target)}
