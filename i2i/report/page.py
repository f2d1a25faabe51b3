"""What a run came to, to look at: a labelled sheet of pictures (PNG) and one self-contained page (HTML, no scripts)."""

import base64
import html
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from i2i.images import encode, match_channels, to_unit

Picture = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]  # [H, W, C], C = 1 to 4
Curve = Sequence[tuple[float, float]]
Event = tuple[float, str, str]  # images seen, kind, what happened

CELL = 192  # pixels: small pictures are enlarged, by a whole number, to about this
GAP = 6  # pixels between pictures
POINTS = 300  # of a curve at most; more cannot be told apart at its width
PLOT = (320.0, 150.0)  # width and height of a curve's drawing, in its own units


def sheet(rows: Sequence[Sequence[Picture]], headers: Sequence[str], path: Path) -> None:
    """Write a PNG of pictures in a grid, a header over each column.

    `rows` of [H, W, C] (8 or 16 bits, or float32 in [0, 1]; gray, RGB, or with alpha, shown on
    white); one row may be shorter than another. All are enlarged by one whole factor that brings
    the largest near 192 pixels, without smoothing, so that every pixel can be seen. Written under a
    temporary name and renamed.

    Raises:
        ValueError: no pictures, or a row longer than `headers`.
    """
    if not rows or not any(rows):
        raise ValueError(f"{path}: there are no pictures to lay out")
    if max(len(row) for row in rows) > len(headers):
        raise ValueError(
            f"{path}: {len(headers)} headers for rows of up to {max(map(len, rows))} pictures"
        )
    tiles = [[_tile(picture) for picture in row] for row in rows]
    largest = max(max(tile.size) for row in tiles for tile in row)
    factor = max(1, round(CELL / largest))
    width = factor * max(tile.width for row in tiles for tile in row)
    heights = [factor * max((tile.height for tile in row), default=0) for row in tiles]
    letters = max(11, min(18, width // 9))
    font = ImageFont.load_default(size=letters)
    head = 2 * GAP + letters
    canvas = Image.new(
        "RGB",
        (GAP + len(headers) * (width + GAP), head + GAP + sum(heights) + GAP * len(rows)),
        (255, 255, 255),
    )
    pen = ImageDraw.Draw(canvas)
    for column, header in enumerate(headers):
        middle = GAP + column * (width + GAP) + width / 2
        pen.text(
            (middle, GAP + head / 2), _fitting(header, font, width), (40, 44, 52), font, anchor="mm"
        )
    top = head + GAP
    for row, height in zip(tiles, heights, strict=True):
        for column, tile in enumerate(row):
            big = tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)
            canvas.paste(big, (GAP + column * (width + GAP), top))
        top += height + GAP
    encode(np.asarray(canvas), path, "PNG")


def _tile(picture: Picture) -> Image.Image:
    """Any picture as 8-bit RGB, alpha over white."""
    array = np.asarray(picture)
    levels = np.rint(np.clip(to_unit(array), 0, 1) * 255).astype(np.uint8)
    whole = Image.fromarray(match_channels(levels, 4 if levels.shape[2] in (2, 4) else 3))
    if whole.mode == "RGB":
        return whole
    white = Image.new("RGBA", whole.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, whole).convert("RGB")


def _fitting(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width: int) -> str:
    """`text`, cut with an ellipsis where it is wider than `width`."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def html_report(
    path: Path,
    title: str,
    facts: Mapping[str, object],
    table: Sequence[Sequence[str]],
    events: Sequence[Event],
    pictures: Mapping[str, bytes],
    curves: Mapping[str, Curve],
) -> None:
    """Write one HTML file that needs nothing else: pictures are inside it, curves are SVG, nothing is fetched or run.

    Args:
        facts: what was done, shown as name and value.
        table: the numbers, the first row being their names; may be empty.
        events: what happened on the way, in order; may be empty.
        pictures: PNG files by caption, such as the one `sheet` writes.
        curves: (images seen, value) points by name, each drawn on its own scale; values that are
            not finite are left out.

    All text is escaped. The file appears whole or not at all.
    """
    body = [f"<h1>{html.escape(title)}</h1>"]
    if facts:
        items = (
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
            for name, value in facts.items()
        )
        body.append(f"<dl>{''.join(items)}</dl>")
    if table:
        body.append(f"<h2>Numbers</h2>{_table(table)}")
    if events:
        lines = "".join(map(_event, events))
        body.append(f"<h2>What happened</h2><ol>{lines}</ol>")
    for caption, content in pictures.items():
        data = base64.b64encode(content).decode("ascii")
        text = html.escape(caption)
        body.append(
            f'<figure><figcaption>{text}</figcaption><img alt="{text}" src="data:image/png;base64,{data}"></figure>'
        )
    if curves:
        plots = "".join(_plot(name, points) for name, points in curves.items())
        body.append(f'<h2>Training</h2><div class="plots">{plots}</div>')
    page = _PAGE.format(title=html.escape(title), style=_STYLE, body="\n".join(body))
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _event(event: Event) -> str:
    images, kind, text = event
    return (
        f"<li><p><b>{html.escape(kind)}</b> after {images:,.0f} images</p>{html.escape(text)}</li>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    lines = (
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[1:]
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _plot(name: str, points: Curve) -> str:
    """One curve as SVG: the values thin, their running mean bold, the range and the last value in figures."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return (
            f"<figure><figcaption>{html.escape(name)}</figcaption><p>no finite values</p></figure>"
        )
    finite = finite[:: math.ceil(len(finite) / POINTS)] + (
        [finite[-1]] if len(finite) > POINTS else []
    )
    x0, x1 = min(x for x, _ in finite), max(x for x, _ in finite)
    y0, y1 = min(y for _, y in finite), max(y for _, y in finite)
    width, height = PLOT

    def place(curve: Curve) -> str:
        spots = (
            (
                width * (x - x0) / ((x1 - x0) or 1),
                height * (1 - ((y - y0) / (y1 - y0) if y1 > y0 else 0.5)),
            )
            for x, y in curve
        )
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)

    last = finite[-1][1]
    label = html.escape(
        f"{name} from {x0:,.0f} to {x1:,.0f} images: lowest {y0:.4g}, highest {y1:.4g}, last {last:.4g}"
    )
    return (
        f"<figure><figcaption>{html.escape(name)} <b>{last:.4g}</b></figcaption>"
        f'<svg viewBox="-2 -4 {width + 4:g} {height + 8:g}" role="img" aria-label="{label}">'
        f'<path class="axis" d="M0 0V{height:g}H{width:g}"/>'
        f'<polyline class="raw" points="{place(finite)}"/>'
        f'<polyline class="mean" points="{place(_smoothed(finite))}"/></svg>'
        f"<p><value_range>{y0:.4g} – {y1:.4g}</value_range><value_range>{x0:,.0f} – {x1:,.0f} images</value_range></p></figure>"
    )


def _smoothed(points: Curve) -> list[tuple[float, float]]:
    """Running mean over a tenth of the curve, centered, shorter at the ends."""
    reach = max(1, len(points) // 20)
    values = [y for _, y in points]
    means = []
    for n, (x, _) in enumerate(points):
        near = values[max(0, n - reach) : n + reach + 1]
        means.append((x, math.fsum(near) / len(near)))
    return means


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""

_STYLE = """
:root { --ink: #1d2129; --soft: #667085; --rule: #e3e6eb; --page: #ffffff; --tile: #f6f7f9; --line: #2563c9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --soft: #9aa3b2; --rule: #30353f; --page: #15171c; --tile: #1e2128; --line: #7fb0ff; }
}
body { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1.5rem .4rem 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
ol { list-style: none; margin: 0; padding: 0; }
li { padding: .6rem 0; border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
li p { margin: 0; color: var(--soft); font-size: .85rem; }
li b { color: var(--ink); font-weight: 600; }
figure { margin: 2rem 0 0; }
figcaption { color: var(--soft); margin-bottom: .5rem; }
figcaption b { color: var(--ink); font-weight: 600; float: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; border-radius: 6px; border: 1px solid var(--rule); image-rendering: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
.plots figure { margin: 0; padding: .85rem 1rem .6rem; background: var(--tile); border-radius: 8px; }
.plots p { display: flex; justify-content: space-between; color: var(--soft); font-size: .8rem; margin: .3rem 0 0; }
svg { display: block; width: 100%; height: auto; }
.axis { fill: none; stroke: var(--rule); stroke-width: 1; }
.raw, .mean { fill: none; stroke: var(--line); stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.raw { stroke-width: 1; opacity: .3; }
.mean { stroke-width: 2; }
"""
