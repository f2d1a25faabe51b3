"""Find the images of a data set and match them by stem; nothing is opened here."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from i2i.config import Kind, Layout
from i2i.data.walk import SPLITS as SPLITS
from i2i.data.walk import AnyPath as AnyPath
from i2i.data.walk import DataError as DataError
from i2i.data.walk import Folder as Folder
from i2i.data.walk import data_error, existing, unreadable_error
from i2i.data.walk import find_images as find_images
from i2i.data.walk import preview as preview
from i2i.data.walk import scan as scan

_FORMS = (
    "{split}/{domain}",
    "{split}{domain}",
    "{split}_{domain}",
    "{split}-{domain}",
    "{domain}/{split}",
)
_FLAT = "{domain}"  # of the train split, where no other form exists
_OTHER_DOMAIN = str.maketrans("aAbB", "bBaA")


class SplitError(DataError):
    """A split that does not exist, or has no images."""


class Listing(NamedTuple):
    """Files of one domain, or of all pairs, of one split."""

    domains: tuple[str, ...]  # of each column: a for each input, then b; or image
    files: Sequence[Sequence[str]]  # columns; the files of a row belong together
    layout: Literal["ab", "ba", "folders"] = "folders"  # ab: one column, its left half is a
    unmatched: Sequence[str] = ()  # files whose stem is not in every folder
    same_stem: Sequence[tuple[str, str]] = ()  # a file that is used, and another of its folder
    lacks: str = ""  # what folders lack, for messages


# -- splits ----------------------------------------------------------------------------------------


def list_split(
    root: AnyPath,
    split: str,
    kind: Kind | Literal["auto"],
    layout: Layout = "auto",
    names: Sequence[str] = (),
    outside: bool = True,
) -> list[Listing]:
    """Return the files of one split: of all pairs, of each unpaired domain, or of its one domain.

    Pairs are in two folders where these exist, and otherwise side by side with a on the left; or in
    the folders `names`, as `stack_folders` takes them. A root without subfolders for splits is its
    own `train` split. `kind="auto"` takes two folders for paired if most files have a partner.

    Raises:
        SplitError: there is no such split, or it has no images.
        DataError: a folder cannot be read, has no images, or only one of two exists.
    """
    folders: Sequence[Folder] | None = None
    if names:
        folders = stack_folders(root, names, split, outside)
    elif kind != "unconditional" and layout in ("auto", "folders"):
        folders = domain_folders(root, split)
    if folders is None:
        if kind == "unpaired" or layout == "folders":
            raise _no_domains(root, split)
        files = _split_images(root, split)
        if kind != "paired":
            return [Listing(("image",), [files])]
        return [Listing(("a",), [files], "ba" if layout == "ba" else "ab")]
    if kind != "unpaired":
        pairs = match(folders, in_order=bool(names))
        if kind == "paired" or 2 * len(pairs.files[0]) > len(pairs.unmatched):
            return [pairs]
    return [Listing((d,), [find_images(*f)]) for d, f in zip(("a", "b"), folders, strict=True)]


def find_pairs(
    root: AnyPath,
    split: str = "train",
    layout: Layout = "auto",
    names: Sequence[str] = (),
    allow_unmatched: bool = False,
    outside: bool = True,
) -> Listing:
    """Return the pairs of one split, ordered by name.

    Raises:
        DataError: as `list_split`; a file without a partner, unless allowed; two files of one stem.
    """
    (pairs,) = list_split(root, split, "paired", layout, names, outside)
    if pairs.same_stem:
        repeated = preview(f"{file} and {other}" for file, other in pairs.same_stem)
        raise data_error(
            f"files of one stem in one folder: {repeated}", "Remove or rename one of each"
        )
    if not pairs.files[0]:
        raise data_error(f"no stem is in all folders: {pairs.lacks}", "Name partners alike")
    if pairs.lacks and not allow_unmatched:
        raise data_error(pairs.lacks, "Add them, or pass --allow-unmatched")
    return pairs


def match(folders: Sequence[Folder], in_order: bool = False) -> Listing:
    """Match the images of folders by stem: the path below the folder, without the suffix.

    Rows are ordered as the first folder, or by stem if `in_order`.

    Raises:
        DataError: a folder has no images.
    """
    tables: list[dict[str, str]] = []  # of each folder: stem -> file
    same_stem = []
    for folder in folders:
        table: dict[str, str] = {}
        start = len(folder.path.as_posix()) + 1
        for path in find_images(*folder):
            first = table.setdefault(path[start:].rpartition(".")[0], path)
            if first != path:
                same_stem.append((first, path))
        tables.append(table)
    stems = dict.fromkeys(chain(*tables))
    missing = [[stem for stem in stems if stem not in table] for table in tables]
    partial = set(chain(*missing))
    common = [stem for stem in tables[0] if stem not in partial]
    if in_order:
        common.sort()
    lacks = [
        f"{folder.path.as_posix()} has no partner for {len(lacking)} of {len(stems)} images "
        f"(first: {preview(lacking)})"
        for folder, lacking in zip(folders, missing, strict=True)
        if lacking
    ]
    return Listing(
        ("a",) * (len(folders) - 1) + ("b",),
        [[table[stem] for stem in common] for table in tables],
        "folders",
        [file for table in tables for stem, file in table.items() if stem in partial],
        same_stem,
        "; ".join(lacks),
    )


def _split_images(root: AnyPath, split: str) -> list[str]:
    top = existing(root)
    folder = _find_folder(top, split)
    if not folder and split != "train":
        hint = f"Add the folder {top.as_posix()}/{split}"
        raise SplitError("data.root", f"{root} has no {split} split", hint)
    try:
        return find_images(folder) if folder else find_images(top, True)
    except DataError as error:
        raise SplitError(*error.args) from None


# -- layouts ---------------------------------------------------------------------------------------


def domain_folders(root: AnyPath, split: str) -> tuple[Folder, Folder] | None:
    """Return the folders of a and b of a split in any accepted layout and case, None without them.

    Raises:
        DataError: `root` is no folder; only one of the two exists; two layouts are mixed.
    """
    top = existing(root)
    pairs: list[tuple[Folder, Folder]] = []
    lone: list[tuple[Path, Path]] = []  # the folder that exists, and the one that is missing
    for form in (*_FORMS, _FLAT) if split == "train" else _FORMS:
        if form == _FLAT and pairs:
            break
        a, b = (_find_folder(top, form.format(split=split, domain=domain)) for domain in ("a", "b"))
        if a and b:  # ROOT/a/test next to ROOT/a/*.jpg is held out; ROOT/train/a/test is not
            flat = form == _FLAT
            pairs.append((Folder(a, flat), Folder(b, flat)))
        elif folder := a or b:
            name = folder.relative_to(top).as_posix()
            at = form.format(split=split, domain="?").index("?")
            other = name[:at] + name[at].translate(_OTHER_DOMAIN) + name[at + 1 :]
            lone.append((folder, top / other))
    if len(pairs) > 1:
        names = " and ".join(f"{a.path.as_posix()}, {b.path.as_posix()}" for a, b in pairs)
        raise data_error(f"{root} has two layouts: {names}", "Keep one")
    if lone and not pairs:
        exists, missing = (folder.as_posix() for folder in lone[0])
        raise data_error(f"{exists} exists, but {missing} does not", "Add that folder")
    return pairs[0] if pairs else None


def stack_folders(
    root: AnyPath, names: Sequence[str], split: str, outside: bool = True
) -> list[Folder]:
    """Return the folders that `names` stand for: ROOT/SPLIT/NAME, or ROOT/NAME for `train`.

    With `outside`, a name may also be a path: of a folder with splits, or for `train` of images.

    Raises:
        SplitError: a folder is missing.
        DataError: a folder is named twice.
    """
    folders = []
    for name in names:
        top, own = Path(root).expanduser(), Path(name).expanduser()
        candidates = (
            [] if own.is_absolute() else [Folder(top / split / own), Folder(top / own, True)]
        )
        if outside:
            candidates += [Folder(own / split), Folder(own, True)]
        candidates = [
            folder for folder in candidates if split == "train" or not folder.skip_held_out
        ]
        present = [folder for folder in candidates if folder.path.is_dir()]
        if not present:
            hint = f"Accepted: {', '.join(folder.path.as_posix() for folder in candidates)}"
            raise SplitError("data.inputs, data.target", f"no {split} folder for {name}", hint)
        folders.append(present[0])
    if len(set(folders)) < len(folders):
        reason = f"{', '.join(names)}: two of these are one folder"
        raise DataError("data.inputs, data.target", reason, "Name each once")
    return folders


def _find_folder(folder: Path, relative: str) -> Path | None:
    """Return the folder at a path below `folder` that is in lower case, whatever its own case."""
    for part in relative.split("/"):
        try:
            with os.scandir(folder) as entries:
                names = sorted(e.name for e in entries if e.name.lower() == part and e.is_dir())
        except OSError as error:
            raise unreadable_error([(str(folder), error.strerror or "")]) from None
        if len(names) > 1:
            raise data_error(f"{folder.as_posix()} has both {' and '.join(names)}", "Keep one")
        if not names:
            return None
        folder = folder / names[0]
    return folder


def _no_domains(root: AnyPath, split: str) -> SplitError:
    accepted = ", ".join(form.format(split=split, domain="a") for form in _FORMS[:3])
    flat = ", or a" if split == "train" else ""
    hint = f"Accepted: {accepted}{flat} (and the same with b)"
    return SplitError("data.root", f"{root} has no folders for a and b of the {split} split", hint)
