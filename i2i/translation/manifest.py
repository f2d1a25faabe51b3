"""The record of a folder job, one JSON line a step, so that a stopped job continues where it was.

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
from typing import Any, Literal

from i2i.files import append_whole, write_error
from i2i.translation.shards import Shard

State = Literal["done", "ours", "foreign"]
Stamp = dict[str, Any]


def stamp(files: Sequence[Path]) -> Stamp:
    """Return size and time of an input, and of each file stacked on it: they tell a change."""
    statuses = [file.stat() for file in files]
    first, *rest = ([status.st_size, status.st_mtime_ns] for status in statuses)
    return {"size": first[0], "mtime_ns": first[1], **({"partners": rest} if rest else {})}


class Manifest:
    """The record of one output folder for one job: a model with its options, as a hash.

    Use as a context manager to append; `state` reads what was there when the object was made.
    """

    def __init__(self, folder: Path, job: str, shard: Shard) -> None:
        index, count = shard
        part = "" if count == 1 else f"-{index}-of-{count}"
        self.path = folder / f".i2i-manifest{part}.jsonl"
        self._job = job
        self._latest = _read(folder)
        self._file: FileIO | None = None
        self._lock = threading.Lock()

    def state(self, files: Sequence[Path], output: str, status: os.stat_result) -> State:
        """Return the state of an existing output with this `status`.

        done: the job's result for the unchanged inputs `files`; ours: a file that the job was about
        to write; foreign: anything else.
        """
        entry = self._latest.get(output)
        if entry is None or entry.get("job") != self._job:
            return "foreign"
        now = stamp(files)
        if any(entry.get(key) != now.get(key) for key in ("size", "mtime_ns", "partners")):
            return "foreign"
        if entry.get("status") == "writing":
            return "ours"
        complete = entry.get("status") == "written" and entry.get("bytes") == status.st_size
        return "done" if complete else "foreign"

    def __enter__(self) -> "Manifest":
        """Open the record; a last line that a crash cut is ended first."""
        try:
            self._file = FileIO(str(self.path), "a+")
            if self._file.tell():
                self._file.seek(-1, os.SEEK_END)
                if self._file.read() != b"\n":
                    append_whole(self._file, b"\n")
        except OSError as error:
            raise write_error(self.path, error) from None
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def add(
        self, relative: str, output: str, inputs: Stamp | None, status: str, **details: int | str
    ) -> None:
        """Append a line about one input, completely or not at all. Safe from several threads.

        Raises:
            WriteError, DiskFullError: it could not be written.
        """
        entry = {"path": relative, "status": status, "output": output, "job": self._job}
        line = {**entry, **(inputs or {}), "time_ns": time.time_ns(), **details}
        assert self._file is not None
        with self._lock:
            try:
                append_whole(self._file, json.dumps(line).encode() + b"\n")
            except OSError as error:
                raise write_error(self.path, error) from None


def _read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the latest line about each output, whichever shard wrote it."""
    latest: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.glob(".i2i-manifest*.jsonl") if path.is_file()):
        with open(path, "rb") as file:  # where the order counts: clocks are set back
            last = {entry["output"]: entry for entry in map(_parse, file) if entry}
        for output, entry in last.items():
            if output not in latest or latest[output]["time_ns"] <= entry["time_ns"]:
                latest[output] = entry
    return latest


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the entry in a line; None for one that a crash cut."""
    try:
        entry: dict[str, Any] = json.loads(line)
        valid = isinstance(entry["output"], str) and isinstance(entry["time_ns"], int)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entry if valid else None
