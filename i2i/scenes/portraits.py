"""Drawn faces for generation (as in Radford et al., ICLR 2016), and unpaired ones in ink."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from i2i.scenes.canvas import Array, Canvas, colors, finish, generators, gradient, noise, over

SKINS = colors("f8d6bc f0c8a8 eabc98 dca880 c68e66 a87250 88583e 684434")
HAIRS = colors("221c20 3a2822 603e2a 885430 b2522c d6a456 ecce8e a8a6aa")
IRISES = colors("5c3822 7a582c 4c7c4c 4678b0 6c808e")
CLOTHS = colors("36548c a8383a 42745c deaa46 5c4a80 3e424e e2dcd0 ca704c 6098b2")
WALLS = colors("96bece d6be96 aac4a2 d8a496 b0a8cc caced2 7892b0 e8ce80")
LIPS, RED, BLUSH, MOUTH = colors("c44a4e a81e34 e25c54 5c1c24")
BEARDS = ["stubble", "full", "moustache"]
WHITE, BLACK, PAPER, INK = colors("faf8f4 1a1418 f6f0e2 2c2638")
HEAD = [0.48, 0.46, 0.205, 0.262, -0.09, 0.12], [0.52, 0.495, 0.235, 0.29, 0.09, 0.34]
FACE = [0.92, -1, 0.75, -0.8, 0.8], [1.14, 1, 1.45, 0.7, 1.25]  # least, most
# Haircuts: share; hairline in the middle, its steepness, the foot of the sideburns; volume.
CUTS = {
    "short": (0.13, -0.62, 7, 0.06, 0.24), "side": (0.13, -0.6, 7, 0.06, 0.34),
    "fringe": (0.09, -0.36, 8, 0.16, 0.3), "curls": (0.1, -0.6, 5, 0.02, 0.36),
    "afro": (0.07, -0.6, 5, 0.02, 0.45), "bob": (0.12, -0.42, 8, 0.33, 0.34),
    "long": (0.14, -0.86, 1.7, 0.33, 0.3), "bun": (0.07, -0.72, 5, 0, 0.22),
    "tail": (0.06, -0.72, 5, 0, 0.22), "bald": (0.04, -2, 1, -2, 0),
    "beanie": (0.05, -0.3, 8, 0.12, 0.26),
}  # fmt: skip
# Hair behind the head: a squarish oval (v, half width, half height).
BACK = {"long": (0.35, 1.36, 1.55), "bob": (-0.15, 1.36, 1.05), "afro": (-0.2, 1.5, 1.27),
        "bun": (-1.28, 0.42, 0.3), "tail": (0.1, 0.22, 1)}  # fmt: skip
# Garments: wedges between v = a - b |u| and v = c - d |u|, half width, share of the collar's color.
GARMENTS = {
    "crew": [(0.5, 0.6, 0.8, 0.6, 1.15, 1)], "shirt": [(0.85, 1.06, 0.87, -0.35, 1.2, 1)],
    "jacket": [(0.6, 0.6, 2.4, 2.5, 9, 1), (2.4, 2.5, 3.2, 1.27, 1.65, 0)],
    "hood": [(1.5, 2.1, 1.5, 0.4, 1.75, 0)],
}  # fmt: skip
# Mouths: share; lift of the corners, half width, depth of the opening.
MOUTHS = {"calm": (0.27, 0.01, 0.27, 0), "smile": (0.4, 0.07, 0.33, 0),
          "grin": (0.25, 0.085, 0.36, 0.2), "open": (0.08, 0, 0.2, 0.24)}  # fmt: skip


class _Sitter:
    """The traits of a person, drawn from `rng`; lengths in units of the picture's side."""

    def __init__(self, rng: Generator) -> None:
        self.skin = gradient([rng.random()], SKINS)
        dark = self.skin.sum() < 460
        hairs = HAIRS[:4] if dark and rng.random() < 0.85 else HAIRS
        hairs = hairs[abs(hairs.sum(axis=1) - self.skin.sum()) > 110]  # contrast with the face
        self.cut = rng.choice(list(CUTS), p=[cut[0] for cut in CUTS.values()])
        bearded = self.cut not in ("bob", "long", "bun", "tail") and rng.random() < 0.45
        self.cloth = CLOTHS[rng.integers(len(CLOTHS))]
        self.x, self.y, self.wide, self.high, self.tilt, self.jaw = rng.uniform(*HEAD)
        self.hair = hairs[rng.integers(len(hairs))]
        self.iris = IRISES[0 if dark and rng.random() < 0.8 else rng.integers(len(IRISES))]
        rouge = 0.0 if bearded else rng.choice([0.0, 0.15, 0.6])
        self.lips = over(over(self.skin, LIPS, 0.5), RED, rouge)
        self.part = rng.choice([-1, 1])
        self.eye, self.gaze, self.brow, self.frown, self.nose = rng.uniform(*FACE)
        self.mouth = rng.choice(list(MOUTHS), p=[mouth[0] for mouth in MOUTHS.values()])
        self.beard = rng.choice(BEARDS, p=[0.35, 0.45, 0.2]) if bearded else "none"
        self.glasses = rng.choice(["none", "round", "square"], p=[0.74, 0.14, 0.12])
        rng.random((not dark) + (not bearded))  # keeps the next traits as they ever were
        self.garment = rng.choice(list(GARMENTS))
        self.collar = over(self.cloth, WHITE, rng.choice([0.35, 0.85]))
        self.shoulders = rng.uniform(0.37, 0.45)
        self.wall = gradient([rng.random()], WALLS)
        self.pattern = rng.choice(["plain", "stripes", "split"], p=[0.6, 0.2, 0.2])


class _Drawing(Canvas):
    """A canvas with coordinates u, v of a body part, in which a shape is the distance into it."""

    def __init__(self, size: int, wide: float) -> None:
        super().__init__(size, factor=2)
        self.u, self.v, self.pixel = self.x, self.y, 1 / (len(self.y) * wide)  # pixel: in u

    def oval(self, u: float, v: float, ru: float, rv: float, dx: float = 0, p: float = 2) -> Array:
        """An ellipse, squarer by the power `p`, and its mirror image at u = `dx`."""
        x, y = abs(abs(self.u - dx) - u) / ru, abs(self.v - v) / rv
        return (1 - (x**p + y**p) ** (1 / p)) * min(ru, rv)

    def lens(self, u: float, ru: float, top: float, low: float, end: float) -> Array:
        """Parabolas through `top` and `low` that meet at v = `end`, `ru` to each side of u."""
        t = ((abs(self.u) - u) / ru) ** 2
        return np.minimum(self.v - top - (end - top) * t, low + (end - low) * t - self.v)

    def put(self, paint: Array, inside: Array, soft: float = 0.0) -> None:
        opacity = np.clip(0.5 + inside / max(soft, self.pixel), 0, 1)
        self.picture = over(self.picture, paint, opacity)


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Portrait `index` of `seed`, [size, size, 3] uint8; both styles show the same person."""
    plan, rng = generators(3, seed, index)
    s = _Sitter(plan)
    d = _Drawing(size, s.wide)
    y, x, shape = d.y, d.x, d.picture.shape[:2]
    d.picture = s.wall * (1 + 0.03 * noise(rng, shape, (4, 4), 1))
    d.picture *= 0.72 + 0.28 * np.clip(1.15 - 1.1 * np.hypot(x - 0.42, y - 0.38), 0, 1)
    stripes, split = 1 + 0.05 * np.sign(np.sin(x * 44)), np.where(y + 0.15 * x > 0.62, 0.84, 1)
    d.picture *= {"stripes": stripes, "split": split}.get(s.pattern, np.ones(1))
    dx, dy, cos, sin = x - s.x, y - s.y - s.high, np.cos(s.tilt), np.sin(s.tilt)
    head = (dx * cos + dy * sin) / s.wide, 1 + (dy * cos - dx * sin) / s.high
    neck = 0.46 * s.wide  # half its width, the unit of the body below the collar
    d.u, d.v = head
    curls = 0.05 * np.cos(20 * np.arctan2(d.v + 0.2, d.u)) * (s.cut in ("curls", "afro"))
    side = 1.25 * s.part if s.cut == "tail" else 0
    back = d.oval(0, *BACK.get(s.cut, (0, 0.1, 0.1)), side, 2 if s.cut == "afro" else 3) + curls
    d.put(0.72 * s.hair, back)
    d.u, d.v = np.broadcast_arrays(dx / neck, (dy - 0.075) / neck)
    u, reach = abs(d.u), s.shoulders / neck
    heights, widths = [0, 0.055, 0.13, 0.4], [1, 0.7 * reach, 0.97 * reach, reach]
    shade = 0.17 * np.clip((d.u / reach - 0.7) / 0.15, 0, 1)
    d.put(s.cloth * (1 - shade), np.minimum(np.interp(d.v * neck, heights, widths) - u, d.v))
    d.put(s.skin * 0.71, np.minimum.reduce([1 - u, d.v + 1.9, 0.75 - 0.65 * u - d.v]))
    for top, slope, low, fall, half, share in GARMENTS[s.garment]:
        edges = [d.v - top + slope * u, low - fall * u - d.v, half - u, d.v + 1.27 - 0.67 * u]
        d.put(over(0.72 * s.cloth, s.collar, share), np.minimum.reduce(edges))
    d.u, d.v = head
    _paint_head(d, s)
    _paint_hair(d, s, rng, back, curls)
    light = 1.05 - 0.22 * np.hypot(x - 0.3, 0.8 * (y - 0.2))  # from the upper left
    if style == "ink":
        d.picture = _ink(d.picture, x + y)
        light = (0.35 + 0.65 * light) * (1 + 0.02 * noise(rng, shape, (40, 40), 1))
    _paint_eyes(d, s)  # ink would blot them
    d.picture *= light
    return finish(d.shrink()[0], rng, grain=1.5)


def _ink(picture: Array, diagonal: Array) -> Array:
    """Ink contours, hatching where it is dark, and pale watercolor on paper."""
    rgb = picture.clip(0, 255) / 255
    tone = rgb @ [[0.299], [0.587], [0.114]]
    edge = 2 * np.abs(np.gradient(tone, axis=(0, 1))).sum(axis=0)
    hatch = np.clip(1.5 * np.cos(diagonal * 175), 0, 1) * np.clip((0.36 - tone) * 6, 0, 1)
    ink = np.maximum(0.85 * np.clip((edge - 0.06) * 5, 0, 1), 0.75 * hatch)
    return over(PAPER * (1 - 0.6 * (1 - rgb**0.85)), INK, ink)


def _paint_head(d: _Drawing, s: _Sitter) -> None:
    """Ears, skin, beard, nose and mouth."""
    d.put(s.skin * 0.88, d.oval(1, 0.12, 0.16, 0.2))
    across = d.u / (1 - s.jaw * np.maximum(0, d.v) ** 1.6)
    face = 1 - np.hypot(abs(across) ** 1.14, d.v)
    d.put(s.skin * (1 - 0.23 * np.clip((across - 0.65) / 0.2, 0, 1)), face)
    d.put(over(s.skin, BLUSH, 0.2), d.oval(0.56, 0.36, 0.22, 0.11))
    if s.beard in ("stubble", "full"):
        beard = over(s.skin, 0.9 * s.hair, 0.24 if s.beard == "stubble" else 0.92)
        d.put(beard, np.minimum(face, d.v - 0.5 + 2.3 * np.maximum(0, abs(d.u) - 0.5) ** 2))
    d.put(s.skin * 0.66, d.oval(0, 0.385, 0.16 * s.nose, 0.03))
    _, lift, half, depth = MOUTHS[s.mouth]
    end, low = 0.63 - lift, 0.66 + depth if depth else 0.745 + 0.5 * lift
    d.put(s.lips, d.lens(0, half, 0.58, low, end))
    if depth:
        d.put(MOUTH, d.lens(0, half, 0.62, low - 0.03, end))
        d.put(WHITE, d.lens(0, 0.75 * half, 0.62, 0.71, 0.63))
    if s.beard in ("full", "moustache"):
        d.put(s.hair * 0.86, d.lens(0, 0.42, 0.45, 0.57, 0.6))


def _paint_hair(d: _Drawing, s: _Sitter, rng: Generator, back: Array, curls: Array) -> None:
    """Hair over skull, temples and forehead, and a beanie."""
    _, top, steepness, foot, volume = CUTS[s.cut]
    hair = s.hair * (1 + 0.08 * noise(rng, d.u.shape[:2], (2, 16), 1))
    if s.cut in ("long", "bob"):
        d.put(hair, np.minimum(back, abs(d.u) - 0.93))
    line = top + (foot - top) * abs(d.u / 0.95) ** steepness
    line -= 0.24 * s.part * d.u * (s.cut == "side")
    d.put(d.picture * 0.87, np.minimum(line + 0.1 - d.v, 1 - np.hypot(d.u, d.v)), soft=0.2)
    crown = 1 - np.hypot(d.u / (1 + 0.5 * volume), np.minimum(d.v + 0.2, 0) / (0.82 + volume))
    d.put(hair, np.minimum(crown + curls, np.minimum(line, foot) - d.v))
    if s.cut == "beanie":
        d.put(over(s.cloth, s.collar, 0.25), np.minimum(crown, -0.42 - d.v))


def _paint_eyes(d: _Drawing, s: _Sitter) -> None:
    """Eyes, brows and glasses."""
    half, top, low, gaze = 0.265 * s.eye, 0.06 - 0.15 * s.eye, 0.06 + 0.1 * s.eye, 0.05 * s.gaze
    d.put(BLACK, d.lens(0.44, half + 0.04, top - 0.05, low, 0.055))  # lashes
    d.put(WHITE, d.lens(0.43, half, top, low, 0.065))
    for radius, color in (0.152, 0.7 * s.iris), (0.114, 1.15 * s.iris), (0.076, BLACK):
        d.put(color, d.oval(0.43, 0.042, radius * s.eye, 0.8 * radius * s.eye, gaze))
    d.put(WHITE, d.oval(0.43, 0, 0.05, 0.04, gaze - 0.06))
    middle, thick = -0.29 - 0.02 * s.frown, 0.05 * s.brow
    brow = d.lens(0.45, 0.29, middle - 0.5 * thick, middle + thick, middle + 0.055)
    d.put(s.hair * (0.66 if s.hair.sum() > 480 else 0.82), brow)
    if s.glasses != "none":
        rim = d.oval(0.44, 0.06, 0.37, 0.25, p=6 if s.glasses == "square" else 2)
        bar = np.minimum.reduce([0.03 - abs(d.v + 0.02), 1 - abs(d.u), -rim])
        d.put(over(BLACK, s.cloth, 0.3), np.maximum(0.03 - abs(rim), bar))
