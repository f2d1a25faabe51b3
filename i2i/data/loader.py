"""Endless batches from any position: one stream for every number of workers and ranks."""

import functools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from i2i.data.augment import Arrays
from i2i.data.order import shuffled
from i2i.data.workers import LoaderError as LoaderError
from i2i.data.workers import Report, Workers
from i2i.errors import I2IError
from i2i.images import Array, to_signed, to_tensor
from i2i.images.spec import ImageSpec
from i2i.seeds import key

Keys = tuple[tuple[int, int], ...]  # (epoch, index) of each image


class Source(Protocol):
    """A data set, as far as the loader needs it."""

    warnings: list[str]

    def __len__(self) -> int: ...
    def pixels(self, epoch: int, index: int) -> Arrays: ...
    def files(self, epoch: int, index: int) -> list[str]: ...


@dataclass(frozen=True)
class Batch:
    """Images of one step of one process, and where they come from."""

    images: dict[str, Tensor]  # domain -> [N, C, H, W] in [-1, 1]
    keys: Keys  # `dataset.files(*key)` names the files of an image
    position: int  # images that all processes together have seen after this batch: resume from here
    warnings: tuple[str, ...] = ()  # files skipped while reading it

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory."""
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
    requests = _requests(len(dataset), seed, batch, start_position, rank, world_size)
    return _stream(dataset, requests, workers, pin and torch.cuda.is_available())


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


def _stream(
    dataset: Source, requests: Iterator[_Request], workers: int, pin: bool
) -> Generator[Batch, None, None]:
    reported: set[str] = set()
    specs: dict[str, ImageSpec] = getattr(dataset, "specs", {})
    read = _Reader(dataset).read
    with closing(Workers(workers, read, functools.partial(_files, dataset))) as processes:
        batches = processes.answers(requests) if workers else map(read, requests)
        for arrays, batch in batches:
            images = {name: _to_images(array, specs.get(name)) for name, array in arrays.items()}
            fresh = tuple(warning for warning in batch.warnings if warning not in reported)
            reported.update(fresh)
            full = replace(batch, images=images, warnings=fresh)
            yield full.pin_memory() if pin else full


def _stacked(arrays: Sequence[Array]) -> Array:
    """Return [N, C, H, W]: few bytes to send (uint8, class numbers), or float32 ready to train."""
    if arrays[0].dtype == np.uint16:
        return np.stack([array.transpose(2, 0, 1) for array in arrays])
    if not all(array.dtype == np.uint8 for array in arrays):
        return torch.stack([to_tensor(array) for array in arrays]).numpy()
    height, width, channels = arrays[0].shape
    stacked = np.empty((len(arrays), channels, height, width), np.uint8)
    for planes, array in zip(stacked, arrays, strict=True):
        cv2.split(array, list(planes))  # several times as fast as numpy and torch
    return stacked


def _to_images(stacked: Array, spec: ImageSpec | None = None) -> Tensor:
    if spec and spec.classes:
        return spec.tensor(np.moveaxis(stacked, 1, -1))
    images = torch.from_numpy(stacked)
    return to_signed(images, 8) if stacked.dtype == np.uint8 else images


def _files(dataset: Source, key: tuple[int, int]) -> str:
    return ", ".join(dataset.files(*key))


class _Reader:
    """Reads the samples of a request, in a worker or in this process."""

    def __init__(self, dataset: Source) -> None:
        self.dataset = dataset

    def read(self, request: _Request, report: Report = lambda key: None) -> Any:
        """Return images as arrays, by domain, and the batch without them."""
        samples = []
        for sample_key in request.keys:
            report(sample_key)
            try:
                samples.append(self.dataset.pixels(*sample_key))
            except I2IError:  # which names its file
                raise
            except Exception as error:
                error.add_note(f"while reading {_files(self.dataset, sample_key)}")
                raise
        arrays = {name: _stacked([sample[name] for sample in samples]) for name in samples[0]}
        warnings = tuple(self.dataset.warnings)
        self.dataset.warnings.clear()
        return arrays, Batch({}, request.keys, request.position, warnings)
