"""From the first image to the last: steps, rows, sample sheets, checkpoints, and stopping without losing work."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from i2i import images
from i2i.checkpoint import CHECKPOINTS, WEIGHTS, DiskFullError, publish, write_atomically
from i2i.config import Config
from i2i.methods._base import Images
from i2i.training.health import Health
from i2i.training.lines import read_rows
from i2i.training.report import METRICS, Reporter
from i2i.training.trainer import NonFiniteError, Trainer


class Batch(Protocol):
    """One batch of a stream."""

    @property
    def images(self) -> Images: ...
    @property
    def keys(self) -> Sequence[tuple[int, int]]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


class Source(Protocol):
    """The data set behind a stream."""

    @property
    def notes(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...
    def files(self, epoch: int, index: int) -> list[str]: ...


class Stream(Protocol):
    """An endless, resumable sequence of batches."""

    def __next__(self) -> Batch: ...

    def close(self) -> None:
        """Stop the processes behind it."""
        ...


Draw = Callable[[Mapping[str, nn.Module]], NDArray[np.uint8]]  # networks by direction -> sample sheet [H, W, 3]
Pack = Callable[[Mapping[str, nn.Module], int], bytes]  # networks by direction, images seen -> a weights file


_TIME_UP = 1000  # larger than any signal's number, so that all ranks agree on one reason


class GuardError(RuntimeError):
    """Training was stopped because going on would destroy the networks."""

    exit_code = 3


@dataclass(frozen=True)
class Outcome:
    """How a run ended: at `images`, finished or because of `signal` or the time limit."""

    images: int
    finished: bool
    signal: int = 0

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        if self.signal:
            return f"stopped by signal {self.signal}; go on with --resume"
        return "finished" if self.finished else "stopped by train.minutes; go on with --resume"


class StopRequest:
    """Turns SIGINT and SIGTERM into a flag that the loop asks at every step boundary."""

    def __init__(self) -> None:
        self.signal = 0

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the checkpoint
        self.signal = number
        print("stopping after this step, with a checkpoint; once more stops without", file=sys.stderr, flush=True)

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Handle the signals inside the block."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Loop:
    """One run folder being trained."""

    def __init__(
        self,
        trainer: Trainer,
        config: Config,
        folder: Path,
        source: Source,
        draw: Draw,
        pack: Pack,
        health: Health,
    ) -> None:
        self.trainer, self.config, self.folder = trainer, config, folder
        self.source, self.draw, self.pack, self.health = source, draw, pack, health
        self._reporter: Reporter | None = None
        self._saved = trainer.images if trainer.images else -1

    def run(self, stream: Stream, stop: StopRequest) -> Outcome:
        """Train from the trainer's position to the end, to a signal, or to the time limit.

        Raises:
            GuardError: a term or a gradient is not finite.
        """
        trainer, log = self.trainer, self.config.log
        if trainer.rank.first:
            self._reporter = Reporter(self.folder, trainer.total, trainer.images, log.tensorboard)
            self.health.replay(read_rows(self.folder / METRICS))
            for note in (*self.source.notes, *trainer.method.notes):
                self._reporter.note(trainer.images, "data", note)
        deadline = time.monotonic() + 60 * (self.config.train.minutes or math.inf)
        asked = 0
        try:
            if trainer.images == 0:
                self._sample()
                self._save()
            while trainer.images < trainer.total and not asked:
                self._step(stream)
                asked = trainer.rank.any(stop.signal or (_TIME_UP if time.monotonic() > deadline else 0))
            finished = trainer.images >= trainer.total
            if finished:
                self._row()
                self._sample()
            self._save(last=True)
            return Outcome(trainer.images, finished, 0 if asked == _TIME_UP else asked)
        finally:
            stream.close()
            if self._reporter:
                self._reporter.close()

    def _step(self, stream: Stream) -> None:
        trainer, train = self.trainer, self.config.train
        before, began = trainer.images, time.monotonic()
        batches = [next(stream) for _ in range(train.accumulate)]
        waited = time.monotonic() - began
        try:
            trainer.step([batch.images for batch in batches])
        except NonFiniteError as error:
            files = [file for batch in batches for key in batch.keys for file in self.source.files(*key)]
            raise self._guard(error, files) from None
        if self._reporter:
            self._reporter.waited(waited)
            for warning in (warning for batch in batches for warning in batch.warnings):
                self._reporter.event(trainer.images, "data", warning)
            self._reporter.progress(trainer.images)
        if _crossed(before, trainer.images, self.config.log.images):
            self._row()
        if _crossed(before, trainer.images, train.sample_images) and trainer.images < trainer.total:
            self._sample()
        if _crossed(before, trainer.images, train.checkpoint_images) and trainer.images < trainer.total:
            self._save()

    def _row(self) -> None:
        try:
            terms = self.trainer.drain()
        except NonFiniteError as error:
            raise self._guard(error, []) from None
        if self._reporter and terms:
            epoch = self.trainer.images / len(self.source)
            self._reporter.row(self.trainer.images, epoch, terms, self.trainer.rates())
            for line in self.health.look({"images": self.trainer.images} | terms):
                self._reporter.event(self.trainer.images, "health", line)

    def _sample(self) -> None:
        if not self._reporter:
            return
        picture = self.draw(self.trainer.translators())
        path = self.folder / "samples" / f"{self.trainer.images:08d}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            images.encode(picture, path, "PNG")
            self._reporter.sheet(self.trainer.images, picture)
        except (OSError, images.ImageError) as error:
            text = f"{path}: the sample sheet was not written ({error}). Training goes on."
            self._reporter.event(self.trainer.images, "disk", text)

    def _save(self, last: bool = False) -> None:
        trainer = self.trainer
        if trainer.images == self._saved:
            return
        try:
            trainer.check_terms()
        except NonFiniteError as error:
            raise self._guard(error, []) from None
        state = trainer.state()
        if not self._reporter:
            self._saved = trainer.images
            return
        weights = self.pack(trainer.translators(), trainer.images)
        try:
            publish(self.folder / CHECKPOINTS, trainer.images, state, weights, self.config.train.keep)
            write_atomically(self.folder / WEIGHTS, weights)
            self._saved = trainer.images
        except DiskFullError as error:
            if last:
                raise
            text = f"{error} Training goes on; the last good checkpoint is intact."
            self._reporter.event(trainer.images, "disk", text)

    def _guard(self, error: NonFiniteError, files: list[str]) -> GuardError:
        where = f" Its files: {', '.join(files)}." if files else ""
        return GuardError(
            f"stopped after {self.trainer.images} images: {error}.{where} The last good state is in "
            f"{self.folder / CHECKPOINTS}. Look for constant or broken images, then resume with a lower optim.lr, "
            "with optim.clip=1, or with --precision fp32."
        )


def _crossed(before: int, now: int, interval: int) -> bool:
    return before // interval != now // interval
