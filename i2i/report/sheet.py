"""A PNG sheet of images in rows, with a header over each column."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from i2i.images import Array, encode, to_display_rgb

CELL = 192  # pixels: small images are enlarged, by a whole factor, to about this
GAP = 6  # pixels between images


def write_sheet(rows: Sequence[Sequence[Array]], headers: Sequence[str], path: Path) -> None:
    """Write a PNG of images in a grid, a header over each column.

    `rows` of [H, W, C] (8 or 16 bits, or float32 in [0, 1]; gray, RGB, or with alpha, shown on
    white); rows may differ in length. All are enlarged by one whole factor that brings the largest
    near 192 pixels, without smoothing, so that every pixel can be seen. Written atomically.

    Raises:
        ValueError: no images, or a row longer than `headers`.
        WriteError: the sheet cannot be written.
    """
    longest = max(map(len, rows), default=0)
    if longest == 0:
        raise ValueError(f"{path}: a sheet needs at least one image")
    if longest > len(headers):
        raise ValueError(f"{path}: {len(headers)} headers for rows of up to {longest} images")
    tiles = [[Image.fromarray(to_display_rgb(image)) for image in row] for row in rows]
    every = [tile for row in tiles for tile in row]
    factor = max(1, round(CELL / max(max(tile.size) for tile in every)))
    width = factor * max(tile.width for tile in every)
    heights = [factor * max((tile.height for tile in row), default=0) for row in tiles]
    letters = max(11, min(18, width // 9))  # pixels
    top = 3 * GAP + letters
    size = (GAP + len(headers) * (width + GAP), top + sum(heights) + GAP * len(rows))
    canvas = Image.new("RGB", size, "white")
    _draw_headers(ImageDraw.Draw(canvas), headers, width, letters)
    for row, height in zip(tiles, heights, strict=True):
        for column, tile in enumerate(row):
            large = tile.resize(
                (tile.width * factor, tile.height * factor), Image.Resampling.NEAREST
            )
            canvas.paste(large, (GAP + column * (width + GAP), top))
        top += height + GAP
    encode(np.asarray(canvas), path, "PNG")


def _draw_headers(
    pen: ImageDraw.ImageDraw, headers: Sequence[str], width: int, letters: int
) -> None:
    """Center each header over its column, cut with an ellipsis if it is wider."""
    font = ImageFont.load_default(size=letters)
    for column, text in enumerate(headers):
        middle = GAP + column * (width + GAP) + width / 2
        short = text
        while short and font.getlength(short + "…" * (short != text)) > width:
            short = short[:-1]
        label = short + "…" * (short != text)
        pen.text((middle, 2 * GAP + letters / 2), label, (40, 44, 52), font, anchor="mm")
