"""Who sits for a portrait: the traits drawn from the seed, and the head's own coordinates."""

from dataclasses import dataclass

import numpy as np

from i2i.data.scenes.canvas import Array, Canvas, Colour, Point, generator, mix

NUMBER = 3  # keeps the random streams of the scene kinds apart

SKINS: tuple[Colour, ...] = (
    (248, 214, 188), (240, 200, 168), (234, 188, 152), (220, 168, 128), (198, 142, 102), (168, 114, 80),
    (136, 88, 62), (104, 68, 52),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (34, 28, 32), (58, 40, 34), (96, 62, 42), (136, 84, 48), (178, 82, 44), (214, 164, 86), (236, 206, 142),
    (168, 166, 170),
)  # fmt: skip
IRISES: tuple[Colour, ...] = (
    (92, 56, 34),
    (122, 88, 44),
    (76, 124, 76),
    (70, 120, 176),
    (108, 128, 142),
)
CLOTHS: tuple[Colour, ...] = (
    (54, 84, 140), (168, 56, 58), (66, 116, 92), (222, 170, 70), (92, 74, 128), (62, 66, 78), (226, 220, 208),
    (202, 112, 76), (96, 152, 178),
)  # fmt: skip
WALLS: tuple[Colour, ...] = (
    (150, 190, 206), (214, 190, 150), (170, 196, 162), (216, 164, 150), (176, 168, 204), (202, 206, 210),
    (120, 146, 176), (232, 206, 128),
)  # fmt: skip
HAIRCUTS = (
    "short",
    "side",
    "fringe",
    "curls",
    "afro",
    "bob",
    "long",
    "bun",
    "tail",
    "bald",
    "beanie",
)
_HAIR_SHARES = (0.13, 0.13, 0.09, 0.1, 0.07, 0.12, 0.14, 0.07, 0.06, 0.04, 0.05)


@dataclass(frozen=True)
class Sitter:
    """All that a portrait shows; lengths in units of the picture's side unless said otherwise."""

    x: float  # centre of the head
    y: float
    wide: float  # half width and half height of the head
    high: float
    tilt: float  # radians
    jaw: float  # how much narrower the chin is than the temples, 0..1
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    cut: str
    part: int  # side of the parting, -1 or 1
    eye: float  # size of the eyes around 1
    gaze: float  # -1..1
    brow: float  # thickness around 1
    frown: float  # tilt of the brows, -1..1
    nose: float  # width around 1
    mouth: str  # "calm" | "smile" | "grin" | "open"
    beard: str  # "none" | "stubble" | "full" | "moustache"
    glasses: str  # "none" | "round" | "square"
    freckles: bool
    earrings: bool
    garment: str  # "crew" | "shirt" | "jacket" | "hood"
    cloth: Colour
    collar: Colour
    shoulders: float  # half width
    wall: Colour
    pattern: str  # "plain" | "stripes" | "split"


def sample(seed: int, index: int) -> Sitter:
    """The person of this seed and index. Raises ValueError when either is negative."""
    rng = generator(NUMBER, seed, index)
    skin = _between(rng, SKINS)
    dark = sum(skin) < 460
    hairs = HAIRS[:4] if dark and rng.random() < 0.85 else HAIRS
    hairs = tuple(
        hair for hair in hairs if abs(sum(hair) - sum(skin)) > 110
    )  # a face must end somewhere
    cut = str(rng.choice(HAIRCUTS, p=_HAIR_SHARES))
    bearded = (
        cut in ("short", "side", "curls", "afro", "bald", "beanie", "fringe")
        and rng.random() < 0.45
    )
    cloth = CLOTHS[int(rng.integers(len(CLOTHS)))]
    return Sitter(
        x=0.5 + float(rng.uniform(-0.02, 0.02)),
        y=0.475 + float(rng.uniform(-0.015, 0.02)),
        wide=float(rng.uniform(0.205, 0.235)),
        high=float(rng.uniform(0.262, 0.29)),
        tilt=float(rng.uniform(-0.09, 0.09)),
        jaw=float(rng.uniform(0.12, 0.34)),
        skin=skin,
        hair=hairs[int(rng.integers(len(hairs)))],
        iris=IRISES[0 if dark and rng.random() < 0.8 else int(rng.integers(len(IRISES)))],
        lips=mix(
            mix(skin, (196, 74, 78), 0.5),
            (168, 30, 52),
            0.0 if bearded else float(rng.choice([0.0, 0.15, 0.6])),
        ),
        cut=cut,
        part=int(rng.choice([-1, 1])),
        eye=float(rng.uniform(0.92, 1.14)),
        gaze=float(rng.uniform(-1, 1)),
        brow=float(rng.uniform(0.75, 1.45)),
        frown=float(rng.uniform(-0.8, 0.7)),
        nose=float(rng.uniform(0.8, 1.25)),
        mouth=str(rng.choice(["calm", "smile", "grin", "open"], p=[0.27, 0.4, 0.25, 0.08])),
        beard=str(rng.choice(["stubble", "full", "moustache"], p=[0.35, 0.45, 0.2]))
        if bearded
        else "none",
        glasses=str(rng.choice(["none", "round", "square"], p=[0.74, 0.14, 0.12])),
        freckles=bool(not dark and rng.random() < 0.16),
        earrings=bool(not bearded and rng.random() < 0.25),
        garment=str(rng.choice(["crew", "shirt", "jacket", "hood"])),
        cloth=cloth,
        collar=mix(cloth, (250, 248, 242), float(rng.choice([0.35, 0.85]))),
        shoulders=float(rng.uniform(0.37, 0.45)),
        wall=_between(rng, WALLS),
        pattern=str(rng.choice(["plain", "stripes", "split"], p=[0.6, 0.2, 0.2])),
    )


def _between(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of the colours, or something between it and the next."""
    place = float(rng.uniform(0, len(colours) - 1))
    return mix(colours[int(place)], colours[int(place) + 1], place % 1)


class Head:
    """A brush in the head's coordinates: u from -1 (left ear) to 1, v from -1 (crown) to 1 (chin), tilted with it."""

    def __init__(self, sitter: Sitter, colour: Canvas, light: Canvas, fine: Canvas) -> None:
        self.sitter, self.colour, self.light = sitter, colour, light
        self.fine = fine  # 255 where a feature is too small for outlines

    def place(self, points: "list[Point] | Array") -> Array:
        """Points (u, v) [N, 2] in picture coordinates."""
        s = self.sitter
        uv = np.asarray(points, dtype=np.float32)
        dx, dy = uv[:, 0] * s.wide, uv[:, 1] * s.high
        cos, sin = np.cos(s.tilt), np.sin(s.tilt)
        pivot = s.high  # the head turns on the chin, above the neck
        dy = dy - pivot
        return np.stack(
            [s.x + cos * dx - sin * dy, s.y + pivot + sin * dx + cos * dy], axis=1
        ).astype(np.float32)

    def fill(self, points: "list[Point] | Array", fill: Colour) -> None:
        self.colour.polygon(self.place(points), fill)

    def shade(self, points: "list[Point] | Array", level: int) -> None:
        """Light (above 128) or shadow (below), blurred later."""
        self.light.polygon(self.place(points), level)

    def stroke(self, points: "list[Point] | Array", width: float, fill: Colour) -> None:
        """A line `width` wide in units of the head's half width."""
        self.colour.line(self.place(points), width * self.sitter.wide, fill)

    def disc(self, u: float, v: float, radius: float, fill: Colour, flat: float = 1.0) -> None:
        """A circle of `radius` (units of the half width), `flat` times as high as wide."""
        x, y = self.place([(u, v)])[0]
        r = radius * self.sitter.wide
        self.colour.ellipse(float(x), float(y), r, flat * r, fill)


def oval(u: float, v: float, ru: float, rv: float, points: int = 40) -> Array:
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([u + ru * np.cos(turn), v + rv * np.sin(turn)], axis=1).astype(np.float32)


def smooth(points: list[Point], closed: bool = False, rounds: int = 3) -> Array:
    """The corners of a polyline cut off `rounds` times (Chaikin 1974): a quadratic B-spline, ends kept if open."""
    line = np.asarray(points, dtype=np.float32)
    for _ in range(rounds):
        after = np.roll(line, -1, axis=0) if closed else line[1:]
        before = line if closed else line[:-1]
        cut = np.stack(
            [0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1
        ).reshape(-1, 2)
        line = cut if closed else np.concatenate([line[:1], cut[1:-1], line[-1:]])
    return line
