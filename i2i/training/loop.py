"""From the first image to the last: steps, rows, sample sheets, checkpoints, and stopping without losing work."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from i2i import images
from i2i.checkpoint import CHECKPOINTS, WEIGHTS, load_state, newest, publish, steps
from i2i.config import Config
from i2i.errors import I2IError
from i2i.files import METRICS, WriteError, read_rows, write_atomically
from i2i.methods._base import Images
from i2i.signals import StopRequest
from i2i.training.distributed import RankLostError
from i2i.training.health import Health
from i2i.training.metrics_logger import MetricsLogger
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


Draw = Callable[
    [Mapping[str, nn.Module]], NDArray[np.uint8]
]  # networks by direction -> sample sheet [H, W, 3]
Pack = Callable[
    [Mapping[str, nn.Module], int], bytes
]  # networks by direction, images seen -> a weights file
Open = Callable[[int], Stream]  # images seen -> the batches that follow

_MOST_ROLLBACKS, _APART = (
    10,
    100,
)  # so many, each less than so many steps after the last: it is not the batches
_TIME_UP, _NO_DATA = (
    1000,
    2000,
)  # larger than any signal's number, so that all ranks agree on one reason


class GuardError(I2IError, RuntimeError):
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
        return "finished" if self.finished else "stopped by train.max_minutes; go on with --resume"


class Loop:
    """One run folder being trained."""

    def __init__(
        self,
        trainer: Trainer,
        config: Config,
        folder: Path,
        source: Source,
        open_stream: Open,
        draw: Draw,
        pack: Pack,
        health: Health,
    ) -> None:
        self.trainer, self.config, self.folder = trainer, config, folder
        self.source, self.open_stream, self.draw, self.pack, self.health = (
            source,
            open_stream,
            draw,
            pack,
            health,
        )
        self._logger: MetricsLogger | None = None
        self._saved = trainer.images if trainer.images else -1
        self._failing = False  # the last checkpoint could not be written
        self._skipped: set[int] = (
            set()
        )  # positions of steps that broke; resumed before one, a run finds it again
        self._rollbacks = (0, 0)  # the step that broke last, and how many did in a row
        # update -> its position, and (epoch, index) of its samples; since the terms were last
        # looked at
        self._recent: dict[int, tuple[int, list[tuple[int, int]]]] = {}

    def run(self, stop: StopRequest) -> Outcome:
        """Train from the trainer's position to the end, to a signal, or to the time limit.

        Raises:
            GuardError: a term or a gradient is not finite.
            WriteError: the last state could not be written.
        """
        deadline = time.monotonic() + 60 * (self.config.train.max_minutes or math.inf)
        while True:
            self._open_logger()
            stream = self.open_stream(self.trainer.images)
            try:
                return self._advance(stream, stop, deadline)
            except NonFiniteError as error:
                self._go_back(error)
            finally:
                stream.close()
                if self._logger:
                    self._logger.close()

    def _open_logger(self) -> None:
        if self.trainer.rank.is_main:
            log = self.config.log
            self._logger = MetricsLogger(
                self.folder, self.trainer.total, self.trainer.images, log.tensorboard
            )
            self.health.replay(read_rows(self.folder / METRICS))
            for note in (*self.source.notes, *self.trainer.method.notes):
                self._logger.note(self.trainer.images, "data", note)

    def _advance(self, stream: Stream, stop: StopRequest, deadline: float) -> Outcome:
        trainer, rank = self.trainer, self.trainer.rank
        if trainer.images == 0:
            self._sample()
            self._save()
        asked, failure = 0, None
        while trainer.images < trainer.total:
            batches, failure = self._fetch(stream)
            own = (
                _NO_DATA
                if failure
                else stop.signal or (_TIME_UP if time.monotonic() > deadline else 0)
            )
            if asked := rank.any(own):
                break
            self._step(batches)
        finished = trainer.images >= trainer.total
        if finished:
            self._row()
            self._sample()
        self._save(last=True)
        if failure:
            raise failure
        if asked == _NO_DATA:
            raise RankLostError(
                "another process of this run could not read its images; its own last lines say why."
            )
        return Outcome(trainer.images, finished, 0 if asked == _TIME_UP else asked)

    def _fetch(self, stream: Stream) -> tuple[list[Batch], Exception | None]:
        """Take the batches of one step; an error is returned, since what was learned is saved before it is raised."""
        began = time.monotonic()
        try:
            batches = [next(stream) for _ in range(self.config.train.accumulate)]
        except Exception as error:
            return [], error
        warnings = [warning for batch in batches for warning in batch.warnings]
        if self._logger:
            self._logger.add_data_time(time.monotonic() - began)
            for warning in warnings:
                self._logger.event(self.trainer.images, "data", warning)
        elif warnings:  # the report is the first process's; the log is everybody's
            with suppress(OSError):  # of a log on a full disk
                print("\n".join(warnings), file=sys.stderr, flush=True)
        return batches, None

    def _step(self, batches: list[Batch]) -> None:
        trainer, train = self.trainer, self.config.train
        before = trainer.images
        given = [batch.images for batch in batches]
        if before in self._skipped:
            trainer.skip(given)
        else:
            self._recent[trainer.updates] = (
                before,
                [key for batch in batches for key in batch.keys],
            )
            trainer.step(given)
        if self._logger:
            self._logger.progress(trainer.images)
        if _crossed(before, trainer.images, self.config.log.every_images):
            self._row()
        if (
            _crossed(before, trainer.images, self.config.log.sample_every_images)
            and trainer.images < trainer.total
        ):
            self._sample()
        if (
            _crossed(before, trainer.images, train.checkpoint_every_images)
            and trainer.images < trainer.total
        ):
            self._save()

    def _row(self) -> None:
        terms = self.trainer.pop_metrics()
        self._recent.clear()
        if self._logger and terms:
            epoch = self.trainer.images / len(self.source)
            self._logger.log(self.trainer.images, epoch, terms, self.trainer.rates())
            for line in self.health.update({"images": self.trainer.images} | terms):
                self._logger.event(self.trainer.images, "health", line)

    def _sample(self) -> None:
        if not self._logger:
            return
        picture = self.draw(self.trainer.translators())
        path = self.folder / "samples" / f"{self.trainer.images:08d}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            images.encode(picture, path, "PNG")
            self._logger.log_images(self.trainer.images, picture)
        except (OSError, WriteError, images.ImageError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else error.reason
            text = f"{path.parent}: a sample sheet was not written ({reason}). Training goes on."
            self._logger.event(self.trainer.images, "disk", text)

    def _save(self, last: bool = False) -> None:
        trainer = self.trainer
        if not trainer.rank.any(
            trainer.images != self._saved
        ):  # only the first knows that it could not write
            return
        trainer.check_terms()
        state = trainer.state() | {"epoch_images": len(self.source)}
        if not self._logger:
            self._saved = trainer.images
            return
        weights = self.pack(trainer.translators(), trainer.images)
        try:
            publish(
                self.folder / CHECKPOINTS,
                trainer.images,
                state,
                weights,
                self.config.train.keep_checkpoints,
            )
            write_atomically(self.folder / WEIGHTS, weights)
        except WriteError as error:
            if last:
                raise
            if not self._failing:
                kept = (
                    "the last good checkpoint is intact"
                    if steps(self.folder / CHECKPOINTS)
                    else "there is none yet"
                )
                self._logger.event(trainer.images, "disk", f"{error} Training goes on; {kept}.")
            self._failing = True
            return
        if self._failing:
            self._logger.event(trainer.images, "disk", "checkpoints are written again")
        self._saved, self._failing = trainer.images, False

    # -- the guard ---------------------------------------------------------------------------------

    def _go_back(self, error: NonFiniteError) -> None:
        """Return to the newest checkpoint and pass over the step that broke, or stop.

        Raises:
            GuardError: to stop is what the settings say, or going back has not helped.
        """
        position, keys = self._recent.get(error.update, (self.trainer.images, []))
        files = [file for key in dict.fromkeys(keys) for file in self.source.files(*key)]
        files = [file for part in self.trainer.rank.gather(files) for file in part]
        said = f"after {position} images: {error}. Files of that step: {', '.join(files) or 'unknown'}."
        if self.config.train.on_nonfinite == "stop":
            raise self._guard(
                said,
                "Resume with --set train.on_nonfinite=rollback to go back and pass over them, or with a lower optim.lr.",
            )
        last, row = self._rollbacks
        self._rollbacks = (error.update, row + 1 if error.update < last + _APART else 1)
        if self._rollbacks[1] > _MOST_ROLLBACKS:
            raise self._guard(
                said,
                f"Passing over {_MOST_ROLLBACKS} batches has not helped. Resume with a lower optim.lr.",
            )
        self._skipped.add(position)
        path, damaged = newest(self.folder / CHECKPOINTS)
        self.trainer.restore(load_state(path))
        self._saved = self.trainer.images
        self._recent.clear()
        if self._logger:
            text = f"{said} Back to {path}; this step will be passed over."
            for line in (text, *(f"passed over a damaged checkpoint: {line}" for line in damaged)):
                self._logger.event(self.trainer.images, "guard", line)

    def _guard(self, said: str, mend: str) -> GuardError:
        return GuardError(
            f"stopped {said} The last good state is in {self.folder / CHECKPOINTS}. Look for constant or broken "
            f"images. {mend} optim.clip=1 and --precision fp32 help too."
        )


def _crossed(before: int, now: int, interval: int) -> bool:
    return before // interval != now // interval
