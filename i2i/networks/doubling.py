"""Sizes of generated images: a base of a few pixels, doubled up to the image."""

from itertools import product
from typing import Annotated

from torch import Tensor

from i2i.errors import OptionError
from i2i.networks.contract import InputError
from i2i.options import Count, Doc

MIN_BASE, MAX_BASE = 3, 7  # pixels, the base's shorter side
MAX_LONGER = 16  # pixels, the base's longer side: the first kernel has that size

Size = Annotated[tuple[Count, Count], Doc("[height, width] in pixels; by default data.crop_size")]


def doublings(size: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Return the base (height, width) of images of `size`, and how often it is doubled.

    64x64 is 4x4 doubled four times, 28x28 is 7x7 doubled twice, 96x64 is 6x4.

    Raises:
        OptionError: `size` has no base; the hint names the nearest sizes that have one.
    """
    if plan := _plan(size):
        return plan
    reason = (
        f"{size[0]}x{size[1]} (height x width) is not reached by doubling a base of "
        f"{MIN_BASE} to {MAX_BASE} pixels, up to {MAX_LONGER} on its longer side"
    )
    hint = f"Nearest: {' and '.join(f'{h}x{w}' for h, w in _nearest(size))}"
    raise OptionError("size", reason, hint)


def check_latent(latent: Tensor, channels: int) -> None:
    """Check that `latent` is [N, channels, 1, 1].

    Raises:
        InputError: it is not.
    """
    if latent.shape[1:] != (channels, 1, 1):
        expected = f"[N, {channels}, 1, 1]"
        raise InputError("latent", f"expected {expected}, got {list(latent.shape)}")


def _plan(size: tuple[int, int]) -> tuple[tuple[int, int], int] | None:
    """Return the base (height, width) of an image and its doublings, or None if it has none."""
    (height, width), depth = size, 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * MIN_BASE:
        height, width, depth = height // 2, width // 2, depth + 1
    fits = MIN_BASE <= min(height, width) <= MAX_BASE and max(height, width) <= MAX_LONGER
    return ((height, width), depth) if depth > 0 and fits else None


def _nearest(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the two sizes with a plan nearest to `size`; equal changes of both sides win ties."""
    steps = [2**depth for depth in range(1, 12)]
    sides: list[set[int]] = []
    for side in size:
        near = product(steps, (-1, 0, 1))
        sides.append({(max(side // step, MIN_BASE) + more) * step for step, more in near})

    def distance(pair: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        rows, columns = pair[0] - size[0], pair[1] - size[1]
        return abs(rows) + abs(columns), abs(rows - columns), pair

    return sorted(filter(_plan, product(sides[0], sides[1])), key=distance)[:2]
