"""A run from its first image to its last: steps, periodic actions, stopping without losing work."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.checkpoint import CHECKPOINTS, WEIGHTS, publish, steps
from i2i.config import Config
from i2i.console import log
from i2i.errors import I2IError
from i2i.files import METRICS, SAMPLES, WriteError, own_folder, read_rows, write_atomically
from i2i.methods._base import Images
from i2i.signals import Stopped, StopRequest
from i2i.training.distributed import RankLostError
from i2i.training.guard import Guard, Key
from i2i.training.health import Health
from i2i.training.meter import NonFiniteError
from i2i.training.metrics_logger import MetricsLogger
from i2i.training.trainer import Trainer
from i2i.training.validation import Nets, Validation

# reasons to stop besides signals, and larger than their numbers, so that all ranks agree on one
_TIME_LIMIT, _NO_PATIENCE, _NO_DATA = 1000, 1500, 2000
_PAUSE_SECONDS = 2.0  # between attempts to write the last state


class Batch(Protocol):
    """Images of one step, the (epoch, index) of each, and warnings from reading them."""

    @property
    def images(self) -> Images: ...
    @property
    def keys(self) -> Sequence[Key]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


Stream = Generator[Batch, None, None]
Draw = Callable[[Nets], NDArray[np.uint8]]  # -> sample sheet [H, W, 3]
Pack = Callable[[Nets, int], bytes]  # networks, position -> weights file


@dataclass(frozen=True)
class RunContext:
    """Parts of a run that its loop uses next to the trainer."""

    folder: Path
    open_stream: Callable[[int], Stream]  # position in images -> the batches that follow
    files: Callable[[int, int], list[str]]  # epoch, index -> paths behind a sample
    epoch_images: int  # length of the data set
    notes: Sequence[str]  # on data and method, for the report
    draw: Draw | None  # None: another process draws
    pack: Pack
    health: Health
    facts: Mapping[str, Any]  # what a resumed run is compared with: for the manifest
    check_owner: Callable[[], None]  # raises if the folder is no longer this process's
    validation: Validation | None = None  # None: none, or another process validates
    check_start: Callable[[Images], Sequence[str]] = lambda _: ()  # first batch -> warnings
    write_page: Callable[[str], None] = lambda _: None  # with the reason of the end, or ""


@dataclass(frozen=True)
class Outcome:
    """End of a run: at `images`, finished, or stopped by `signal` or by the time limit."""

    images: int
    finished: bool
    signal: int = 0
    early: str = ""  # why it finished before its last image

    @property
    def ended(self) -> str:
        """Words for the report."""
        if self.signal:
            return f"stopped by signal {self.signal}; resume with --resume"
        if self.early:
            return f"finished early: {self.early}"
        return "finished" if self.finished else "stopped by train.max_minutes; resume with --resume"


@dataclass(frozen=True)
class Every:
    """An action that is due whenever `interval` more images were seen, at the start and the end."""

    interval: int
    action: Callable[[], None]
    at_end: bool = True
    at_start: bool = True

    def is_due(self, before: int, now: int) -> bool:
        """Return True if a step from `before` to `now` images reached a multiple of `interval`."""
        return before // self.interval != now // self.interval


class Loop:
    """One run folder being trained."""

    def __init__(self, trainer: Trainer, config: Config, run: RunContext) -> None:
        self.trainer, self.config, self.context = trainer, config, run
        self.checkpoints = run.folder / CHECKPOINTS
        self.guard = Guard(trainer, self.checkpoints, run.files)
        self.table = [
            Every(config.log.every_images, self._log_row),
            Every(config.log.sample_every_images, self._log_samples),
        ]
        if interval := config.validate.every_images:
            self.table.append(Every(interval, self._validate, at_start=False))
        save = Every(config.train.checkpoint_every_images, self._try_save, at_end=False)
        self.table.append(save)
        self._logger: MetricsLogger | None = None  # of the main rank
        self._saved = trainer.images or -1  # position of the newest checkpoint
        self._failed_saves, self._failing_since = 0, ""

    def run(self, stop: StopRequest) -> Outcome:
        """Train from the trainer's position to the end, to a signal, or to the time limit.

        Raises:
            GuardError: a term or a gradient is not finite.
            WriteError: the first state, or the last, could not be written.
            InUseError: the folder was taken away.
            RankLostError: another process could not read its images.
        """
        deadline = time.monotonic() + 60 * (self.config.train.max_minutes or math.inf)
        while True:
            open_stream, position = self.context.open_stream, self.trainer.images
            with self._open_logger(), closing(open_stream(position)) as stream:
                try:
                    return self._train(stream, stop, deadline)
                except NonFiniteError as error:
                    events = self.guard.recover(error)
                self._saved = self.trainer.images
                for text in events:
                    self._event("guard", text)

    @contextmanager
    def _open_logger(self) -> Iterator[None]:
        trainer, folder = self.trainer, self.context.folder
        if not trainer.rank.is_main:
            yield
            return
        logger = MetricsLogger(folder, trainer.total, trainer.images, self.config)
        if lost := trainer.record.repair_best(folder):
            log(f"note: {lost}")
        with closing(logger) as self._logger:
            self.context.health.replay(read_rows(folder / METRICS))
            for note in self.context.notes:
                logger.event(trainer.images, "data", note, quiet=True)
            yield

    def _train(self, stream: Stream, stop: StopRequest, deadline: float) -> Outcome:
        trainer = self.trainer
        reason, failure, early = 0, None, ""
        while trainer.images < trainer.total:
            batches, failure = self._fetch(stream, stop)
            own_reason = stop.signal or (_TIME_LIMIT if time.monotonic() > deadline else 0)
            if early := self._exhausted():
                own_reason = _NO_PATIENCE
            reason = trainer.rank.any(_NO_DATA if failure else own_reason)
            if trainer.images == 0 and reason != _NO_DATA:
                if self._logger and batches:  # the main rank alone
                    for text in self.context.check_start(batches[0].images):
                        self._event("start", text)
                self._save()  # where that is impossible, training would be in vain
                for entry in self.table:
                    if entry.at_start:
                        entry.action()
            if reason:
                break
            self._step(batches)
        finished = trainer.images >= trainer.total
        if finished:
            for entry in self.table:
                if entry.at_end:
                    entry.action()
        if trainer.images or reason != _NO_DATA:
            self._save(self.config.train.save_retry_seconds)
        if reason == _NO_DATA and trainer.images and self._logger:
            folder = self.context.folder
            log(f"saved after {trainer.images} images; continue with i2i resume {folder}")
        if failure:
            raise failure
        if reason == _NO_DATA:
            cause = "another process of this run could not read its images"
            raise RankLostError(f"rank {trainer.rank.rank}", cause, "Its last lines say why")
        if reason == _NO_PATIENCE:
            self._event("validation", early)
            return Outcome(trainer.images, True, early=early)
        return Outcome(trainer.images, finished, 0 if reason == _TIME_LIMIT else reason)

    def _exhausted(self) -> str:
        """Return why training ends early, or ""."""
        record, patience = self.trainer.record, self.config.validate.patience
        if patience is None or record.since < patience:
            return ""
        best = f"{record.value:.4g} after {record.images} images"
        return f"{record.metric} has not improved on {best} in {record.since} validations"

    def _fetch(self, stream: Stream, stop: StopRequest) -> tuple[list[Batch], Exception | None]:
        """Return the batches of one step, or an error to raise once the state is saved.

        No batches where a signal ends the wait for them.
        """
        began = time.monotonic()
        try:
            with stop.interrupting():
                batches = [next(stream) for _ in range(self.config.train.accumulate)]
        except Stopped:
            return [], None
        except Exception as error:
            return [], error
        if self._logger:
            self._logger.add_data_time(time.monotonic() - began)
        for warning in (warning for batch in batches for warning in batch.warnings):
            self._event("data", warning)
            if not self._logger:  # the report is the main rank's, the screen is everybody's
                log(warning)
        return batches, None

    def _step(self, batches: Sequence[Batch]) -> None:
        trainer = self.trainer
        before = trainer.images
        batch_images = [batch.images for batch in batches]
        if self.guard.admit([key for batch in batches for key in batch.keys]):
            trainer.step(batch_images)
            for text in trainer.graphs.pop_notices():
                self._event("cuda graphs", text)
        else:
            trainer.skip(batch_images)
        if self._logger:
            self._logger.show_progress(trainer.images, self._trouble())
        for entry in self.table:
            if entry.is_due(before, trainer.images) and trainer.images < trainer.total:
                entry.action()

    def _event(self, kind: str, text: str) -> None:
        if self._logger:
            self._logger.event(self.trainer.images, kind, text)

    # -- actions -----------------------------------------------------------------------------------

    def _log_row(self) -> None:
        trainer = self.trainer
        metrics, histograms = trainer.pop_metrics(), trainer.pop_histograms()
        self.guard.clear()
        if self._logger and metrics:
            epoch = trainer.images / self.context.epoch_images
            self._logger.log(trainer.images, epoch, metrics, trainer.lrs(), histograms)
            for text in self.context.health.update({"images": trainer.images} | metrics):
                self._event("health", text)

    def _log_samples(self) -> None:
        if not self._logger or not self.context.draw:
            return
        sheet = self.context.draw(self.trainer.translators())
        path = self.context.folder / SAMPLES / f"{self.trainer.images:08d}.png"
        try:
            own_folder(path.parent)
            images.encode(sheet, path, "PNG")
            self._logger.log_images(self.trainer.images, sheet)
        except (OSError, I2IError) as error:
            reason = error.reason if isinstance(error, I2IError) else error.strerror or error
            text = f"{path.parent}: a sample sheet was not written ({reason}). Training continues."
            self._event("disk", text)

    def _validate(self) -> None:
        """Score the networks, and save them if they are the best; the main rank works alone."""
        trainer, rank, before = self.trainer, self.trainer.rank, self.trainer.record
        if before.validated == trainer.images:
            return  # a run that is resumed at its end
        if self.context.validation:
            self._score(self.context.validation)
            rank.any(0)
        else:
            while rank.any(0):  # the main rank says that it is busy, however long that takes
                pass
        if rank.any(trainer.record.images == trainer.images):
            self._try_save()
            if self._failed_saves:  # the best is what can be kept
                trainer.record = replace(before, validated=trainer.images, since=before.since + 1)
        trainer.record = rank.gather(trainer.record)[0]
        if self.context.validation:
            self.context.validation.prune(trainer.record.images, trainer.record.validated)
            self.context.write_page("")

    def _say_busy(self) -> None:
        self.trainer.rank.any(1)

    def _score(self, validation: Validation) -> None:
        trainer = self.trainer
        images, before = trainer.images, trainer.record
        try:
            scored = validation.score(trainer.translators(), images, self._say_busy)
        except I2IError as error:
            return self._event("validation", f"no scores ({error}). Training continues.")
        if scored.trouble:
            self._event("disk", f"{scored.trouble}. Training continues.")
        metric, code = scored.metric, scored.protocol_hash
        if before.metric and not before.comparable(metric, code):
            text = f"{metric} under protocol {code} is not compared with what was scored before: "
            self._event("validation", f"{text}the best starts from scratch")
        trainer.record = before.after(images, metric, code, scored.value, scored.higher_is_better)
        if self._logger:
            epoch = images / self.context.epoch_images
            self._logger.log_validation(scored.row(images, epoch, trainer.record.images == images))

    def _trouble(self) -> str:
        if not self._failed_saves:
            return ""
        return f"NOT SAVED: {self._failed_saves} failures since {self._failing_since}"

    def _try_save(self) -> None:
        try:
            self._save()
        except WriteError as error:
            if not self._failed_saves:
                self._failing_since = time.strftime("%H:%M")
                intact = "the last good checkpoint is intact"
                state = intact if steps(self.checkpoints) else "there is none yet"
                reason = f"{error.subject}: {error.reason}"
                self._event("disk", f"{reason}. Training continues; {state}.")
            self._failed_saves += 1

    def _save(self, patience: float = 0.0) -> None:
        """Write a checkpoint and the run's weights, or raise WriteError; once for a position.

        Args:
            patience: seconds for which writing is tried again.
        """
        trainer = self.trainer
        # only the main rank knows when it could not write
        if not trainer.rank.any(trainer.images != self._saved):
            return
        state = trainer.state() | {"epoch_images": self.context.epoch_images}
        if self._logger:
            weights = self.context.pack(trainer.translators(), trainer.images)
            self._write(state, weights, time.monotonic() + patience)
            if self._failed_saves:
                self._event("disk", "checkpoints are written again")
        self._saved, self._failed_saves = trainer.images, 0

    def _write(self, state: Mapping[str, Any], weights: bytes, deadline: float) -> None:
        keep, facts, waiting = self.config.train.keep_checkpoints, self.context.facts, False
        while True:
            self.context.check_owner()
            try:
                publish(self.checkpoints, self.trainer.images, state, weights, keep, facts)
                write_atomically(self.context.folder / WEIGHTS, weights)
                if self.trainer.record.images == self.trainer.images > 0:
                    self.trainer.record.write_best(self.context.folder, weights)
                return
            except WriteError as error:
                if (left := deadline - time.monotonic()) <= 0:
                    raise
                if not waiting:
                    reason = f"{error.subject}: {error.reason}"
                    log(f"{reason}. The last state is not saved; trying for {left:.0f} s more.")
                waiting = True
                time.sleep(min(left, _PAUSE_SECONDS))
