"""A self-contained page (HTML without scripts) of facts, numbers, events, images and curves."""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from i2i.errors import printable
from i2i.files import write_atomically

Curve = Sequence[tuple[float, float]]  # (images seen, value)
Event = tuple[float, str, str]  # images seen, kind, text

MAX_POINTS = 300  # of a curve; at its width more are indistinguishable
MAX_TEXT = 4_000  # characters of a cell
WIDTH, HEIGHT = 320.0, 150.0  # of a plot, in units of its drawing


def html_report(
    path: Path,
    title: str,
    facts: Mapping[str, object],
    table: Sequence[Sequence[str]],
    events: Sequence[Event],
    pictures: Mapping[str, bytes],
    curves: Mapping[str, Curve],
) -> None:
    """Write one HTML file that needs nothing else: images are embedded, curves are SVG.

    Nothing is fetched or run, all text is escaped, and the file is written atomically.

    Args:
        facts: name and value of what the page is about.
        table: the scores, a header row first; may be empty.
        events: in order; may be empty.
        pictures: PNG files by caption, such as one of `write_sheet`.
        curves: points by name, each curve drawn on its own scale; values that are not finite are
            left out.

    Raises:
        WriteError: the file cannot be written.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    if facts:
        items = (_cells("dt", [name]) + _cells("dd", [str(v)]) for name, v in facts.items())
        parts.append(f"<dl>{''.join(items)}</dl>")
    if table:
        rows = "".join(f"<tr>{_cells('td', row)}</tr>" for row in table[1:])
        head = f"<thead><tr>{_cells('th', table[0])}</tr></thead>"
        parts.append("<h2>Scores</h2>")
        parts.append(f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>')
    if events:
        parts.append(f"<h2>Events</h2><ol>{''.join(map(_event, events))}</ol>")
    parts += [_figure(caption, content) for caption, content in pictures.items()]
    if curves:
        plots = "".join(_plot(name, points) for name, points in curves.items())
        parts.append(f'<h2>Training</h2><div class="plots">{plots}</div>')
    folder = files(__package__)
    style = folder.joinpath("page.css").read_text("utf-8")
    page = Template(folder.joinpath("page.html").read_text("utf-8"))
    text = page.substitute(title=escape(title), style=style, body="\n".join(parts))
    write_atomically(path, text.encode(), flush=False)


def escape(text: str) -> str:
    """Return text of files or settings for the page."""
    return html.escape(printable(text, MAX_TEXT))


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _event(event: Event) -> str:
    images, kind, text = event
    return f"<li><p><b>{escape(kind)}</b> after {images:,.0f} images</p>{escape(text)}</li>"


def _figure(caption: str, png: bytes) -> str:
    text, data = escape(caption), base64.b64encode(png).decode("ascii")
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{text}</figcaption>{image}</figure>"


def _plot(name: str, points: Curve) -> str:
    """Return one curve as SVG: values thin, running mean bold; range and last value as numbers."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not finite:
        return f"<figure>{_cells('figcaption', [name])}<p>no finite values</p></figure>"
    if len(finite) > MAX_POINTS:
        finite = [*finite[:: math.ceil(len(finite) / MAX_POINTS)], finite[-1]]
    xs, ys = zip(*finite, strict=True)
    left, right, low, high, last = min(xs), max(xs), min(ys), max(ys), ys[-1]

    def line(kind: str, curve: Curve) -> str:
        corners = []
        for x, y in curve:
            height = (y - low) / (high - low) if high > low else 0.5
            corners.append(
                f"{WIDTH * (x - left) / (right - left or 1):.1f},{HEIGHT * (1 - height):.1f}"
            )
        return f'<polyline class="{kind}" points="{" ".join(corners)}"/>'

    span = f"from {left:,.0f} to {right:,.0f} images"
    label = f"{name} {span}: lowest {low:.4g}, highest {high:.4g}, last {last:.4g}"
    return (
        f"<figure><figcaption>{escape(name)} <b>{last:.4g}</b></figcaption>"
        f'<svg viewBox="-2 -4 {WIDTH + 4:g} {HEIGHT + 8:g}" role="img" '
        f'aria-label="{escape(label)}">'
        f'<path class="axis" d="M0 0V{HEIGHT:g}H{WIDTH:g}"/>'
        f"{line('raw', finite)}{line('mean', _smoothed(finite))}</svg>"
        f"<p><span>{low:.4g} – {high:.4g}</span><span>{left:,.0f} – {right:,.0f} images</span></p>"
        "</figure>"
    )


def _smoothed(points: Curve) -> list[tuple[float, float]]:
    """Return the running mean over a tenth of the curve, centered, shorter at the ends."""
    reach = max(1, len(points) // 20)
    means = []
    for n, (x, _) in enumerate(points):
        window = points[max(0, n - reach) : n + reach + 1]
        means.append((x, math.fsum(y for _, y in window) / len(window)))
    return means
