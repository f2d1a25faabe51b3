"""List the images below a folder: one walk for training, `i2i data check` and translating."""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from i2i.errors import I2IError
from i2i.images import EXTENSIONS

AnyPath = str | os.PathLike[str]
SPLIT_NAMES = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}
SPLITS = tuple(SPLIT_NAMES)
_HELD_OUT = re.compile(r"(test|val|valid|validation)([_-]?[ab])?", re.IGNORECASE)
_SUFFIXES = tuple(EXTENSIONS)


class DataError(I2IError, ValueError):
    """A data set or an archive that cannot be used. The subject is a setting, a flag or a file."""


class Folder(NamedTuple):
    """A folder of images; `skip_held_out`: without subfolders named like held-out splits."""

    path: Path
    skip_held_out: bool = False


class Scan(NamedTuple):
    """Files below a folder, and what was left out."""

    images: list[str]  # paths, in order
    suffixes: tuple[tuple[str, int], ...] = ()  # of other files, and how many have them
    example: str = ""  # path of one of the others, or ""
    repeated: tuple[str, ...] = ()  # links to folders that are read under another name
    held_out: tuple[str, ...] = ()  # folders of other splits in unusual positions

    @property
    def others(self) -> int:
        """Number of files that are not images."""
        return sum(count for _, count in self.suffixes)

    def count_others(self) -> str:
        """Return the number of other files by suffix, for messages."""
        return preview((f"{n} {suffix or 'without suffix'}" for suffix, n in self.suffixes), 5)


def find_images(root: AnyPath, skip_held_out: bool = False) -> list[str]:
    """Return the paths of all images under `root`, in the order of their relative paths.

    Raises:
        DataError: as `scan`; or there are no images.
    """
    return scan_images(root, skip_held_out).images


def scan_images(root: AnyPath, skip_held_out: bool = False) -> Scan:
    """List a folder as `scan` does, and refuse one without images.

    Raises:
        DataError: as `scan`; or there are no images.
    """
    listing = scan(root, skip_held_out)
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
        DataError: `root` is missing or not a folder, or folders cannot be read.
    """
    images: list[str] = []
    others: list[str] = []
    repeated, held_out, unreadable = [], [], []
    top = existing(root).as_posix()
    folders, links = [top], list[str]()
    visited: set[tuple[int, int]] = set()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = Path(folder).stat()
            identity = (status.st_dev, status.st_ino)
            if identity in visited:
                repeated.append(folder)
                continue
            visited.add(identity)
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}"
                    if entry.name.startswith("."):
                        continue
                    if is_folder(entry):
                        if skip_held_out and _HELD_OUT.fullmatch(entry.name):
                            if folder != top or entry.name.lower() not in SPLITS:
                                held_out.append(path)
                        else:
                            (links if entry.is_symlink() else folders).append(path)
                    elif entry.name.lower().endswith(_SUFFIXES):
                        images.append(path)
                    else:
                        others.append(path)
        except OSError as error:
            unreadable.append((folder, error))
        links.sort()
    if unreadable:
        raise unreadable_error(unreadable)
    counts = Counter(Path(path).suffix.lower() for path in sorted(others))
    example = min(others, default="")
    links_to_known, splits = tuple(sorted(repeated)), tuple(sorted(held_out))
    return Scan(sorted(images), tuple(counts.most_common()), example, links_to_known, splits)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder, or a link to one; a link to itself leads nowhere."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


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


def unreadable_error(failures: Iterable[tuple[AnyPath, OSError]]) -> DataError:
    """Return the error about folders that cannot be read."""
    reason = preview(f"{folder} cannot be read ({error.strerror})" for folder, error in failures)
    return data_error(reason, "Check permissions")


def preview(names: Iterable[str], limit: int = 3) -> str:
    """Return the first few names for a message."""
    first = list(islice(names, limit + 1))
    return ", ".join(first[:limit]) + (", …" if len(first) > limit else "")
