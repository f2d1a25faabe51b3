"""The face of a portrait: skin, ears, eyes, brows, nose, mouth, beard, glasses, in the head's coordinates."""

import numpy as np

from i2i.data.scenes.canvas import Array, Colour, floats, mix, tint
from i2i.data.scenes.portrait_plan import Head, Sitter, oval, smooth

WHITE: Colour = (250, 248, 244)
BLACK: Colour = (26, 20, 24)


def paint_face(head: Head, rng: np.random.Generator) -> None:
    """Everything between the neck and the hair."""
    sitter = head.sitter
    outline = face_outline(sitter)
    _paint_ears(head)
    head.fill(outline, sitter.skin)
    head.shade(outline, 128)
    _model(head, outline)
    if sitter.freckles:
        for u, v in zip(rng.uniform(-0.62, 0.62, 26), rng.uniform(0.2, 0.48, 26), strict=True):
            head.disc(float(u), float(v), 0.028, mix(sitter.skin, (150, 84, 50), 0.55))
    if sitter.beard in ("stubble", "full"):
        _paint_beard(head)
    _paint_nose(head)
    _paint_mouth(head)
    for side in (-1, 1):
        _paint_eye(head, side)
        _paint_brow(head, side)
    if sitter.beard in ("full", "moustache"):
        _paint_moustache(head)
    if sitter.glasses != "none":
        _paint_glasses(head)


def face_outline(sitter: Sitter) -> Array:
    """The head without ears and hair, (u, v) [48, 2]: round above, narrowing towards the chin by `jaw`."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    low = np.maximum(0, np.sin(turn))
    u = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.88 * (1 - sitter.jaw * low**1.6)
    return np.stack([u, np.sin(turn)], axis=1).astype(np.float32)


def _model(head: Head, outline: Array) -> None:
    """Soft light from the upper left: cheek and temple away from it in shadow, forehead and cheekbone bright."""
    right = outline[outline[:, 0] > 0]
    right = right[np.argsort(right[:, 1])]
    inner = np.stack([right[:, 0] * 0.7 + 0.05, right[:, 1]], axis=1)
    head.shade(np.concatenate([right, inner[::-1]]).astype(np.float32), 62)
    head.shade(oval(-0.28, -0.5, 0.4, 0.18), 156)
    head.shade(oval(-0.55, 0.26, 0.22, 0.12), 158)
    head.shade(oval(0.02, 0.9, 0.45, 0.09), 100)
    blush = mix(head.sitter.skin, (226, 92, 84), 0.2)
    for side in (-1, 1):
        head.fill(oval(0.56 * side, 0.36, 0.22, 0.11), blush)
        head.shade(oval(0.43 * side, -0.1, 0.27, 0.08), 104)  # eye sockets


def _paint_ears(head: Head) -> None:
    skin = head.sitter.skin
    for side in (-1, 1):
        head.fill(oval(1.0 * side, 0.12, 0.16, 0.2), tint(skin, 0.93))
        head.fill(oval(1.03 * side, 0.12, 0.075, 0.12), tint(skin, 0.74))
        if head.sitter.earrings:
            head.disc(1.05 * side, 0.37, 0.075, (240, 204, 96))


def _paint_eye(head: Head, side: int) -> None:
    sitter = head.sitter
    u, v = 0.43 * side, 0.06
    half, rise, fall = 0.265 * sitter.eye, 0.165 * sitter.eye, 0.11 * sitter.eye
    inner, outer = (u - side * half, v + 0.03), (u + side * half, v - 0.02)
    upper = smooth(
        [inner, (u - 0.55 * side * half, v - rise), (u + 0.5 * side * half, v - 1.1 * rise), outer]
    )
    lower = smooth(
        [outer, (u + 0.55 * side * half, v + fall), (u - 0.5 * side * half, v + fall), inner]
    )
    almond = np.concatenate([upper, lower])
    head.fill(almond, WHITE)
    head.fine.polygon(head.place(almond), 255)
    iris_u, iris_v, radius = u + 0.05 * sitter.gaze, v - 0.018, 0.152 * sitter.eye
    head.disc(iris_u, iris_v, radius, tint(sitter.iris, 0.6))
    head.disc(iris_u, iris_v, 0.8 * radius, sitter.iris)
    head.disc(iris_u, iris_v + 0.02, 0.55 * radius, tint(sitter.iris, 1.35))
    head.disc(iris_u, iris_v, 0.5 * radius, BLACK)
    head.disc(iris_u - 0.06, iris_v - 0.045, 0.34 * radius, (255, 255, 255))
    lash = mix(BLACK, sitter.hair, 0.15)
    head.stroke(upper, 0.07, lash)
    flick = [outer, (outer[0] + 0.05 * side, outer[1] - 0.035)]
    head.stroke(flick, 0.06 if sitter.beard == "none" else 0.035, lash)
    head.stroke(lower, 0.022, tint(sitter.skin, 0.62))
    crease = upper[2:-2] + floats([0, -0.055])
    head.stroke(crease, 0.025, tint(sitter.skin, 0.7))


def _paint_brow(head: Head, side: int) -> None:
    sitter = head.sitter
    thick = 0.05 * sitter.brow
    slant = 0.06 * sitter.frown
    line = smooth(
        [(0.17 * side, -0.24 + slant), (0.42 * side, -0.33), (0.72 * side, -0.23 - 0.5 * slant)]
    )
    body = np.concatenate([line + floats([0, -0.5 * thick]), (line + floats([0, thick]))[::-1]])
    taper = 1 - 0.7 * np.clip((np.abs(body[:, 0]) - 0.45) / 0.3, 0, 1)  # the outer end is thin
    middle = np.concatenate([line, line[::-1]])
    shape = middle + (body - middle) * taper[:, None]
    grey = sum(sitter.hair) > 480
    head.fill(shape.astype(np.float32), tint(sitter.hair, 0.66 if grey else 0.82))


def _paint_nose(head: Head) -> None:
    sitter = head.sitter
    wide = 0.17 * sitter.nose
    side_plane = [(0.03, -0.08), (0.1, 0.12), (wide + 0.02, 0.36), (0.02, 0.4)]
    head.shade(side_plane, 84)
    head.shade([(-0.07, -0.05), (0.0, -0.05), (0.02, 0.3), (-0.08, 0.3)], 164)
    base = smooth(
        [(-wide, 0.32), (-0.85 * wide, 0.41), (0, 0.385), (0.85 * wide, 0.41), (wide, 0.32)]
    )
    head.stroke(base, 0.04, tint(sitter.skin, 0.66))
    for side in (-1, 1):
        head.disc(0.5 * wide * side, 0.387, 0.035, tint(sitter.skin, 0.5), flat=0.7)


def _paint_mouth(head: Head) -> None:
    sitter = head.sitter
    lips, dark = sitter.lips, tint(sitter.lips, 0.55)
    v, curl = 0.63, {"calm": 0.01, "smile": 0.07, "grin": 0.085, "open": 0.0}[sitter.mouth]
    half = {"calm": 0.27, "smile": 0.33, "grin": 0.36, "open": 0.2}[sitter.mouth]
    left, right = (-half, v - curl), (half, v - curl)
    top = smooth(
        [
            left,
            (-0.35 * half, v - 0.065 + 0.3 * curl),
            (0, v - 0.03),
            (0.35 * half, v - 0.065 + 0.3 * curl),
            right,
        ]
    )
    if sitter.mouth in ("calm", "smile"):
        line = smooth([left, (-0.5 * half, v + 0.6 * curl), (0.5 * half, v + 0.6 * curl), right])
        low = smooth(
            [
                right,
                (0.5 * half, v + 0.115 + 0.5 * curl),
                (-0.5 * half, v + 0.115 + 0.5 * curl),
                left,
            ]
        )
        head.fill(np.concatenate([top, low]), lips)
        head.stroke(line, 0.04, dark)
        head.shade(oval(-0.05, v + 0.08, 0.12, 0.02), 160)
    else:
        deep = {"grin": 0.2, "open": 0.24}[sitter.mouth]
        low = smooth([right, (0.62 * half, v + deep), (-0.62 * half, v + deep), left])
        head.fill(np.concatenate([top + floats([0, -0.03]), low + floats([0, 0.03])]), lips)
        head.fill(np.concatenate([top + floats([0, 0.012]), low]), (92, 28, 36))
        teeth = [
            (-0.72 * half, v - 0.4 * curl),
            (0.72 * half, v - 0.4 * curl),
            (0.6 * half, v + 0.075),
            (-0.6 * half, v + 0.075),
        ]
        head.fill(smooth(teeth, closed=True), WHITE)
        head.fine.polygon(head.place(smooth(teeth, closed=True)), 255)
    head.stroke([(-0.13, v + 0.2), (0.13, v + 0.2)], 0.03, tint(sitter.skin, 0.84))


def _paint_beard(head: Head) -> None:
    """Jaw and chin, open around the mouth; stubble is the same area half transparent."""
    sitter = head.sitter
    share = 0.24 if sitter.beard == "stubble" else 0.92
    colour = mix(sitter.skin, tint(sitter.hair, 0.9), share)
    outline = face_outline(sitter)
    lower = outline[(outline[:, 1] > 0.12)]
    reach = floats([1.0, 1.0 if sitter.beard == "stubble" else 1.05])
    inner = smooth(
        [
            (-0.86, 0.2),
            (-0.7, 0.46),
            (-0.42, 0.52),
            (0, 0.47),
            (0.42, 0.52),
            (0.7, 0.46),
            (0.86, 0.2),
        ]
    )
    head.fill(np.concatenate([lower * reach, inner]), colour)


def _paint_moustache(head: Head) -> None:
    colour = tint(head.sitter.hair, 0.86)
    half = [(0.0, 0.45), (0.22, 0.46), (0.44, 0.62), (0.3, 0.585), (0.0, 0.56)]
    whole = [*half, *[(-u, v) for u, v in reversed(half)]]
    head.fill(smooth(whole, closed=True, rounds=2), colour)


def _paint_glasses(head: Head) -> None:
    frame = mix(BLACK, head.sitter.cloth, 0.3)
    round_ones = head.sitter.glasses == "round"
    for side in (-1, 1):
        u = 0.44 * side
        if round_ones:
            ring = oval(u, 0.06, 0.36, 0.3)
        else:
            corners = [(u - 0.38, -0.17), (u + 0.38, -0.17), (u + 0.34, 0.29), (u - 0.34, 0.29)]
            ring = smooth([(a, b) for a, b in corners for _ in (0, 1)], closed=True, rounds=2)
        head.stroke(np.concatenate([ring, ring[:2]]), 0.06, frame)
        head.stroke([(0.8 * side, 0.0), (1.0 * side, -0.04)], 0.06, frame)
        head.stroke([(u - 0.2, 0.2), (u - 0.07, 0.24)], 0.035, WHITE)
    head.stroke(smooth([(-0.09, 0.02), (0, -0.04), (0.09, 0.02)]), 0.06, frame)
