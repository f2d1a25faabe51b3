"""Drawing in unit coordinates at any pixel size, with the value noise that every scene kind textures itself with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.floating[Any]]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in [0, 1], y down
Point = tuple[float, float]

SMALLEST, LARGEST = 16, 2048  # sides in pixels: below the features vanish, above nobody trains


def generator(kind: int, seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """Random numbers of scene `index` of `seed`: the same whatever the style, the size or the number of scenes."""
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index: must be at least 0, got {seed} and {index}")
    return np.random.default_rng((kind, seed, index, stream))


def supersampling(size: int) -> int:
    """Canvas pixels per output pixel, less for large pictures, whose edges need it less."""
    return 4 if size <= 96 else 3 if size <= 160 else 2


def check_size(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size: must be from {SMALLEST} to {LARGEST} pixels, got {size}")


def check_style(style: str, styles: tuple[str, ...]) -> None:
    if style not in styles:
        raise ValueError(f"style: {style!r} is not known here (choose from {', '.join(styles)})")


def floats(values: Any) -> Array:
    """Numbers, points or a colour as a float32 array."""
    return np.asarray(values, dtype=np.float32)


class Canvas:
    """A square image whose shapes are given in [0, 1] x [0, 1]; mode "RGB", or "L" for masks and class numbers."""

    def __init__(self, side: int, mode: str = "RGB", fill: Colour | int = 0) -> None:
        self.side = side
        self.image = Image.new(mode, (side, side), fill)
        self.pen = ImageDraw.Draw(self.image)

    def pixels(self, box: Box) -> tuple[int, int, int, int]:
        """`box` in whole pixels, half open, at least one pixel wide and high, not clipped."""
        s = self.side
        x0, y0, x1, y1 = round(box[0] * s), round(box[1] * s), round(box[2] * s), round(box[3] * s)
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)

    def box(self, box: Box, fill: Colour | int) -> None:
        x0, y0, x1, y1 = self.pixels(box)
        self.pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour | int) -> None:
        s = self.side
        x0, y0, x1, y1 = (x - rx) * s, (y - ry) * s, (x + rx) * s - 1, (y + ry) * s - 1
        self.pen.ellipse((x0, y0, max(x0, x1), max(y0, y1)), fill=fill)

    def polygon(
        self, points: "Array | tuple[Point, ...] | list[Point]", fill: Colour | int
    ) -> None:
        flat = (np.asarray(points, dtype=np.float64) * self.side - 0.5).ravel().tolist()
        self.pen.polygon(flat, fill=fill)

    def line(
        self, points: "Array | tuple[Point, ...] | list[Point]", width: float, fill: Colour | int
    ) -> None:
        """A stroke `width` wide (in units of the side, at least one pixel) with round joints."""
        flat = (np.asarray(points, dtype=np.float64) * self.side - 0.5).ravel().tolist()
        self.pen.line(flat, fill=fill, width=max(1, round(width * self.side)), joint="curve")

    def axes(self, box: Box) -> tuple[Array, Array]:
        """Unit coordinates of the pixels of `box`: y [H, 1] and x [1, W]."""
        x0, y0, x1, y1 = self.pixels(box)
        x = (np.arange(x0, x1, dtype=np.float32) + 0.5) / self.side
        y = (np.arange(y0, y1, dtype=np.float32) + 0.5) / self.side
        return y[:, None], x[None, :]

    def paste(self, patch: Array, box: Box, outline: tuple[Point, ...] = ()) -> None:
        """Lay `patch` [H, W, 3] (0..255) over `box`, inside the polygon `outline` where one is given."""
        corner = self.pixels(box)[:2]
        picture = Image.fromarray(np.clip(patch, 0, 255).astype(np.uint8))
        if not outline:
            self.image.paste(picture, corner)
            return
        mask = Image.new("L", picture.size, 0)
        shifted = (np.asarray(outline) * self.side - 0.5 - np.asarray(corner)).ravel().tolist()
        ImageDraw.Draw(mask).polygon(shifted, fill=255)
        self.image.paste(picture, corner, mask)

    def array(self) -> Array:
        """The pixels as float32, [H, W, 3] or [H, W], 0..255."""
        return np.asarray(self.image).astype(np.float32)


def tint(colour: Colour, factor: float, warm: float = 0.0) -> Colour:
    """`colour` times `factor` (at least 0), with `warm` (-1..1) shifted from blue to red."""
    r, g, b = colour
    red, green, blue = r * factor * (1 + 0.25 * warm), g * factor, b * factor * (1 - 0.25 * warm)
    return min(255, int(red + 0.5)), min(255, int(green + 0.5)), min(255, int(blue + 0.5))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of `other` in `one`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def noise(
    rng: np.random.Generator, height: int, width: int, cells: tuple[int, int], octaves: int = 1
) -> Array:
    """Smooth value noise [H, W] in about [-1, 1]; `cells` (rows, columns) of the first octave, doubled in each next.

    The grid of random numbers does not depend on the size in pixels, so a scene looks the same at every size.
    """
    total = np.zeros((height, width), dtype=np.float32)
    weight = 1.0
    for octave in range(octaves):
        rows, columns = (max(2, n << octave) for n in cells)
        grid = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
        layer = grid.resize(
            (width, height), Image.Resampling.BICUBIC if octave < 2 else Image.Resampling.BILINEAR
        )
        total += weight * np.asarray(layer)
        weight *= 0.5
    return total


def vertical(y: Array, stops: list[tuple[float, Colour]]) -> Array:
    """Colour gradient [H, 1, 3] over heights `y` [H, 1] through (height, colour) `stops`."""
    heights = [height for height, _ in stops]
    channels = [np.interp(y[:, 0], heights, [colour[c] for _, colour in stops]) for c in range(3)]
    return np.stack(channels, axis=-1)[:, None, :].astype(np.float32)


def finish(picture: Array, rng: np.random.Generator, grain: float) -> NDArray[np.uint8]:
    """Add `grain` (standard deviation in 8-bit steps, the same for all channels) to [S, S, 3] in 0..255; round."""
    picture = picture + rng.normal(0, grain, (*picture.shape[:2], 1)).astype(np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def clouds(rng: np.random.Generator, height: int, width: int, cover: float) -> Array:
    """Opacity of clouds [H, W, 1] in [0, 1]; `cover` from 0 (clear) to 1 (closed)."""
    field = noise(rng, height, width, (5, 3), octaves=3)
    return floats(np.clip((field - 0.9 + 1.5 * cover) * 1.2, 0, 1) ** 1.3)[..., None]
