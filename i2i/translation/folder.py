"""Translate many files: decoding, the network and encoding overlap, in bounded memory.

A bad file stops nothing. What could go wrong as a whole is refused by `make_plan` before the first
image.
"""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from i2i import images
from i2i.files import DiskFullError, WriteError, write_error
from i2i.images import Array, ImageError
from i2i.translation import Progress, TranslationError
from i2i.translation.decoding import Item, decode, reason_of
from i2i.translation.inputs import Source
from i2i.translation.manifest import Step, result
from i2i.translation.memory import NotEnoughMemoryError
from i2i.translation.options import Options
from i2i.translation.plan import Plan, Task, make_plan
from i2i.translation.recording import Recorder
from i2i.translation.translator import Translator

_BATCH_PIXELS = 2**22  # of one automatic batch: 16 images of 512 x 512
_BATCH_IMAGES = 16  # more gained nothing
_HELD_PIXELS = 2**26  # of decoded images that wait for others of their size
_HELD_IMAGES = 64
_ANNOUNCED = 64  # outputs at once
_RISKY = 0.25  # part of the free memory: what is free changes, and the need is an estimate


@dataclass(frozen=True)
class Report:
    """The outcome for every input of this shard: written, skipped or failed."""

    written: int
    skipped: int  # done by an earlier run, with the same model, options and input
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
) -> Report:
    """Translate a file, a folder with its subfolders, or a pattern, into a folder that mirrors it.

    A single file may also be translated into a single file. For a model of stacked inputs `source`
    is a list with the folder (or file) of each, in the order of training; outputs are named after
    the first. Outputs keep stem, format, depth and size of their inputs unless `options` ask for
    others. Run again, a stopped job continues.

    Raises:
        TranslationError, WriteError: nothing was begun (see `make_plan`), or the disk is full; then
            a rerun continues.
    """
    start = time.perf_counter()
    options = options or Options()
    plan = make_plan(translator, source, output, options)
    job = _FolderJob(plan, translator, options, progress)
    try:
        with plan.manifest if plan.manifest and plan.tasks else nullcontext():
            job.run()
    except DiskFullError as error:
        reason = f"stopped after {job.written} images: {error.reason}"
        hint = "Nothing is half-written: free some space and run the same command again to continue"
        raise TranslationError(output, reason, hint) from None
    notes = [
        f"{note} ({len(names)}, first: {min(names)})" for note, names in sorted(job.notes.items())
    ]
    seconds = time.perf_counter() - start
    failed = sorted(job.failed.items())
    return Report(job.written, plan.done, failed, plan.ignored, plan.notes + notes, seconds)


@dataclass
class _FolderJob:
    """The pipeline of one job, and its results so far."""

    plan: Plan
    translator: Translator
    options: Options
    progress: Progress | None
    written: int = 0
    announced: int = 0  # tasks that the record says are about to be written
    notes: dict[str, list[str]] = field(default_factory=dict)  # note -> outputs
    writing: deque[tuple[Item, Future[None]]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.failed = dict(self.plan.failed)  # relative path of the input -> reason
        self.recorder = Recorder(self.plan.manifest)

    @property
    def threads(self) -> int:
        """Threads that decode, and as many that encode."""
        return self.options.threads or min(16, os.cpu_count() or 1)

    def run(self) -> None:
        """Decode, translate and encode all tasks.

        Raises:
            DiskFullError: there is no room for an output or its record.
        """
        # On a CPU a batch is computed image by image.
        limit = self.options.batch or (1 if self.translator.device.type == "cpu" else None)
        with self.recorder, _threads(self.threads) as readers, _threads(self.threads) as writers:
            for batch in _batches(self._decoded(readers), limit):
                for item, array in self._translated(batch):
                    self.writing.append((item, writers.submit(self._write, item, array)))
                    self._finish(self._window(array) + len(batch))
            self._finish(0)
        for task in self.plan.tasks:
            if task.relative not in self.failed and not task.target.exists():
                self.written -= 1
                self.failed[task.relative] = "its output was removed while others were written"

    def _decoded(self, readers: ThreadPoolExecutor) -> Iterator[Item]:
        """Yield the images that can be read, in order, while further ones are being decoded."""
        pending = deque(self.plan.tasks)
        reading: deque[tuple[Task, Future[Item | str]]] = deque()
        window = 2  # until the size of the images is known
        while pending or reading:
            while pending and len(reading) < window:
                if not self.announced:
                    self._announce(list(islice(pending, _ANNOUNCED)))
                self.announced -= 1
                task = pending.popleft()
                future = readers.submit(decode, task, self.translator, self.options)
                reading.append((task, future))
            task, future = reading.popleft()
            item = future.result()
            if isinstance(item, str):
                self._fail(task, item)
            else:
                window = self._window(item.pixels)
                yield item

    def _translated(self, batch: list[Item]) -> Iterator[tuple[Item, Array]]:
        """Yield each item of a batch with its output, [H, W, C], unless there is none."""
        first = batch[0]
        try:
            height, width = first.pixels.shape[:2]
            with self._marked(batch), self.translator.memory.guarded(height, width):
                # no name for the stacked copy: it would stay in memory while outputs are written
                results = self.translator.pixels(
                    first.pixels[None] if len(batch) == 1 else np.stack([i.pixels for i in batch]),
                    first.depth,
                )
        except NotEnoughMemoryError as error:
            if len(batch) == 1 and self.writing:  # their memory may be what it needs
                self._finish(0)
                yield from self._translated(batch)
                return
            reason, hint = error.reason, error.hint
        except ImageError:
            reason = "the network returned values that are not finite"
            hint = "fp16 overflows: use --precision fp32"
        else:
            yield from zip(batch, results, strict=True)
            return
        if len(batch) == 1:
            failure = ImageError(first.task.source, reason, hint)
            self._fail(first.task, failure.explanation)
            return
        if self.translator.device.type == "cuda":
            torch.cuda.empty_cache()
        yield from self._translated(batch[: len(batch) // 2])
        yield from self._translated(batch[len(batch) // 2 :])

    def _announce(self, tasks: list[Task]) -> None:
        """Record what will be written: files that a power cut leaves behind are then ours."""
        self.announced = len(tasks)
        if self.plan.manifest:
            steps = [Step(task.relative, task.output) for task in tasks]
            self.plan.manifest.add("writing", steps, flush=True)

    @contextmanager
    def _marked(self, batch: list[Item]) -> Iterator[None]:
        """Record a batch that may not be survived: if so, the next run leaves it out."""
        height, width = batch[0].pixels.shape[:2]
        manifest = self.plan.manifest
        if not manifest or self.translator.memory.share(height, width) < _RISKY:
            yield
            return
        steps = [Step(item.task.relative, item.task.output, item.stamp) for item in batch]
        manifest.add("started", steps)
        try:
            yield
        finally:
            manifest.add("writing", steps)

    def _write(self, item: Item, array: Array) -> None:
        task, manifest = item.task, self.plan.manifest
        try:
            if manifest:
                manifest.check()
            task.target.parent.mkdir(parents=True, exist_ok=True)
            if item.alpha is not None:
                array = np.concatenate([array, images.to_depth(item.alpha, item.depth)], axis=2)
            alpha = item.alpha is not None or self.translator.target.alpha
            marks = item.missing
            images.encode(array, task.target, metadata=item.metadata, alpha=alpha, missing=marks)
            details = item.stamp | result(task.target)
        except OSError as error:
            raise write_error(task.target, error) from None
        except MemoryError:
            raise ImageError(task.target, "not enough memory to write it") from None
        self.recorder.add(task.target, Step(task.relative, task.output, details))

    def _finish(self, limit: int) -> None:
        """Wait until no more than `limit` outputs are being written."""
        while len(self.writing) > limit:
            item, future = self.writing.popleft()
            try:
                future.result()
            except DiskFullError:
                raise
            except (ImageError, WriteError) as error:
                self._fail(item.task, reason_of(error, item.task))
            else:
                self.written += 1
                for note in item.notes:
                    self.notes.setdefault(note, []).append(item.task.output)
                self._advance()

    def _fail(self, task: Task, reason: str) -> None:
        self.failed[task.relative] = reason
        if self.plan.manifest:
            step = Step(task.relative, task.output, {"reason": reason})
            self.plan.manifest.add("failed", [step])
        self._advance()

    def _advance(self) -> None:
        if self.progress:
            failed = len(self.failed) - len(self.plan.failed)
            self.progress(self.written + failed, len(self.plan.tasks))

    def _window(self, pixels: Array) -> int:
        """Return how many images like this may wait: enough for all threads, fewer if huge."""
        return max(2, min(2 * self.threads, _HELD_PIXELS // _area(pixels)))


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, what has not begun must not begin


def _batches(items: Iterable[Item], limit: int | None) -> Iterator[list[Item]]:
    """Gather images of one size and depth, looking ahead as far as memory allows."""
    waiting: dict[object, list[Item]] = {}
    held_pixels = held_images = 0

    def take(key: object) -> list[Item]:
        nonlocal held_pixels, held_images
        batch = waiting.pop(key)
        held_pixels -= sum(_area(item.pixels) for item in batch)
        held_images -= len(batch)
        return batch

    for item in items:
        area = _area(item.pixels)
        key = (item.pixels.shape, item.pixels.dtype, item.depth)
        waiting.setdefault(key, []).append(item)
        held_pixels, held_images = held_pixels + area, held_images + 1
        if len(waiting[key]) >= (limit or max(1, min(_BATCH_IMAGES, _BATCH_PIXELS // area))):
            yield take(key)
        while held_pixels > _HELD_PIXELS or held_images > max(_HELD_IMAGES, 4 * (limit or 0)):
            yield take(next(iter(waiting)))  # the oldest, however few it has gathered
    yield from waiting.values()


def _area(pixels: Array) -> int:
    return int(pixels.shape[0]) * int(pixels.shape[1])
