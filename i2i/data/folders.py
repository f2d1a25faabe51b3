"""Find the images of a data set and pair them by name; nothing is opened here."""

import os
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from i2i.config import Layout
from i2i.errors import I2IError
from i2i.images import EXTENSIONS

SPLITS = ("train", "test", "val")
_FORMS = (
    "{split}/{domain}",
    "{split}{domain}",
    "{split}_{domain}",
    "{split}-{domain}",
    "{domain}/{split}",
)


class DataError(I2IError, ValueError):
    """Images that cannot be trained on; the message says where, what, and what to do."""


class Pair(NamedTuple):
    """The file of each domain; of a side-by-side image both are the same file, and `layout` says which half is a."""

    a: str
    b: str
    layout: Literal["ab", "ba", "folders"]


class Matched(NamedTuple):
    """Two folders matched by stem."""

    pairs: list[Pair]
    only_a: list[str]  # files of a without a partner
    only_b: list[str]
    clashes: list[
        tuple[str, str]
    ]  # two files of one stem in one folder; the first is the one that is paired


class Scan(NamedTuple):
    """What a folder holds: paths of images in order, and how many other files were passed over."""

    images: list[str]
    others: int
    example: str  # path of one of the others, or ""


def find_images(root: str | os.PathLike[str], skip: Collection[str] = ()) -> list[str]:
    """Return the paths of all images under `root`, in the order of their relative paths.

    Subfolders are searched and symbolic links followed. Hidden names are passed over, and so are
    the subfolders of `root` that `skip` names.

    Raises:
        DataError: `root` is missing, is not a folder, cannot be read, or has no images.
    """
    found = scan(root, skip)
    if found.images:
        return found.images
    known = ", ".join(sorted(EXTENSIONS))
    others = (
        f" {found.others} other files were passed over (first: {found.example})."
        if found.others
        else ""
    )
    raise DataError(f"data.root: {root} has no images.{others} Add some: {known}.")


def scan(root: str | os.PathLike[str], skip: Collection[str] = ()) -> Scan:
    """List a folder as `find_images` does, also where it is empty.

    Raises:
        DataError: `root` is missing, is not a folder, or cannot be read.
    """
    top = _folder(root).as_posix()
    images: list[str] = []
    others, example = 0, ""
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [
        (top, ())
    ]  # folders, each with those above it
    while pending:
        folder, above = pending.pop()
        try:
            status = Path(folder).stat()
            here = (status.st_dev, status.st_ino)
            if here in above:  # a link back to a folder above it would never end
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or (
                        not above and entry.name.lower() in skip and entry.is_dir()
                    ):
                        continue
                    path = f"{folder}/{entry.name}"
                    if entry.is_dir():
                        pending.append((path, (*above, here)))
                    elif (
                        "." in entry.name
                        and f".{entry.name.rpartition('.')[2].lower()}" in EXTENSIONS
                    ):
                        images.append(path)
                    else:
                        others, example = others + 1, min(example or path, path)
        except OSError as error:
            raise DataError(
                f"data.root: {folder} cannot be read ({error.strerror}). Check its permissions."
            ) from None
    images.sort()
    return Scan(images, others, example)


def find_paired(
    root: str | os.PathLike[str],
    layout: Layout = "auto",
    split: str = "train",
    allow_unmatched: bool = False,
) -> list[Pair]:
    """Return the pairs of `find_matched`."""
    return find_matched(root, layout, split, allow_unmatched).pairs


def find_matched(
    root: str | os.PathLike[str],
    layout: Layout = "auto",
    split: str = "train",
    allow_unmatched: bool = False,
) -> Matched:
    """Return the pairs of one split, ordered by name, and what had no partner.

    `auto` takes two folders where they exist, and otherwise side-by-side images with a on the left.
    A root without subfolders for splits is its own `train` split.

    Raises:
        DataError: no images; a file without a partner, unless allowed; two files of one stem.
    """
    folders = domain_folders(root, split) if layout in ("auto", "folders") else None
    if folders is not None:
        matched = match(*folders, nested_splits(root, folders[0]))
        _check_clashes(matched)
        _check_unmatched(matched, folders, allow_unmatched)
        return matched
    if layout == "folders":
        raise DataError(
            f"data.root: {root} has no folders for a and b of the {split} split. {_accepted(split)}"
        )
    side: Literal["ab", "ba"] = "ba" if layout == "ba" else "ab"
    return Matched([Pair(path, path, side) for path in split_images(root, split)], [], [], [])


def find_unpaired(
    root: str | os.PathLike[str], split: str = "train"
) -> tuple[list[str], list[str]]:
    """Return the images of domain a and of domain b of one split, each ordered by name.

    Raises:
        DataError: a folder is missing, or has no images.
    """
    folders = domain_folders(root, split)
    if folders is None:
        raise DataError(
            f"data.root: {root} has no folders for a and b of the {split} split. {_accepted(split)}"
        )
    skip = nested_splits(root, folders[0])
    return find_images(folders[0], skip), find_images(folders[1], skip)


def split_images(root: str | os.PathLike[str], split: str) -> list[str]:
    """Return the images of a split that has no folders for domains: ROOT/SPLIT, or for `train` ROOT itself.

    Raises:
        DataError: there is no such split, or it has no images.
    """
    top = _folder(root)
    folder = _child(top, split)
    if folder is None and split != "train":
        raise DataError(
            f"data.root: {root} has no {split} split. Add the folder {top.as_posix()}/{split}."
        )
    return find_images(top, SPLITS) if folder is None else find_images(folder)


def domain_folders(root: str | os.PathLike[str], split: str) -> tuple[Path, Path] | None:
    """Return the folders of a and b of a split in any of the accepted layouts (upper or lower case), None without them.

    Raises:
        DataError: `root` is no folder; only one of the two exists; two layouts are mixed.
    """
    top = _folder(root)
    found, halves = _by_form(top, _FORMS, split)
    if not found and split == "train":
        found, more = _by_form(top, ("{domain}",), split)
        halves += more
    if len(found) > 1:
        names = " and ".join(f"{a.as_posix()}, {b.as_posix()}" for a, b in found)
        raise DataError(f"data.root: {root} has two layouts: {names}. Keep one.")
    if not found and halves:
        here, missing = halves[0]
        raise DataError(
            f"data.root: {here.as_posix()} is there, but {missing} is not. Add that folder."
        )
    return found[0] if found else None


def match(folder_a: Path, folder_b: Path, skip: Collection[str] = ()) -> Matched:
    """Match the images of two folders by their path without the suffix, relative to the folder.

    Subfolders of either that `skip` names are left out.

    Raises:
        DataError: a folder has no images.
    """
    (a, clashes_a), (b, clashes_b) = stems(folder_a, skip), stems(folder_b, skip)
    pairs = [Pair(path, b[stem], "folders") for stem, path in a.items() if stem in b]
    only_a = [path for stem, path in a.items() if stem not in b]
    only_b = [path for stem, path in b.items() if stem not in a]
    return Matched(pairs, only_a, only_b, clashes_a + clashes_b)


def _check_clashes(matched: Matched) -> None:
    if matched.clashes:
        first = named((f"{one} and {other}" for one, other in matched.clashes), 5)
        raise DataError(
            f"data.root: files of one stem in one folder: {first}. Remove or rename one of each."
        )


def _check_unmatched(matched: Matched, folders: tuple[Path, Path], allowed: bool) -> None:
    a, b = (folder.as_posix() for folder in folders)
    lines = []
    for files, here, there in ((matched.only_a, a, b), (matched.only_b, b, a)):
        if files:
            first = named(_stem(path, here) for path in files)
            lines.append(
                f"{here} has {len(files)} images without a partner in {there} (first: {first})"
            )
    if not matched.pairs:
        raise DataError(
            f"data.root: no stem is in both folders: {'; '.join(lines)}. Rename the files of one."
        )
    if lines and not allowed:
        raise DataError(f"data.root: {'; '.join(lines)}. Add them, or pass --allow-unmatched.")


def _stem(path: str, folder: str) -> str:
    return path[len(folder) + 1 :].rpartition(".")[0]


def named(names: Iterable[str], limit: int = 3) -> str:
    """Return the first few names for a message."""
    first = list(islice(names, limit + 1))
    return ", ".join(first[:limit]) + (", …" if len(first) > limit else "")


def stems(folder: Path, skip: Collection[str] = ()) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return stem -> path of the images of a folder, and pairs of files of one stem, the first being the one taken.

    Raises:
        DataError: the folder has no images.
    """
    found: dict[str, str] = {}
    clashes = []
    for path in find_images(folder, skip):
        first = found.setdefault(_stem(path, folder.as_posix()), path)
        if first != path:
            clashes.append((first, path))
    return found, clashes


def _by_form(
    top: Path, forms: Iterable[str], split: str
) -> tuple[list[tuple[Path, Path]], list[tuple[Path, str]]]:
    found, halves = [], []  # halves: the folder that exists, and the path of the one that should
    for form in forms:
        a, b = (_descend(top, form.format(split=split, domain=domain)) for domain in ("a", "b"))
        if a and b:
            found.append((a, b))
        elif here := a or b:
            path, shape = here.as_posix(), form.format(split=split, domain="?")
            place = len(path) - len(shape) + shape.index("?")
            letter = {"a": "b", "A": "B", "b": "a", "B": "A"}[path[place]]
            halves.append((here, path[:place] + letter + path[place + 1 :]))
    return found, halves


def _descend(folder: Path, relative: str) -> Path | None:
    place: Path | None = folder
    for part in relative.split("/"):
        place = _child(place, part) if place else None
    return place


def _child(folder: Path, name: str) -> Path | None:
    try:
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name for entry in entries if entry.name.lower() == name and entry.is_dir()
            )
    except OSError as error:
        raise DataError(
            f"data.root: {folder} cannot be read ({error.strerror}). Check its permissions."
        ) from None
    if len(names) > 1:
        raise DataError(f"data.root: {folder.as_posix()} has both {' and '.join(names)}. Keep one.")
    return folder / names[0] if names else None


def _folder(root: str | os.PathLike[str]) -> Path:
    path = Path(root).expanduser()
    if not path.exists():
        raise DataError(f"data.root: {root} does not exist. Pass the folder of the data set.")
    if not path.is_dir():
        raise DataError(f"data.root: {root} is a file. Pass the folder that holds it.")
    return path


def nested_splits(root: str | os.PathLike[str], folder: Path) -> tuple[str, ...]:
    """Return the names of subfolders of a domain's folder that are splits of their own, and no part of it."""
    flat = folder.name.lower() in ("a", "b") and folder.parent == _folder(root)
    return (
        SPLITS if flat else ()
    )  # ROOT/a/test beside ROOT/a/*.jpg is held out; ROOT/train/a/test is a subfolder


def _accepted(split: str) -> str:
    shown = ", ".join(form.format(split=split, domain="a") for form in _FORMS[:3])
    flat = ", or a" if split == "train" else ""
    return f"Accepted: {shown}{flat} (and the same with b)."
