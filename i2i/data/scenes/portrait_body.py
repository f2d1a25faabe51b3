"""Neck, shoulders and clothes of a portrait, upright whatever the tilt of the head."""

from i2i.data.scenes.canvas import Array, Canvas, Colour, floats, tint
from i2i.data.scenes.portrait_plan import Sitter


class _Torso:
    """A brush in coordinates of the body: u in half widths of the neck from its middle, v in the picture's units
    from the collar down."""

    def __init__(self, sitter: Sitter, colour: Canvas) -> None:
        self.x, self.collar, self.neck = (
            sitter.x,
            sitter.y + sitter.high + 0.075,
            0.46 * sitter.wide,
        )
        self.colour = colour

    def place(self, points: list[tuple[float, float]], side: int = 1) -> Array:
        return floats([(self.x + side * self.neck * u, self.collar + v) for u, v in points])

    def both(self, points: list[tuple[float, float]], fill: Colour) -> None:
        """A polygon and its mirror image."""
        for side in (-1, 1):
            self.colour.polygon(self.place(points, side), fill)

    def strokes(self, points: list[tuple[float, float]], width: float, fill: Colour) -> None:
        """A line and its mirror image."""
        for side in (-1, 1):
            self.colour.line(self.place(points, side), width, fill)


def paint_body(colour: Canvas, light: Canvas, sitter: Sitter) -> None:
    """Paint one of four garments over the back hair; the head goes on top."""
    torso = _Torso(sitter, colour)
    reach = sitter.shoulders / torso.neck  # half width of the shoulders in half widths of the neck
    half = [
        (0, 0.0),
        (1.0, 0.0),
        (0.7 * reach, 0.055),
        (0.97 * reach, 0.13),
        (reach, 0.4),
        (0, 0.4),
    ]
    neck = [(0, -0.19), (1.0, -0.19), (1.0, 0.01), (0, 0.075)]
    torso.both(half, sitter.cloth)
    torso.both(neck, tint(sitter.skin, 0.82))
    {"shirt": _shirt, "crew": _crew, "jacket": _jacket, "hood": _hood}[sitter.garment](
        torso, sitter
    )
    for side in (-1, 1):
        light.polygon(
            torso.place([(0, -0.19), (1.0, -0.19), (1.0, -0.005), (0, 0.02)], side), 84
        )  # below the chin
    light.polygon(
        torso.place([(0.75 * reach, 0.05), (reach, 0.13), (reach, 0.4), (0.6 * reach, 0.4)]), 80
    )


def _shirt(torso: _Torso, sitter: Sitter) -> None:
    wing = [(1.08, -0.03), (0, 0.085), (0.85, 0.12), (1.5, 0.04)]
    torso.both(wing, sitter.collar)
    torso.strokes(wing[1:], 0.006, tint(sitter.cloth, 0.72))


def _crew(torso: _Torso, sitter: Sitter) -> None:
    torso.strokes([(1.12, -0.008), (0.6, 0.045), (0, 0.065)], 0.028, sitter.collar)


def _jacket(torso: _Torso, sitter: Sitter) -> None:
    torso.both([(1.0, 0.0), (0, 0.25), (0, 0.06)], sitter.collar)
    torso.both(
        [(1.0, -0.01), (1.75, 0.05), (1.5, 0.13), (0, 0.32), (0.2, 0.16)], tint(sitter.cloth, 0.72)
    )


def _hood(torso: _Torso, sitter: Sitter) -> None:
    torso.both(
        [(1.0, -0.06), (1.9, 0.0), (1.5, 0.09), (0, 0.15), (0.5, 0.05)], tint(sitter.cloth, 0.72)
    )
    torso.strokes([(0.5, 0.1), (0.54, 0.22)], 0.01, sitter.collar)
