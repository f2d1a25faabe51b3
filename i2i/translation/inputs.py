"""The files to translate: a file, a folder or a pattern for each input of the model, or tars."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

from i2i import images
from i2i.data.walk import DataError, describe_suffixes, preview, scan
from i2i.images.slices import is_dicom, is_volume
from i2i.translation import TranslationError
from i2i.translation.translator import Translator

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike]  # a sequence: one for each stacked input, or tars
TAR = ".tar"
_MAX_TARS = 1_000_000  # of a range of numbers


class Inputs(NamedTuple):
    """Images, or tars of them, below one folder."""

    kind: Literal["file", "folder", "glob", "tars"]
    root: Path
    relatives: list[str]  # paths below `root`
    ignored: int = 0  # files that are not images
    notes: tuple[str, ...] = ()  # what was left out, and why
    unreadable: tuple[tuple[str, str], ...] = ()  # folders, relative, with the reason


def find_inputs(source: Source, translator: Translator) -> list[Inputs]:
    """Return the images of each input of the model; the first gives outputs their names.

    Raises:
        TranslationError: there is none, or the model stacks another number of inputs.
    """
    names = [one.name for one in translator.source.inputs]
    paths = [source] if isinstance(source, str | os.PathLike) else source
    if paths and all(map(is_tar, paths)):
        if len(names) > 1:
            reason = f"this model stacks {len(names)} inputs, and tars hold one"
            raise TranslationError(paths[0], reason, "Unpack them: `i2i data unpack`")
        return [_tars(paths)]
    flags = " ".join(f"--input {name.upper()}" for name in names)
    if isinstance(source, str | os.PathLike):
        if len(names) > 1:
            hint = f"Use `i2i translate MODEL OUTPUT {flags}`"
            raise TranslationError("input", f"this model stacks {len(names)} inputs, got 1", hint)
        return [_find(source)]
    if len(names) == 1:
        hint = "Use `i2i translate MODEL INPUT OUTPUT`"
        raise TranslationError("--input", "this model takes one input", hint)
    if len(source) != len(names):
        reason = f"this model stacks {len(names)} inputs, got {len(source)}"
        raise TranslationError("--input", reason, f"Pass, in this order: {flags}")
    check_order(source, names)
    inputs = [_find(one) for one in source]
    if {one.kind for one in inputs} not in ({"folder"}, {"file"}):
        hint = "Give a folder for each input, or a file for each"
        raise TranslationError(
            "--input", "patterns, and files with folders, cannot be stacked", hint
        )
    return inputs


def is_tar(path: PathLike) -> bool:
    """Return True for the name of a tar, or a pattern of such names."""
    return os.fspath(path).lower().endswith(TAR)


def _tars(sources: Sequence[PathLike]) -> Inputs:
    """Return the tars of a list, in which there may be patterns and ranges, {000..009}."""
    parts = list[Inputs]()
    for source in sources:
        for path in map(Path, _range(os.fspath(source))):
            parts.append(_match(path) if _has_marks(path) else _one_tar(path))
    roots = {one.root for one in parts}
    if len(roots) > 1:
        first, second = sorted(map(str, roots))[:2]
        hint = "Translate the tars of one folder, or a pattern above both"
        raise TranslationError(second, f"not in the folder of other tars, {first}", hint)
    relatives = [relative for one in parts for relative in one.relatives]
    unreadable = [each for one in parts for each in one.unreadable]
    if not relatives:
        raise TranslationError(sources[0], "no tars")
    return Inputs("tars", parts[0].root, relatives, unreadable=tuple(unreadable))


def _one_tar(path: Path) -> Inputs:
    if not path.is_file():
        raise TranslationError(path, "not a file" if path.exists() else "no such file or folder")
    return Inputs("tars", path.parent, [path.name])


def _range(text: str) -> Iterator[str]:
    """Yield the names that a range of numbers stands for; they have the digits of its first."""
    match = re.search(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}", text)
    if not match or Path(text).exists():
        yield text
        return
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MAX_TARS:
        raise TranslationError(text, f"a range of {last - first + 1} tars")
    for number in range(first, last + 1):
        name = f"{number:0{len(match[1])}}"
        yield from _range(text[: match.start()] + name + text[match.end() :])


def _has_marks(path: PathLike) -> bool:
    return any(mark in os.fspath(path) for mark in "*?[")


def check_order(paths: Sequence[PathLike], names: Sequence[str]) -> list[str]:
    """Return a note where paths do not say which input they are; `names` are those of training.

    Raises:
        TranslationError: one is given twice, or is called as another input of the model.
    """
    hint = "Pass, in this order: " + " ".join(f"--input {name.upper()}" for name in names)
    real = [Path(path).resolve() for path in paths]
    absolute = [Path(path).absolute() for path in paths]
    start = len(Path(os.path.commonpath(absolute)).parts)  # folders above all inputs say nothing
    unnamed, folded = [], {name.casefold(): name for name in names}
    for index, (path, name) in enumerate(zip(paths, names, strict=True)):
        if real[index] in real[:index]:
            raise TranslationError(path, "given for two inputs of the model", hint)
        parts = [part.casefold() for part in absolute[index].with_suffix("").parts[start:]]
        called = [folded[part] for part in parts if part in folded]
        if not called:
            unnamed.append(f"{path} for {name}")
        elif called[-1] != name:
            reason = f"called as the input {called[-1]} of the model, and given as {name}"
            raise TranslationError(path, reason, hint)
    return [f"taken by their order: {', '.join(unnamed)}"] if unnamed else []


def _find(source: PathLike) -> Inputs:
    path = Path(source)
    hint = f"Accepted: {', '.join(sorted(images.EXTENSIONS))}"
    if path.is_dir() and is_volume(path):
        path = path.resolve()
        return Inputs("file", path.parent, [path.name])
    if path.is_dir():
        inputs = _folder(path)
    elif path.exists():
        if is_dicom(path.name):
            raise TranslationError(path, "one slice of a series", "Pass the folder of the series")
        if images.suffix_of(path) not in images.EXTENSIONS:
            raise TranslationError(path, "not an image", hint)
        return Inputs("file", path.parent, [path.name])
    elif _has_marks(source):
        inputs = _match(path)
    else:
        raise TranslationError(source, "no such file or folder")
    if not inputs.relatives:
        reasons = [*inputs.notes, *(f"{folder}: {reason}" for folder, reason in inputs.unreadable)]
        others = f" ({preview(reasons)})" if reasons else ""
        raise TranslationError(source, f"no images{others}", hint)
    return inputs


def _folder(path: Path) -> Inputs:
    try:
        listing = scan(path)
    except DataError as error:
        raise TranslationError(path, error.reason, error.hint) from None
    start = len(path.as_posix()) + 1
    notes = _other_files(listing.suffixes)
    if listing.repeated:
        names = preview(name[start:] for name in listing.repeated)
        notes += (f"links to folders that are read by another name: {names}",)
    unreadable = tuple(
        (name[start:], f"cannot be read ({reason})") for name, reason in listing.unreadable
    )
    relatives = [image[start:] for image in listing.images]
    return Inputs("folder", path, relatives, listing.others, notes, unreadable)


def _other_files(suffixes: Mapping[str, int]) -> tuple[str, ...]:
    count = sum(suffixes.values())
    return (f"{count} other files: {describe_suffixes(suffixes)}",) if count else ()


def _match(pattern: Path) -> Inputs:
    parts = pattern.parts
    fixed = [_has_marks(part) for part in parts].index(True)
    root = Path(*parts[:fixed])
    unreadable: tuple[tuple[str, str], ...] = ()
    if "**" in parts and root.is_dir():  # glob would follow links from wherever links lead
        listing, start = scan(root), len(root.as_posix()) + 1
        every = sorted([*listing.images, *listing.other_files])
        names = [name for name in every if _fits(name[start:].split("/"), parts[fixed:])]
        unreadable = tuple((name[start:], reason) for name, reason in listing.unreadable)
    else:
        names = sorted(glob.glob(str(pattern)))  # noqa: PTH207 - Path.glob finds hidden names
    files = [Path(name) for name in names if not Path(name).is_dir()]
    suffixes = [TAR] if is_tar(pattern) else images.EXTENSIONS
    pictures = [file for file in files if images.suffix_of(file) in suffixes]
    relatives = [os.path.relpath(file, root) for file in pictures]
    if any(relative.startswith(os.pardir) for relative in relatives):
        reason = f"leads out of {root}, and outputs would leave their folder"
        raise TranslationError(pattern, reason, "Drop the ..")
    others = Counter(file.suffix.lower() for file in files) - Counter(
        file.suffix.lower() for file in pictures
    )
    count = sum(others.values())
    return Inputs("glob", root, relatives, count, _other_files(others), unreadable)


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return True if a path, by its names, matches a pattern in which ** is any number of them."""
    if not pattern or not names:
        return not names and all(part == "**" for part in pattern)
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return _fits(names, rest) or _fits(names[1:], pattern)
    return fnmatchcase(names[0], first) and _fits(names[1:], rest)
