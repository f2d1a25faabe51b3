"""Translate many files: decoding, the network and encoding overlap; memory is bounded; a bad file stops nothing.

Everything that could go wrong as a whole is refused by `plan` before the first image.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from i2i import images
from i2i.errors import I2IError
from i2i.files import DiskFullError, WriteError, is_disk_full
from i2i.images import Array, ImageError
from i2i.images.spec import opened
from i2i.translation import TranslationError
from i2i.translation.inputs import Source
from i2i.translation.manifest import Manifest, Stamp, stamp
from i2i.translation.plan import Half, Job, Options, Plan, Size, make_plan
from i2i.translation.translator import Translator

_BATCH_PIXELS = 2**22  # of one automatic batch: 16 images of 512 x 512
_BATCH_IMAGES = 16  # more gained nothing
_HELD_PIXELS = 2**26  # of decoded images that wait for others of their size
_HELD_IMAGES = 64


@dataclass(frozen=True)
class Report:
    """What became of every input of this shard: written, skipped or failed."""

    written: int
    skipped: int  # done by an earlier run, with the same model, options and input
    failed: list[tuple[str, str]]  # (relative path of the input, reason)
    ignored: int  # files that are not images
    notes: list[str]  # what is not as one might expect
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Images written in a second of this run, everything included."""
        return self.written / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class _Item:
    job: Job
    inputs: Stamp
    pixels: Array  # [H, W, C], as the network takes it
    depth: int  # bits of the output
    alpha: Array | None = None  # [H, W, 1], put back onto the output
    note: str = ""


@dataclass
class _Tally:
    written: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)  # note -> outputs


def translate_folder(
    translator: Translator,
    source: Source,
    output: str | os.PathLike[str],
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Translate a file, a folder with all its subfolders, or a glob pattern, into a folder that mirrors it.

    A single file may also be translated into a single file. For a model of stacked inputs `source`
    is a list with the folder (or file) of each, in the order of training; outputs are named after
    the first. Outputs keep stem, format, depth and size of their inputs unless `options` ask for
    others. Run again, a stopped job goes on. `progress` is called with images done and total.

    Raises:
        TranslationError: nothing was begun (see `make_plan`), or the disk is full; then a rerun
            goes on.
    """
    start = time.perf_counter()
    chosen = options or Options()
    plan = make_plan(translator, source, output, chosen)
    tally = _Tally()
    try:
        with plan.manifest or nullcontext():
            _run(plan, translator, chosen, tally, progress)
    except (DiskFullError, OSError) as error:
        if isinstance(error, OSError) and not is_disk_full(error):
            raise
        raise TranslationError(
            f"{output}: the disk is full after {tally.written} images (nothing is half-written). "
            f"Free some space and run the same command again: it goes on."
        ) from None
    notes = [
        f"{note} ({len(names)}, first: {min(names)})" for note, names in sorted(tally.notes.items())
    ]
    seconds = time.perf_counter() - start
    return Report(
        tally.written, plan.done, sorted(tally.failed), plan.ignored, plan.notes + notes, seconds
    )


def _run(
    plan: Plan,
    translator: Translator,
    options: Options,
    tally: _Tally,
    progress: Callable[[int, int], None] | None,
) -> None:
    threads = options.threads or min(16, os.cpu_count() or 1)
    writing: deque[tuple[_Item, Future[None]]] = deque()

    def advance(job: Job, reason: str | None) -> None:
        if reason is None:
            tally.written += 1
        else:
            tally.failed.append((job.relative, reason))
            if plan.manifest:
                plan.manifest.add(
                    job.relative, job.output, None, "failed", reason=tally.failed[-1][1]
                )
        if progress:
            progress(tally.written + len(tally.failed), len(plan.jobs))

    def finish(limit: int) -> None:
        while len(writing) > limit:
            item, future = writing.popleft()
            try:
                future.result()
            except (ImageError, WriteError, OSError) as error:
                if isinstance(error, DiskFullError) or (
                    isinstance(error, OSError) and is_disk_full(error)
                ):
                    raise
                advance(item.job, _failure(error, item.job))
            else:
                advance(item.job, None)
                if item.note:
                    tally.notes.setdefault(item.note, []).append(item.job.output)

    def good(found: Iterable[_Item | tuple[Job, str]]) -> Iterator[_Item]:
        for item in found:
            if isinstance(item, _Item):
                yield item
            else:
                advance(*item)

    with _threads(threads) as readers, _threads(threads) as writers:
        read = _read_ahead(readers, plan.jobs, translator, options, threads)
        alone = translator.device.type == "cpu"  # where a batch is computed image by image
        for batch in _batches(good(read), options.batch or (1 if alone else None)):
            for item, result in _translate(translator, batch):
                if isinstance(result, str):
                    advance(item.job, result)
                else:
                    writing.append(
                        (
                            item,
                            writers.submit(
                                _write, item, result, translator.target.value_range, plan.manifest
                            ),
                        )
                    )
                    finish(_window(threads, result) + len(batch))
        finish(0)


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, what has not begun must not begin


# -- reading ---------------------------------------------------------------------------------------


def _read_ahead(
    pool: ThreadPoolExecutor,
    jobs: list[Job],
    translator: Translator,
    options: Options,
    threads: int,
) -> Iterator[_Item | tuple[Job, str]]:
    reading: deque[Future[_Item | tuple[Job, str]]] = deque()
    window = 2  # until the size of the images is known
    for job in jobs:
        reading.append(pool.submit(_read, job, translator, options))
        while len(reading) >= window:
            item = reading.popleft().result()
            window = _window(threads, item.pixels) if isinstance(item, _Item) else window
            yield item
    while reading:
        yield reading.popleft().result()


def _window(threads: int, pixels: Array) -> int:
    """Return how many images like this one may wait: enough for all threads, unless they are huge."""
    return max(2, min(2 * threads, _HELD_PIXELS // _area(pixels)))


def _read(job: Job, translator: Translator, options: Options) -> _Item | tuple[Job, str]:
    if job.missing:
        return job, job.missing
    try:
        inputs = stamp(job.files)
        files = [str(file) for file in job.files]
        with opened(files, translator.source, translator.alpha, options.max_pixels) as found:
            pixels, alpha = (
                None if part is None else _fitted(part, options)
                for part in (found.array, found.alpha)
            )
        assert pixels is not None
        depth, note = _output_depth(
            job, found.depth, translator.out_channels + (alpha is not None), options
        )
    except (ImageError, OSError, MemoryError) as error:
        return job, _failure(error, job)
    return _Item(job, inputs, pixels, depth, alpha, note)


def _fitted(pixels: Array, options: Options) -> Array:
    if options.half:
        pixels = _cut(pixels, options.half)
    size = target_size(pixels.shape[0], pixels.shape[1], options.size)
    if size[0] * size[1] > max(options.max_pixels, _area(pixels)):
        raise ImageError(f"would become {size[1]}x{size[0]} pixels (try a smaller --size)")
    return images.resize(pixels, size) if size != pixels.shape[:2] else pixels


def _cut(pixels: Array, half: Half) -> Array:
    width = pixels.shape[1]
    if width % 2:
        raise ImageError(f"a width of {width} pixels cannot be cut into halves")
    left, right = np.split(pixels, 2, axis=1)
    return np.ascontiguousarray(left if half == "left" else right)


def target_size(height: int, width: int, size: Size) -> tuple[int, int]:
    """Return the (height, width) that `size` gives an image: an int is its shorter side, a pair (width, height)."""
    if size == "keep":
        return height, width
    if isinstance(size, tuple):
        return size[1], size[0]
    shorter = min(height, width)
    return round(height * size / shorter), round(width * size / shorter)  # never below `size`


def _output_depth(job: Job, depth: int, channels: int, options: Options) -> tuple[int, str]:
    """Return the bits of the output, and a note if they are fewer than the input's."""
    kind = images.format_of(job.target)
    if not images.supports(
        kind, channels, 8
    ):  # the model's channels were seen to fit: it is the alpha that does not
        raise ImageError(
            f"has alpha, which a {kind} file cannot hold (choose png, or --alpha drop)"
        )
    able = next(
        bits for bits in (depth, 16, 8) if bits <= depth and images.supports(kind, channels, bits)
    )
    if able == depth:
        return depth, ""
    alone = options.format == "keep" and not job.partners  # a stack is as deep as its deepest file
    if able == 8 and alone and images.format_of(job.source) == kind:
        raise ImageError(f"has {depth} bits, which a {kind} file cannot hold (choose png)")
    return able, f"{depth}-bit inputs were written with {able} bits, which is what {kind} holds"


# -- translating -----------------------------------------------------------------------------------


def _batches(items: Iterable[_Item], limit: int | None) -> Iterator[list[_Item]]:
    """Gather images of one size and depth, looking ahead as far as memory allows."""
    waiting: dict[object, list[_Item]] = {}
    held_pixels = held_images = 0

    def take(key: object) -> list[_Item]:
        nonlocal held_pixels, held_images
        batch = waiting.pop(key)
        held_pixels -= sum(_area(item.pixels) for item in batch)
        held_images -= len(batch)
        return batch

    for item in items:
        key = (item.pixels.shape, item.pixels.dtype, item.depth)
        waiting.setdefault(key, []).append(item)
        held_pixels, held_images = held_pixels + _area(item.pixels), held_images + 1
        if len(waiting[key]) >= (
            limit or max(1, min(_BATCH_IMAGES, _BATCH_PIXELS // _area(item.pixels)))
        ):
            yield take(key)
        while held_pixels > _HELD_PIXELS or held_images > max(_HELD_IMAGES, 4 * (limit or 0)):
            yield take(next(iter(waiting)))  # the oldest, whatever it has gathered
    yield from waiting.values()


def _area(pixels: Array) -> int:
    return int(pixels.shape[0]) * int(pixels.shape[1])


def _translate(translator: Translator, batch: list[_Item]) -> Iterator[tuple[_Item, Array | str]]:
    """Yield the output, [H, W, C], or the reason why there is none, for each item of a batch."""
    try:
        results = translator.pixels(np.stack([item.pixels for item in batch]), batch[0].depth)
    except (
        RuntimeError,
        MemoryError,
        ImageError,
    ) as error:  # torch reports a lack of CPU memory as RuntimeError
        if (
            not isinstance(error, ImageError)
            and "memory" not in f"{type(error).__name__} {error}".lower()
        ):
            raise
        reason = _reason(batch[0], error)
    else:
        yield from zip(batch, results, strict=True)
        return
    if len(batch) == 1:
        yield batch[0], reason
        return
    if translator.device.type == "cuda":
        torch.cuda.empty_cache()
    yield from _translate(translator, batch[: len(batch) // 2])
    yield from _translate(translator, batch[len(batch) // 2 :])


def _reason(item: _Item, error: Exception) -> str:
    if isinstance(error, ImageError):
        return (
            "the network returned values that are not finite (fp16 overflows: try --precision fp32)"
        )
    height, width = item.pixels.shape[:2]
    return f"not enough memory for {width}x{height} pixels (try a smaller --size)"


# -- writing ---------------------------------------------------------------------------------------


def _write(
    item: _Item, array: Array, value_range: images.ValueRange, manifest: Manifest | None
) -> None:
    job = item.job
    if manifest:
        manifest.add(job.relative, job.output, item.inputs, "writing")
    job.target.parent.mkdir(parents=True, exist_ok=True)
    if item.alpha is not None:
        array = np.concatenate([array, images.to_depth(item.alpha, item.depth)], axis=2)
    images.encode(array, job.target, value_range=value_range)
    if manifest:
        manifest.add(
            job.relative, job.output, item.inputs, "written", bytes=job.target.stat().st_size
        )


def _failure(error: Exception, job: Job) -> str:
    """Return the reason why a job failed, with the file only if it is that of another input."""
    if isinstance(error, I2IError):
        own = error.subject in ("", "image", str(job.source), str(job.target))
        return error.explanation if own else str(error)
    return (isinstance(error, OSError) and error.strerror) or str(error) or "not enough memory"
