"""Images of any size in tiles: the result is that of the whole image, without seams.

A tile is a core with a halo on each side, as wide as what the network sees; at the borders of the
image it ends where the image, padded as a whole, ends. Norms use the statistics of the whole image
(`networks/statistics.py`). A narrower halo is an approximation: neighbors are blended.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from i2i import images
from i2i.images import Array
from i2i.networks.padding import mirrored
from i2i.networks.statistics import Box, WholeImage
from i2i.precision import after_fork
from i2i.translation import TranslationError
from i2i.translation.translator import Translator

Result = TypeVar("Result")
Read = Callable[[int, int, int, int], Array]  # top, left, height, width -> [height, width, C]

_STEADY = 1e-3  # standard deviations; then outputs change by less than 1e-4 of their range
_PATCH = (64, 128)  # pixels a side of the parts of a sample: at least, and of large tiles
_BATCH_PIXELS = 2**22  # of tiles that a GPU is given at once
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
        tile, overlap: see `Tiling`.
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
        statistics = image_statistics(translator, read, height, width, tile, overlap)
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


def tile_bytes(translator: Translator, tile: int) -> int:
    """Return the memory that a tile takes at its peak; 0 for networks that cannot be traced."""
    return translator.memory.bytes(tile, tile)


def automatic_tile(translator: Translator, free_bytes: int | None) -> int:
    """Return the largest useful side of a tile that takes at most half of the free memory.

    It is the smallest side that the network takes where no other fits. None: unknown.
    """
    budget = (2**32 if free_bytes is None else free_bytes) // 2
    halo, smallest = _halo(translator) or 0, _smallest(translator)
    tile = translator.padded(max(2048, 8 * halo))  # larger ones hardly save any work
    while tile > smallest and tile_bytes(translator, tile) > budget:
        tile = max(smallest, tile * 3 // 4 // translator.divisor * translator.divisor)
    return tile


# -- geometry --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """Extent of a tile and of its core along one axis, in pixels; ends are exclusive."""

    first: int
    end: int
    core_first: int
    core_end: int

    def weights(self, blend: int, side: int) -> tuple[int, Tensor]:
        """Return the first pixel that has a weight, and the weights from there on.

        Those of all tiles sum to 1. They fall as a raised cosine over `blend` pixels on both sides
        of each border between cores.
        """
        first, end = max(self.core_first - blend, 0), min(self.core_end + blend, side)
        pixels = torch.arange(first, end, dtype=torch.float64) + 0.5
        weights = torch.ones_like(pixels)
        if self.core_first > 0:
            weights = _rise(pixels - self.core_first, blend)
        if self.core_end < side:
            weights = weights - _rise(pixels - self.core_end, blend)
        return first, weights.float()


class Tiling:
    """Tiles of one image.

    Args:
        tile: pixels a side that the network is given; None: see `automatic_tile`.
        overlap: pixels of the halo on each side; None: what the network sees, or where the core
            would be less than half of the tile, a quarter of it.

    Raises:
        TranslationError: a tile or an overlap that the network cannot be given.
    """

    def __init__(
        self,
        translator: Translator,
        height: int,
        width: int,
        tile: int | None = None,
        overlap: int | None = None,
    ) -> None:
        tile = automatic_tile(translator, translator.memory.free()) if tile is None else tile
        self.tile, self.overlap = tile, _overlap(translator, tile, overlap)
        self.height, self.width = height, width
        self.padded = translator.padded(height), translator.padded(width)
        self.top, self.left = (self.padded[0] - height) // 2, (self.padded[1] - width) // 2
        self.rows, self.columns = (_spans(side, tile, self.overlap) for side in self.padded)
        self.is_single = len(self.rows) == len(self.columns) == 1
        self._halo = _halo(translator)
        aligned = self.overlap // translator.divisor * translator.divisor
        self.is_exact = self.is_single or (self._halo is not None and aligned >= self._halo)

    @property
    def note(self) -> str:
        """Text for people where the result is approximate, else empty."""
        if self.is_exact:
            return ""
        sees = "an unknown number of" if self._halo is None else str(self._halo)
        text = f"the network sees {sees} pixels around a tile, and {self.overlap} overlap"
        return f"tiles of {self.tile} pixels are blended: {text}, so the result is approximate"

    def part(self, read: Read, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
        """Return rows and columns, from first to end, of the padded image, [h, w, C]."""
        below = mirrored(torch.arange(*rows) - self.top, self.height).numpy()
        beside = mirrored(torch.arange(*columns) - self.left, self.width).numpy()
        top, left = int(below.min()), int(beside.min())
        array = read(top, left, int(below.max()) + 1 - top, int(beside.max()) + 1 - left)
        if array.shape[:2] == (len(below), len(beside)) and below[0] == top and beside[0] == left:
            return array  # nothing is padded
        padded: Array = array[np.ix_(below - top, beside - left)]
        return padded


def _spans(side: int, tile: int, overlap: int) -> list[Span]:
    """Return tiles of equal sides: the last ends where the image ends."""
    if tile >= side:
        return [Span(0, side, 0, side)]
    firsts = [*range(0, side - tile, tile - 2 * overlap), side - tile]
    borders = [0, *(first + tile - overlap for first in firsts[:-1]), side]
    return [
        Span(first, first + tile, *cores)
        for first, cores in zip(firsts, pairwise(borders), strict=True)
    ]


def _rise(pixels: Tensor, blend: int) -> Tensor:
    share = (pixels / (2 * blend) + 0.5 if blend else pixels.sign()).clamp(0, 1)
    return (1 - torch.cos(math.pi * share)) / 2


def _core(row: Span, column: Span) -> Box:
    rows = row.core_first - row.first, row.core_end - row.first
    return (*rows, column.core_first - column.first, column.core_end - column.first)


def _halo(translator: Translator) -> int | None:
    halo = getattr(translator.network, "halo", None)
    return None if halo is None else -(-halo // translator.divisor) * translator.divisor


def _smallest(translator: Translator) -> int:
    return translator.padded(getattr(translator.network, "min_size", 1))


def _overlap(translator: Translator, tile: int, overlap: int | None) -> int:
    """Return the overlap to use, checked."""
    divisor, smallest, halo = translator.divisor, _smallest(translator), _halo(translator)
    if tile < smallest or tile % divisor:
        near = max(smallest, tile // divisor * divisor)
        reason = f"{tile} pixels, but the network takes multiples of {divisor} from {smallest} on"
        raise TranslationError("--tile", reason, f"Choose {near} or {near + divisor}")
    grid = divisor if divisor % 2 else divisor // 2  # tiles begin at multiples of the divisor
    if overlap is None:
        overlap = tile // 4 // grid * grid
        overlap = overlap if halo is None else min(overlap, halo)
        if overlap == 0 != halo:
            reason = f"{tile} pixels leave no room for an overlap, of multiples of {grid}"
            raise TranslationError("--tile", reason, f"Choose {translator.padded(4 * grid)}")
    elif overlap < 0 or overlap % grid or 2 * overlap >= tile:
        limit = (tile - 1) // 2 // grid * grid
        reason = f"{overlap} pixels, but tiles of {tile} take multiples of {grid} up to {limit}"
        hint = "" if halo is None else f"The network sees {halo}"
        raise TranslationError("--overlap", reason, hint)
    return overlap


# -- tiles -----------------------------------------------------------------------------------------


def _bands(
    translator: Translator, network: WholeImage, read: Read, tiling: Tiling, start: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, complete rows) of the padded result, [C, rows, W] on the CPU, in order.

    Rows before `start` may be incomplete, or missing.
    """
    height, width = tiling.padded
    blend = 0 if tiling.is_exact else tiling.overlap
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
    count = 1 if translator.device.type == "cpu" else max(1, _BATCH_PIXELS // area)
    for number in range(0, len(tiling.columns), count):
        columns = tiling.columns[number : number + count]
        extents = [((row.first, row.end), (column.first, column.end)) for column in columns]
        yield _tensor(translator, read, tiling, extents), columns


def _sample(translator: Translator, read: Read, tiling: Tiling) -> Tensor:
    """Return parts from all over the image, [N, C, h, w], as many pixels as a tile has."""
    divisor, tile = translator.divisor, (tiling.rows[0].end, tiling.columns[0].end)
    patch = min(max(_PATCH[0], tiling.tile // 4), _PATCH[1])
    # 4: the innermost maps of a U-Net must not be borders alone
    patch = max(translator.padded(patch), 4 * divisor)
    sides = min(patch, tile[0]), min(patch, tile[1])
    count = tile[0] * tile[1] // (sides[0] * sides[1])
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
    parts = np.stack([tiling.part(read, rows, columns) for rows, columns in extents])
    return images.to_tensor(parts, translator.device)


def _compute(
    translator: Translator, function: Callable[..., Result], x: Tensor, *more: object
) -> Result:
    """Call a function of x, [N, C, h, w], as `Translator.batch` calls the network."""
    after_fork(translator.device)
    count, _, height, width = x.shape
    guard = translator.memory.guarded(height, width, count)
    with guard, torch.no_grad(), translator.execution.context(translator.device):
        return function(x, *more)
