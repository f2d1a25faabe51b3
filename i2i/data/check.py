"""Check the folder of a data set before a night of training is spent on it, and copy what is clean."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from i2i.config import Kind, Layout
from i2i.data.content import Content, near_duplicate, near_duplicate_pairs, read_contents
from i2i.data.folders import (
    SPLITS,
    DataError,
    domain_folders,
    find_images,
    match,
    named,
    nested_splits,
    scan,
    split_images,
)
from i2i.images import UNIT, ValueRange

Level = Literal["error", "warning"]


class _Rule(NamedTuple):
    level: Level
    drop: bool  # left out of a clean copy
    text: str


_RULES = {
    "unreadable": _Rule("error", True, "cannot be decoded"),
    "unmatched": _Rule("error", True, "have no partner of the same stem"),
    "same stem": _Rule("error", True, "have the stem of another file in their folder"),
    "odd width": _Rule("error", True, "cannot be cut into halves"),
    "leak": _Rule("error", True, "of the training split are in a held-out split too"),
    "near leak": _Rule("warning", False, "of the training split look like one of a held-out split"),
    "duplicate": _Rule("warning", True, "repeat the pixels of an earlier file"),
    "near duplicate": _Rule("warning", False, "look like an earlier file"),
    "constant": _Rule(
        "error", True, "have one value in all pixels, which training refuses but in masks"
    ),
    "small": _Rule("warning", False, "are smaller than asked for"),
    "unequal pair": _Rule("warning", False, "differ in size from their partner"),
    "other file": _Rule("warning", False, "are no images of a known format, and are passed over"),
}


@dataclass(frozen=True)
class Issue:
    """One kind of fault, and every file that has it."""

    name: str
    level: Level
    text: str
    count: int
    files: tuple[str, ...]  # relative to the root; of "other file" the first only
    reasons: tuple[str, ...] = ()  # one for each file, where they differ


@dataclass(frozen=True)
class Group:
    """The files of one domain in one split, counted by what their headers say."""

    name: str  # "train a", "test", …
    files: int
    sizes: dict[str, int]  # "widthxheight" -> files
    channels: dict[int, int]  # alpha counted
    depths: dict[int, int]  # bits
    formats: dict[str, int]


@dataclass(frozen=True)
class CheckReport:
    """What was found under a folder."""

    root: str
    kind: Kind
    groups: tuple[Group, ...]
    issues: tuple[Issue, ...]
    clean: tuple[str, ...]  # files that a clean copy takes, relative to the root

    @property
    def ok(self) -> bool:
        """True if nothing was found that stops training or spoils its test."""
        return not any(issue.level == "error" for issue in self.issues)

    def rows(self) -> list[tuple[str, str, int, str]]:
        """Return lines of a table: level ("", "warning" or "error"), subject, number of files, what was found."""
        lines: list[tuple[str, str, int, str]] = [
            ("", group.name, group.files, _described(group)) for group in self.groups
        ]
        for issue in self.issues:
            examples = named(issue.reasons or issue.files)
            lines.append((issue.level, issue.name, issue.count, f"{issue.text}: {examples}"))
        return lines

    def to_json(self) -> str:
        """Return everything as JSON text."""
        return json.dumps(asdict(self) | {"ok": self.ok}, indent=2)


class _Part(NamedTuple):
    """One domain or all pairs of one split: rows of files that stand or fall together."""

    split: str
    domains: tuple[str, ...]  # one for each file of a row; "" where there are none
    rows: list[tuple[str, ...]]
    halves: bool = False  # side by side
    unmatched: tuple[str, ...] = ()
    clashes: tuple[tuple[str, str], ...] = ()


def check_folder(
    path: str | os.PathLike[str],
    kind: Kind | Literal["auto"] = "auto",
    layout: Layout = "auto",
    smallest: int = 32,
    threads: int = 4,
    value_range: ValueRange = UNIT,
    masks: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Decode every image under `path`, and report what training would stumble over.

    `kind="auto"` reads two folders as paired where most files have a partner and as unpaired where
    not; without them, images twice as wide as high as pairs side by side, and others as
    unconditional.

    Args:
        path: folder of the data set.
        kind: what it is for.
        layout: of pairs, as in the config.
        smallest: shortest side that is large enough, pixels.
        threads: that decode.
        value_range: (low, high) of the floats in files.
        masks: domains that hold labels, of which an image may have one value.
        progress: is called with files decoded and their total.

    Raises:
        DataError: there is nothing to check: no folder, no images, one domain without the other.
    """
    find_images(path)
    parts = _parts(path, kind, layout)
    files = sorted({file for part in parts for file in _all_files(part)})
    contents = read_contents(files, threads, value_range, progress)
    if kind == "auto" and not parts[0].domains[0]:
        parts = [part._replace(halves=_all_double(contents.values())) for part in parts]
    if masks and _kind(parts) != "paired":
        raise DataError(
            f"--mask: only pairs have label maps, and {path} is {_kind(parts)}. Leave it out."
        )
    root = str(Path(path).expanduser())
    found = _Findings(root)
    for part in parts:
        _check_part(part, contents, smallest, masks, found)
    _check_leaks(parts, contents, found)
    if (seen := scan(path)).others:
        found.add("other file", [seen.example], count=seen.others)
    groups = tuple(group for part in parts for group in _groups(part, contents))
    good = [row for part in parts for row in part.rows if not found.dropped.intersection(row)]
    clean = tuple(sorted({found.relative(file) for row in good for file in row}))
    return CheckReport(root, _kind(parts), groups, tuple(found.issues()), clean)


def write_clean(report: CheckReport, folder: str | os.PathLike[str]) -> int:
    """Lay out the clean files of a report in `folder`, in the same tree, as hard links; return how many.

    Across file systems symbolic links stand in, and copies where there are none. The original is
    only read.

    Raises:
        DataError: `folder` is inside the checked folder or around it, or is not empty.
    """
    check_overlap(report.root, folder)
    source, target = Path(report.root).resolve(), Path(folder).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"--fix: {folder} is not empty. Choose a new folder.")
    for file in report.clean:
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        _link((source / file).resolve(), place)
    return len(report.clean)


def check_overlap(root: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Raise DataError if the folder of a clean copy is the checked one, inside it or around it."""
    source, target = Path(root).expanduser().resolve(), Path(folder).resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DataError(f"--fix: {folder} and {root} overlap. Choose a folder elsewhere.")


def _link(source: Path, place: Path) -> None:
    for attempt in (place.hardlink_to, place.symlink_to):
        try:
            attempt(source)
        except OSError:
            continue
        return
    try:
        shutil.copyfile(source, place)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


class _Findings:
    """Faults as they are found, by name."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.dropped: set[str] = set()
        self._files: dict[str, dict[str, str]] = {}  # fault -> file -> reason
        self._counts: Counter[str] = Counter()

    def add(
        self, name: str, files: Iterable[str], reasons: Iterable[str] = (), count: int = 0
    ) -> None:
        files, reasons = list(files), list(reasons)
        if not files:
            return
        self._files.setdefault(name, {}).update(
            zip(files, reasons or [""] * len(files), strict=True)
        )
        self._counts[name] += count
        if _RULES[name].drop:
            self.dropped.update(files)

    def relative(self, file: str) -> str:
        return Path(os.path.relpath(file, self.root)).as_posix()

    def relation(self, file: str, other: str) -> str:
        return f"{self.relative(file)} and {self.relative(other)}"

    def issues(self) -> Iterable[Issue]:
        for name, rule in _RULES.items():
            if files := self._files.get(name):
                shown = tuple(self.relative(file) for file in files)
                reasons = tuple(files.values()) if any(files.values()) else ()
                yield Issue(
                    name, rule.level, rule.text, self._counts[name] or len(files), shown, reasons
                )


def _parts(
    root: str | os.PathLike[str], kind: Kind | Literal["auto"], layout: Layout
) -> list[_Part]:
    parts: list[_Part] = []
    two = kind in ("auto", "unpaired") or (kind == "paired" and layout in ("auto", "folders"))
    for split in SPLITS:
        folders = domain_folders(root, split) if two else None
        if folders is None:
            continue
        matched = match(*folders, nested_splits(root, folders[0]))
        unmatched = (*matched.only_a, *matched.only_b)
        paired = kind == "paired" or (kind == "auto" and 2 * len(matched.pairs) > len(unmatched))
        if paired:
            rows: list[tuple[str, ...]] = [(pair.a, pair.b) for pair in matched.pairs]
            parts.append(_Part(split, ("a", "b"), rows, False, unmatched, tuple(matched.clashes)))
        else:
            for domain, folder in zip(("a", "b"), folders, strict=True):
                images = find_images(folder, nested_splits(root, folder))
                parts.append(_Part(split, (domain,), [(file,) for file in images]))
    if parts:
        return parts
    if kind == "unpaired" or layout == "folders":
        raise DataError(
            f"data.root: {root} has no folders for a and b. Accepted: train/a, trainA, train_A, a (and b)."
        )
    for split in SPLITS:
        try:
            rows = [(file,) for file in split_images(root, split)]
        except DataError:  # no such split
            continue
        parts.append(_Part(split, ("",), rows, kind == "paired"))
    if not parts:
        raise DataError(
            f"data.root: {root} has images only where no split is. Move them into {root}/train."
        )
    return parts


def _all_files(part: _Part) -> set[str]:
    return {file for row in part.rows for file in row}.union(
        part.unmatched, (other for _, other in part.clashes)
    )


def _all_double(contents: Iterable[Content | str]) -> bool:
    headers = [content.header for content in contents if isinstance(content, Content)]
    return bool(headers) and all(header.width == 2 * header.height for header in headers)


def _kind(parts: Sequence[_Part]) -> Kind:
    if parts[0].halves or len(parts[0].domains) == 2:
        return "paired"
    return "unpaired" if parts[0].domains[0] else "unconditional"


def _groups(part: _Part, contents: Mapping[str, Content | str]) -> Iterable[Group]:
    for place, domain in enumerate(part.domains):
        read = [contents[row[place]] for row in part.rows]
        headers = [content.header for content in read if isinstance(content, Content)]
        yield Group(
            " ".join(filter(None, (part.split, domain, "side by side" if part.halves else ""))),
            len(read),
            dict(Counter(f"{header.width}x{header.height}" for header in headers).most_common()),
            dict(Counter(header.channels for header in headers).most_common()),
            dict(Counter(header.depth for header in headers).most_common()),
            dict(Counter(header.format for header in headers).most_common()),
        )


def _described(group: Group) -> str:
    channels = ", ".join(f"{count} of {value} channels" for value, count in group.channels.items())
    depths = ", ".join(f"{count} of {bits} bits" for bits, count in group.depths.items())
    formats = ", ".join(f"{count} {name}" for name, count in group.formats.items())
    sizes = named(f"{count} of {size}" for size, count in group.sizes.items())
    return f"{formats}; {sizes}; {channels}; {depths}"


Row = tuple[tuple[str, ...], tuple[Content, ...]]  # the files of one sample, and what is in them


def _readable(part: _Part, contents: Mapping[str, Content | str]) -> list[Row]:
    rows = []
    for files in part.rows:
        read = [contents[file] for file in files]
        good = tuple(content for content in read if isinstance(content, Content))
        if len(good) == len(files):
            rows.append((files, good))
    return rows


def _check_part(
    part: _Part,
    contents: Mapping[str, Content | str],
    smallest: int,
    masks: Collection[str],
    found: _Findings,
) -> None:
    labels = {
        row[place]
        for row in part.rows
        for place, domain in enumerate(part.domains)
        if domain in masks
    }
    found.add("unmatched", part.unmatched)
    found.add("same stem", (other for _, other in part.clashes))
    for file in sorted(_all_files(part)):
        content = contents[file]
        if isinstance(content, str):
            found.add("unreadable", [file], [content])
            continue
        header = content.header
        if part.halves and header.width % 2:
            found.add("odd width", [file])
        if min(header.width // (2 if part.halves else 1), header.height) < smallest:
            found.add(
                "small", [file], [f"{found.relative(file)} is {header.width}x{header.height}"]
            )
        if content.flat and file not in labels:
            found.add("constant", [file])
    rows = _readable(part, contents)
    for files, read in rows:
        if len({(content.header.width, content.header.height) for content in read}) > 1:
            found.add("unequal pair", [files[0]])
    first: dict[tuple[bytes, ...], Row] = {}
    for row in rows:
        original = first.setdefault(_identity(row), row)
        if original is not row:
            found.add(
                "duplicate",
                row[0],
                [found.relation(*both) for both in zip(row[0], original[0], strict=True)],
            )
    unique = list(first.values())
    for one, other in _near_duplicate_rows(unique):
        pair = unique[other][0][0], unique[one][0][0]
        found.add("near duplicate", pair[:1], [found.relation(*pair)])


def _check_leaks(
    parts: Sequence[_Part], contents: Mapping[str, Content | str], found: _Findings
) -> None:
    for part in (part for part in parts if part.split == "train"):
        others = [
            other for other in parts if other.split != "train" and other.domains == part.domains
        ]
        held = [row for other in others for row in _readable(other, contents)]
        known = {_identity(row): row for row in held}
        rest = []
        for row in _readable(part, contents):
            if (same := known.get(_identity(row))) is None:
                rest.append(row)
            else:
                found.add(
                    "leak",
                    row[0],
                    [found.relation(*both) for both in zip(row[0], same[0], strict=True)],
                )
        for one, other in _near_duplicate_rows(rest + held) if held else ():
            if one < len(rest) <= other:
                pair = rest[one][0][0], held[other - len(rest)][0][0]
                found.add("near leak", pair[:1], [found.relation(*pair)])


def _identity(row: Row) -> tuple[bytes, ...]:
    return tuple(content.digest for content in row[1])


def _near_duplicate_rows(rows: Sequence[Row]) -> list[tuple[int, int]]:
    pairs = near_duplicate_pairs([read[0] for _, read in rows])
    return [(i, j) for i, j in pairs if all(map(near_duplicate, rows[i][1][1:], rows[j][1][1:]))]
