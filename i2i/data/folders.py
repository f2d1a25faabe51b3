"""Find the folders of a data set in every accepted layout; nothing is opened here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from i2i.config import Kind, Layout
from i2i.data.layouts import check_beside, find_folder, named_folders, no_domains
from i2i.data.layouts import domain_folders as domain_folders
from i2i.data.pairing import Listing as Listing
from i2i.data.pairing import SplitError as SplitError
from i2i.data.pairing import match as match
from i2i.data.pairing import read_table
from i2i.data.volumes import expand
from i2i.data.walk import SPLIT_NAMES, data_error, existing, scan_images
from i2i.data.walk import SPLITS as SPLITS
from i2i.data.walk import AnyPath as AnyPath
from i2i.data.walk import DataError as DataError
from i2i.data.walk import Folder as Folder
from i2i.data.walk import find_images as find_images
from i2i.data.walk import preview as preview
from i2i.data.walk import scan as scan
from i2i.images.slices import SliceAxis

# -- splits ----------------------------------------------------------------------------------------


def list_split(
    root: AnyPath,
    split: str,
    kind: Kind | Literal["auto"],
    layout: Layout = "auto",
    names: Sequence[str] = (),
    outside: bool = True,
    patterns: Sequence[str] = (),
    table: str | None = None,
    table_split: str = "train",
    axis: SliceAxis = "acquisition",
) -> list[Listing]:
    """Return the files of one split: of all pairs, of each unpaired domain, or of its one domain.

    Of volumes each slice along `axis` is an image. Arguments and errors are those of `_listings`;
    DataError also where volumes of a pair differ in shape or orientation.
    """
    listings = _listings(root, split, kind, layout, names, outside, patterns, table, table_split)
    return [expand(each, axis) for each in listings]


def _listings(
    root: AnyPath,
    split: str,
    kind: Kind | Literal["auto"],
    layout: Layout,
    names: Sequence[str],
    outside: bool,
    patterns: Sequence[str],
    table: str | None,
    table_split: str,
) -> list[Listing]:
    """List the files of one split.

    Domains are in the folders `names`, as `named_folders` takes them, or in two folders that are
    recognized by their names; pairs may be listed in `table`, that of `table_split`. Pairs side by
    side, a on the left, are assumed only where all images are in one folder; `rules.py` looks at
    their sizes. A root without subfolders for splits is its own `train` split. `kind="auto"` takes
    two folders for paired if most files have a partner. With `outside`, names may lead out of
    `root`.

    Raises:
        SplitError: there is no such split, or it has no images.
        DataError: a folder cannot be read, has no images, or only one of two exists; the layout is
            ambiguous.
    """
    if names and kind == "unconditional":
        reason = "images without a target are in one folder"
        raise DataError("data.inputs, data.target", reason, "Pass that folder alone")
    _check_arguments(layout, names, patterns, table)
    if table is not None:
        return [read_table(root, table, split, table_split)]
    folders: Sequence[Folder] | None = None
    notes: tuple[str, ...] = ()
    if names:
        folders = named_folders(root, names, split, outside)
    elif kind != "unconditional" and layout in ("auto", "folders"):
        folders = domain_folders(root, split)
        if folders:
            notes = check_beside(folders, kind == "paired" and layout == "auto")
    if folders is None and patterns:
        folders = [_split_folder(root, split)] * max(2, len(patterns))
    if folders is None:
        return [_one_folder(root, split, kind, layout)]
    if kind != "unpaired":
        pairs = match(folders, bool(names), patterns)
        if kind == "paired" or 2 * len(pairs.files[0]) > len(pairs.unmatched):
            return [pairs._replace(notes=(*pairs.notes, *notes))]
    listings = []
    for domain, folder in zip(("a", "b"), folders, strict=True):
        images = scan_images(*folder)
        listings.append(Listing((domain,), [images.images], scans=(images,), notes=notes))
        notes = ()
    return listings


def _check_arguments(
    layout: Layout, names: Sequence[str], patterns: Sequence[str], table: str | None
) -> None:
    if table is not None and (names or patterns):
        reason = "lists the files that inputs, target and pair_pattern would find"
        raise DataError("data.pairs", reason, "Leave these out")
    if patterns and layout in ("ab", "ba"):
        raise DataError("data.pair_pattern", f"contradicts the layout {layout}", "Leave one out")


def find_pairs(
    root: AnyPath,
    split: str = "train",
    layout: Layout = "auto",
    names: Sequence[str] = (),
    allow_unmatched: bool = False,
    outside: bool = True,
    patterns: Sequence[str] = (),
    table: str | None = None,
    table_split: str = "train",
    axis: SliceAxis = "acquisition",
) -> Listing:
    """Return the pairs of one split, ordered by name; arguments as in `list_split`.

    Raises:
        DataError: as `list_split`; a file without a partner, unless allowed; two files of one stem.
    """
    (pairs,) = list_split(
        root, split, "paired", layout, names, outside, patterns, table, table_split, axis
    )
    if pairs.same_stem:
        repeated = preview(f"{file} and {other}" for file, other in pairs.same_stem)
        reason = f"files of one stem in one folder: {repeated}"
        raise data_error(reason, "Remove or rename one of each")
    if not pairs.files[0]:
        hint = pairs.hint or "Name partners alike, or set data.pair_pattern or data.pairs"
        raise data_error(f"no stem is in all folders: {pairs.lacks}", hint)
    if pairs.lacks and not allow_unmatched:
        raise data_error(pairs.lacks, pairs.hint or "Add them, or pass --allow-unmatched")
    return pairs


# -- images of one folder --------------------------------------------------------------------------


def _one_folder(root: AnyPath, split: str, kind: Kind | Literal["auto"], layout: Layout) -> Listing:
    """Return the images of a split without folders of domains, or refuse to guess their meaning."""
    try:
        folder = _split_folder(root, split)
        images = scan_images(*folder)
    except DataError as error:
        if kind == "unpaired" or layout == "folders":
            raise no_domains(root, split, {}) from None
        raise SplitError(*error.args) from None
    groups = _groups(folder.path, images.images)
    subfolders = ", ".join(f"{name} ({count})" for name, count in groups.items() if name)
    if kind == "unpaired" or layout == "folders":
        raise no_domains(root, split, groups)
    if kind == "unconditional":
        note = f"the images of all subfolders are one set: {subfolders}."
        notes = (note,) if len(groups) > 1 else ()
        return Listing(("image",), [images.images], scans=(images,), notes=notes)
    # a folder of each kind of image, or of each class: only their owner knows
    if layout == "auto" and len({path.rpartition("/")[0] for path in images.images}) > 1:
        raise no_domains(root, split, groups, kind_known=False)
    if kind == "auto":
        return Listing(("image",), [images.images], scans=(images,))
    side: Literal["ab", "ba"] = "ba" if layout == "ba" else "ab"
    guessed = layout == "auto"
    return Listing(("a",), [images.images], side, guessed=guessed, scans=(images,))


def _split_folder(root: AnyPath, split: str) -> Folder:
    top = existing(root)
    spellings = [find_folder(top, name) for name in SPLIT_NAMES.get(split, (split,))]
    folder = next(filter(None, spellings), None)
    if not folder and split != "train":
        hint = f"Add the folder {top.as_posix()}/{split}"
        raise SplitError("data.root", f"{root} has no {split} split", hint)
    return Folder(folder) if folder else Folder(top, skip_held_out=True)


def _groups(folder: Path, paths: Iterable[str]) -> dict[str, int]:
    """Return how many images are in each subfolder of a folder, under "" those in itself."""
    start = len(folder.as_posix()) + 1
    counts = Counter(path[start:].partition("/")[0] * ("/" in path[start:]) for path in paths)
    return dict(sorted(counts.items()))
