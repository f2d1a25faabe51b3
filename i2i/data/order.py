"""Counter-based randomness: orders are functions of integers, so resuming stores none."""

_MASK = (1 << 64) - 1
_ROUNDS = 6  # four make a Feistel network pseudo-random (Luby and Rackoff, SIAM J. Comput. 1988)


def shuffled(index: int, count: int, seed: int) -> int:
    """Return the image of `index` under the permutation of range(count) of `seed`.

    A Feistel network with cycle walking (Black and Rogaway, CT-RSA 2002): no table, so any position
    of an epoch of a hundred million images is reached at once.

    Raises:
        IndexError: `index` is not in range(count).
    """
    if not 0 <= index < count:
        raise IndexError(f"index {index} is outside range({count})")
    half = max(3, ((count - 1).bit_length() + 1) // 2)  # bits of a side; fewer than 3 mix badly
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for step in range(_ROUNDS):
            left, right = right, left ^ (_mix(seed + step * 0x9E3779B97F4A7C15 + right) & mask)
        index = left << half | right
        if index < count:
            return index


def _mix(value: int) -> int:
    value &= _MASK  # the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
