"""Decoding, the network and encoding of many images, overlapping in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch

from i2i.files import DiskFullError, WriteError
from i2i.images import Array, ImageError
from i2i.translation.decoding import Item, TooLarge, decode, reason_of
from i2i.translation.memory import NotEnoughMemoryError
from i2i.translation.options import Options
from i2i.translation.plan import Task
from i2i.translation.translator import Translator

_HELD_PIXELS = 2**26  # of decoded images that wait for others of their size
_HELD_IMAGES = 64
_PASSED_PIXELS = 2**26  # that may overtake one that waits: a tar keeps their outputs until then
_LEAST_PIXELS = 2**18  # as which an image that overtakes counts
RISKY = 0.25  # part of the free memory: what is free changes, and the need is an estimate


class Sink(Protocol):
    """Destination of outputs. `write` is called in several threads, the other methods in one."""

    def marked(self, batch: list[Item]) -> AbstractContextManager[None]:
        """Note down for the time of the block that a batch may not be survived."""

    def write(self, item: Item, array: Array) -> Any:
        """Write or encode an output, [H, W, C]; `finish` is given what this returns."""

    def finish(self, item: Item, result: Any) -> None:
        """Take an output that is complete."""

    def fail(self, task: Task, reason: str) -> None:
        """Take the reason why there is no output."""


class Pipeline:
    """Translates images one after the other; what fails is reported to `sink`, and stops nothing.

    Raises:
        DiskFullError, and whatever the tasks raise: in both cases no further image is begun.
    """

    def __init__(self, translator: Translator, options: Options, sink: Sink) -> None:
        self.translator, self.options, self.sink = translator, options, sink
        self._writing: deque[tuple[Item, Future[Any]]] = deque()

    @property
    def threads(self) -> int:
        """Threads that decode, and as many that encode."""
        return self.options.threads or min(16, os.cpu_count() or 1)

    def run(self, tasks: Iterator[Task]) -> None:
        """Decode, translate and write all tasks, which are asked for when they are needed."""
        size, usual = self.options.batch, self.translator.batch_of
        with _threads(self.threads) as readers, _threads(self.threads) as writers:
            for batch in _batches(self._decoded(tasks, readers), size, usual):
                for item, array in self._translated(batch):
                    future = writers.submit(self.sink.write, item, array)
                    self._writing.append((item, future))
                    self._finish(self._window(array) + len(batch))
            self._finish(0)

    def _decoded(self, tasks: Iterator[Task], readers: ThreadPoolExecutor) -> Iterator[Item]:
        """Yield the images that can be read, in order, while further ones are being decoded."""
        reading: deque[tuple[Task, Future[Item | str]]] = deque()
        window = 2  # until the size of the images is known
        while True:
            while len(reading) < window and (task := next(tasks, None)):
                future = readers.submit(decode, task, self.translator, self.options)
                reading.append((task, future))
            if not reading:
                return
            task, future = reading.popleft()
            item = future.result()
            if isinstance(item, str):
                self.sink.fail(task, item)
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
            if len(batch) == 1 and self._writing:  # their memory may be what it needs
                self._finish(0)
                yield from self._translated(batch)
                return
            if len(batch) == 1 and self.options.size == "keep":
                self.sink.fail(first.task, TooLarge(error.explanation))
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
            self.sink.fail(first.task, failure.explanation)
            return
        if self.translator.device.type == "cuda":
            torch.cuda.empty_cache()
        yield from self._translated(batch[: len(batch) // 2])
        yield from self._translated(batch[len(batch) // 2 :])

    def _marked(self, batch: list[Item]) -> AbstractContextManager[None]:
        """Mark a batch that may not be survived: if so, the next run leaves it out."""
        height, width = batch[0].pixels.shape[:2]
        risky = self.translator.memory.share(height, width) >= RISKY
        return self.sink.marked(batch) if risky else nullcontext()

    def _finish(self, limit: int) -> None:
        """Wait until no more than `limit` outputs are being written."""
        while len(self._writing) > limit:
            item, future = self._writing.popleft()
            try:
                result = future.result()
            except DiskFullError:
                raise
            except (ImageError, WriteError) as error:
                self.sink.fail(item.task, reason_of(error, item.task))
            else:
                self.sink.finish(item, result)

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


def _batches(
    items: Iterable[Item], size: int | None, usual: Callable[[int], int]
) -> Iterator[list[Item]]:
    """Gather images of one size and depth, looking ahead as far as memory allows.

    `usual`: number of images that go together, by the pixels of one, where no `size` is given.
    """
    waiting: dict[object, list[Item]] = {}
    since: dict[object, int] = {}  # what had passed when a batch began to wait
    held_pixels = held_images = passed = 0
    limit_held = max(_HELD_IMAGES, 4 * (size or 0))

    def take(key: object) -> list[Item]:
        nonlocal held_pixels, held_images
        batch = waiting.pop(key)
        held_pixels -= sum(_area(item.pixels) for item in batch)
        held_images -= len(batch)
        return batch

    for item in items:
        area = _area(item.pixels)
        key = (item.pixels.shape, item.pixels.dtype, item.depth)
        if key not in waiting:
            waiting[key], since[key] = [], passed
        waiting[key].append(item)
        passed += max(area, _LEAST_PIXELS)
        held_pixels, held_images = held_pixels + area, held_images + 1
        if len(waiting[key]) >= (size or usual(area)):
            yield take(key)
        while waiting and (
            held_pixels > _HELD_PIXELS
            or held_images > limit_held
            or passed - since[next(iter(waiting))] > max(_PASSED_PIXELS, limit_held * _LEAST_PIXELS)
        ):
            yield take(next(iter(waiting)))  # the oldest, however few it has gathered
    yield from waiting.values()


def _area(pixels: Array) -> int:
    return int(pixels.shape[0]) * int(pixels.shape[1])
