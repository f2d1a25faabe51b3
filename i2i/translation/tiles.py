"""Images of any size in tiles: the result is that of the whole image, without seams.

A tile is a core with a halo on each side, as wide as what the network sees; at the borders of the
image it ends where the image, padded as a whole, ends. Norms use the statistics of the whole image
(`networks/statistics.py`). A narrower halo is an approximation: neighbors are blended.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from i2i import images
from i2i.images import Array
from i2i.networks.statistics import Box, WholeImage
from i2i.precision import after_fork
from i2i.translation import TranslationError
from i2i.translation.tiling import Read, Span, Tiling
from i2i.translation.translator import BATCH_PIXELS, Translator

Result = TypeVar("Result")

_STEADY = 1e-3  # standard deviations; then outputs change by less than 1e-4 of their range
_PATCH = (64, 128)  # pixels a side of the parts of a sample: at least, and of large tiles
_STRIP_VALUES = 2**22  # of a strip, at most


def translate_rows(
    translator: Translator,
    read: Read,
    height: int,
    width: int,
    depth: int,
    tile: int | None = None,
    overlap: int | None = None,
    start: int = 0,
    statistics: Mapping[str, Tensor] | None = None,
) -> Iterator[Array]:
    """Translate an image tile by tile; yield its rows in order, from row `start` on.

    The memory needed does not depend on the height.

    Args:
        read: returns a part of the image as `Translator.pixels` takes it, [h, w, in_channels].
        depth: as in `Translator.pixels`.
        tile, overlap: see `Tiling`; a translation that may be continued names them.
        start: any row: the rows from there on are those of a translation from row 0.
        statistics: what `image_statistics` returned for this image; None: it is called.

    Yields:
        Strips [n, width, out_channels] of what `Translator.pixels` returns for the whole image.

    Raises:
        TranslationError: see `Tiling`.
        ImageError, NotEnoughMemoryError: see `Translator.pixels`.
    """
    tiling = Tiling(translator, height, width, tile, overlap)
    if tiling.is_single:
        yield translator.pixels(read(0, 0, height, width)[None], depth)[0, start:]
        return
    if statistics is None:
        options = tiling.tile, tiling.overlap
        statistics = image_statistics(translator, read, height, width, *options)
    network = WholeImage(translator.network)
    network.statistics = statistics
    done = start + tiling.top
    for top, band in _bands(translator, network, read, tiling, done):
        first, end = max(done, top), min(top + band.shape[1], tiling.top + height)
        rows = max(1, _STRIP_VALUES // band[:, 0].numel())
        for row in range(first, end, rows):
            strip = band[:, row - top : min(row + rows, end) - top]
            yield translator.stored(strip[..., tiling.left : tiling.left + width], depth)


def image_statistics(
    translator: Translator,
    read: Read,
    height: int,
    width: int,
    tile: int | None = None,
    overlap: int | None = None,
) -> dict[str, Tensor]:
    """Return the statistics of an image that the norms of the network need, by their names.

    Every pass reads and computes the whole image. A network whose norms need none has no pass, and
    an image of one tile needs none.

    Args:
        read, tile, overlap: see `translate_rows`.
    """
    tiling = Tiling(translator, height, width, tile, overlap)
    network = WholeImage(translator.network)
    if tiling.is_single or not len(network):
        return {}
    sample = _sample(translator, read, tiling)
    compute = partial(_compute, translator)
    compute(network.correct, sample)
    for _ in range(len(network)):
        network.begin_pass()
        for row in tiling.rows:
            for batch, columns in _batches(translator, read, tiling, row):
                compute(network.measure, batch, [_core(row, column) for column in columns])
        if compute(network.correct, sample) <= _STEADY:
            break
    return network.statistics


class InTiles(Translator):
    """A translator that gives the network of `translator` tiles, as `Tiling` says."""

    def __init__(self, translator: Translator, tile: int | None, overlap: int | None) -> None:
        self.__dict__ |= translator.__dict__
        self._translator, self._tile, self._overlap = translator, tile, overlap

    def pixels(self, arrays: Array, depth: int | None = None) -> Array:
        """Translate as `Translator.pixels` does; warn where the result is approximate."""
        (height, width), depth = arrays.shape[1:3], depth or images.depth_of(arrays)
        tiling = Tiling(self._translator, height, width, self._tile, self._overlap)
        if tiling.note:
            warnings.warn(tiling.note, stacklevel=6)
        options = height, width, depth, tiling.tile, tiling.overlap
        results = [translate_rows(self._translator, _reader(one), *options) for one in arrays]
        return np.stack([np.concatenate(list(strips)) for strips in results])

    def _tensor(self, x: Tensor) -> Tensor:
        raise TranslationError("image", "tensors are not translated in tiles", "Give an array")


# -- tiles -----------------------------------------------------------------------------------------


def _bands(
    translator: Translator, network: WholeImage, read: Read, tiling: Tiling, start: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, complete rows) of the padded result, [C, rows, W] on the CPU, in order.

    Rows before `start` may be incomplete, or missing.
    """
    height, width = tiling.padded
    # of an approximate halo the outer half is left out: it is what differs most
    blend = 0 if tiling.is_exact else tiling.overlap // 2
    held = torch.empty(0)  # rows that the tiles below add to
    for row in tiling.rows:
        top, down = row.weights(blend, height)
        if top + len(down) <= start:
            continue
        band = torch.zeros(translator.out_channels, len(down), width)
        if held.numel():
            band[:, : held.shape[1]] = held
        inside = slice(top - row.first, top - row.first + len(down))
        for batch, columns in _batches(translator, read, tiling, row):
            results = _compute(translator, network.network, batch).float().cpu()
            for result, column in zip(results, columns, strict=True):
                left, across = column.weights(blend, width)
                used = result[:, inside, left - column.first :][..., : len(across)]
                band[..., left : left + len(across)] += used * (down[:, None] * across)
        complete = row.core_end - blend if row.core_end < height else height
        held = band[:, complete - top :].clone()
        yield top, band[:, : complete - top]


def _batches(
    translator: Translator, read: Read, tiling: Tiling, row: Span
) -> Iterator[tuple[Tensor, list[Span]]]:
    """Yield the tiles of a row, [N, C, h, w] on the device, and the columns that they cover.

    On a CPU they go one by one, as the images of `Translator.batch` do.
    """
    area = (row.end - row.first) * (tiling.columns[0].end - tiling.columns[0].first)
    count = 1 if translator.device.type == "cpu" else max(1, BATCH_PIXELS // area)
    for number in range(0, len(tiling.columns), count):
        columns = tiling.columns[number : number + count]
        extents = [((row.first, row.end), (column.first, column.end)) for column in columns]
        yield _tensor(translator, read, tiling, extents), columns


def _sample(translator: Translator, read: Read, tiling: Tiling) -> Tensor:
    """Return parts from all over the image, [N, C, h, w], of as many pixels as a tile may have."""
    divisor, tile = translator.divisor, (tiling.rows[0].end, tiling.columns[0].end)
    patch = min(max(_PATCH[0], tiling.tile // 4), _PATCH[1])
    # 4: the innermost maps of a U-Net must not be borders alone
    patch = max(translator.padded(patch), 4 * divisor)
    sides = min(patch, tile[0]), min(patch, tile[1])
    count = tiling.tile**2 // (sides[0] * sides[1])
    down = round(math.sqrt(count * tiling.padded[0] / tiling.padded[1]))
    down = min(max(down, 1), tiling.padded[0] // sides[0], count)
    across = min(count // down, tiling.padded[1] // sides[1])
    axes = [
        [round(first) // divisor * divisor for first in np.linspace(0, extent - side, number)]
        for extent, side, number in zip(tiling.padded, sides, (down, across), strict=True)
    ]
    extents = [
        ((top, top + sides[0]), (left, left + sides[1])) for top in axes[0] for left in axes[1]
    ]
    return _tensor(translator, read, tiling, extents)


def _tensor(
    translator: Translator,
    read: Read,
    tiling: Tiling,
    extents: list[tuple[tuple[int, int], tuple[int, int]]],
) -> Tensor:
    spec = translator.source
    margin = int(spec.edges)  # pixels beside a tile of which its own edges depend
    sides = [[(first - margin, end + margin) for first, end in extent] for extent in extents]
    parts = np.stack([tiling.part(read, rows, columns) for rows, columns in sides])
    x = spec.tensor(parts, translator.device)
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin].contiguous()


def _compute(
    translator: Translator, function: Callable[..., Result], x: Tensor, *more: object
) -> Result:
    """Call a function of x, [N, C, h, w], as `Translator.batch` calls the network."""
    after_fork(translator.device)
    count, _, height, width = x.shape
    guard = translator.memory.guarded(count * height, width, option="--tile")
    with guard, torch.no_grad(), translator.execution.context(translator.device):
        return function(x, *more)


def _core(row: Span, column: Span) -> Box:
    rows = row.core_first - row.first, row.core_end - row.first
    return (*rows, column.core_first - column.first, column.core_end - column.first)


def _reader(array: Array) -> Read:
    def read(top: int, left: int, height: int, width: int) -> Array:
        return array[top : top + height, left : left + width]

    return read
