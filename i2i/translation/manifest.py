"""The record of a folder job, one JSON line a step, so that a stopped job continues where it was.

A line is written before an output appears ("writing"), before the network takes a picture that may
need more memory than there is ("started"), after an output is on the disk ("written"), and where
there is none ("failed"). Lines of the status "job" say what a run was made from and how it ended.
Each shard appends to a file of its own; all of them are read.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from i2i.files import append_whole, flush_file, open_own, sha256, write_error
from i2i.lock import Lock, exclusive, exclusive_file
from i2i.translation.shards import Shard

State = Literal["done", "ours", "foreign", "input changed", "output changed"]
Stamp = dict[str, Any]

_LONGEST_LINE = 2**17  # bytes; two paths of 4,096 bytes, all of them escaped, take less


class Step(NamedTuple):
    """One step of one input."""

    relative: str  # path of the input
    output: str  # path of the output below the output folder
    details: Mapping[str, Any] = {}


def stamp(files: Sequence[Path]) -> Stamp:
    """Return size and time of an input, and of each file stacked on it: they hint at a change."""
    first, *rest = map(_status, files)
    return {"size": first[0], "mtime_ns": first[1], **({"partners": rest} if rest else {})}


def identity(files: Sequence[Path]) -> Stamp:
    """Return the stamp of an input with the hash of each of its files."""
    return {**stamp(files), "sha256": [_digest(file) for file in files]}


def result(target: Path) -> Stamp:
    """Return size, time and hash of an output."""
    size, mtime_ns = _status(target)
    return {"bytes": size, "output_mtime_ns": mtime_ns, "output_sha256": _digest(target)}


def _status(path: Path) -> list[int]:
    """Return size and time of a file; of the files of a series all sizes, and the latest time."""
    from i2i.images.slices import statuses  # with numpy, which a summary does without

    every = statuses(path)
    return [sum(one.st_size for one in every), max(one.st_mtime_ns for one in every)]


def _digest(path: Path) -> str:
    from i2i.images.slices import members

    files = members(path)
    if files == [path]:
        return sha256(path)
    text = "\n".join(f"{file.name} {sha256(file)}" for file in files)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Manifest:
    """The record of one output folder for one job: a model with its options, as a hash.

    Use as a context manager to append, as the one writer of the folder, or of the shard; `state`
    reads what was there when the object was made.

    Args:
        origin: what the job is made from, to be written above its lines.
    """

    def __init__(
        self, folder: Path, job: str, shard: Shard, origin: Mapping[str, Any] | None = None
    ) -> None:
        index, count = shard
        part = "" if count == 1 else f"-{index}-of-{count}"
        self.path = folder / f".i2i-manifest{part}.jsonl"
        self._shared = count > 1
        self._job, self._origin = job, origin or {}
        self._latest, self.damaged = _read(folder)
        self._file: FileIO | None = None
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._folder: Lock | None = None

    @property
    def has_lines(self) -> bool:
        """True if an earlier run, or another shard, wrote lines of this job."""
        return any(entry.get("job") == self._job for entry in self._latest.values())

    def assign(self, job: str, origin: Mapping[str, Any]) -> None:
        """Make it the record of another job, before it is opened."""
        self._job, self._origin = job, origin

    def extend(self, facts: Mapping[str, Any]) -> None:
        """Add to what the job is made from."""
        self._origin = {**self._origin, **facts}

    def state(
        self, files: Sequence[Path], target: Path, output: str, verify: bool = False
    ) -> State:
        """Return the state of an existing output at `target`.

        The content decides where size or time of an input or the output differ, or with `verify`
        everywhere.

        Returns:
            done: the job's result for the inputs `files`; ours: a file that the job was about to
            write, or one of its own without content; foreign: not of this job; or what changed.
        """
        entry = self._latest.get(output)
        if entry is None or entry.get("job") != self._job:
            return "foreign"
        size, mtime_ns = _status(target)
        if entry["status"] in ("writing", "started") or not size:
            return "ours"
        if entry["status"] != "written":
            return "foreign"
        try:
            if not _unchanged(entry, files, verify):
                return "input changed"
        except OSError:
            return "input changed"
        if entry.get("bytes") != size:
            return "output changed"
        recorded = entry.get("output_sha256")
        touched = entry.get("output_mtime_ns") != mtime_ns
        if recorded and (verify or touched) and recorded != _digest(target):
            return "output changed"
        return "done"

    def failed_members(self, tars: Collection[str]) -> list[tuple[str, str]]:
        """Return path and reason of members that are not in `tars`, outputs which are done."""
        members = [entry for entry in self._latest.values() if str(entry.get("tar")) in tars]
        return [
            (str(entry["path"]), str(entry.get("reason")))
            for entry in members
            if entry.get("tar_sha256") == self._latest[entry["tar"]].get("output_sha256")
        ]

    def killed(self, files: Sequence[Path], output: str) -> bool:
        """Return True if an earlier run did not survive this picture, which has not changed."""
        entry = self._latest.get(output)
        if entry is None or (entry.get("job"), entry["status"]) != (self._job, "started"):
            return False
        return all(entry.get(key) == value for key, value in stamp(files).items())

    def __enter__(self) -> "Manifest":
        """Lock the folder and open the record; a last line that a crash cut is ended first.

        Raises:
            InUseError: another process translates into the folder, and not another shard of this.
        """
        with ExitStack() as stack:
            folder = self.path.parent
            self._folder = stack.enter_context(exclusive(folder, marked=False, shared=self._shared))
            try:
                self._file = stack.enter_context(open_own(self.path, "a+"))
                exclusive_file(self._file, folder)
                if self._file.seek(0, os.SEEK_END):
                    self._file.seek(-1, os.SEEK_END)
                    if self._file.read() != b"\n":
                        append_whole(self._file, b"\n")
                self.remark(self._origin)
                self._check_others()
            except OSError as error:
                raise write_error(self.path, error) from None
            self._stack = stack.pop_all()
        return self

    def remark(self, facts: Mapping[str, Any]) -> None:
        """Append a line about the run itself, which `summary` reads.

        Raises:
            WriteError, DiskFullError: it could not be written.
        """
        self._append([{"status": "job", "job": self._job, "time_ns": time.time_ns(), **facts}])

    def _check_others(self) -> None:
        """Raise InUseError if a shard of another job, or of another division, is at work."""
        division = self.path.name.rpartition("-of-")[2]
        for path in self.path.parent.glob(".i2i-manifest-*-of-*.jsonl"):
            if path == self.path:  # whose lock would end with the second handle
                continue
            if path.name.endswith(f"-of-{division}") and _last_job(path) == self._job:
                continue
            with open_own(path, "r+") as file:
                exclusive_file(file, self.path.parent)

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def check(self) -> None:
        """Raise InUseError if the output folder is no longer at its path."""
        if self._folder:
            self._folder.check()

    def add(self, status: str, steps: Iterable[Step], flush: bool = False) -> None:
        """Append a line for each step, all of them or none. Safe from several threads.

        Args:
            flush: wait until they are on the disk.

        Raises:
            WriteError, DiskFullError: they could not be written.
        """
        lines = [
            {"path": step.relative, "status": status, "output": step.output, "job": self._job}
            | {"time_ns": time.time_ns(), **step.details}
            for step in steps
        ]
        self._append(lines, flush)

    def _append(self, lines: Iterable[Mapping[str, Any]], flush: bool = False) -> None:
        assert self._file is not None
        with self._lock:
            try:
                text = "".join(json.dumps(line) + "\n" for line in lines)
                append_whole(self._file, text.encode())
                if flush:
                    flush_file(self._file)
            except OSError as error:
                raise write_error(self.path, error) from None


def _unchanged(entry: Mapping[str, Any], files: Sequence[Path], verify: bool) -> bool:
    now, recorded = stamp(files), entry.get("sha256")
    same = all(entry.get(key) == now.get(key) for key in ("size", "mtime_ns", "partners"))
    if same and (not verify or recorded is None):
        return True
    return entry.get("size") == now["size"] and recorded == [_digest(file) for file in files]


def _read(folder: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the latest line about each output, whichever shard wrote it, and how many are bad."""
    latest: dict[str, dict[str, Any]] = {}
    damaged = 0
    for path in records(folder):
        last: dict[str, dict[str, Any]] = {}  # where the order counts: clocks are set back
        for entry in entries(path):
            if entry is None:
                damaged += 1
            elif entry["status"] != "job":
                last[entry["output"]] = entry
        for output, entry in last.items():
            if output not in latest or latest[output]["time_ns"] <= entry["time_ns"]:
                latest[output] = entry
    return latest, damaged


def records(folder: Path) -> list[Path]:
    """Return the records of all shards in `folder`."""
    paths = sorted(folder.glob(".i2i-manifest*.jsonl"))
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def entries(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a record in order; None for one that cannot be read."""
    with open(path, "rb") as file:
        while line := file.readline(_LONGEST_LINE):
            entry = _parse(line)
            if entry is not None or line.endswith(b"\n"):  # another cut one is still being written
                yield entry


def _last_job(path: Path) -> object:
    """Return the job of the last line that can be read."""
    with open_own(path, "r") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
        lines = map(_parse, file.read().splitlines())
        return [None, *(entry.get("job") for entry in lines if entry)][-1]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the entry in a line; None for one that is cut, damaged, or names a foreign path."""
    try:
        entry: dict[str, Any] = json.loads(line)
        if entry["status"] == "job":
            return entry
        output = PurePosixPath(entry["output"])
        valid = type(entry["time_ns"]) is int and type(entry["status"]) is str
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entry if valid and not output.is_absolute() and ".." not in output.parts else None
