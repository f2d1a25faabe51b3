"""Canvas, colors, value noise, clouds and grain that scenes are painted with."""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageColor

Array = NDArray[np.floating[Any]]  # pictures [H, W, 3] and colors [3] in 0..255


class Canvas:
    """A black picture [S, S, 3], several times as large as it is seen; y [S, 1, 1], x [1, S, 1]."""

    def __init__(self, size: int, factor: int = 0) -> None:
        side = size * (factor or (4 if size <= 96 else 3 if size <= 160 else 2))
        self.size, self.picture = size, np.zeros((side, side, 3), np.float32)
        unit = (np.arange(side, dtype=np.float32) + 0.5) / side  # centers of pixels in 0..1
        self.y, self.x = unit[:, None, None], unit[None, :, None]

    def region(self, x0: float, y0: float, x1: float, y1: float) -> tuple[Array, Array, Array]:
        """The pixels of a box, at least one, [H, W, 3], and their coordinates u, v: 0..1 in it."""
        left, top, right, low = (max(0, round(e * len(self.y))) for e in (x0, y0, x1, y1))
        rows, columns = slice(top, max(low, top + 1)), slice(left, max(right, left + 1))
        u, v = (self.x[:, columns] - x0) / (x1 - x0), (self.y[rows] - y0) / (y1 - y0)
        return self.picture[rows, columns], u, v

    def shrink(self) -> tuple[Array, Array]:
        """The picture, [size, size, 3], and what is left bare of each pixel, [size, size, 1]."""
        blocks = self.picture.reshape(self.size, len(self.y) // self.size, self.size, -1, 3)
        return blocks.mean(axis=(1, 3)), (blocks == 0).all(axis=-1, keepdims=True).mean((1, 3))


def generators(kind: int, seed: int, index: int) -> list[Generator]:
    """Random numbers for the plan and for the textures of a scene, whatever its style and size."""
    return [np.random.default_rng((kind, seed, index, stream)) for stream in (0, 1)]


def colors(codes: str) -> Array:
    """Colors [N, 3] of hexadecimal codes."""
    return np.array([ImageColor.getrgb(f"#{code}") for code in codes.split()], np.float32)


def over(back: Array, front: Array, opacity: ArrayLike) -> Array:
    """`front` over `back`, colors or pictures; `opacity` from 0 to 1."""
    return np.asarray(back + (front - back) * np.asarray(opacity))


def noise(rng: Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int) -> Array:
    """Value noise [H, W, 1] in about [-1, 1]; `cells`: rows and columns of the first octave."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        grid = rng.uniform(-1, 1, (cells[0] << octave, cells[1] << octave)).astype(np.float32)
        layer = Image.fromarray(grid).resize(shape[::-1], Image.Resampling.BICUBIC)
        total += 0.5**octave * np.asarray(layer)
    return total[..., None]


def gradient(t: Array | list[float], stops: Array) -> Array:
    """Colors at `t` [..., 1] between even `stops` [N, 3], the first at 0, the last at 1."""
    at = np.linspace(0, 1, len(stops))
    return np.concatenate([np.interp(np.asarray(t), at, channel) for channel in stops.T], axis=-1)


def sky(rng: Generator, t: Array, air: Array, clouds: Array, cover: float) -> Array:
    """Air with clouds, [S, S, 3], colored by stops at `t` 0 to 1; `cover` from 0 to 1 (closed)."""
    field = noise(rng, (len(t), len(t)), (5, 3), octaves=3)
    opacity = 0.85 * np.clip((field - 0.9 + 1.5 * cover) * 1.2, 0, 1) ** 1.3
    return over(gradient(t, air), gradient(t, clouds), opacity)


def finish(picture: Array, rng: Generator, grain: float) -> NDArray[np.uint8]:
    """Add `grain` (standard deviation in levels, equal in all channels) to [S, S, 3]; round."""
    picture = picture + rng.normal(0, grain, (*picture.shape[:2], 1))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
