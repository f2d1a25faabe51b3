"""Match the files of several folders: by stem, by a pattern for each folder, or by a table."""

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, takewhile
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple

from i2i.data.walk import (
    AnyPath,
    DataError,
    Folder,
    Scan,
    describe_suffixes,
    existing,
    preview,
    scan_images,
)
from i2i.images import EXTENSIONS, MAX_CHANNELS, stem_of, suffix_of

_FIELDS = {"{id}": "(?P<id>.+)", "{number}": "0*(?P<id>[0-9]+)"}


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
    hint: str = ""  # how files without a partner could be matched
    guessed: bool = False  # side by side because there are no folders, not by request
    names: tuple[str, ...] = ()  # of the columns, where a table names them
    scans: tuple[Scan, ...] = ()  # of the folders
    notes: tuple[str, ...] = ()  # what was noticed about the layout, for people

    def ignored(self) -> Iterator[str]:
        """Yield how many files of other formats are in the folders."""
        for scan in self.scans:
            if scan.others:
                kinds = describe_suffixes(scan.suffixes)
                count = f"{scan.others} files of unknown formats are ignored: {kinds}"
                yield f"{count} (first: {scan.example})."

    def remarks(self) -> Iterator[str]:
        """Yield what people should know about files that are not used."""
        yield from self.notes
        for scan in self.scans:
            if scan.repeated:
                yield f"links to the same folder are read once, without: {preview(scan.repeated)}."
            if scan.held_out:
                yield f"folders of other splits are left out: {preview(scan.held_out)}."


def normal(stem: str) -> str:
    """Return a stem in one Unicode form: macOS and others store accents differently."""
    return unicodedata.normalize("NFC", stem)


def match(
    folders: Sequence[Folder], in_order: bool = False, patterns: Sequence[str] = ()
) -> Listing:
    """Match the images of folders by stem: the path below the folder, without the suffix.

    With `patterns`, one for each folder, by what stands at the field of the pattern. Rows are
    ordered as the first folder, or by stem if `in_order`.

    Raises:
        DataError: a folder has no images, or none that fits its pattern; no pattern for each folder
            with one field.
    """
    if patterns:
        _check_patterns(patterns, len(folders))
    scans = {folder: scan_images(*folder) for folder in folders}
    tables: list[dict[str, str]] = []  # of each folder: key -> file
    same_stem, notes = [], []
    for number, folder in enumerate(folders):
        listing = scans[folder]
        table: dict[str, str] = {}
        left_out = 0
        for path, stem in zip(listing.images, _stems(folder, listing), strict=True):
            key = _key(stem, patterns[number]) if patterns else stem
            if key is None:
                left_out += 1
            elif (first := table.setdefault(key, path)) != path:
                same_stem.append((first, path))
        tables.append(table)
        if left_out:
            reason = f"{left_out} of {len(listing.images)} images of {folder.path.as_posix()} "
            reason += f"do not fit {patterns[number]}"
            if not table:
                hint = "A pattern is the name without its suffix"
                raise DataError("data.pair_pattern", reason, hint)
            notes.append(f"{reason}, and are left out.")
    stems = dict.fromkeys(chain(*tables))
    missing = [[stem for stem in stems if stem not in table] for table in tables]
    alone = set(chain(*missing))
    common = [stem for stem in tables[0] if stem not in alone]
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
        [file for table in tables for stem, file in table.items() if stem in alone],
        same_stem,
        "; ".join(lacks),
        _suggestion(tables, len(common)) if alone and not patterns else "",
        scans=tuple(scans.values()),
        notes=tuple(notes),
    )


def _stems(folder: Folder, listing: Scan) -> list[str]:
    start = len(folder.path.as_posix()) + 1
    return [normal(stem_of(path[start:])) for path in listing.images]


# -- patterns --------------------------------------------------------------------------------------


def _check_patterns(patterns: Sequence[str], folders: int) -> None:
    if len(patterns) != folders:
        reason = f"{len(patterns)} patterns for {folders} folders"
        raise DataError("data.pair_pattern", reason, "Give one for each, that of the target last")
    for pattern in patterns:
        if len(_fields(pattern)) != 1:
            reason = f"{pattern!r} must hold {{id}} or {{number}} once"
            raise DataError("data.pair_pattern", reason, "Write it as in {id}_A")


def _fields(pattern: str) -> list[str]:
    return re.findall("|".join(map(re.escape, _FIELDS)), pattern)


def _key(stem: str, pattern: str) -> str | None:
    """Return the part of `stem` at the field of `pattern`, with its folder; None: it does not fit.

    A pattern without a slash is one of names, in any subfolder.
    """
    folder, slash, name = ("", "", stem) if "/" in pattern else stem.rpartition("/")
    (field,) = _fields(pattern)
    before, _, after = normal(pattern).partition(field)
    fits = re.fullmatch(re.escape(before) + _FIELDS[field] + re.escape(after), name, re.DOTALL)
    return f"{folder}{slash}{fits['id']}" if fits else None


def _suggestion(tables: Sequence[dict[str, str]], matched: int) -> str:
    """Return a hint for folders whose stems differ by case, or by an affix of each folder."""
    if len({frozenset(map(str.casefold, table)) for table in tables}) == 1:
        return "They differ in upper and lower case: name partners alike"
    affixes = [_affixes(table) for table in tables]
    needed = max(matched, max(map(len, tables)) // 2)
    for field in _FIELDS:
        patterns = [before + field + after for before, after in affixes]
        if any(len(_fields(pattern)) != 1 for pattern in patterns):
            continue
        both = zip(tables, patterns, strict=True)
        keys = [set(map(partial(_key, pattern=pattern), table)) - {None} for table, pattern in both]
        if len(set.intersection(*keys)) > needed:
            flags = " ".join(f'--pair-pattern "{pattern}"' for pattern in patterns)
            return f"Match them with {flags}"
    return ""


def _affixes(stems: Iterable[str]) -> tuple[str, str]:
    """Return what all names begin and end with, digits at the inner ends left out."""
    names = [stem.rpartition("/")[2] for stem in stems]
    before = _common_start(names).rstrip("0123456789")
    ends = [name[len(before) :][::-1] for name in names]
    return before, _common_start(ends)[::-1].lstrip("0123456789")


def _common_start(names: Sequence[str]) -> str:
    pairs = zip(min(names), max(names), strict=False)  # all others lie between these
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


# -- tables ----------------------------------------------------------------------------------------


def in_split(path: str, split: str, own: str = "train") -> str:
    """Return `path` with the split `own` at the start of its parts replaced by another one."""
    for name, other in ((own, split), (own.title(), split.title())):
        path = re.sub(rf"(?<![^/]){name}", other, path)
    return path


def _table_path(top: Path, table: str, split: str, own: str) -> Path:
    """Return the table of `split`, where `table` is that of `own`; what is above `top` is kept."""
    path = top / table
    path = path if path.is_file() or not Path(table).is_file() else Path(table)
    if split == own:
        return path
    full, root = Path(os.path.abspath(path)), Path(os.path.abspath(top))  # noqa: PTH100  # links stay
    above = root if full.is_relative_to(root) else full.parent
    other = above / in_split(full.relative_to(above).as_posix(), split, own)
    if other == full or not other.is_file():
        hint = (
            f"Expected: {other}" if other != full else f"Tables of splits begin with {own}, {split}"
        )
        raise SplitError("data.pairs", f"{path}: no table of the {split} split", hint)
    return other


def read_table(root: AnyPath, table: str, split: str, own: str = "train") -> Listing:
    """Return the pairs that a CSV file lists: columns of paths below `root`, the target last.

    The first row may name the columns. `table` is that of the split `own`; that of another has its
    name in the place of `own`.

    Raises:
        SplitError: there is no table of another split.
        DataError: it cannot be read, names files outside of `root`, or missing ones.
    """
    top = existing(root)
    path = _table_path(top, table, split, own)
    if not path.is_file():
        raise DataError("data.pairs", f"{path}: no such file", f"Put it into {top.as_posix()}")
    rows, header = _rows(path)
    several = _check_rows(path, root, rows)
    files = [[f"{top.as_posix()}/{name}" for name in row] for _, row in rows]
    columns = list(map(list, zip(*files, strict=True)))
    # False for any name that cannot be one
    missing = [file for file in chain(*files) if not os.path.exists(file)]  # noqa: PTH110
    if missing:
        count = f"{len(missing)} of {len(columns) * len(rows)} files do not exist"
        raise DataError(path, f"{count} (first: {preview(missing)})", "Write paths below data.root")
    inputs = len(columns) - 1
    names = header or (*(f"input{number}" for number in range(1, inputs + 1)), "target")
    domains = ("a",) * inputs + ("b",)
    notes = (f"{several}.",) if several else ()
    return Listing(domains, columns, names=tuple(names) if inputs > 1 else (), notes=notes)


def _check_rows(path: Path, root: AnyPath, rows: Sequence[tuple[int, list[str]]]) -> str:
    """Return a note on inputs with several targets, "" without them.

    Raises:
        DataError: a row leads out of `root`, pairs a file with itself, or is that of another line.
    """
    lines: dict[tuple[str, ...], int] = {}
    targets: Counter[tuple[str, ...]] = Counter()
    for line, row in rows:
        subject = f"{path}, line {line}"
        for name in row:
            if _leads_out(name):
                hint = "Write paths below data.root, with / between folders"
                raise DataError(subject, f"{name!r} leads out of {root}", hint)
        files = tuple(map(os.path.normpath, row))
        if files[-1] in files[:-1]:
            raise DataError(subject, f"{row[-1]!r} is input and target", "Write two files")
        if (first := lines.setdefault(files, line)) != line:
            raise DataError(subject, f"repeats line {first}", "Remove one of them")
        targets[files[:-1]] += 1
    several = [inputs[0] for inputs, count in targets.items() if count > 1]
    return f"{len(several)} inputs have several targets: {preview(several)}" if several else ""


def _rows(path: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the rows of a table with their line numbers, and the names of its columns or []."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=delimiter)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(path, f"cannot be read as a table ({error})", "Save it as CSV") from None
    header: list[str] = []
    if rows and not any(suffix_of(cell) in EXTENSIONS for cell in rows[0][1]):
        header = rows.pop(0)[1]
    if not rows:
        raise DataError(path, "has no rows", "Write a pair of paths in each")
    width = len(rows[0][1])
    if not 2 <= width <= MAX_CHANNELS + 1:
        raise DataError(path, f"has {width} columns", "It needs one for each input, and the target")
    for line, row in rows:
        if len(row) != width:
            reason = f"has {len(row)} columns, the first row has {width}"
            raise DataError(f"{path}, line {line}", reason, "Write the same number in each row")
    return rows, header if len(header) == width else []


def _leads_out(name: str) -> bool:
    parts = PureWindowsPath(name)  # which knows both slashes, drives and shares
    return not name or bool(parts.anchor) or ".." in parts.parts
