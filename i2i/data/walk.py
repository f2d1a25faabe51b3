"""List the images below a folder: one walk for training, `i2i data check` and translating."""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from i2i.errors import I2IError, printable
from i2i.images import EXTENSIONS
from i2i.images.slices import is_dicom

AnyPath = str | os.PathLike[str]
SPLIT_NAMES = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}
SPLITS = tuple(SPLIT_NAMES)
_HELD_OUT = re.compile(r"(test|val|valid|validation)([_-]?[ab])?", re.IGNORECASE)
_SUFFIXES = tuple(EXTENSIONS)


class DataError(I2IError, ValueError):
    """A data set or an archive that cannot be used. The subject is a setting, a flag or a file."""

    details: tuple[str, ...] = ()  # a line for each, below the message

    @property
    def explanation(self) -> str:
        """The message without its subject."""
        text = super().explanation
        if not self.details:
            return text
        lines = "".join(f"\n  {printable(line)}" for line in self.details)
        return f"{text.removesuffix('.')}:{lines.removesuffix('.')}."


class Folder(NamedTuple):
    """A folder of images; `skip_held_out`: without subfolders named like held-out splits."""

    path: Path
    skip_held_out: bool = False


class Scan(NamedTuple):
    """Files below a folder, and what was left out."""

    images: list[str]  # paths, in order
    suffixes: Mapping[str, int] = {}  # suffix of other files -> how many, the most first; "": none
    example: str = ""  # path of one of the others, or ""
    other_files: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()  # links to folders that are read under another name
    held_out: tuple[str, ...] = ()  # folders of other splits in unusual positions
    unreadable: tuple[tuple[str, str], ...] = ()  # subfolders that cannot be read, and the reason

    @property
    def others(self) -> int:
        """Number of files that are not images."""
        return sum(self.suffixes.values())


def find_images(root: AnyPath, skip_held_out: bool = False) -> list[str]:
    """Return the paths of all images under `root`, in the order of their relative paths.

    Raises:
        DataError: as `scan_images`.
    """
    return scan_images(root, skip_held_out).images


def scan_images(root: AnyPath, skip_held_out: bool = False) -> Scan:
    """List a folder as `scan` does, and refuse one without images.

    Raises:
        DataError: as `scan`; a subfolder cannot be read; or there are no images.
    """
    listing = scan(root, skip_held_out)
    if listing.unreadable:
        raise unreadable_error(listing.unreadable)
    if not listing.images:
        among = f" among {listing.others} other files (first: {listing.example})"
        reason = f"{root} has no images{among if listing.others else ''}"
        raise data_error(reason, f"Add some: {', '.join(sorted(EXTENSIONS))}")
    return listing


def scan(root: AnyPath, skip_held_out: bool = False) -> Scan:
    """List all files under a folder; hidden names are ignored.

    Symbolic links are followed. A folder that several names lead to is read once, under the name
    without a link where there is one, so that loops end.

    Args:
        root: folder.
        skip_held_out: leave out subfolders named like held-out splits.

    Raises:
        DataError: `root` is missing, is not a folder, or cannot be read.
    """
    top = existing(root).as_posix()
    images, others = list[str](), list[str]()
    repeated, held_out = list[str](), list[str]()
    unreadable: list[tuple[str, str]] = []
    folders, links = [top], list[str]()
    visited: set[tuple[int, int]] = set()
    series: set[str] = set()  # folders of DICOM files: each is one image, a volume
    while folders or links:
        if not folders:
            links.sort(reverse=True)
        folder = folders.pop() if folders else links.pop()
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in visited:
                repeated.append(folder)
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            unreadable.append((folder, error.strerror or str(error)))
            continue
        for entry in visible:
            path = f"{folder}/{entry.name}"
            if _is_folder(entry, unreadable, path):
                if skip_held_out and _HELD_OUT.fullmatch(entry.name):
                    if folder != top or entry.name.lower() not in SPLITS:
                        held_out.append(path)
                else:
                    (links if entry.is_symlink() else folders).append(path)
            elif is_dicom(entry.name):
                series.add(folder)
            else:
                (images if path.lower().endswith(_SUFFIXES) else others).append(path)
    if top in dict(unreadable):
        raise unreadable_error(unreadable)
    suffixes = Counter(os.path.splitext(path)[1].lower() for path in sorted(others))  # noqa: PTH122
    return Scan(
        sorted([*images, *series]),
        dict(suffixes.most_common()),
        min(others, default=""),
        tuple(others),
        tuple(sorted(repeated)),
        tuple(sorted(held_out)),
        tuple(sorted(unreadable)),
    )


def _is_folder(entry: os.DirEntry[str], unreadable: list[tuple[str, str]], path: str) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link to itself leads nowhere
            unreadable.append((path, error.strerror or str(error)))
        return False


def describe_suffixes(suffixes: Mapping[str, int], limit: int = 5) -> str:
    """Return what files that are no images are, for a message: ".heic (9), .txt (1)"."""
    return preview((f"{suffix or 'no suffix'} ({n})" for suffix, n in suffixes.items()), limit)


def existing(root: AnyPath) -> Path:
    """Return `root`, which must be a folder.

    Raises:
        DataError: it is not.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise data_error(f"{root} does not exist", "Pass the folder of the data set")
    if not path.is_dir():
        raise data_error(f"{root} is a file", "Pass the folder that holds it")
    return path


def data_error(reason: str, hint: str) -> DataError:
    """Return an error about the folder of the data."""
    return DataError("data.root", reason, hint)


def unreadable_error(failures: Iterable[tuple[str, str]]) -> DataError:
    """Return the error about folders that cannot be read, with the reason for each."""
    reason = preview(f"{folder} cannot be read ({reason})" for folder, reason in failures)
    return data_error(reason, "Check its permissions")


def preview(names: Iterable[str], limit: int = 3) -> str:
    """Return the first few names for a message."""
    first = list(islice(names, limit + 1))
    return ", ".join(first[:limit]) + (", …" if len(first) > limit else "")
