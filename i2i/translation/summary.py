"""Summary of what all shards of a folder job did, from their records in the output. No torch."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from i2i.translation import TranslationError
from i2i.translation.manifest import entries, records

_NAME = re.compile(r"\.i2i-manifest(?:-(\d{1,9})-of-(\d{1,9}))?\.jsonl")


@dataclass
class ShardSummary:
    """The newest run of one shard; counts are of images, or of tars."""

    index: int
    tasks: int | None = None  # of the shard; None: an earlier version, which did not record it
    done: int = 0  # by earlier runs
    written: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # path of the input -> reason
    failed_members: dict[str, str] = field(default_factory=dict)  # the same, of tars
    notes: list[str] = field(default_factory=list)
    ignored: int | None = None  # files that are not images; None: the run did not end
    last_ns: int = 0  # time of the last line
    images_per_second: float | None = None

    @property
    def left(self) -> int | None:
        """Number of outputs that are neither there nor listed as failed; None: not recorded."""
        if self.tasks is None:
            return None
        return max(0, self.tasks - self.done - self.written - len(self.failed))

    def text(self, count: int, unit: str) -> str:
        """Return a line for people; `count`: of all shards."""
        all_tasks = f" {unit}" if self.tasks is None else f" of {self.tasks} {unit}"
        left = "" if self.left is None else f", {self.left} left"
        text = f"shard {self.index}/{count}: {self.done + self.written}{all_tasks} written, "
        text += f"{len(self.failed)} failed{left}"
        if self.failed_members:
            text += f", {len(self.failed_members)} images in tars failed"
        if self.images_per_second:
            text += f"; {self.images_per_second:.1f} images/s"
        if self.ignored is None:
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.last_ns / 1e9))
            text += f"; at work or stopped, last line at {moment} UTC"
        return text


@dataclass
class Summary:
    """The newest job in a folder, in the division into shards that its newest run had."""

    origin: Mapping[str, Any]  # model, direction, inputs, options; {} in the oldest records
    count: int  # shards
    shards: list[ShardSummary]
    missing: list[int]  # shards that never began
    left: int | None  # of all shards, those that never began included; None: not recorded
    damaged: int  # lines that cannot be read

    @property
    def complete(self) -> bool:
        """True if every image is there."""
        failed = any(shard.failed or shard.failed_members for shard in self.shards)
        return self.left == 0 and not self.missing and not failed

    def text(self) -> list[str]:
        """Return lines for people: what the job is, its shards, and what they have together."""
        inputs = ", ".join(map(str, self.origin.get("inputs", [])))
        lines = [f"{self.origin['model']} translates {inputs}"] if inputs else []
        unit = str(self.origin.get("unit", "images"))
        lines += [shard.text(self.count, unit) for shard in self.shards]
        lines += [f"shard {index}/{self.count}: never began" for index in self.missing]
        if self.damaged:
            lines.append(f"{self.damaged} lines of the records cannot be read")
        written = sum(shard.done + shard.written for shard in self.shards)
        failed = sum(len(shard.failed) for shard in self.shards)
        left = f"{self.left} left"
        if self.left is None:
            left = "what is left was not recorded: run the command again, which continues the job"
        return [*lines, f"{written} {unit} written, {failed} failed, {left}"]

    def to_json(self) -> dict[str, Any]:
        """Return all of it for programs."""
        shards = [asdict(shard) | {"left": shard.left} for shard in self.shards]
        return asdict(self) | {"shards": shards, "complete": self.complete}


@dataclass
class _Record:
    """The lines of one file about its newest job."""

    index: int
    count: int
    header: dict[str, Any] = field(default_factory=dict)  # of its newest run
    states: dict[str, tuple[str, str]] = field(default_factory=dict)  # path -> status, reason
    members: dict[str, str] = field(default_factory=dict)  # of tars, that failed -> reason
    left_out: dict[str, str] = field(default_factory=dict)
    images: int = 0  # in tars that were written
    notes: list[str] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    first_ns: int = 0
    last_ns: int = 0
    damaged: int = 0
    job: object = None

    def read(self, path: Path) -> None:
        """Take all lines of a file; a new run, or another job, begins from nothing."""
        for entry in entries(path):
            if entry is None:
                self.damaged += 1
                continue
            moment = entry.get("time_ns")
            self.last_ns = moment if type(moment) is int else self.last_ns
            if entry["status"] == "job":
                self._remark(entry)
                continue
            if entry.get("job") != self.job:
                self._begin({}, entry.get("job"))
            name, reason = str(entry.get("path")), str(entry.get("reason", ""))
            if "tar" in entry:
                self.members[name] = reason
                continue
            self.states[name] = (entry["status"], reason)
            if entry["status"] == "written":
                self.images += _count(entry.get("images")) or 1

    def _begin(self, header: dict[str, Any], job: object) -> None:
        counted = "tasks" in header
        self.states = {} if counted or job != self.job else self.states
        self.header, self.job, self.first_ns = header, job, self.last_ns
        self.members, self.left_out, self.notes, self.end, self.images = {}, {}, [], {}, 0

    def _remark(self, entry: dict[str, Any]) -> None:
        if "left_out" in entry:
            paths = self.members if "tar" in entry else self.left_out
            paths[str(entry["left_out"])] = str(entry.get("reason"))
        elif "note" in entry:
            self.notes.append(str(entry["note"]))
        elif "seconds" in entry:
            self.end = entry
        else:
            self._begin(entry, entry.get("job"))

    def summary(self) -> ShardSummary:
        """Return the counts."""
        counts = Counter(status for status, _ in self.states.values())
        failed = {path: why for path, (status, why) in self.states.items() if status == "failed"}
        seconds = _number(self.end.get("seconds")) or (self.last_ns - self.first_ns) / 1e9
        written = counts["written"]
        return ShardSummary(
            index=self.index,
            tasks=_count(self.header.get("tasks")),
            done=_count(self.header.get("done")) or 0,
            written=written,
            failed=failed | self.left_out,
            failed_members=self.members,
            notes=self.notes,
            ignored=_count(self.end.get("ignored")),
            last_ns=self.last_ns,
            images_per_second=self.images / seconds if written and seconds > 0 else None,
        )


def summarize(folder: Path) -> Summary:
    """Return what the shards of the newest job in `folder` did.

    Raises:
        TranslationError: there is no record.
    """
    every = []
    for path in records(folder):
        if match := _NAME.fullmatch(path.name):
            record = _Record(int(match[1] or 0), int(match[2] or 1))
            record.read(path)
            every.append(record)
    if not every:
        reason = "holds no record of a job"
        raise TranslationError(folder, reason, "Give the OUTPUT of `i2i translate`")
    newest = max(every, key=lambda record: record.last_ns)
    own = [
        record
        for record in every
        if (record.count, record.job) == (newest.count, newest.job) and record.index < record.count
    ]
    missing = sorted(set(range(newest.count)) - {record.index for record in own})
    shards = sorted((record.summary() for record in own), key=lambda shard: shard.index)
    left, total = _sum([shard.left for shard in shards]), _count(newest.header.get("all"))
    if missing and left is not None:
        theirs = _sum([shard.tasks for shard in shards])
        left = None if total is None or theirs is None else left + max(0, total - theirs)
    damaged = sum(record.damaged for record in every)
    return Summary(newest.header, newest.count, shards, missing, left, damaged)


def _sum(numbers: list[int | None]) -> int | None:
    return None if None in numbers else sum(number or 0 for number in numbers)


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
