"""Endless batches that continue at any position: the same stream for every number of workers and of processes."""

import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, get_worker_info

from i2i.data.folders import DataError
from i2i.data.order import shuffled
from i2i.errors import I2IError
from i2i.images import ImageError
from i2i.seeds import key


class Samples(Protocol):
    """What the loader needs of a data set."""

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
    keys: tuple[
        tuple[int, int], ...
    ]  # (epoch, index) of each image: `dataset.files(*key)` names its files
    position: int  # images that all processes together have seen after this batch: resume from here
    warnings: tuple[str, ...] = ()  # files skipped while reading it

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; the loader's own thread calls this."""
        return replace(
            self, images={name: image.pin_memory() for name, image in self.images.items()}
        )


def batches(
    dataset: Samples,
    seed: int,
    batch: int,
    start_position: int = 0,
    *,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """Yield batches for ever, from image `start_position` of the stream on; `close()` ends the workers.

    The stream is every epoch's permutation one after the other, f(seed, epoch). It is cut into
    global batches of `batch * world_size` images, across the ends of epochs, and process `rank`
    takes the `rank`-th part of each. The global random state of torch is neither read nor changed.

    Args:
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
    if (
        batch < 1
        or workers < 0
        or start_position < 0
        or not 0 <= rank < world_size
        or len(dataset) < 1
    ):
        raise ValueError(
            f"no stream of {len(dataset)} samples for {batch=} {workers=} {start_position=} {rank=} {world_size=}"
        )
    # rows: process id, epoch, index; shared, so that it survives the worker that wrote it
    progress = torch.zeros(workers, 3, dtype=torch.int64)
    progress.share_memory_()  # type: ignore[no-untyped-call]
    loader = DataLoader(
        _Reader(dataset, progress),
        batch_size=None,
        sampler=_Requests(len(dataset), seed, batch, start_position, rank, world_size),
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_start_worker,
        prefetch_factor=2 if workers else None,
        pin_memory=pin and torch.cuda.is_available(),
        generator=torch.Generator(),  # or the loader draws from the global one
    )
    return _stream(loader, dataset, progress)


class _Request(NamedTuple):
    keys: tuple[tuple[int, int], ...]
    position: int


class _Failure(NamedTuple):
    kind: type[ValueError]
    message: str


class _Requests(Sampler[_Request]):
    def __init__(
        self, length: int, seed: int, batch: int, start: int, rank: int, world_size: int
    ) -> None:
        self.length, self.seed, self.batch, self.start, self.rank, self.world_size = (
            length,
            seed,
            batch,
            start,
            rank,
            world_size,
        )

    def __iter__(self) -> Iterator[_Request]:
        position = self.start
        while True:
            first = position + self.rank * self.batch
            position += self.batch * self.world_size
            yield _Request(
                tuple(self._key(place) for place in range(first, first + self.batch)), position
            )

    def _key(self, place: int) -> tuple[int, int]:
        epoch, offset = divmod(place, self.length)
        return epoch, shuffled(offset, self.length, key(self.seed, "order", epoch))


class _Reader(torch.utils.data.Dataset[Batch | _Failure]):
    def __init__(self, dataset: Samples, progress: Tensor) -> None:
        self.dataset = dataset
        self.progress = progress

    def __getitem__(self, request: _Request) -> Batch | _Failure:
        samples = []
        for epoch, index in request.keys:
            if worker := get_worker_info():
                self.progress[worker.id] = torch.tensor([os.getpid(), epoch, index])
            try:
                samples.append(self.dataset.sample(epoch, index))
            except (ImageError, DataError) as error:
                return _Failure(
                    type(error), str(error)
                )  # raised, it would come back with the worker's traceback
            except Exception as error:
                error.add_note(f"while reading {', '.join(self.dataset.files(epoch, index))}")
                raise
        images = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        warnings = tuple(self.dataset.warnings)
        self.dataset.warnings.clear()
        return Batch(images, request.keys, request.position, warnings)


def _stream(
    loader: DataLoader[Batch | _Failure], dataset: Samples, progress: Tensor
) -> Generator[Batch, None, None]:
    iterator = iter(loader)
    reported: set[str] = set()
    try:
        while True:
            try:
                item = next(iterator)
            except RuntimeError as error:
                if files := _unfinished(dataset, progress):
                    raise LoaderError(
                        f"a loader worker died while reading {', '.join(files)} ({error}). If memory ran out, lower "
                        f"data.workers; with data.workers=0 the fault shows itself in this process."
                    ) from error
                raise
            if isinstance(item, _Failure):
                raise item.kind(item.message)
            fresh = tuple(warning for warning in item.warnings if warning not in reported)
            reported.update(fresh)
            yield replace(item, warnings=fresh)
    finally:
        if (
            loader.num_workers
        ):  # `del` would not do: the traceback of an exception on its way holds the iterator too
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            for worker in iterator._workers:  # type: ignore[attr-defined]
                worker.kill()  # one that is still there ignores SIGTERM, and the interpreter's end would wait for it
                worker.join()


def _unfinished(dataset: Samples, progress: Tensor) -> list[str]:
    """Return the files that dead workers were reading."""
    alive = {process.pid for process in multiprocessing.active_children()}
    rows = [row for row in progress.tolist() if row[0] and row[0] not in alive]
    return [file for _, epoch, index in rows for file in dataset.files(epoch, index)]


def _start_worker(_: int) -> None:
    # Ctrl-C, a cluster's SIGTERM and the hang-up of a terminal reach the whole group; the parent
    # alone answers, and needs the workers until then
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _unchanged(item: Any) -> Any:
    return item
