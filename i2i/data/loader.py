"""Endless batches from any position: one stream for every number of workers and ranks."""

import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from i2i.data.folders import DataError
from i2i.data.order import shuffled
from i2i.errors import I2IError
from i2i.images import ImageError
from i2i.seeds import key
from i2i.signals import STOP_SIGNALS

Keys = tuple[tuple[int, int], ...]  # (epoch, index) of each image


class Source(Protocol):
    """A data set, as far as the loader needs it."""

    warnings: list[str]

    def __len__(self) -> int: ...
    def sample(self, epoch: int, index: int) -> dict[str, Tensor]: ...
    def files(self, epoch: int, index: int) -> list[str]: ...


class LoaderError(I2IError, RuntimeError):
    """A worker process died; the message names the files that it was reading."""


@dataclass(frozen=True)
class Batch:
    """Images of one step of one process, and where they come from."""

    images: dict[str, Tensor]  # domain -> [N, C, H, W] in [-1, 1]
    keys: Keys  # `dataset.files(*key)` names the files of an image
    position: int  # images that all processes together have seen after this batch: resume from here
    warnings: tuple[str, ...] = ()  # files skipped while reading it

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; the loader's own thread calls this."""
        return replace(
            self, images={name: image.pin_memory() for name, image in self.images.items()}
        )


def batches(
    dataset: Source,
    seed: int,
    batch: int,
    start_position: int = 0,
    *,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """Yield endless batches from image `start_position` of the stream; `close()` ends the workers.

    The stream is every epoch's permutation one after the other, f(seed, epoch). It is cut into
    global batches of `batch * world_size` images, across the ends of epochs, and process `rank`
    takes the `rank`-th part of each. The global random state of torch is neither read nor changed.

    Args:
        dataset: samples by (epoch, index).
        seed: of the order.
        batch: images of one process.
        start_position: images that all processes together have seen.
        workers: processes that decode; 0: this one does.
        pin: copy into page-locked memory, for CUDA.

    Raises:
        ImageError: from the iterator, a file cannot be decoded.
        DataError: from the iterator, none can be.
        LoaderError: from the iterator, a worker died.
    """
    counts = (len(dataset) - 1, batch - 1, workers, start_position, rank, world_size - rank - 1)
    if min(counts) < 0:
        settings = f"{batch=} {workers=} {start_position=} {rank=} {world_size=}"
        raise ValueError(f"no stream of {len(dataset)} samples for {settings}")
    # rows: process id, epoch, index; shared, so that it survives the worker that wrote it
    progress = torch.zeros(workers, 3, dtype=torch.int64)
    progress.share_memory_()  # type: ignore[no-untyped-call]
    loader = DataLoader(
        _Reader(dataset, progress),
        batch_size=None,
        sampler=_requests(len(dataset), seed, batch, start_position, rank, world_size),
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_start_worker,
        prefetch_factor=2 if workers else None,
        pin_memory=pin and torch.cuda.is_available(),
        generator=torch.Generator(),  # or the loader draws from the global one
    )
    return _stream(loader, dataset, progress)


class _Request(NamedTuple):
    keys: Keys
    position: int


def _requests(
    length: int, seed: int, batch: int, position: int, rank: int, world_size: int
) -> Iterator[_Request]:
    while True:
        first = position + rank * batch
        position += batch * world_size
        keys = []
        for index in range(first, first + batch):
            epoch, offset = divmod(index, length)
            keys.append((epoch, shuffled(offset, length, key(seed, "order", epoch))))
        yield _Request(tuple(keys), position)


class _Reader(torch.utils.data.Dataset[Batch | I2IError]):
    def __init__(self, dataset: Source, progress: Tensor) -> None:
        self.dataset = dataset
        self.progress = progress

    def __getitem__(self, request: _Request) -> Batch | I2IError:
        samples = []
        for epoch, index in request.keys:
            if worker := get_worker_info():
                self.progress[worker.id] = torch.tensor([os.getpid(), epoch, index])
            try:
                samples.append(self.dataset.sample(epoch, index))
            except (ImageError, DataError) as error:
                return error  # raised, it would come back with the worker's traceback
            except Exception as error:
                error.add_note(f"while reading {', '.join(self.dataset.files(epoch, index))}")
                raise
        images = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        warnings = tuple(self.dataset.warnings)
        self.dataset.warnings.clear()
        return Batch(images, request.keys, request.position, warnings)


def _stream(
    loader: DataLoader[Batch | I2IError], dataset: Source, progress: Tensor
) -> Generator[Batch, None, None]:
    iterator = iter(loader)
    reported: set[str] = set()
    try:
        while True:
            try:
                item = next(iterator)
            except RuntimeError as error:
                if files := _unfinished(dataset, progress):
                    reason = f"a loader worker died while reading {', '.join(files)} ({error})"
                    hint = (
                        "If memory ran out, lower data.workers; with data.workers=0 the error "
                        "appears in this process"
                    )
                    raise LoaderError("data.workers", reason, hint) from error
                raise
            if isinstance(item, I2IError):
                raise item
            fresh = tuple(warning for warning in item.warnings if warning not in reported)
            reported.update(fresh)
            yield replace(item, warnings=fresh)
    finally:
        # `del` would not do: the traceback of an exception on its way holds the iterator, too
        if loader.num_workers:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            for worker in iterator._workers:  # type: ignore[attr-defined]
                worker.kill()  # one that still runs ignores SIGTERM, and exit would wait for it
                worker.join()


def _unfinished(dataset: Source, progress: Tensor) -> list[str]:
    """Return the files that dead workers were reading."""
    alive = {process.pid for process in multiprocessing.active_children()}
    rows = [row for row in progress.tolist() if row[0] and row[0] not in alive]
    return [file for _, epoch, index in rows for file in dataset.files(epoch, index)]


def _start_worker(_: int) -> None:
    # Ctrl-C, a cluster's SIGTERM and the hang-up of a terminal reach the whole group; the parent
    # alone answers, and needs the workers until then
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _unchanged(item: Any) -> Any:
    return item
