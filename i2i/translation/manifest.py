"""What a folder job has done so far, one JSON line a step, so that a stopped job goes on where it was.

A line is written before an output appears ("writing"), after it is complete ("written"), and where
there is none ("failed"). Each shard appends to a file of its own; all of them are read.
"""

import json
import os
import threading
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from i2i.translation.shards import Shard

_GLOB = ".i2i-manifest*.jsonl"
State = Literal["done", "ours", "foreign"]


Stamp = dict[str, Any]


def stamp(files: Sequence[Path]) -> Stamp:
    """Return what tells whether an input has changed: size and time of its file, and of each that is stacked on it."""
    first, *rest = (
        (status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)
    )
    partners = {"partners": [list(one) for one in rest]} if rest else {}
    return {"size": first[0], "mtime_ns": first[1], **partners}


class Manifest:
    """The record of one output folder for one job: a model with its options, as a hash.

    Use as a context manager to append; `state` reads what was there when the object was made.
    """

    def __init__(self, folder: Path, job: str, shard: Shard) -> None:
        index, count = shard
        self.path = folder / (
            ".i2i-manifest.jsonl" if count == 1 else f".i2i-manifest-{index}-of-{count}.jsonl"
        )
        self._job = job
        self._latest = _read(folder)
        self._file: FileIO | None = None
        self._failure: OSError | None = None
        self._cut = False  # a full disk cut the last line
        self._lock = threading.Lock()

    def state(self, files: Sequence[Path], output: str, found: os.stat_result) -> State:
        """Say what an existing output, `found`, is: this job's result for the unchanged inputs `files`; a file that
        this job was about to write; or anything else."""
        entry = self._latest.get(output)
        if entry is None or entry.get("job") != self._job:
            return "foreign"
        now = stamp(files)
        if any(entry.get(key) != now.get(key) for key in ("size", "mtime_ns", "partners")):
            return "foreign"
        if entry.get("status") == "writing":
            return "ours"
        return (
            "done"
            if entry.get("status") == "written" and entry.get("bytes") == found.st_size
            else "foreign"
        )

    def __enter__(self) -> "Manifest":
        self._file = open(
            self.path, "a+b", buffering=0
        )  # a buffer would be flushed again when it is closed
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            self._cut = self._file.read() != b"\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()

    def add(
        self, relative: str, output: str, inputs: Stamp | None, status: str, **details: int | str
    ) -> None:
        """Append a line about one input. Safe from several threads; on the disk's cache when it returns.

        Raises:
            OSError: it could not be written whole. Then no later line is, or it would be joined to
                what was cut.
        """
        entry: dict[str, Any] = {
            "path": relative,
            "status": status,
            "output": output,
            "job": self._job,
        }
        entry |= inputs or {}
        entry |= {"time_ns": time.time_ns(), **details}
        assert self._file is not None
        with self._lock:
            if self._failure:
                raise self._failure
            rest = b"\n" * self._cut + json.dumps(entry).encode() + b"\n"
            self._cut = False
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._failure = error
                raise


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the latest line about each output, whichever shard wrote it. JsonlWriter that a crash cut are passed over."""
    latest: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.glob(_GLOB) if path.is_file()):
        for output, entry in _read_one(path).items():
            if output not in latest or latest[output]["time_ns"] <= entry["time_ns"]:
                latest[output] = entry
    return latest


def _read_one(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last line about each output in one file: there the order counts, since clocks are set back."""
    last: dict[str, dict[str, Any]] = {}
    with open(path, "rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
                output, moment = entry["output"], entry["time_ns"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(output, str) and isinstance(moment, int):
                last[output] = entry
    return last
