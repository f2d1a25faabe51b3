"""Translate many files: decoding, the network and encoding overlap, in bounded memory.

A bad file stops nothing. What could go wrong as a whole is refused by `make_plan` before the first
image.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice

from i2i.files import DiskFullError
from i2i.images.spec import Clipped, clip_note
from i2i.translation import Progress, TranslationError
from i2i.translation.inputs import Source
from i2i.translation.large import check_tiles
from i2i.translation.manifest import Stamp, Step
from i2i.translation.options import Options
from i2i.translation.plan import Plan, Task, make_plan
from i2i.translation.recording import Recorder
from i2i.translation.sinks import Outcome
from i2i.translation.translator import Translator
from i2i.translation.work import Engine, work

_ANNOUNCED = 64  # outputs at once


@dataclass(frozen=True)
class Report:
    """The outcome for every input of this shard: written, skipped or failed."""

    written: int  # images
    skipped: int  # done by an earlier run, with the same model, options and input; tars, of tars
    failed: list[tuple[str, str]]  # (relative path of the input, reason)
    ignored: int  # files that are not images
    notes: list[str]  # lost depth, changed formats
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Images written in a second of this run, everything included."""
        return self.written / self.seconds if self.seconds else 0.0


def translate_folder(
    translator: Translator,
    source: Source,
    output: str | os.PathLike[str],
    options: Options | None = None,
    progress: Progress | None = None,
    engine: Engine = work,
) -> Report:
    """Translate a file, a folder with its subfolders, a pattern or tars into a folder like it.

    A single file may also be translated into a single file. For a model of stacked inputs `source`
    is a list with the folder (or file) of each, in the order of training; outputs are named after
    the first. Outputs keep stem, format, depth and size of their inputs unless `options` ask for
    others. Each tar becomes a tar of its images; several are a sequence, too. Run again, a stopped
    job continues. `engine` does the work of this shard, in this process or in many (`on_ray.Ray`).

    Raises:
        TranslationError, WriteError: nothing was begun (see `make_plan`), or the disk is full; then
            a rerun continues.
    """
    start = time.perf_counter()
    options = options or Options()
    check_tiles(translator, options)
    plan = make_plan(translator, source, output, options)
    job = _FolderJob(plan, translator, options, progress, engine)
    try:
        with plan.manifest or nullcontext():
            job.run()
            report = job.report(time.perf_counter() - start)
            _remark(report, plan)
    except DiskFullError as error:
        reason = f"stopped after {job.written} images: {error.reason}"
        hint = "Nothing is half-written: free some space and run the same command again to continue"
        raise TranslationError(output, reason, hint) from None
    return report


def _remark(report: Report, plan: Plan) -> None:
    """Write into the record what its lines about single images do not say."""
    if not plan.manifest:
        return
    for path, reason in plan.failed:
        plan.manifest.remark({"left_out": path, "reason": reason})
    for path, reason in plan.failed_members:
        plan.manifest.remark({"left_out": path, "reason": reason, "tar": ""})
    for note in report.notes:
        plan.manifest.remark({"note": note})
    plan.manifest.remark({"ignored": report.ignored, "seconds": report.seconds})


@dataclass
class _FolderJob:
    """One job, and its results so far."""

    plan: Plan
    translator: Translator
    options: Options
    progress: Progress | None
    engine: Engine
    written: int = 0  # images
    finished: int = 0  # tasks
    ignored: int = 0  # members of tars
    notes: dict[str, list[str]] = field(default_factory=dict)  # note -> outputs
    clipped: dict[str, Clipped] = field(default_factory=dict)  # output -> of its input

    def __post_init__(self) -> None:
        # relative path of the input, or the member of a tar -> reason
        self.failed = dict(self.plan.failed) | dict(self.plan.failed_members)
        self.recorder = Recorder(self.plan.manifest)

    def run(self) -> None:
        """Translate all tasks.

        Raises:
            DiskFullError: there is no room for an output or its record.
        """
        with self.recorder:
            self.engine(self.translator, self.options, self._announced(), self)
        for task in self.plan.tasks:
            if task.relative not in self.failed and not task.target.exists():
                self.written -= 1
                self._list(task, "its output was removed while others were written")

    def report(self, seconds: float) -> Report:
        """Return the outcome, after `run`."""
        notes = [
            f"{note} ({len(names)}, first: {min(names)})"
            for note, names in sorted(self.notes.items())
        ]
        if self.clipped:
            total = tuple(map(sum, zip(*self.clipped.values(), strict=True)))
            note = clip_note(total, len(self.clipped), self.translator.source.value_range)
            notes.append(f"{note} (first: {min(self.clipped)})")
        plan, failed = self.plan, sorted(self.failed.items())
        ignored = plan.ignored + self.ignored
        return Report(self.written, plan.done, failed, ignored, plan.notes + notes, seconds)

    def _announced(self) -> Iterator[Task]:
        """Record what will be written: files that a power cut leaves behind are then ours."""
        pending = iter(self.plan.tasks)
        while tasks := list(islice(pending, _ANNOUNCED)):
            if self.plan.manifest:
                steps = [Step(task.relative, task.output) for task in tasks]
                self.plan.manifest.add("writing", steps, flush=True)
            yield from tasks

    @property
    def shows(self) -> bool:
        """True if progress is printed."""
        return self.progress is not None

    def check(self) -> None:
        """Raise InUseError if the output folder is no longer at its path."""
        if self.plan.manifest:
            self.plan.manifest.check()

    @contextmanager
    def marked(self, stamps: Sequence[tuple[Task, Stamp]]) -> Iterator[None]:
        """Record what may not be survived: if so, the next run leaves it out."""
        steps = [Step(task.relative, task.output, stamp) for task, stamp in stamps]
        if self.plan.manifest:
            self.plan.manifest.add("started", steps)
        try:
            yield
        finally:
            if self.plan.manifest:
                self.plan.manifest.add("writing", steps)

    def take(self, task: Task, outcome: Outcome) -> None:
        """Record the outcome of a task."""
        self.finished += 1
        self.ignored += outcome.ignored
        if outcome.reason:
            self._list(task, outcome.reason)
        else:
            self._list_members(task, outcome)
            self.recorder.add(task.target, Step(task.relative, task.output, outcome.details))
            self.written += outcome.images
            for note, name in outcome.notes:
                self.notes.setdefault(note, []).append(name)
            if outcome.clipped[0]:
                self.clipped[task.output] = outcome.clipped
        if self.progress:
            self.progress(self.finished, len(self.plan.tasks))

    def _list(self, task: Task, reason: str) -> None:
        self.failed[task.relative] = reason
        if self.plan.manifest:
            step = Step(task.relative, task.output, {"reason": reason})
            self.plan.manifest.add("failed", [step])

    def _list_members(self, tar: Task, outcome: Outcome) -> None:
        self.failed.update(outcome.failed)
        details = {"tar": tar.output, "tar_sha256": outcome.details.get("output_sha256")}
        if self.plan.manifest and outcome.failed:
            steps = [Step(path, path, details | {"reason": why}) for path, why in outcome.failed]
            self.plan.manifest.add("failed", steps)
