"""Check the folder of a data set before training, and link its clean files elsewhere."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from i2i.config import DataConfig, Kind, Layout, PairedData, RangeRule
from i2i.data.admission import unused_classes
from i2i.data.domains import channel_spec
from i2i.data.duplicates import first_equal, near_pairs
from i2i.data.folders import (
    SPLITS,
    AnyPath,
    DataError,
    Listing,
    SplitError,
    list_split,
    preview,
    scan,
)
from i2i.data.groups import Group, groups_of
from i2i.data.inspect import Samples, inspect
from i2i.data.ranges import fit_ranges
from i2i.data.rules import RULES, Level, Mask, describe_files, find_faults
from i2i.data.slice_rules import are_slices, blank, clean_files
from i2i.data.volumes import expand_files
from i2i.data.walk import describe_suffixes
from i2i.direction import Domain
from i2i.files import check_empty
from i2i.images import MAX_PIXELS, UNIT, Histogram, ValueRange
from i2i.images.slices import SliceAxis

Finding = tuple[str, str, str]  # name of a rule, file that breaks it, reason or ""


@dataclass(frozen=True)
class Issue:
    """A rule that files break, and every such file."""

    name: str
    level: Level
    text: str
    count: int
    files: tuple[str, ...]  # relative to the root; of "other file" the first only
    reasons: tuple[str, ...] = ()  # one for each file, where there is more to say than its name


@dataclass(frozen=True)
class CheckReport:
    """Groups of files under a folder, and the rules that some of them break."""

    root: str
    kind: Kind
    groups: tuple[Group, ...]
    issues: tuple[Issue, ...]
    clean: tuple[str, ...]  # files that a clean copy takes, relative to the root
    notes: tuple[str, ...] = ()  # what was noticed about folders and channels

    @property
    def ok(self) -> bool:
        """True if no issue stops training or spoils its test."""
        return not any(issue.level == "error" for issue in self.issues)

    def rows(self) -> list[tuple[str, str, int, str]]:
        """Return the rows of a table: level, subject, files, text.

        The level is "", "warning", "error" or "note".
        """
        rows: list[tuple[str, str, int, str]] = [
            ("", group.name, group.files, str(group)) for group in self.groups
        ]
        for issue in self.issues:
            text = f"{issue.text}: {preview(issue.reasons or issue.files)}"
            rows.append((issue.level, issue.name, issue.count, text))
        return rows + [("note", "data set", 1, note) for note in self.notes]

    def to_json(self) -> str:
        """Return everything as JSON text."""
        return json.dumps(asdict(self) | {"ok": self.ok}, indent=2)


def check_folder(
    path: AnyPath,
    kind: Kind | Literal["auto"] = "auto",
    layout: Layout = "auto",
    smallest: int = 32,
    threads: int = 4,
    value_range: ValueRange | str = UNIT,
    masks: Sequence[Domain] = (),
    classes: Mapping[Domain, int] | None = None,
    inputs: Sequence[str] = (),
    target: str | None = None,
    pair_pattern: Sequence[str] = (),
    pairs: str | None = None,
    max_pixels: int = MAX_PIXELS,
    slice_axis: SliceAxis = "acquisition",
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Decode every image of a data set, and report the files that break rules of training.

    Args:
        path: folder of the data set.
        kind: of the method to be trained; "auto": as the folder looks. Two folders are paired if
            most files have a partner; images twice as wide as high are pairs side by side.
        layout: `data.layout` of pairs.
        smallest: shortest side that is large enough, pixels.
        threads: that decode.
        value_range: (low, high) of the floats in files, or of the integers where there are none;
            or text as `data.value_range` takes it, such as "lung": values outside are clipped.
        masks: domains that hold labels, of which an image may have one value.
        classes, inputs, target, pair_pattern, pairs, max_pixels, slice_axis: settings of `data`.
        progress: is called with files decoded and their total.

    Raises:
        DataError: there is nothing to check: no folder, no images, one domain without the other.
    """
    root = str(Path(path).expanduser())
    names = (*inputs, target) if target is not None else ()
    if kind == "auto" and (len(names) > 2 or pair_pattern or pairs or layout != "auto"):
        kind = "paired"
    find = partial(list_split, path, kind=kind, layout=layout, names=names, axis=slice_axis)
    name = Path(pairs or "").name.lower()
    own = next(filter(name.startswith, SPLITS), "train")
    find = partial(find, patterns=pair_pattern, table=pairs, table_split=own)
    listings = _list_splits(find)
    labels = PairedData(root=root, masks=tuple(masks), classes=dict(classes or {}))
    config = _with_ranges(labels, value_range, listings, max_pixels)
    parts = _Reading(root, config.range_rule, max_pixels, threads, progress).parts(listings)
    if kind == "auto" and _all_double(parts):
        parts = [part._replace(samples=replace(part.samples, side_by_side=True)) for part in parts]
    kind = _kind(parts[0].samples)
    if config.labels and kind != "paired":
        flag = "--mask" if masks else "--classes"
        raise DataError(flag, f"only pairs have label maps, {path} is {kind}", "Leave it out")
    sizes = {"load_size": smallest, "crop_size": smallest}
    config = config.model_copy(update={**sizes, "value_range": _used_ranges(config, parts)})
    notes = list(chain.from_iterable(listing.remarks() for _, listing in listings))
    notes += chain.from_iterable(_channel_notes(part, config) for part in parts)
    return replace(_report(root, kind, parts, names, config), notes=tuple(notes))


def _report(
    root: str, kind: Kind, parts: Sequence["_Part"], names: Sequence[str], config: DataConfig
) -> CheckReport:
    files_by_rule: dict[str, dict[str, str]] = {rule.name: {} for rule in RULES}
    for name, file, reason in _findings(parts, config):
        files_by_rule[name][file] = reason
    listing = scan(root)
    if listing.others:
        example = _relative(listing.example, root)
        files_by_rule["other file"] = {
            example: f"{describe_suffixes(listing.suffixes)} (first: {example})"
        }
    faults = [rule.name for rule in RULES if rule.drop and not rule.note]
    dropped = {file for name in faults for file in files_by_rule[name]}
    clean = clean_files((part.samples for part in parts), dropped)
    groups = tuple(
        group
        for part in parts
        for group in groups_of(part.split, part.samples, part.histograms, names, config)
    )
    issues = tuple(_issues(files_by_rule, config, listing.others))
    return CheckReport(root, kind, groups, issues, tuple(clean))


def _issues(
    files_by_rule: Mapping[str, Mapping[str, str]], config: DataConfig, others: int
) -> Iterator[Issue]:
    for rule in RULES:
        if files := files_by_rule[rule.name]:
            count = others if rule.name == "other file" else len(files)
            reasons = tuple(files.values()) if any(files.values()) else ()
            text = rule.describe(config)
            yield Issue(rule.name, rule.level, text, count, tuple(files), reasons)


# -- files of the data set -------------------------------------------------------------------------


class _Part(NamedTuple):
    """One domain, or all pairs, of one split. Files are relative to the root."""

    split: str
    samples: Samples
    loose: Mapping[str, Samples]  # "unmatched" and "same stem": one column each
    histograms: Sequence[Histogram] = ()  # of each column


@dataclass
class _Reading:
    """Decoding of all files, with one progress for all parts."""

    root: str
    range_rule: Callable[[str], RangeRule]
    max_pixels: int
    threads: int
    progress: Callable[[int, int], None] | None
    total: int = 0  # files
    done: int = 0

    def parts(self, listings: Sequence[tuple[str, Listing]]) -> list[_Part]:
        """Read the rows of each listing, and the files that are in no row."""
        loose = []
        for _, listing in listings:
            same_stem = [file for _, file in listing.same_stem]
            loose.append({"unmatched": listing.unmatched, "same stem": same_stem})
        self.total = sum(len(each.files) * len(each.files[0]) for _, each in listings)
        self.total += sum(len(files) for each in loose for files in each.values())
        parts = []
        for (split, listing), others in zip(listings, loose, strict=True):
            read = {rule: self.read(expand_files(files)) for rule, files in others.items()}
            histograms = [Histogram() for _ in listing.files]
            parts.append(_Part(split, self.read(listing, histograms), read, histograms))
        return parts

    def read(self, listing: Listing, histograms: Sequence[Histogram] = ()) -> Samples:
        """Return the files of a listing, relative to the root."""
        options = self.range_rule, self.max_pixels, self.threads, self._report, histograms
        samples = inspect(listing, "fingerprint", *options, crops=listing.layout == "folders")
        self.done += samples.readable.size
        files = [[_relative(file, self.root) for file in paths] for paths in listing.files]
        return replace(samples, files=files)

    def _report(self, count: int, _: int) -> None:
        if self.progress:
            self.progress(self.done + count, self.total)


def _list_splits(find: Callable[[str], list[Listing]]) -> list[tuple[str, Listing]]:
    parts: list[tuple[str, Listing]] = []
    errors = []
    for split in SPLITS:
        try:
            parts += [(split, each) for each in find(split)]
        except SplitError as error:
            errors.append(error)
    if not parts:
        raise errors[0]
    # images next to the folders of domains are of no split
    return [part for part in parts if part[1].domains != ("image",)] or parts


def _relative(file: str, root: str) -> str:
    return Path(os.path.relpath(file, root)).as_posix()


def _all_double(parts: Sequence[_Part]) -> bool:
    """Return True if these are images without domains, all of them twice as wide as high."""
    sizes = np.concatenate([part.samples.sizes[part.samples.readable] for part in parts])
    alone = parts[0].samples.domains == ("image",)
    return alone and len(sizes) > 0 and bool((sizes[:, 1] == 2 * sizes[:, 0]).all())


def _with_ranges(
    config: DataConfig,
    value_range: ValueRange | str,
    listings: Sequence[tuple[str, Listing]],
    max_pixels: int,
) -> DataConfig:
    """Return `config` with a range for each domain; percentiles are those of the first split."""
    ranges = {} if value_range == UNIT else dict.fromkeys(("a", "b", "image"), value_range)
    limits = {"max_pixels": max_pixels, "on_bad_file": "skip", "resize": "none"}
    config = config.model_copy(update={**limits, "value_range": ranges})
    for split, listing in listings:
        if split == listings[0][0]:
            config, _ = fit_ranges(config, listing)
    return config


def _used_ranges(config: DataConfig, parts: Sequence[_Part]) -> dict[str, ValueRange | str]:
    """Return the ranges of the domains of floats, or without any, of integers."""
    floats = set()
    for samples in (part.samples for part in parts):
        columns = (samples.facts["depth"] == 32).any(axis=0)
        floats |= {domain for domain, any_ in zip(samples.domains, columns, strict=True) if any_}
    return {
        domain: of for domain, of in config.value_range.items() if domain in floats or not floats
    }


def _kind(samples: Samples) -> Kind:
    if samples.side_by_side or len(samples.domains) > 1:
        return "paired"
    return "unconditional" if samples.domains == ("image",) else "unpaired"


def _channel_notes(part: _Part, config: DataConfig) -> Iterator[str]:
    """Yield what training says where gray and color are mixed, or classes are not used."""
    classes = getattr(config, "classes", {})
    for domain, histogram in zip(part.samples.domains, part.histograms, strict=True):
        for note in unused_classes(domain, classes.get(domain, 0), histogram):
            yield f"{part.split}: {note}"
    samples = part.samples.keep(np.asarray(part.samples.readable.all(axis=1)))
    for column, domain in enumerate(samples.domains) if len(samples) else ():
        yield from channel_spec(domain, samples, column, "drop")[1]


# -- rules that files break ------------------------------------------------------------------------


def _findings(parts: Sequence[_Part], config: DataConfig) -> Iterator[Finding]:
    for split, samples, loose, _ in parts:
        for rule_name, other in loose.items():
            yield from ((rule_name, file, "") for file in other.files[0])
        for each in (samples, *loose.values()):
            for rule, mask in find_faults(each, config).items():
                yield from ((rule.name, *pair) for pair in describe_files(each, mask, rule.values))
        yield from _similar(_join([samples]))
        held = [
            part.samples
            for part in parts
            if part.split != "train" and part.samples.domains == samples.domains
        ]
        if split == "train" and held:
            yield from _similar(_join([*held, samples]), len(_join(held)))


def _join(samples: Sequence[Samples]) -> Samples:
    """Return the rows of all `samples` whose files can be read."""
    columns = zip(*(each.files for each in samples), strict=True)
    files = [list(chain(*parts)) for parts in columns]
    every = replace(samples[0], files=files, facts=np.concatenate([s.facts for s in samples]))
    return every.keep(np.asarray(every.readable.all(axis=1) & ~blank(every)))


def _similar(samples: Samples, held: int = 0) -> Iterator[Finding]:
    """Compare samples with earlier ones, or those after the first `held` with these."""
    same, near = ("leak", "near leak") if held else ("duplicate", "near duplicate")
    rows, first = np.arange(len(samples)), first_equal(samples.facts)
    repeated: Mask = (rows >= held) & (first < (held or rows))
    for row in np.flatnonzero(repeated).tolist():
        for files in samples.files:
            yield same, files[row], f"{files[row]} and {files[first[row]]}"
    rest = samples.keep(~repeated)
    for earlier, later in near_pairs(rest.facts):
        one, other = rest.files[0][later], rest.files[0][earlier]
        if earlier < (held or later) and held <= later and not are_slices(one, other):
            yield near, one, f"{one} and {other}"


# -- clean copy ------------------------------------------------------------------------------------


def write_clean(report: CheckReport, folder: AnyPath) -> int:
    """Link the clean files of a report into `folder`, in the same tree; return how many.

    Across file systems symbolic links replace hard links, and copies where there are none. The
    original is only read.

    Raises:
        DataError: `folder` is inside the checked folder or around it; a file is outside of it.
        WriteError: `folder` is not empty.
    """
    check_overlap(report.root, folder)
    source, target = Path(report.root).resolve(), Path(folder).resolve()
    check_empty(target, "Choose a new folder")
    outside = [file for file in report.clean if file.startswith("../")]
    if outside:
        raise DataError("--fix", f"{outside[0]} is outside of {report.root}", "Move it there")
    for file in report.clean:
        path = target / file
        path.parent.mkdir(parents=True, exist_ok=True)
        _link((source / file).resolve(), path)
    return len(report.clean)


def check_overlap(root: AnyPath, folder: AnyPath) -> None:
    """Raise DataError if the folder of a clean copy is the checked one, inside it or around it."""
    source, target = Path(root).expanduser().resolve(), Path(folder).resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DataError("--fix", f"{folder} and {root} overlap", "Choose a folder elsewhere")


def _link(source: Path, path: Path) -> None:
    for link in (path.hardlink_to, path.symlink_to):
        try:
            link(source)
        except OSError:
            continue
        return
    try:
        shutil.copyfile(source, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
