"""Street fronts with labels (paired as in Isola et al., CVPR 2017, Sec. 4), by day and at dusk."""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter

from i2i.scenes.canvas import Array, Canvas, colors, finish, generators, gradient, noise, sky

# By class: its label, and its color or its colors by the wall of the building. Walls and roofs have
# a class for each color, so that the label map determines the colors.
CLASSES = {
    "sky": ("000060", ""), "ground": ("606060", "b2aca2"), "wall_brick": ("0000ff", "ac543e"),
    "wall_ochre": ("0060ff", "e2b66a"), "wall_stone": ("6000ff", "e0dbd0"),
    "wall_sage": ("00b0ff", "8eac9e"), "roof_tile": ("ff00a0", "b25438"),
    "roof_slate": ("a000a0", "585e6c"), "roof_copper": ("ff60ff", "709c88"),
    "chimney": ("800040", "8c4c3d"), "trim": ("ffffff", "dfd8c7"), "balcony": ("ff0000", "2a2c32"),
    "plant": ("005040", "4e7c3a"), "lamp": ("000000", "2a2c32"),
    "window": ("00ff80", "f0ece2 704830 464e54 f4f0e6"),
    "shop": ("80ff00", "224a3c 5e3422 29436e 872b26"),
    "door": ("ffa000", "265442 683a26 2e4a7a 96302a"),
    "shutter": ("008000", "38534b 535f48 4b6583 654a3a"),
    "awning": ("ffff00", "3c7854 ba3e30 345c9e d68c34"),
}  # fmt: skip
PALETTE = {kind: ImageColor.getrgb(f"#{label}") for kind, (label, _) in CLASSES.items()}
PAINT = {kind: colors(codes) for kind, (_, codes) in CLASSES.items()}
WALLS = [kind for kind in CLASSES if kind.startswith("wall")]
ROOFS = [kind for kind in CLASSES if kind.startswith("roof")]
CURB, ROAD, CLOTH, CURTAIN, SLAB, LAMP = colors("cecac2 626268 f0eade ece2ce e4ddcc ffba5c")
GLASS = colors("96bad6 587692 2c3a4c")  # mirrors the sky above, the street below
# Bricks, blocks and tiles: height, length, contrast.
MASONRY = {"wall_brick": (0.0208, 0.05, 0.12), "wall_stone": (0.052, 0.11, 0.05)}
MASONRY |= dict.fromkeys(ROOFS, (0.02, 0.024, 0.11))
# Shadows: inside a part from above and from the left (shares of its size), and below it.
RECESS = {"ground": (0.17, 0), "window": (0.12, 0.12), "door": (0.06, 0.1)}
CAST = {"trim": 0.8, "balcony": 0.5, "awning": 0.6}
LIT = {"attic": 0.4, "upper": 0.45, "ground": 0.5}  # shares of the windows
# By style: light, and the share of it in shadow; horizon, air and clouds from top to horizon.
LIGHT = {"day": colors("fff0d6 b0bad4") / 255, "dusk": colors("5c5c7a d6d6d8") / 255}
SKY = {
    "day": (0.5, colors("5492d6 bad8f0"), colors("f8f9fa")),
    "dusk": (0.6, colors("1a2252 443b76 c1726f fab268"), colors("3a3662 925c7a ffc48c")),
}


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Scene `index` of `seed`, [size, size, 3] uint8; every style shows the same scene."""
    plan, rng = generators(1, seed, index)
    painter = _Painter(size, style, rng)
    _paint_street(painter, plan)
    if style == "labels":
        return painter.picture.astype(np.uint8)
    (front, bare), small = painter.shrink(), Canvas(size, factor=1)
    front *= 1 + 0.05 * noise(rng, (size, size), (7, 7), octaves=3)  # stains
    front *= 1.1 - (0.1 * small.x if style == "day" else 0.2 * small.y)
    if style == "dusk":
        bright = Image.fromarray((front * (front.max(2, keepdims=True) > 110)).astype(np.uint8))
        front += 0.5 * np.asarray(bright.filter(ImageFilter.GaussianBlur(0.022 * size)))
    horizon, air, clouds = SKY[style]
    back = sky(rng, small.y / horizon, air, clouds, plan.uniform(0.1, 0.6))
    return finish(back * bare + front, rng, grain=2.0)


class _Painter(Canvas):
    """Paints parts: their labels, or their materials in the light of day or dusk."""

    def __init__(self, size: int, style: str, rng: Generator) -> None:
        super().__init__(size, factor=1 if style == "labels" else 0)  # labels have no soft edges
        self.style, self.rng = style, rng
        self.family, self.tone = 0, 0.0  # of the building: index into WALLS, shade (-1..1)
        self.picture[:] = PALETTE["sky"] if style == "labels" else 0

    def paint(self, kind: str, *box: float, lit: bool = False, shape: float | None = None) -> None:
        """Paint a part of class `kind` in a box (x0, y0, x1, y1), `shape` as in `_inside`."""
        x0, y0, x1, y1 = box
        edge = 0 if shape is None else 0.5 / len(self.y)  # shapes cover the pixels they touch
        region, u, v = self.region(x0 - edge, y0 - 2 * edge, x1, y1)
        mask = True if shape is None else _inside(kind, shape, u, v)
        if self.style == "labels":
            return np.copyto(region, PALETTE[kind], where=mask)
        rng, pixels, width, height = self.rng, region.shape[:2], x1 - x0, y1 - y0
        (light, shadow), dusk = LIGHT[self.style], self.style == "dusk"
        color = PAINT[kind][self.family % len(PAINT[kind])]
        lamp = LAMP / light if dusk else GLASS[0]
        if kind in WALLS or kind in ROOFS:
            high, long, contrast = MASONRY.get(kind, (1, 1, 0))
            table, row = 1 + contrast * rng.uniform(-1, 1, (32, 32)), v * height / high
            column = u * width / long + 0.5 * (row // 1 % 2)
            joint = 1.2 * contrast * ((row % 1 < 0.17) | (column % 1 < 0.07))
            relief = 1.1 - 0.25 * v if kind in ROOFS else 1 + 0.045 * noise(rng, pixels, (9, 9), 2)
            color = color * (table[row.astype(int) % 32, column.astype(int) % 32] - joint) * relief
            color = color * (1 + self.tone * np.array([0.1, 0.06, 0.02]))
        elif kind == "ground":
            color = np.where(v < 0.53, np.where(v < 0.41, color, CURB), ROAD)
            color = color * (1 + 0.07 * noise(rng, pixels, (8, 60), 2))
        elif kind == "plant":  # lit from the upper left
            color = color * (1.6 - 0.55 * u - 0.75 * v + 0.4 * noise(rng, pixels, (8, 11), 1))
        elif kind == "balcony":
            iron = (u * max(4, round(width / 0.02)) % 1 < 0.4) | (abs(v - 0.3) > 0.17) & (v < 0.64)
            color = np.where((1 - v) * height < 0.016, SLAB, np.where(iron, color, region / light))
        elif kind == "awning":
            color = np.where(u * (round(width / 0.034 - 1) | 1) % 2 < 1, color, CLOTH)
        elif kind == "door":
            color = np.where((v < 0.18) & (abs(u - 0.5) < 0.4), lamp, color)
        elif kind == "lamp" and lit:
            color = np.where((abs(u - 0.5) < 0.33) & (abs(v - 0.5) < 0.35), lamp, color)
        elif kind == "shop":
            glass = gradient(v, GLASS) * (1 + 0.3 * noise(rng, pixels, (1, 13), 1))  # goods
            color = np.where((abs(u - 0.5) > 0.45) | (v > 0.93), color, lamp if dusk else glass)
        elif kind == "window":
            streak = abs(u + 0.55 * v - rng.uniform(0.5, 0.7)) < 0.11
            glass, curtain = gradient(v, GLASS), abs(u - 0.5) > 0.27 + 0.1 * v
            glass = np.where(curtain & lit, CURTAIN, glass * np.where(streak, 1.28, 1))
            glass = lamp * (1.05 - 0.3 * v - 0.25 * curtain) if dusk and lit else glass
            bars = (abs(abs(u - 0.5) - 0.2275) > 0.1725) | (abs(v - 0.36) < 0.04)
            color = np.where(bars | (abs(v - 0.5) > 0.43), color, glass)
        top, left = RECESS.get(kind, (0, 0))
        color = color * np.where((u < left) | (v < top) & (shape is None), light * shadow, light)
        np.copyto(region, color, where=mask)
        if kind in CAST and width > 1.5 * height:
            below, _, _ = self.region(x0 + 0.008, y1, x1 + 0.01, y1 + CAST[kind] * height)
            below *= shadow


def _inside(kind: str, shape: float, u: Array, v: Array) -> Any:
    """Shrubs of this phase, arches of this share of the height, or a top this much narrower."""
    if kind == "plant":
        x, y = 2.4 * u - 1.2, 2.4 * v - 1.2
        return np.hypot(x, y) < 1 + 0.14 * np.sin(5 * np.arctan2(y, x) + shape)
    if kind == "window":
        return (v > shape) | (np.hypot(2 * u - 1, v / shape - 1) < 1)
    return abs(2 * u - 1) < 1 - shape * (1 - v)


def _paint_street(painter: _Painter, rng: Generator) -> None:
    """One to three houses, a single one may stand free; shrubs and a lamp before them."""
    base = rng.uniform(0.86, 0.91)
    painter.paint("ground", 0, base, 1, 1)
    count = rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2])
    margins = rng.uniform(0, 0.14, 2) if count == 1 else (0, 0)
    low, high = {1: ([], []), 2: ([0.38], [0.62]), 3: ([0.29, 0.62], [0.36, 0.71])}[count]
    edges = [margins[0], *rng.uniform(low, high), 1 - margins[1]]
    families = rng.permutation(len(WALLS))  # neighbors differ
    houses = [_House(rng, edges[n], edges[n + 1], base, families[n]) for n in range(count)]
    for house in houses:
        house.build(painter, rng)
    for _ in range(rng.choice(4, p=[0.35, 0.25, 0.25, 0.15])):
        x, radius = rng.uniform(0.04, 0.96), rng.uniform(0.04, 0.065)
        y, r = base - 0.7 * radius, 1.2 * radius
        painter.paint("plant", x - r, y - r, x + r, y + r, shape=rng.uniform(0, 6))
    if rng.random() < 0.4:
        x, top = rng.uniform(0.08, 0.92), base - 0.36
        painter.paint("lamp", x - 0.008, top, x + 0.008, base + 0.03)
        painter.paint("lamp", x - 0.024, top - 0.05, x + 0.024, top, lit=True)


class _House:
    """A building: its traits, drawn from `rng`, then its parts."""

    def __init__(self, rng: Generator, left: float, right: float, base: float, family: int) -> None:
        self.left, self.right, self.base, self.family = left, right, base, family
        self.floors = rng.choice([2, 3, 4], p=[0.2, 0.5, 0.3])
        self.storey = rng.uniform([0.2, 0.17, 0.15], [0.24, 0.205, 0.17])[self.floors - 2]
        self.columns = max(2, round((right - left) / rng.uniform(0.15, 0.2)))
        self.pitch = (right - left) / self.columns
        self.tone = rng.uniform(-1, 1)
        self.width = rng.uniform(0.42, 0.52) * self.pitch  # of a window
        self.height = rng.uniform(0.54, 0.66) * self.storey
        self.arched, self.shutters = rng.random() < 0.3, rng.random() < 0.35
        self.balconies = rng.choice(["none", "each", "middle", "long"], p=[0.4, 0.2, 0.25, 0.15])
        self.shop = rng.random() < 0.4 and self.columns >= 3
        self.door = rng.integers(self.columns)  # its column
        self.roof = ROOFS[rng.integers(len(ROOFS))]
        roofs = ["flat", "hip", "mansard", "gable", "steps"]
        self.shape = rng.choice(roofs if right - left < 0.5 else roofs[:3])

    def build(self, painter: _Painter, rng: Generator) -> None:
        painter.family, painter.tone = self.family, self.tone
        self.paint, self.rng = painter.paint, rng
        left, right, base, storey, pitch = self.left, self.right, self.base, self.storey, self.pitch
        eaves, ledge, height = base - self.floors * storey, base - storey, self.height
        self._roof(eaves)
        self.paint(WALLS[self.family], left, eaves, right, base)
        if self.shape not in ("gable", "steps"):
            self.paint("trim", left, eaves - 0.012, right, eaves + 0.016)
        self.paint("trim", left, ledge - 0.009, right, ledge + 0.009)
        for floor in range(self.floors - 1):
            low = eaves + (floor + 0.84) * storey
            self._windows("upper", low, self.width, height, (floor - self.floors) % 2)
            if self.balconies == "long" and floor == self.floors - 2:
                edge = 0.12 * pitch
                self.paint("balcony", left + edge, low - 0.38 * height, right - edge, low + 0.016)
        self._windows("ground", base - 0.22 * storey, self.width, 0.56 * storey)
        x, top = left + (self.door + 0.5) * pitch, base - 0.76 * storey
        half = min(0.3 * pitch, 0.055)
        self.paint("trim", x - half - 0.012, top - 0.018, x + half + 0.012, base)
        self.paint("door", x - half, top, x + half, base)
        for start, stop in ((left, x - 0.5 * pitch), (x + 0.5 * pitch, right)):
            x0, width = start + 0.14 * pitch, stop - start - 0.28 * pitch
            if not self.shop or width < 0:
                continue
            for n in range(panes := max(1, round(width / 0.15))):
                a, b = x0 + n * width / panes, x0 + (n + 1) * width / panes
                self.paint("shop", a, base - 0.7 * storey, b, base - 0.12 * storey)
            top, low, shape = base - 0.86 * storey, base - 0.56 * storey, 0.036 / (width + 0.036)
            self.paint("awning", x0 - 0.018, top, x0 + width + 0.018, low, shape=shape)

    def _roof(self, eaves: float) -> None:
        left, right, rng, wall = self.left, self.right, self.rng, WALLS[self.family]
        width, x, height = right - left, (left + right) / 2, min(0.2, eaves - 0.04)
        if self.shape == "gable":
            self.paint(self.roof, left, eaves - height - 0.022, right, eaves + 0.005, shape=1)
            self.paint(wall, left, eaves - height + 0.006, right, eaves + 0.03, shape=1)
        for n in range(4 if self.shape == "steps" else 0):
            inset, top = width * (n + 0.3) / 8.6, eaves - height * (n + 1) / 4
            self.paint(wall, left + inset, top, right - inset, top + height / 4)
            self.paint("trim", left + inset, top - 0.008, right - inset, top + 0.006)
        if self.shape in ("gable", "steps"):
            y, lit = eaves - 0.38 * height, rng.random() < 0.4
            return self.paint("window", x - 0.028, y - 0.04, x + 0.028, y + 0.035, lit=lit)
        height = {"flat": 0.035, "hip": rng.uniform(0.09, 0.13), "mansard": 0.11}[self.shape]
        inset = {"flat": 0.0, "hip": min(0.3 * width, 0.14), "mansard": 0.03}[self.shape]
        top = max(eaves - height, 0.03)
        for _ in range(rng.integers(0, 3) if self.shape != "flat" else 0):
            x = rng.uniform(left + inset + 0.03, right - inset - 0.07)
            self.paint("chimney", x, top - 0.05, x + 0.04, top + 0.05)
        self.paint(self.roof, left, top, right, eaves, shape=2 * inset / width)
        if self.shape == "mansard":
            self._windows("attic", eaves - 0.012, 0.4 * self.pitch, eaves - top - 0.047)

    def _windows(self, kind: str, low: float, width: float, height: float, odd: int = 0) -> None:
        """The windows of a floor of this `kind` above `low`, and what belongs to them."""
        half, top, upper, share = width / 2, low - height, kind == "upper", LIT[kind]
        arch = min(half / height, 0.4) if self.arched and upper else None
        hood, rail, reach = 1.6 * half, low - 0.38 * height, 1.44 * half
        for n, lit in enumerate(self.rng.random(self.columns) < share):
            x, central = self.left + (n + 0.5) * self.pitch, abs(2 * n + 1 - self.columns) < 1.2
            if kind == "ground" and (self.shop or n == self.door):
                continue
            self.paint("window", x - half, top, x + half, low, lit=lit, shape=arch)
            if upper and self.shutters:
                self.paint("shutter", x - 1.8 * half, top, x - half - 0.004, low)
                self.paint("shutter", x + half + 0.004, top, x + 1.8 * half, low)
            railing = {"each": upper, "middle": upper and central and not odd}.get(self.balconies)
            if kind == "attic":
                self.paint("trim", x - hood, top - 0.023, x + hood, top + 0.005, shape=1)
            elif railing:
                self.paint("balcony", x - reach, rail, x + reach, low + 0.016)
            else:
                self.paint("trim", x - half - 0.01, low, x + half + 0.01, low + 0.014)
