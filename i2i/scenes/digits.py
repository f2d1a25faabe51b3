"""Three drawn digits, in red, green and blue: 1,000 modes, to count those that a generator covers.

Made by strokes, after the stacked MNIST of Metz et al., ICLR 2017 (unrolled GAN).
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from i2i.scenes.canvas import Array, finish, generators


def labels(seed: int, index: int) -> tuple[int, int, int]:
    """The digits of scene `index` of `seed`, in red, green and blue."""
    red, green, blue = generators(4, seed, index)[0].integers(0, 10, 3).tolist()
    return red, green, blue


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Scene `index` of `seed`, [size, size, 3] uint8: `labels`; there is one style."""
    _, rng = generators(4, seed, index)
    channels = [digit(value, size, rng) for value in labels(seed, index)]
    return finish(np.stack(channels, axis=-1), rng, grain=3.0)


def digit(value: int, size: int, rng: Generator) -> Array:
    """A digit, [size, size] from 0 to 255, of random place, shape, slant, stroke and brightness."""
    x, y, wide, high = rng.uniform([-0.12, -0.1, 0.42, 0.6], [0.12, 0.1, 0.62, 0.78])
    slant, turn, stroke = rng.uniform([-0.25, -0.12, 0.07], [0.25, 0.12, 0.15])
    ink, paper = rng.uniform([190, 5], [250, 30])
    shape = np.array([[wide, -slant], [0, high]])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    unit = (2 * (np.arange(size) + 0.5) / size - 1).astype(np.float32)  # centers of pixels
    nearest = np.full((size, size), np.inf, np.float32)  # squared distance from a stroke
    for line in STROKES[value]:
        path = (line @ (rotation @ shape).T + (x, y)).astype(np.float32)
        for (x0, y0), (dx, dy) in zip(path, np.diff(path, axis=0), strict=False):
            u, v = unit[None, :] - x0, unit[:, None] - y0
            along = ((u * dx + v * dy) / (dx * dx + dy * dy)).clip(0, 1)
            np.minimum(nearest, (u - along * dx) ** 2 + (v - along * dy) ** 2, out=nearest)
    opacity = np.clip(0.5 + (stroke - np.sqrt(nearest)) * size / 2, 0, 1)
    return np.asarray(paper + (ink - paper) * opacity)


def _arc(x: float, y: float, rx: float, ry: float, first: float, last: float) -> Array:
    """Points of an ellipse, from `first` to `last` degrees: 0 is right, 90 is down."""
    angles = np.radians(np.linspace(first, last, 2 + round(abs(last - first) / 24)))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=-1)


def _lines(*points: tuple[float, float]) -> Array:
    return np.array(points)


_HOOK = [_arc(0.45, 0.4, 0.97, 1.33, 270, 180), _arc(0, 0.42, 0.52, 0.53, 0, 360)]  # of 6 and 9
STROKES: list[list[Array]] = [  # of each digit, x and y from -1 to 1
    [_arc(0, 0, 0.58, 0.95, 0, 360)],
    [_lines((-0.4, -0.55), (0.08, -0.95), (0.08, 0.95))],
    [np.vstack([_arc(0, -0.45, 0.52, 0.5, 190, 385), _lines((-0.56, 0.95), (0.6, 0.95))])],
    [_arc(0, -0.47, 0.48, 0.48, 200, 450), _arc(0, 0.47, 0.54, 0.48, 270, 520)],
    [_lines((0.28, 0.95), (0.28, -0.95), (-0.6, 0.35), (0.62, 0.35))],
    [
        _lines((0.5, -0.95), (-0.38, -0.95), (-0.42, -0.08)),
        _arc(0, 0.35, 0.55, 0.6, 222, 510),
    ],
    _HOOK,
    [_lines((-0.56, -0.95), (0.56, -0.95), (-0.12, 0.95))],
    [_arc(0, -0.49, 0.43, 0.46, 0, 360), _arc(0, 0.46, 0.54, 0.49, 0, 360)],
    [-line for line in _HOOK],
]
