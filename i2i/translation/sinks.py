"""Outputs of a job as files, and what is reported about them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from i2i import images
from i2i.files import write_error
from i2i.images import Array, ImageError
from i2i.images.spec import Clipped
from i2i.translation.decoding import Item, TooLarge
from i2i.translation.manifest import Stamp, result
from i2i.translation.plan import Task


class Outcome(NamedTuple):
    """The outcome of a task: an output with what the record says about it, or a reason for none."""

    details: Mapping[str, Any] = {}
    reason: str = ""  # why there is no output
    notes: tuple[tuple[str, str], ...] = ()  # of an output, or a member of it: note, name
    images: int = 1  # written
    failed: tuple[tuple[str, str], ...] = ()  # members of a tar that are left out: path, reason
    ignored: int = 0  # members that are not images
    clipped: Clipped = (0, 0)  # values of its input, or of the members of a tar


class Ledger(Protocol):
    """Keeps what happens. `check` is called in several threads, the other methods in one."""

    @property
    def shows(self) -> bool:
        """True if progress is printed."""

    def check(self) -> None:
        """Raise InUseError if the output folder is no longer at its path."""

    def marked(self, steps: Sequence[tuple[Task, Stamp]]) -> AbstractContextManager[None]:
        """Note down for the time of the block that these may not be survived."""

    def take(self, task: Task, outcome: Outcome) -> None:
        """Take the outcome of a task."""


class FileSink:
    """Writes each output to a file of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.large: list[Task] = []  # to be translated in tiles, after the others

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
            make_folder(task)
            encode(item, array, task.target)
            return item.stamp | result(task.target)
        except OSError as error:
            raise write_error(task.target, error) from None

    def finish(self, item: Item, details: Stamp) -> None:
        """Report an output."""
        notes = tuple((note, item.task.output) for note in item.notes)
        self._ledger.take(item.task, Outcome(details, notes=notes, clipped=item.clipped))

    def fail(self, task: Task, reason: str) -> None:
        """Report that there is none, or keep a task for tiles."""
        if isinstance(reason, TooLarge):
            self.large.append(task)
        else:
            self._ledger.take(task, Outcome(reason=reason))


def make_folder(task: Task) -> None:
    """Make the folder of an output below the output folder, which is never made again.

    Raises:
        OSError: it is gone, or cannot be written.
    """
    depth = len(Path(task.output).parts) - 1
    for folder in reversed(task.target.parents[:depth]):
        folder.mkdir(exist_ok=True)


def encode(item: Item, array: Array, target: Path | IO[bytes]) -> None:
    """Encode an output, with the alpha that went past the network, in the format of its name.

    Raises:
        ImageError, WriteError: it cannot be held, or written.
    """
    try:
        if item.alpha is not None:
            array = np.concatenate([array, images.to_depth(item.alpha, item.depth)], axis=2)
        images.encode(
            array,
            target,
            images.format_of(item.task.target),
            metadata=item.metadata,
            alpha=item.has_alpha,
            missing=item.missing,
        )
    except MemoryError:
        raise ImageError(item.task.target, "not enough memory to write it") from None
