"""Writing files: atomically, by complete lines, into folders that were checked before. No torch."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from i2i.errors import I2IError

METRICS = "metrics.jsonl"  # rows of losses and statistics, in the folder of a run
SAMPLES = "samples"  # sheets, in a folder of the run
EVENTS = "events.jsonl"  # diagnostics and interruptions of a run
VALIDATIONS = "validation.jsonl"  # scores on images that are not trained on
VALIDATION = "validation"  # pictures and scores of the newest validation and of the best
BEST = "best"  # weights of the best validation
TRACKERS = "trackers"  # what other trackers keep of a run, in a folder of it

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# of file systems without fsync, often for folders: SMB, FUSE, shared folders of virtual machines
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EPERM, errno.EACCES, errno.ENOSYS)
_LONGEST = 100  # bytes of a temporary name; some encrypting file systems take 143
_REPLACE_SECONDS = 2.0  # in which an indexer or virus scanner closes a file on a network share
_OWN_FOLDERS = re.compile(r"(step-)?\d{8,}")  # whose temporaries may be removed from a run
_OWN_FILES = re.compile(
    r"config\.yaml|README\.md|weights\.safetensors|report\.html|.+\.png|"
    r"(metrics|events|validation)\.jsonl|(latest|best|environment)\.json"
)
_TEMPORARY = re.compile(r"\.?(?P<name>.+)\.tmp-(?P<pid>\d+)")


class WriteError(I2IError):
    """A file or folder that cannot be written. What was at its path is intact."""


class DiskFullError(WriteError):
    """A disk, quota or size limit is exhausted. Nothing was replaced."""


def is_disk_full(error: OSError) -> bool:
    """Return True if `error` means that a disk, a quota or a size limit is exhausted."""
    return error.errno in _DISK_FULL


def write_error(path: Path, error: OSError) -> WriteError:
    """Return the error to raise where writing `path` failed with `error`."""
    if is_disk_full(error):
        hint = "Free some space; nothing was replaced"
        return DiskFullError(path, f"the disk is full ({error.strerror})", hint)
    return WriteError(path, f"cannot be written ({error.strerror or error})")


# -- atomic files ----------------------------------------------------------------------------------


def temporary_path(path: Path, hidden: bool = True) -> Path:
    """Return the name under which this process prepares `path`, in the same folder."""
    return path.with_name(f"{'.' if hidden else ''}{temporary_stem(path.name)}.tmp-{os.getpid()}")


def temporary_stem(name: str) -> str:
    """Return what stands for the final `name` in its temporary name: a hash of a long one."""
    content = os.fsencode(name)
    if len(content) <= _LONGEST:
        return name
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def temporary_of(name: str) -> tuple[str, int] | None:
    """Return the `temporary_stem` and the process id in a temporary name; None for other names."""
    match = _TEMPORARY.fullmatch(name)
    return (match["name"], int(match["pid"])) if match else None


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written of a run, and nothing that others named so.

    Only for the one writer of `folder`.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match and _OWN_FOLDERS.fullmatch(match["name"]):
            shutil.rmtree(path, ignore_errors=True)
        elif match and path.name.startswith(".") and _OWN_FILES.fullmatch(match["name"]):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, flush: bool = True) -> None:
    """Replace `path` by `content`: readers see the old bytes or the new ones.

    `flush` makes that hold after a power cut, too; without it the operating system writes when it
    likes.

    Raises:
        DiskFullError: there is no room; the old file is intact.
        WriteError: it cannot be written for another reason; the old file is intact.
    """
    temporary = temporary_path(path)
    try:
        temporary.unlink(missing_ok=True)  # of a killed process with the same number, or a link
        with open(temporary, "wb") as file:
            file.write(content)
            if flush:
                flush_file(file)
        replace(temporary, path)
        if flush:
            flush_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush_file(file: BinaryIO) -> None:
    """Wait until the content of `file` is on the disk."""
    file.flush()
    _sync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk, where the file system can say so."""
    if os.name != "posix":  # other systems cannot open a folder
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # files can be written into it, and its names not be listed
        return
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    """Flush an open file or folder, where the file system can."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def replace(source: Path, target: Path) -> None:
    """Rename `source` to `target`; on a network share, another reader of `target` is waited for."""
    deadline = time.monotonic() + _REPLACE_SECONDS
    while True:
        try:
            return os.replace(source, target)
        except OSError as error:
            busy = error.errno in (errno.EBUSY, errno.ETXTBSY) or isinstance(error, PermissionError)
            if not busy or not os.access(target.parent, os.W_OK) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for its writer
        raise OSError(errno.EINVAL, "not a file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- targets ---------------------------------------------------------------------------------------


def check_no_link(path: Path) -> None:
    """Raise WriteError if `path` is a symbolic link: writing through one could lead anywhere."""
    if path.is_symlink():
        raise WriteError(
            path, f"a symbolic link (to {path.resolve()})", "Name that, or remove the link"
        )


def open_own(path: Path, mode: str = "a") -> FileIO:
    """Open a file of ours, unbuffered; only a regular file, and never through a link.

    A file with a second name (a hard link, as snapshots make them) is copied first: what is written
    must not change the other.

    Raises:
        WriteError: a link, a folder or a pipe is at `path`.
        OSError: it cannot be opened.
    """
    check_no_link(path)
    with suppress(FileNotFoundError):
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise WriteError(path, "not a regular file", "Move it away")
        if status.st_nlink > 1:
            write_atomically(path, path.read_bytes())
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # the path may have changed
    return FileIO(str(path), mode, opener=lambda name, wanted: os.open(name, wanted | flags, 0o666))


def read_own(path: Path) -> bytes:
    """Return the content of a file of ours, also through a link.

    Raises:
        I2IError: a pipe, which would wait for its writer, or a device is at `path`.
        OSError: it cannot be read.
    """
    flags = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, wanted: os.open(name, wanted | flags)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise I2IError(path, "not a regular file", "Move it away")
        return file.read()


def own_folder(path: Path) -> Path:
    """Return `path`, a folder of ours, after creating it; never through a link.

    Raises:
        WriteError: a link or a file is at `path`, or it cannot be created.
    """
    check_no_link(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    return path


def cache_folder() -> Path:
    """Return the folder for what can be made again, the same for all runs of a user."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))  # by its specification, absolute or ignored
    return (base if base.is_absolute() else Path.home() / ".cache") / "i2i"


def check_empty(folder: Path, hint: str = "Choose another folder") -> None:
    """Raise WriteError if `folder` is there and is no folder, or holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WriteError(folder, "exists and is not empty", hint)


def check_writable(folder: Path, create: bool = True) -> None:
    """Raise WriteError if no file can be made in `folder`; with `create` it need not exist yet."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if nearest != folder and not create:
        raise WriteError(folder, "no such folder", "Create it first")
    if not nearest.is_dir():
        raise WriteError(nearest, "a file, not a folder", "Choose another path")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise WriteError(nearest, "cannot be written (permission denied)", "Choose another path")


def check_new_file(
    path: Path,
    suffixes: Collection[str] = (),
    overwrite: bool = False,
    create: bool = False,
    hint: str = "Choose another name, or remove it first",
) -> None:
    """Raise WriteError if writing `path` would replace something, follow a link, or fail.

    Args:
        suffixes: of which the name must have one; none: any name.
        overwrite: a file may exist at `path`.
        create: the folders above `path` will be created.
        hint: what to do where it exists.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise WriteError(path, f"must end in {', '.join(sorted(suffixes))}")
    check_no_link(path)
    if path.exists() and not (overwrite and path.is_file()):
        raise WriteError(path, "exists", hint)
    check_writable(path.parent, create)


def check_new_folder(path: Path) -> None:
    """Raise WriteError if `path` is a link, a file or not empty, or cannot be written."""
    check_no_link(path)
    check_writable(path)
    check_empty(path)


# -- JSON lines ------------------------------------------------------------------------------------


class JsonlWriter:
    """A file of rows with their position under "images".

    Opening it drops the rows after `position`, and `damaged` ones, which it counts.
    """

    def __init__(self, path: Path, position: int) -> None:
        self.path = path
        open_own(path).close()  # refused before it is changed
        self.damaged = truncate_rows(path, position)
        self._file = open_own(path)
        self._pending: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row, after those for which there was no room before.

        Raises:
            OSError: the disk is full; what is not written waits for the next call.
        """
        self._pending.append(row)
        self.flush()

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
            OSError: there is still no room.
        """
        while self._pending:
            append_whole(self._file, (json.dumps(self._pending[0]) + "\n").encode())
            del self._pending[0]

    def close(self) -> None:
        """Write the rows that wait, and close the file.

        Raises:
            OSError: the rows that waited are lost.
        """
        try:
            self.flush()
        finally:
            self._file.close()


def append_whole(file: FileIO, content: bytes) -> None:
    """Append all of `content` to an unbuffered file, or nothing.

    Raises:
        OSError: it could not be written.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        while content:
            content = content[file.write(content) :]
    except OSError:
        file.truncate(end)
        raise


def truncate_rows(path: Path, position: int) -> int:
    """Drop rows after `position`, and a half-written last one: a resumed run writes them again.

    Returns:
        How many complete lines were dropped because they are no rows.
    """
    if not path.exists():
        return 0
    content, kept, damaged = read_own(path), [], 0
    for line in content.splitlines(keepends=True):
        row = _parse_row(line, path.name)
        if row and row["images"] <= position and line.endswith(b"\n"):
            kept.append(line)
        damaged += row is None and line.endswith(b"\n")
    rows = b"".join(kept)
    if content.startswith(rows):  # which needs no room on the disk
        os.truncate(path, len(rows))
    else:
        write_atomically(path, rows)
    return damaged


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines without damaged ones; [] where there is no file."""
    if not path.exists():
        return []
    rows = (_parse_row(line, path.name) for line in read_own(path).splitlines())
    return [row for row in rows if row]


def _parse_row(line: bytes, name: str) -> dict[str, Any] | None:
    """Return the row in a line of the file `name`; None for one that is damaged."""
    try:
        row = json.loads(line)
        texts, numbers = _fields(row, name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    valid = all(type(value) is str for value in texts) and all(
        type(value) in (int, float) for value in numbers
    )
    return row if valid and type(row["images"]) is int else None


def _fields(row: dict[str, Any], name: str) -> tuple[list[Any], list[Any]]:
    """Return what must be texts and what must be numbers in a row of the file `name`."""
    if name == EVENTS:
        return [row["kind"], row["text"]], [row["images"]]
    if name == VALIDATIONS:
        intervals = [each for own in row["scores"].values() for each in own.values()]
        means = [each[key] for each in intervals for key in ("mean", "low", "high")]
        texts = [row["metric"], row["protocol_hash"], *row["protocol"]]
        return texts, [row["images"], row["epoch"], row["value"], row["best"] + 0, *means]
    return [], [row["images"], *row.values()]
