"""Values that lie in a file as in memory, read in parts."""

from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from i2i.images.formats import Array, ImageError
from i2i.images.sanity import REPLACE

_BAND_BYTES = 2**25  # of rows that are taken at once


class PlainValues:
    """Values [H, W, C] of a file, from `offset` on; `fortran`: the first axis varies fastest."""

    def __init__(
        self,
        file: IO[bytes],
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        offset: int = 0,
        fortran: bool = False,
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._file, self._offset, self._fortran = file, offset, fortran

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the image."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    def bands(self, multiple: int = 1) -> Iterator[Array]:
        """Yield all rows in order, those of each of `extents`."""
        for first, end in self.extents(multiple):
            yield self.read(first, 0, end - first, self.shape[1])

    def extents(self, multiple: int = 1) -> Iterator[tuple[int, int]]:
        """Yield first row and end of bands, a `multiple` of so many rows each but for the last."""
        rows = max(1, _BAND_BYTES // (self.row_bytes * multiple)) * multiple
        for first in range(0, self.shape[0], rows):
            yield first, min(first + rows, self.shape[0])

    def read(self, top: int, left: int, height: int, width: int) -> Array:
        """Return a part [height, width, C].

        Raises:
            ImageError: the file ends before.
        """
        rows, columns, channels = self.shape
        if not self._fortran:
            out = np.empty((height, width * channels), self.dtype)
            self._fill(out, top, columns * channels, left * channels)
            return out.reshape(height, width, channels)
        out = np.empty((channels, width, height), self.dtype)
        for channel in range(channels):
            self._fill(out[channel], channel * columns + left, rows, top)
        return out.transpose(2, 1, 0)

    def _fill(self, out: Array, line: int, length: int, start: int) -> None:
        """Read `out`, [lines, values], from `line` on; lines of the file have `length` values."""
        complete = out.shape[1] == length
        for index, part in enumerate([out] if complete else out):
            position = (line + index) * length + start
            self._file.seek(self._offset + position * self.dtype.itemsize)
            view, done = part.reshape(-1).view(np.uint8).data, 0
            while done < len(view):  # a call reads 2 GB at most
                count = self._file.readinto(view[done:])  # type: ignore[attr-defined]
                if not count:
                    raise ImageError("image", "truncated while it was read", REPLACE)
                done += count
