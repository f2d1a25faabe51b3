"""Samples with equal or similar pixels: by digest, by difference hash and thumbnail."""

import numpy as np
from numpy.typing import NDArray

from i2i.data.inspect import Facts

# 64 bits in three bands: hashes that differ in two bits agree in one of them
_BANDS = (0x3FFFFF, 0x1FFFFF << 22, 0x1FFFFF << 43)
_MAX_BITS = 2  # in which the hashes of near duplicates may differ
_MAX_DIFFERENCE = 6.0  # gray levels of 255 by which their thumbnails may differ on average


def first_equal(facts: Facts) -> NDArray[np.intp]:
    """Return, for each row of `facts` [rows, columns], the first row with the same pixels."""
    digests = facts["digest"].reshape(len(facts), 2 * facts.shape[1])
    _, first, group = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    return np.asarray(first[group.reshape(-1)])


def near_pairs(facts: Facts) -> list[tuple[int, int]]:
    """Return the pairs of rows whose images look the same in every column, the smaller row first.

    Only rows whose first hashes agree in a band are compared, so time grows with what is found.
    Constant images have no hash: rows that begin with one are ignored.
    """
    rows = np.flatnonzero(~facts["constant"][:, 0])
    hashes = facts["dhash"][:, 0][rows]
    pairs: set[tuple[int, int]] = set()
    for band in _BANDS:
        part = hashes & np.uint64(band)
        order = np.argsort(part, kind="stable")
        for group in np.split(rows[order], np.flatnonzero(np.diff(part[order])) + 1):
            for position, row in enumerate(group[:-1].tolist()):
                others = group[position + 1 :]
                for column in facts.T:
                    others = _near(column, row, others)
                pairs.update((min(row, other), max(row, other)) for other in others.tolist())
    return sorted(pairs)


def _near(column: Facts, row: int, others: NDArray[np.intp]) -> NDArray[np.intp]:
    bits = (column["dhash"][others] ^ column["dhash"][row]).view(np.uint8).reshape(-1, 8)
    others = others[np.unpackbits(bits, axis=1).sum(axis=1) <= _MAX_BITS]
    difference = column["thumbnail"][others].astype(np.int16) - column["thumbnail"][row]
    return np.asarray(others[np.abs(difference).mean(axis=(1, 2)) <= _MAX_DIFFERENCE])
