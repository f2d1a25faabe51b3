"""Tiles that cover an image: where they lie, what they may be, and how large they best are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from i2i.images import Array
from i2i.networks.padding import mirrored
from i2i.translation import TranslationError
from i2i.translation.translator import Translator

Read = Callable[[int, int, int, int], Array]  # top, left, height, width -> [height, width, C]


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
        tile: pixels a side that the network is given, at most; None: see `automatic_tile`.
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
        if tile is None:
            tile = automatic_tile(translator, translator.memory.free(), width)
        self.tile, self.overlap = tile, _overlap(translator, tile, overlap)
        self.height, self.width = height, width
        self.padded = translator.padded(height), translator.padded(width)
        self.top, self.left = (self.padded[0] - height) // 2, (self.padded[1] - width) // 2
        self.rows, self.columns = (
            _spans(side, tile, self.overlap, translator.divisor) for side in self.padded
        )
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


def tile_bytes(translator: Translator, tile: int, width: int = 0) -> int:
    """Return the memory that a tile takes at its peak, with a row of results of an image's width.

    The network counts as nothing where it cannot be traced.
    """
    results = 4 * translator.out_channels * tile * width  # float32
    return translator.memory.bytes(tile, tile) + results


def automatic_tile(translator: Translator, free_bytes: int | None, width: int = 0) -> int:
    """Return the largest useful side of a tile that takes at most half of the free memory.

    It is the smallest side that the network takes where no other fits.

    Args:
        free_bytes: None: unknown.
        width: of the image, pixels.
    """
    budget = (2**32 if free_bytes is None else free_bytes) // 2
    halo, smallest = _halo(translator) or 0, _smallest(translator)
    tile = translator.padded(max(2048, 8 * halo))  # larger ones hardly save any work
    while tile > smallest and tile_bytes(translator, tile, width) > budget:
        tile = max(smallest, tile * 3 // 4 // translator.divisor * translator.divisor)
    return tile


def _spans(side: int, tile: int, overlap: int, divisor: int) -> list[Span]:
    """Return as few tiles as there must be, as small as they then can be; the last ends at `side`.

    All have one side, of `tile` pixels at most.
    """
    if tile >= side:
        return [Span(0, side, 0, side)]
    count = -((2 * overlap - side) // (tile - 2 * overlap))
    step = -((2 * overlap - side) // (count * divisor)) * divisor
    tile = step + 2 * overlap
    firsts = [*range(0, side - tile, step), side - tile]
    borders = [0, *(first + tile - overlap for first in firsts[:-1]), side]
    return [
        Span(first, first + tile, *cores)
        for first, cores in zip(firsts, pairwise(borders), strict=True)
    ]


def _rise(pixels: Tensor, blend: int) -> Tensor:
    share = (pixels / (2 * blend) + 0.5 if blend else pixels.sign()).clamp(0, 1)
    return (1 - torch.cos(math.pi * share)) / 2


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
