"""What stands in a street front and where: parts with a class, a place and few free traits, drawn from the seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2i.data.scenes.canvas import Box, Canvas, Colour, Point, generator

NUMBER = 1  # keeps the random streams of the scene kinds apart

# Walls and roofs have a class for each colour, so that the picture's colours can be read from the label map.
PALETTE: dict[str, Colour] = {
    "sky": (0, 0, 96),
    "ground": (96, 96, 96),
    "wall_brick": (0, 0, 255),
    "wall_ochre": (0, 96, 255),
    "wall_stone": (96, 0, 255),
    "wall_sage": (0, 176, 255),
    "roof_tile": (255, 0, 160),
    "roof_slate": (160, 0, 160),
    "roof_copper": (255, 96, 255),
    "chimney": (128, 0, 64),
    "trim": (255, 255, 255),
    "window": (0, 255, 128),
    "shop": (128, 255, 0),
    "door": (255, 160, 0),
    "shutter": (0, 128, 0),
    "balcony": (255, 0, 0),
    "awning": (255, 255, 0),
    "plant": (0, 80, 64),
    "lamp": (0, 0, 0),
}
WALLS = ("wall_brick", "wall_ochre", "wall_stone", "wall_sage")
ROOFS = ("roof_tile", "roof_slate", "roof_copper")


@dataclass(frozen=True)
class Part:
    """One region: `kind` is a key of PALETTE, `family` the wall class of its building."""

    kind: str
    box: Box
    outline: tuple[Point, ...] = ()  # polygon inside the box; empty: the whole box
    family: int = 0  # index into WALLS: frames, doors and awnings take their colour from it
    tone: float = 0.0  # -1..1, the building's own shade of its class
    lit: bool = False  # has pale curtains by day and a lamp at dusk


@dataclass(frozen=True)
class Scene:
    """Parts in painting order, over the sky."""

    parts: tuple[Part, ...]
    cover: float  # clouds, 0..1


@dataclass(frozen=True)
class _House:
    """The traits that the parts of one building share."""

    left: float
    right: float
    base: float
    eaves: float
    floors: int
    columns: int
    family: int
    tone: float
    window: tuple[float, float]  # width and height as shares of column pitch and floor height
    arched: bool
    shutters: bool
    balconies: str  # "none" | "each" | "middle" | "long"
    shop: bool
    door: int  # its column
    roof: int  # index into ROOFS
    shape: str  # "flat" | "hip" | "mansard" | "gable" | "steps"

    @property
    def pitch(self) -> float:
        return (self.right - self.left) / self.columns

    @property
    def storey(self) -> float:
        return (self.base - self.eaves) / self.floors

    def part(self, kind: str, box: Box, outline: tuple[Point, ...] = (), lit: bool = False) -> Part:
        return Part(kind, box, outline, self.family, self.tone, lit)


def sample(seed: int, index: int) -> Scene:
    """The scene of this seed and index. Raises ValueError when either is negative."""
    rng = generator(NUMBER, seed, index)
    base = float(rng.uniform(0.86, 0.91))
    parts = [Part("ground", (0.0, base, 1.0, 1.0))]
    for house in _street(rng, base):
        parts += _building(rng, house)
    parts += _foreground(rng, base)
    return Scene(tuple(parts), cover=float(rng.uniform(0.1, 0.6)))


def class_map(scene: Scene, side: int) -> NDArray[np.uint8]:
    """Index into PALETTE of every pixel, [side, side]."""
    numbers = {kind: number for number, kind in enumerate(PALETTE)}
    canvas = Canvas(side, "L", numbers["sky"])
    for part in scene.parts:
        if part.outline:
            canvas.polygon(part.outline, numbers[part.kind])
        else:
            canvas.box(part.box, numbers[part.kind])
    return np.asarray(canvas.image)


def _street(rng: np.random.Generator, base: float) -> list[_House]:
    """One to three houses side by side; a single one may stand free."""
    count = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    if count == 1:
        edges = [float(rng.uniform(0.0, 0.14)), 1.0 - float(rng.uniform(0.0, 0.14))]
    elif count == 2:
        edges = [0.0, float(rng.uniform(0.38, 0.62)), 1.0]
    else:
        edges = [0.0, float(rng.uniform(0.29, 0.36)), float(rng.uniform(0.62, 0.71)), 1.0]
    families = rng.permutation(len(WALLS))  # neighbours differ
    return [_house(rng, edges[n], edges[n + 1], base, int(families[n])) for n in range(count)]


def _house(rng: np.random.Generator, left: float, right: float, base: float, family: int) -> _House:
    width = right - left
    floors = int(rng.choice([2, 3, 4], p=[0.2, 0.5, 0.3]))
    storey = float(
        {2: rng.uniform(0.2, 0.24), 3: rng.uniform(0.17, 0.205), 4: rng.uniform(0.15, 0.17)}[floors]
    )
    columns = max(2, round(width / float(rng.uniform(0.15, 0.2))))
    shapes = (
        ["flat", "hip", "mansard", "gable", "steps"] if width < 0.5 else ["flat", "hip", "mansard"]
    )
    return _House(
        left, right, base, base - floors * storey, floors, columns, family,
        tone=float(rng.uniform(-1, 1)),
        window=(float(rng.uniform(0.42, 0.52)), float(rng.uniform(0.54, 0.66))),
        arched=bool(rng.random() < 0.3),
        shutters=bool(rng.random() < 0.35),
        balconies=str(rng.choice(["none", "each", "middle", "long"], p=[0.4, 0.2, 0.25, 0.15])),
        shop=bool(rng.random() < 0.4) and columns >= 3,
        door=int(rng.integers(columns)),
        roof=int(rng.integers(len(ROOFS))),
        shape=str(rng.choice(shapes)),
    )  # fmt: skip


def _building(rng: np.random.Generator, house: _House) -> list[Part]:
    parts = list(_roof(rng, house))
    wall = WALLS[house.family]
    parts.append(house.part(wall, (house.left, house.eaves, house.right, house.base)))
    if house.shape in ("gable", "steps"):
        parts += _gable(rng, house)
    else:
        parts.append(
            house.part("trim", (house.left, house.eaves - 0.012, house.right, house.eaves + 0.016))
        )
    ledge = house.base - house.storey
    parts.append(house.part("trim", (house.left, ledge - 0.009, house.right, ledge + 0.009)))
    for floor in range(house.floors - 1):
        parts += _upper_floor(rng, house, floor)
    parts += _ground_floor(rng, house, ledge)
    return parts


def _roof(rng: np.random.Generator, house: _House) -> Iterator[Part]:
    left, right, eaves, width = house.left, house.right, house.eaves, house.right - house.left
    kind = ROOFS[house.roof]
    if house.shape in ("gable", "steps"):
        return
    height = {"flat": 0.035, "hip": float(rng.uniform(0.09, 0.13)), "mansard": 0.11}[house.shape]
    height = min(height, eaves - 0.03)
    inset = {"flat": 0.0, "hip": min(0.3 * width, 0.14), "mansard": 0.03}[house.shape]
    top = eaves - height
    for _ in range(int(rng.integers(0, 3)) if house.shape != "flat" else 0):
        x = float(rng.uniform(left + inset + 0.03, right - inset - 0.07))
        yield house.part("chimney", (x, top - 0.05, x + 0.04, top + 0.05))
    outline = ((left, eaves), (left + inset, top), (right - inset, top), (right, eaves))
    yield house.part(kind, (left, top, right, eaves), outline)
    if house.shape == "mansard":
        lit = rng.random(house.columns) < 0.4
        for column in range(house.columns):
            middle = left + (column + 0.5) * house.pitch
            half = 0.2 * house.pitch
            hood = (
                (middle - 1.6 * half, top + 0.04),
                (middle, top + 0.012),
                (middle + 1.6 * half, top + 0.04),
            )
            yield house.part(
                "window",
                (middle - half, top + 0.035, middle + half, eaves - 0.012),
                lit=bool(lit[column]),
            )
            yield house.part(
                "trim", (middle - 1.6 * half, top + 0.012, middle + 1.6 * half, top + 0.04), hood
            )


def _gable(rng: np.random.Generator, house: _House) -> Iterator[Part]:
    """A pointed or stepped gable of the wall's class, with its own capping and one small window."""
    left, right, eaves = house.left, house.right, house.eaves
    wall = WALLS[house.family]
    middle, half = (left + right) / 2, (right - left) / 2
    height = min(0.2, eaves - 0.04)
    if house.shape == "gable":
        cap = ((left, eaves + 0.005), (middle, eaves - height - 0.022), (right, eaves + 0.005))
        inner = ((left, eaves + 0.03), (middle, eaves - height + 0.006), (right, eaves + 0.03))
        yield house.part(
            ROOFS[house.roof], (left, eaves - height - 0.022, right, eaves + 0.005), cap
        )
        yield house.part(wall, (left, eaves - height, right, eaves + 0.03), inner)
    else:
        steps = 4
        for n in range(steps):
            inset = half * (n + 0.3) / (steps + 0.3)
            low, high = eaves - height * n / steps, eaves - height * (n + 1) / steps
            yield house.part(wall, (left + inset, high, right - inset, low))
            yield house.part("trim", (left + inset, high - 0.008, right - inset, high + 0.006))
    y = eaves - 0.38 * height
    lit = bool(rng.random() < 0.4)
    yield house.part("window", (middle - 0.028, y - 0.04, middle + 0.028, y + 0.035), lit=lit)


def _upper_floor(rng: np.random.Generator, house: _House, floor: int) -> Iterator[Part]:
    width, height = house.pitch * house.window[0], house.storey * house.window[1]
    middle_column = (house.columns - 1) / 2
    bottom = house.eaves + (floor + 1) * house.storey - 0.16 * house.storey
    lit = rng.random(house.columns) < 0.45
    railings: list[Part] = []
    for column in range(house.columns):
        middle = house.left + (column + 0.5) * house.pitch
        box = (middle - width / 2, bottom - height, middle + width / 2, bottom)
        outline = _arch(box) if house.arched else ()
        yield house.part("window", box, outline, lit=bool(lit[column]))
        if house.shutters:
            side = 0.4 * width
            yield house.part("shutter", (box[0] - side, box[1], box[0] - 0.004, box[3]))
            yield house.part("shutter", (box[2] + 0.004, box[1], box[2] + side, box[3]))
        here = house.balconies == "each" or (
            house.balconies == "middle"
            and abs(column - middle_column) < 0.6
            and floor % 2 == house.floors % 2
        )
        if here:
            reach = 0.72 * width
            railings.append(
                house.part(
                    "balcony",
                    (middle - reach, bottom - 0.38 * height, middle + reach, bottom + 0.016),
                )
            )
        else:
            yield house.part("trim", (box[0] - 0.01, bottom, box[2] + 0.01, bottom + 0.014))
    if house.balconies == "long" and floor == house.floors - 2:
        edge = 0.12 * house.pitch
        box = (house.left + edge, bottom - 0.36 * height, house.right - edge, bottom + 0.016)
        railings.append(house.part("balcony", box))
    yield from railings


def _arch(box: Box) -> tuple[Point, ...]:
    """A box whose top is a half ellipse."""
    x0, y0, x1, y1 = box
    rise = min(0.5 * (x1 - x0), 0.4 * (y1 - y0))
    turn = np.linspace(np.pi, 0.0, 9)
    top = [
        (float((x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(t)), float(y0 + rise - rise * np.sin(t)))
        for t in turn
    ]
    return ((x0, y1), *top, (x1, y1))


def _ground_floor(rng: np.random.Generator, house: _House, ledge: float) -> Iterator[Part]:
    height = house.base - ledge
    lit = rng.random(house.columns) < 0.5
    for column in range(house.columns):
        middle = house.left + (column + 0.5) * house.pitch
        if column == house.door:
            half = min(0.3 * house.pitch, 0.055)
            box = (middle - half, ledge + 0.24 * height, middle + half, house.base)
            yield house.part("trim", (box[0] - 0.012, box[1] - 0.018, box[2] + 0.012, house.base))
            yield house.part("door", box)
        elif not house.shop:
            width = house.pitch * house.window[0]
            box = (
                middle - width / 2,
                ledge + 0.22 * height,
                middle + width / 2,
                ledge + 0.78 * height,
            )
            yield house.part("window", box, lit=bool(lit[column]))
            yield house.part("trim", (box[0] - 0.01, box[3], box[2] + 0.01, box[3] + 0.014))
    if house.shop:
        yield from _shop(house, ledge, height)


def _shop(house: _House, ledge: float, height: float) -> Iterator[Part]:
    """Shop windows left and right of the door, each with its awning."""
    door = house.left + house.door * house.pitch
    spans = [(house.left, door), (door + house.pitch, house.right)]
    for start, stop in spans:
        if stop - start < 0.5 * house.pitch:
            continue
        x0, x1 = start + 0.14 * house.pitch, stop - 0.14 * house.pitch
        yield house.part(
            "shop", (x0, ledge + 0.3 * height, x1, house.base - 0.12 * height), lit=True
        )
        top, low = ledge + 0.14 * height, ledge + 0.44 * height
        flare = ((x0, top), (x1, top), (x1 + 0.018, low), (x0 - 0.018, low))
        yield house.part("awning", (x0 - 0.018, top, x1 + 0.018, low), flare)


def _foreground(rng: np.random.Generator, base: float) -> Iterator[Part]:
    """Shrubs before the wall and at most one street lamp."""
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.35, 0.25, 0.25, 0.15]))):
        x, radius = float(rng.uniform(0.04, 0.96)), float(rng.uniform(0.04, 0.065))
        y = base - 0.7 * radius
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        wobble = 1 + 0.14 * np.sin(turn * 5 + float(rng.uniform(0, 6)))
        ring = [
            (x + radius * w * np.cos(t), y + radius * w * np.sin(t))
            for t, w in zip(turn, wobble, strict=True)
        ]
        outline = tuple((float(px), float(py)) for px, py in ring)
        yield Part(
            "plant",
            (x - 1.2 * radius, y - 1.2 * radius, x + 1.2 * radius, y + 1.2 * radius),
            outline,
        )
    if rng.random() < 0.4:
        x, top = float(rng.uniform(0.08, 0.92)), base - 0.36
        yield Part("lamp", (x - 0.008, top, x + 0.008, base + 0.03))
        yield Part("lamp", (x - 0.024, top - 0.05, x + 0.024, top), lit=True)
