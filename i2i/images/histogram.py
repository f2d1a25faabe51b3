"""Values of any number of files in constant memory: percentiles, shares, and what was clipped."""

import math
import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DROPPED = 10  # low bits of a float32: 13 of its mantissa stay
EXACT = 2**14  # whole numbers up to it are counted apart
_SIGN = np.uint32(1 << 31)
_SORTED = 2**20  # values that are sorted faster than counted


class Histogram:
    """Counts of values by the leading bits of their float32. Threads may add at once.

    Percentiles are exact for whole numbers up to 16,384 in size, others to 1 / 8,192 of themselves.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2 ** (32 - _DROPPED), np.int64)  # pages of it that are used
        self._lock = threading.Lock()
        self.total = 0
        self.lowest, self.highest = math.inf, -math.inf

    def add(self, values: NDArray[np.generic]) -> None:
        """Count finite numbers of any type and shape."""
        flat = values.reshape(-1)
        if flat.dtype.kind == "u" and flat.itemsize < 4:
            counts = np.bincount(flat)
            levels = np.flatnonzero(counts)
            self._add(levels.astype(np.float32), counts[levels])
            return
        for start in range(0, len(flat), _SORTED):
            self._add(
                *np.unique(flat[start : start + _SORTED].astype(np.float32), return_counts=True)
            )

    def _add(self, levels: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        bits = (levels + np.float32(0)).view(np.uint32)  # -0 becomes 0
        keys = np.where(bits & _SIGN, ~bits, bits | _SIGN) >> _DROPPED  # in the order of the values
        with self._lock:
            np.add.at(self._counts, keys, counts)
            self.total += int(counts.sum())
            self.lowest = min(self.lowest, float(levels[0]))
            self.highest = max(self.highest, float(levels[-1]))

    def levels(self) -> NDArray[np.float32]:
        """Return the values that occur, rising."""
        return _values(np.flatnonzero(self._counts).astype(np.uint32))

    def percentiles(self, percents: Iterable[float]) -> list[float]:
        """Return the least values below or at which these percentages of all values lie."""
        keys = np.flatnonzero(self._counts).astype(np.uint32)
        summed = np.cumsum(self._counts[keys])
        ranks = [max(1, math.ceil(percent / 100 * self.total)) for percent in percents]
        rows = np.minimum(np.searchsorted(summed, ranks), len(keys) - 1)
        values: list[float] = np.clip(_values(keys[rows]), self.lowest, self.highest).tolist()
        ends = {1: self.lowest, self.total: self.highest}  # which are exact
        return [ends.get(rank, value) for rank, value in zip(ranks, values, strict=True)]


def _values(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the end of each interval that is nearest to 0."""
    bits = keys << _DROPPED
    negative = ~(bits | np.uint32(2**_DROPPED - 1))
    return np.where(bits & _SIGN, bits ^ _SIGN, negative).view(np.float32)


class WatchedRange(tuple[float, float]):
    """The value range of one reading: it counts what is outside, which is clipped where so asked.

    It is given to readers as the tuple (low, high) that it is.
    """

    clips: bool  # values outside are clipped; False: they are an error
    histogram: Histogram | None  # takes the values
    values: int  # that were read in units of the range
    outside: int  # of them
    lowest: float
    highest: float

    def __new__(
        cls,
        limits: tuple[float, float],
        clips: bool = False,
        histogram: Histogram | None = None,
    ) -> "WatchedRange":
        self = super().__new__(cls, limits)
        self.clips, self.histogram, self.values, self.outside = clips, histogram, 0, 0
        self.lowest, self.highest = math.inf, -math.inf
        return self

    def watch(self, values: NDArray[Any]) -> None:
        """Count finite numbers in units of the range."""
        low, high = math.ceil(self[0]), math.floor(self[1])  # of integers, without a copy
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):  # as `from_value_range` compares
                low, high = np.array(self, values.dtype)
        lowest, highest = float(values.min()), float(values.max())
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.values += values.size
        if lowest < low or highest > high:
            self.outside += int(np.count_nonzero(values < low) + np.count_nonzero(values > high))
        if self.histogram is not None:
            self.histogram.add(values)
