"""Translating the tasks of a job, as one process does: images into files, tars into tars."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from i2i import images
from i2i.files import write_error
from i2i.images import Array, ImageError
from i2i.translation.decoding import Item
from i2i.translation.manifest import Stamp, result
from i2i.translation.options import Options
from i2i.translation.pipeline import Pipeline
from i2i.translation.plan import Task
from i2i.translation.translator import Translator


class Outcome(NamedTuple):
    """The outcome of a task: an output with what the record says about it, or a reason for none."""

    details: Mapping[str, Any] = {}
    reason: str = ""  # why there is no output
    notes: tuple[tuple[str, str], ...] = ()  # of an output, or a member of it: note, name
    images: int = 1  # written
    failed: tuple[tuple[str, str], ...] = ()  # members of a tar that are left out: path, reason
    ignored: int = 0  # members that are not images


class Ledger(Protocol):
    """Keeps what happens; called in one thread but for `check`."""

    def check(self) -> None:
        """Raise InUseError if the output folder is no longer at its path."""

    def marked(self, steps: Sequence[tuple[Task, Stamp]]) -> AbstractContextManager[None]:
        """Note down for the time of the block that these may not be survived."""

    def take(self, task: Task, outcome: Outcome) -> None:
        """Take the outcome of a task."""


def work(translator: Translator, options: Options, tasks: Iterator[Task], ledger: Ledger) -> None:
    """Translate all tasks, which are asked for when they are needed.

    Raises:
        DiskFullError: there is no room for an output.
    """
    Pipeline(translator, options, _Files(ledger)).run(tasks)


class _Files:
    """Writes each output to a file of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def marked(self, batch: list[Item]) -> AbstractContextManager[None]:
        """Mark each image."""
        return self._ledger.marked([(item.task, item.stamp) for item in batch])

    def write(self, item: Item, array: Array) -> Stamp:
        """Write an output; return what is recorded about it and its input.

        Raises:
            WriteError, ImageError: it could not be written.
        """
        task = item.task
        try:
            self._ledger.check()
            task.target.parent.mkdir(parents=True, exist_ok=True)
            encode(item, array, task.target)
            return item.stamp | result(task.target)
        except OSError as error:
            raise write_error(task.target, error) from None

    def finish(self, item: Item, details: Stamp) -> None:
        """Report an output."""
        notes = tuple((note, item.task.output) for note in item.notes)
        self._ledger.take(item.task, Outcome(details, notes=notes))

    def fail(self, task: Task, reason: str) -> None:
        """Report that there is none."""
        self._ledger.take(task, Outcome(reason=reason))


def encode(item: Item, array: Array, target: Path) -> None:
    """Encode an output, with the alpha that went past the network.

    Raises:
        ImageError, WriteError: it cannot be held, or written.
    """
    try:
        if item.alpha is not None:
            array = np.concatenate([array, images.to_depth(item.alpha, item.depth)], axis=2)
        images.encode(
            array, target, metadata=item.metadata, alpha=item.has_alpha, missing=item.missing
        )
    except MemoryError:
        raise ImageError(item.task.target, "not enough memory to write it") from None
