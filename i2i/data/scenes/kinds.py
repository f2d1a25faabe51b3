"""The table of scene kinds: the styles each is drawn in, and which of them make a pair or two unpaired domains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from i2i.data.scenes import facades, orchard, portraits

Mode = Literal["paired", "unpaired", "single"]


@dataclass(frozen=True)
class Kind:
    """A kind of scene. `modes` maps how a dataset is laid out to its styles (a, b), or (all,); the first is default."""

    draw: Callable[
        [int, int, int, str], NDArray[np.uint8]
    ]  # seed, index, size, style -> [size, size, 3]
    styles: tuple[str, ...]
    modes: dict[Mode, tuple[str, ...]]

    @property
    def default(self) -> Mode:
        return next(iter(self.modes))


KINDS: dict[str, Kind] = {
    "facades": Kind(
        facades.draw, facades.STYLES, {"paired": ("labels", "day"), "unpaired": ("day", "dusk")}
    ),
    "orchard": Kind(orchard.draw, orchard.STYLES, {"unpaired": ("red", "yellow")}),
    "portraits": Kind(
        portraits.draw, portraits.STYLES, {"single": ("drawn",), "unpaired": ("drawn", "ink")}
    ),
}


def find(kind: str) -> Kind:
    """The scene kind of this name. Raises ValueError for a name not in KINDS."""
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is not known (choose from {', '.join(KINDS)})")
    return KINDS[kind]


def draw(kind: str, seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Scene `index` of `seed` as [size, size, 3] uint8 in one style of its kind.

    The same kind, seed and index give the same scene in every style and at every size.

    Raises:
        ValueError: a kind, style, size (16 to 2048), seed or index out of range.
    """
    return find(kind).draw(seed, index, size, style)
