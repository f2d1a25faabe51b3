"""Hair and headgear of a portrait in two layers, behind the head and over the forehead."""

import numpy as np

from i2i.data.scenes.canvas import Array, Colour, Point, floats, mix, tint
from i2i.data.scenes.portrait_plan import Head, oval, smooth


def paint_back_hair(head: Head, rng: np.random.Generator) -> None:
    """What hangs or stands behind head and shoulders."""
    sitter = head.sitter
    hair = tint(sitter.hair, 0.72)
    if sitter.cut == "long":
        half = [
            (0, -1.2),
            (0.85, -1.14),
            (1.22, -0.6),
            (1.28, 0.2),
            (1.36, 1.1),
            (1.3, 1.75),
            (0.9, 1.9),
            (0, 1.9),
        ]
        head.fill(smooth(_mirrored(half), closed=True), hair)
    elif sitter.cut == "bob":
        half = [
            (0, -1.2),
            (0.9, -1.12),
            (1.28, -0.5),
            (1.36, 0.2),
            (1.34, 0.75),
            (1.05, 0.9),
            (0, 0.9),
        ]
        head.fill(smooth(_mirrored(half), closed=True), hair)
    elif sitter.cut == "afro":
        _curls(head, rng, 1.12, 30, 0.3, hair, span=(-0.25, 1.25))
        head.fill(oval(0, -0.35, 1.22, 0.98), hair)
    elif sitter.cut == "bun":
        head.fill(oval(0.0, -1.28, 0.42, 0.3), sitter.hair)
        head.fill(oval(-0.1, -1.36, 0.2, 0.12), tint(sitter.hair, 1.25))
    elif sitter.cut == "tail":
        side = sitter.part
        lock = [
            (0.8 * side, -0.9),
            (1.35 * side, -0.8),
            (1.55 * side, 0.0),
            (1.4 * side, 0.9),
            (1.15 * side, 1.1),
            (1.1 * side, 0.1),
        ]
        head.fill(smooth(lock, closed=True), hair)


def paint_front_hair(head: Head, rng: np.random.Generator) -> None:
    """What lies over skull, temples and forehead."""
    sitter = head.sitter
    painters = {
        "short": _short, "side": _side, "fringe": _fringe, "bob": _bob, "long": _long, "bun": _pulled_back,
        "tail": _pulled_back, "curls": _curly, "afro": _curly, "beanie": _beanie, "bald": _bald,
    }  # fmt: skip
    painters[sitter.cut](head, rng)


def _mirrored(half: list[Point]) -> list[Point]:
    """A right half from crown to foot completed to a closed, symmetric outline."""
    return half + [(-u, v) for u, v in reversed(half)]


def _crown(volume: float, sideburn: float) -> Array:
    """The outer edge of the hair from the left temple over the top to the right."""
    turn = np.linspace(np.pi, 2 * np.pi, 30)
    u, v = (1.0 + 0.5 * volume) * np.cos(turn), -0.2 + (0.82 + volume) * np.sin(turn)
    arc = np.stack([u, v], axis=1).astype(np.float32)
    ends = floats([[-1.02, sideburn]]), floats([[1.02, sideburn]])
    return np.concatenate([ends[0], arc, ends[1]])


def _cap(
    head: Head, rng: np.random.Generator, hairline: list[Point], volume: float, sideburn: float
) -> None:
    """Fill between the crown and `hairline` (left to right), with strands and a shine."""
    hair = head.sitter.hair
    line = smooth(hairline)
    head.fill(np.concatenate([_crown(volume, sideburn), line[::-1]]), hair)
    head.shade(np.concatenate([line, line[::-1] + floats([0, 0.1])]), 92)  # it shades the forehead
    _strands(head, rng, hairline, volume, 16)


def _strands(
    head: Head, rng: np.random.Generator, hairline: list[Point], volume: float, count: int
) -> None:
    """Lines of lighter and darker hair from the crown down towards the hairline."""
    hair = head.sitter.hair
    line = smooth(hairline)
    for place, tone in zip(rng.uniform(0.04, 0.96, count), rng.uniform(-1, 1, count), strict=True):
        turn = np.pi * (1 + float(place))
        end = line[int(float(place) * (len(line) - 1))]
        start = floats([0.9 * np.cos(turn), -0.2 + (0.74 + 0.9 * volume) * np.sin(turn)])
        bend = 0.5 * (start + end) * floats([1.12, 1.05])
        path = smooth([_point(start), _point(bend), _point(0.25 * start + 0.75 * end)], rounds=2)
        head.stroke(
            path,
            0.045,
            tint(hair, 1.0 + 0.22 * float(tone)) if sum(hair) > 200 else _lift(hair, float(tone)),
        )
    sweep = np.linspace(1.2 * np.pi, 1.42 * np.pi, 8)
    shine = np.stack([0.82 * np.cos(sweep), -0.2 + (0.62 + volume) * np.sin(sweep)], axis=1)
    head.stroke(shine, 0.09, mix(hair, (255, 250, 240), 0.25))


def _lift(hair: Colour, tone: float) -> Colour:
    """Strands on black hair can only be lighter."""
    return mix(hair, (120, 110, 120), 0.12 + 0.12 * tone)


def _point(pair: Array) -> Point:
    return float(pair[0]), float(pair[1])


def _short(head: Head, rng: np.random.Generator) -> None:
    line = [
        (-0.93, 0.05),
        (-0.88, -0.3),
        (-0.72, -0.58),
        (-0.2, -0.62),
        (0.2, -0.62),
        (0.72, -0.58),
        (0.88, -0.3),
        (0.93, 0.05),
    ]
    _cap(head, rng, line, 0.24, 0.08)


def _side(head: Head, rng: np.random.Generator) -> None:
    p = head.sitter.part
    line = [
        (-0.93, 0.05),
        (-0.9, -0.3),
        (-0.7, -0.42),
        (-0.1, -0.5),
        (0.35, -0.72),
        (0.6, -0.76),
        (0.86, -0.45),
        (0.94, 0.05),
    ]
    if p < 0:
        line = [(-u, v) for u, v in reversed(line)]
    _cap(head, rng, line, 0.34, 0.08)
    head.stroke(
        smooth([(0.52 * p, -0.74), (0.5 * p, -0.95), (0.38 * p, -1.08)]),
        0.03,
        tint(head.sitter.hair, 0.6),
    )


def _fringe(head: Head, rng: np.random.Generator) -> None:
    line = [
        (-0.95, 0.15),
        (-0.92, -0.2),
        (-0.75, -0.34),
        (-0.25, -0.36),
        (0.25, -0.34),
        (0.75, -0.34),
        (0.92, -0.2),
        (0.95, 0.15),
    ]
    _cap(head, rng, line, 0.3, 0.18)


def _bob(head: Head, rng: np.random.Generator) -> None:
    side = [
        (1.0, -0.5),
        (1.2, -0.3),
        (1.34, 0.3),
        (1.3, 0.78),
        (1.02, 0.82),
        (0.9, 0.3),
        (0.86, -0.25),
    ]
    for p in (-1, 1):
        head.fill(smooth([(p * u, v) for u, v in side], closed=True), head.sitter.hair)
    line = [
        (-0.95, 0.3),
        (-0.88, -0.25),
        (-0.6, -0.4),
        (-0.2, -0.42),
        (0.2, -0.4),
        (0.6, -0.4),
        (0.88, -0.25),
        (0.95, 0.3),
    ]
    _cap(head, rng, line, 0.34, 0.35)


def _long(head: Head, rng: np.random.Generator) -> None:
    p = 0.3 * head.sitter.part
    lock = [
        (0.95, -0.6),
        (1.16, -0.3),
        (1.26, 0.4),
        (1.3, 1.2),
        (1.14, 1.7),
        (0.92, 1.5),
        (0.98, 0.7),
        (0.84, -0.1),
    ]
    for side in (-1, 1):
        head.fill(smooth([(side * u, v) for u, v in lock], closed=True), head.sitter.hair)
        for n in range(3):
            u = 1.02 + 0.08 * n
            path = smooth([(side * u, -0.1), (side * (u + 0.06), 0.5), (side * (u + 0.02), 1.3)])
            head.stroke(path, 0.035, tint(head.sitter.hair, 0.78))
    line = [
        (-0.97, 0.3),
        (-0.9, -0.15),
        (-0.62, -0.4),
        (p, -0.86),
        (p, -0.86),
        (0.62, -0.4),
        (0.9, -0.15),
        (0.97, 0.3),
    ]
    _cap(head, rng, line, 0.3, 0.35)
    head.stroke([(p, -0.84), (0.8 * p, -1.1)], 0.03, tint(head.sitter.hair, 0.55))


def _pulled_back(head: Head, rng: np.random.Generator) -> None:
    line = [
        (-0.95, -0.02),
        (-0.9, -0.35),
        (-0.6, -0.62),
        (0, -0.72),
        (0.6, -0.62),
        (0.9, -0.35),
        (0.95, -0.02),
    ]
    _cap(head, rng, line, 0.22, 0.0)


def _curly(head: Head, rng: np.random.Generator) -> None:
    volume = 0.3 if head.sitter.cut == "curls" else 0.4
    line = [
        (-0.94, 0.0),
        (-0.88, -0.35),
        (-0.6, -0.56),
        (0, -0.6),
        (0.6, -0.56),
        (0.88, -0.35),
        (0.94, 0.0),
    ]
    head.fill(np.concatenate([_crown(volume - 0.05, 0.02), smooth(line)[::-1]]), head.sitter.hair)
    rings = 30 if head.sitter.cut == "curls" else 44
    _curls(head, rng, 0.98, rings, 0.19, head.sitter.hair, span=(0.02, 0.98))
    _curls(head, rng, 0.72, 12, 0.15, head.sitter.hair, span=(0.1, 0.9))


def _curls(
    head: Head,
    rng: np.random.Generator,
    away: float,
    count: int,
    radius: float,
    hair: Colour,
    span: tuple[float, float],
) -> None:
    """Round tufts along an arc around the crown, `span` in half turns from the left ear."""
    for place, tone, out in zip(
        np.linspace(*span, count),
        rng.uniform(-1, 1, count),
        rng.uniform(0.9, 1.1, count),
        strict=True,
    ):
        turn = np.pi * (1 + float(place))
        u, v = (
            away * float(out) * float(np.cos(turn)),
            -0.22 + 0.95 * away * float(out) * float(np.sin(turn)),
        )
        shade = (
            tint(hair, 1 + 0.16 * float(tone))
            if sum(hair) > 200
            else _lift(hair, float(tone) - 0.4)
        )
        head.disc(u, v, radius, shade)
        head.disc(
            u - 0.3 * radius, v - 0.25 * radius, 0.4 * radius, mix(shade, (255, 248, 236), 0.12)
        )


def _beanie(head: Head, rng: np.random.Generator) -> None:
    cloth = mix(head.sitter.cloth, head.sitter.collar, 0.25)
    head.fill(
        np.concatenate(
            [
                _crown(0.1, 0.15),
                smooth([(-0.95, 0.1), (-0.88, -0.3), (0.88, -0.3), (0.95, 0.1)])[::-1],
            ]
        ),
        head.sitter.hair,
    )
    turn = np.linspace(np.pi, 2 * np.pi, 24)
    dome = np.stack([1.1 * np.cos(turn), -0.5 + 0.78 * np.sin(turn)], axis=1).astype(np.float32)
    head.fill(dome, cloth)
    for u in np.linspace(-0.8, 0.8, 9):
        head.stroke(
            smooth([(float(u), -0.5), (0.85 * float(u), -0.9), (0.4 * float(u), -1.22)]),
            0.03,
            tint(cloth, 0.82),
        )
    band = [(-1.13, -0.66), (0, -0.74), (1.13, -0.66), (1.11, -0.4), (0, -0.46), (-1.11, -0.4)]
    head.fill(band, tint(cloth, 0.86))
    head.shade([(-0.95, -0.42), (0, -0.46), (0.95, -0.42), (0.95, -0.3), (-0.95, -0.3)], 70)


def _bald(head: Head, rng: np.random.Generator) -> None:
    shadow = mix(head.sitter.skin, head.sitter.hair, 0.28)
    for side in (-1, 1):
        patch = [(0.99, 0.02), (0.99, -0.3), (0.9, -0.5), (0.86, -0.2), (0.92, 0.02)]
        head.fill(smooth([(side * u, v) for u, v in patch], closed=True), shadow)
    head.shade(oval(-0.25, -0.78, 0.3, 0.1), 176)
