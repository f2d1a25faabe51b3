"""Recognize the folders of domains: by the names a and b, or by names that are given."""

import os
import re
from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path

from i2i.config import TwoDomainsData
from i2i.data.pairing import SplitError, in_split
from i2i.data.walk import (
    SPLIT_NAMES,
    AnyPath,
    DataError,
    Folder,
    data_error,
    existing,
    preview,
    unreadable_error,
)
from i2i.images import EXTENSIONS

_FORMS = (
    "{split}/{domain}",
    "{split}{domain}",
    "{split}_{domain}",
    "{split}-{domain}",
    "{domain}/{split}",
)
_FLAT = "{domain}"  # of the train split, where no other form exists
_OTHER_DOMAIN = str.maketrans("aAbB", "bBaA")
_TARGET = re.compile(r"mask|label|target|gt|seg", re.IGNORECASE)  # in names of folders
_OF_SPLIT = re.compile(r"train|test|val", re.IGNORECASE)  # how their names begin
_NAMES = "data.inputs, data.target"
_SUFFIXES = tuple(EXTENSIONS)


# -- a and b ---------------------------------------------------------------------------------------


def domain_folders(root: AnyPath, split: str) -> tuple[Folder, Folder] | None:
    """Return the folders of a and b of a split in any accepted layout and case, None without them.

    Raises:
        DataError: `root` is no folder; only one of the two exists; two layouts are mixed.
    """
    top = existing(root)
    pairs: list[tuple[Folder, Folder]] = []
    lone: list[tuple[Path, Path]] = []  # the folder that exists, and the one that is missing
    spellings = product(
        SPLIT_NAMES.get(split, (split,)), (*_FORMS, _FLAT) if split == "train" else _FORMS
    )
    for spelling, form in spellings:
        if form == _FLAT and pairs:
            break
        a, b = (find_folder(top, form.format(split=spelling, domain=d)) for d in ("a", "b"))
        if a and b:  # ROOT/a/test next to ROOT/a/*.jpg is held out; ROOT/train/a/test is not
            flat = form == _FLAT
            pairs.append((Folder(a, flat), Folder(b, flat)))
        elif folder := a or b:
            name = folder.relative_to(top).as_posix()
            at = form.format(split=spelling, domain="?").index("?")
            other = name[:at] + name[at].translate(_OTHER_DOMAIN) + name[at + 1 :]
            lone.append((folder, top / other))
    if len(pairs) > 1:
        names = " and ".join(f"{a.path.as_posix()}, {b.path.as_posix()}" for a, b in pairs)
        raise data_error(f"{root} has two layouts: {names}", "Keep one")
    if lone and not pairs:
        exists, missing = (folder.as_posix() for folder in lone[0])
        raise data_error(f"{exists} exists, but {missing} does not", "Add that folder")
    return pairs[0] if pairs else None


def check_beside(folders: Sequence[Folder], strict: bool) -> tuple[str, ...]:
    """Return notes about images beside the folders of a and b, which are not used.

    Raises:
        DataError: `strict`, and several are in the folder that holds both: pairs side by side?
    """
    above = folders[0].path.parent
    try:
        with os.scandir(above) as entries:
            beside = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable_error([(str(above), error.strerror or "")]) from None
    if above != folders[1].path.parent:
        return ()
    used = [folder.path.name for folder in folders]
    images = [name for name in beside if name.lower().endswith(_SUFFIXES)]
    if len(images) > 1 and strict:
        reason = f"{above.as_posix()} has two layouts: folders {' and '.join(used)}, and "
        reason += f"{len(images)} images beside them (first: {preview(images)})"
        raise data_error(reason, "Move these, or set data.layout=folders or ab")
    others = [name for name in beside if name not in used and not _OF_SPLIT.match(name)]
    unused = [name for name in others if _has_images(above / name)]
    notes = []
    if images:
        notes.append(f"{len(images)} images beside the folders are not used: {preview(images)}.")
    if unused:
        names = f"{preview(unused)} beside {' and '.join(used)}"
        notes.append(f"folders of images are not used: {names}; --input and --target name others.")
    return tuple(notes)


def _has_images(folder: Path) -> bool:
    return any(
        name.lower().endswith(_SUFFIXES) for _, _, names in os.walk(folder) for name in names
    )


def no_domains(
    root: AnyPath, split: str, groups: dict[str, int], kind_known: bool = True
) -> DataError:
    """Return the error about a tree without folders for a and b; a SplitError if it has no images.

    Args:
        root: folder of the data set.
        split: that was looked for.
        groups: images in each subfolder, under "" those in none.
        kind_known: False: it may be one set, or pairs side by side.
    """
    accepted = ", ".join(form.format(split=split, domain="a") for form in _FORMS[:3])
    flat = ", or a" if split == "train" else ""
    hint = f"Accepted: {accepted}{flat} (and the same with b)"
    reason = f"{root} has no folders for a and b of the {split} split"
    names = sorted(filter(None, groups), key=lambda name: bool(_TARGET.search(name)))
    if names:
        counts = preview((f"{name} ({groups[name]})" for name in sorted(names)), 10)
        loose = f", and {groups['']} images beside them" if "" in groups else ""
        reason += f"; found folders {counts}{loose}"
    if len(names) == 2:
        hint = f"Name them with --input {names[0]} --target {names[1]}. {hint}"
    elif len(names) > 2:
        hint = f"Name an input, or several, and a target with --input and --target. {hint}"
    if not kind_known:
        hint += (
            "; data.layout=ab if each image holds a pair, --kind unconditional if all are one set"
        )
    return (DataError if groups and split == "train" else SplitError)("data.root", reason, hint)


def find_folder(folder: Path, relative: str) -> Path | None:
    """Return the folder at a path below `folder` that is in lower case, whatever its own case.

    Raises:
        DataError: `folder` cannot be read, or two differ in case only.
    """
    for part in relative.split("/"):
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    e.name for e in entries if e.name.lower() == part and (folder / e.name).is_dir()
                )
        except OSError as error:
            raise unreadable_error([(str(folder), error.strerror or "")]) from None
        names = [name for name in names if (folder / name).is_dir()]
        if len(names) > 1:
            raise data_error(f"{folder.as_posix()} has both {' and '.join(names)}", "Keep one")
        if not names:
            return None
        folder = folder / names[0]
    return folder


# -- names that are given --------------------------------------------------------------------------


def named_folders(
    root: AnyPath, names: Sequence[str], split: str, outside: bool = True
) -> list[Folder]:
    """Return the folders that `names` stand for: ROOT/SPLIT/NAME, ROOT/NAME/SPLIT or ROOT/NAME.

    ROOT/NAME is of the train split; in other splits "train" in NAME is replaced. With `outside`, a
    name may also be a path.

    Raises:
        SplitError: a folder is missing.
        DataError: a folder is named twice, a name means two folders, or leads out of `root`.
    """
    folders = []
    for name in names:
        top, own = existing(root), Path(name).expanduser()
        if not outside and (own.is_absolute() or ".." in own.parts):
            raise DataError(_NAMES, f"{name!r} leads out of {root}", "Name a folder in it")
        candidates = [] if own.is_absolute() else _candidates(top, name, split)
        present = _present(candidates)
        if not present and outside:
            more = _candidates(Path(), name, split)[1:]
            candidates, present = candidates + more, _present(more)
        if not present:
            hint = f"Accepted: {', '.join(folder.path.as_posix() for folder in candidates)}"
            raise SplitError(_NAMES, f"no {split} folder for {name}", hint)
        if len(present) > 1:
            both = " and ".join(folder.path.as_posix() for folder in present)
            raise DataError(_NAMES, f"{name} means two folders: {both}", "Name one by its path")
        folders.append(present[0])
    if len(set(folders)) < len(folders):
        reason = f"{', '.join(names)}: two of these are one folder"
        raise DataError(_NAMES, reason, "Name each once")
    return folders


def _candidates(top: Path, name: str, split: str) -> list[Folder]:
    folders = [Folder(top / split / name), Folder(top / name / split)]
    if split == "train":
        folders.append(Folder(top / name, skip_held_out=True))
    elif (other := in_split(name, split)) != name:
        folders.append(Folder(top / other))
    return folders


def _present(folders: Sequence[Folder]) -> list[Folder]:
    """Return the folders that exist, each once, and none that holds another of them."""
    present = {folder.path.resolve(): folder for folder in folders[::-1] if folder.path.is_dir()}
    above = {parent for path in present for parent in path.parents}
    return [folder for path, folder in present.items() if path not in above][::-1]


def folder_names(config: TwoDomainsData) -> tuple[str, ...]:
    """Return the folders of inputs and target that settings name, or none."""
    return (*config.inputs, config.target) if config.target else ()


def spec_names(folders: Sequence[str]) -> tuple[str, ...]:
    """Return what a weights file keeps of the names of folders: the last part that is no split.

    Raises:
        DataError: two of a stack, whose order must be known, are alike.
    """
    splits = {"", "/", *chain(*SPLIT_NAMES.values())}
    parts = [[part for part in Path(each).parts if part.lower() not in splits] for each in folders]
    names = tuple(each[-1] if each else "" for each in parts)
    if len(set(names)) == len(names):
        return names
    if len(names) > 2:
        reason = f"two folders have the same name ({', '.join(folders)})"
        raise DataError(_NAMES, reason, "Rename one")
    return ()
