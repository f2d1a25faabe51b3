"""Drawn faces: the embedded set for unconditional generation (the role of faces in Radford et al., ICLR 2016, Sec. 4),
and in a second style, ink and wash on paper, an unpaired task."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from i2i.data.scenes.canvas import (
    Array,
    Canvas,
    check_size,
    check_style,
    finish,
    floats,
    generator,
    noise,
    supersampling,
)
from i2i.data.scenes.portrait_body import paint_body
from i2i.data.scenes.portrait_face import paint_face
from i2i.data.scenes.portrait_hair import paint_back_hair, paint_front_hair
from i2i.data.scenes.portrait_plan import NUMBER, Head, Sitter, sample

STYLES = ("drawn", "ink")
PAPER = floats([246, 240, 226])
INK = floats([44, 38, 56])


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Portrait `index` of `seed` as [size, size, 3] uint8 in one of STYLES; both styles show the same person.

    Raises ValueError for a style, size, seed or index out of range.
    """
    check_style(style, STYLES)
    check_size(size)
    sitter = sample(seed, index)
    rng = generator(NUMBER, seed, index, stream=1)
    factor = supersampling(size)
    colour, light = Canvas(size * factor), Canvas(size * factor, "L", 128)
    _paint_background(colour, sitter, rng)
    head = Head(sitter, colour, light, Canvas(size * factor, "L"))
    paint_back_hair(head, rng)
    paint_body(colour, light, sitter)
    paint_face(head, rng)
    paint_front_hair(head, rng)
    if style == "ink":
        return _ink(colour.image, light.image, head.fine.image, size, rng)
    picture = np.asarray(colour.image.reduce(factor), dtype=np.float32)
    return finish(picture * _soft_light(light.image.reduce(factor), size), rng, grain=1.5)


def _soft_light(light: Image.Image, size: int) -> Array:
    """Brightness [S, S, 1] from blurred strokes of light and shadow (128: neutral), lamp at the upper left."""
    strokes = np.asarray(light.filter(ImageFilter.GaussianBlur(0.022 * size)), dtype=np.float32)
    y, x = Canvas(size).axes((0, 0, 1, 1))
    lamp = 1.05 - 0.22 * np.hypot(x - 0.3, 0.8 * (y - 0.2))
    return floats(lamp * (1 + 0.45 * (strokes - 128) / 128))[..., None]


def _paint_background(canvas: Canvas, sitter: Sitter, rng: np.random.Generator) -> None:
    """A wall of one hue, lighter behind the head, with large soft shapes."""
    y, x = canvas.axes((0, 0, 1, 1))
    near, far = floats(sitter.wall), floats(sitter.wall) * 0.72
    glow = np.clip(1.15 - 1.1 * np.hypot(x - 0.42, y - 0.38), 0, 1)[..., None]
    wall = (far + (near - far) * glow) * (
        1 + 0.03 * noise(rng, canvas.side, canvas.side, (4, 4))[..., None]
    )
    if sitter.pattern == "stripes":
        wall = wall * (1 + 0.05 * np.sign(np.sin(x * 44))[..., None])
    elif sitter.pattern == "split":
        wall = wall * np.where(y + 0.15 * x > 0.62, 0.84, 1.0)[..., None]
    canvas.paste(wall.astype(np.float32), (0, 0, 1, 1))


def _ink(
    colour: Image.Image, light: Image.Image, fine: Image.Image, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Ink contours, hatching where it is dark, and a pale watercolour of the colours, on paper.

    Where `fine` is set (eyes and mouth) the brush works in full colours: lines there would close up when small.
    """
    work = colour.reduce(max(1, colour.width // (2 * size)))
    side = work.width
    rgb = np.asarray(work, dtype=np.float32) * (1 / 255)
    tone = rgb @ floats([0.299, 0.587, 0.114])
    reach = max(1, round(0.004 * side))
    edge = np.zeros_like(tone)
    edge[:, reach:] += np.abs(tone[:, reach:] - tone[:, :-reach])
    edge[reach:] += np.abs(tone[reach:] - tone[:-reach])
    line = 0.85 * np.clip((edge - 0.05) * 7, 0, 1)
    y, x = Canvas(side).axes((0, 0, 1, 1))
    wave = np.clip(1.5 * np.cos((x + y) * (2 * np.pi / 0.036)), 0, 1)
    hatch = 0.75 * wave * np.clip((0.36 - tone) * 6, 0, 1)
    careful = (
        np.asarray(fine.resize(work.size, Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    )
    cover = np.maximum(line, hatch)[..., None] * (1 - careful)
    wash = PAPER * (1 - (0.6 + 0.35 * careful) * (1 - rgb**0.85))
    mixed = wash + (INK - wash) * cover
    small = np.asarray(
        Image.fromarray(mixed.astype(np.uint8)).reduce(side // size), dtype=np.float32
    )
    lamp = _soft_light(light.reduce(colour.width // size), size)
    grain = 1 + 0.02 * noise(rng, size, size, (40, 40))[..., None]
    return finish(small * np.minimum(0.35 + 0.65 * lamp, 1.02) * grain, rng, grain=1.5)
