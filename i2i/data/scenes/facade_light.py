"""The materials and the two lights of a street front: sun from the upper left, or dusk with lamps behind windows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from i2i.data.scenes.canvas import (
    Array,
    Box,
    Canvas,
    Colour,
    clouds,
    finish,
    floats,
    mix,
    noise,
    supersampling,
    tint,
    vertical,
)
from i2i.data.scenes.facade_plan import PALETTE, WALLS, Part, Scene, class_map

# By wall class: plain colour, window frames, doors, awnings, shutters. What the label map says is all they depend on.
WALL: tuple[Colour, ...] = ((172, 84, 62), (226, 182, 106), (224, 219, 208), (142, 172, 158))
FRAME: tuple[Colour, ...] = ((240, 236, 226), (112, 72, 48), (70, 78, 84), (244, 240, 230))
DOOR: tuple[Colour, ...] = ((38, 84, 66), (104, 58, 38), (46, 74, 122), (150, 48, 42))
AWNING: tuple[Colour, ...] = ((60, 120, 84), (186, 62, 48), (52, 92, 158), (214, 140, 52))
SHUTTER: tuple[Colour, ...] = ((62, 92, 84), (92, 116, 80), (84, 112, 146), (112, 82, 64))
ROOF: dict[str, Colour] = {
    "roof_tile": (178, 84, 56),
    "roof_slate": (88, 94, 108),
    "roof_copper": (112, 156, 136),
}
TRIM: Colour = (228, 221, 204)
IRON: Colour = (42, 44, 50)
LAMPLIGHT: Colour = (255, 186, 92)


@dataclass
class _Layers:
    """What the painters draw on; `rng` must be asked for the same numbers in both lights."""

    albedo: Canvas
    shade: Canvas  # 255: full shadow
    glow: Canvas  # light of its own, dusk only
    rng: np.random.Generator
    dusk: bool

    def shadow(self, box: Box, depth: int) -> None:
        self.shade.box(box, depth)


def render(scene: Scene, size: int, dusk: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scene as a lit picture [size, size, 3]; the numbers that `rng` gives decide textures only.

    Edges are drawn and shaded on the large canvas in 8 bits; all that is smooth is added after shrinking.
    """
    factor = supersampling(size)
    side = size * factor
    layers = _Layers(Canvas(side), Canvas(side, "L"), Canvas(side), rng, dusk)
    for part in scene.parts:
        _PAINT[part.kind](layers, part)
    solid = Image.fromarray(class_map(scene, side)).point(
        [0 if n == _SKY else 255 for n in range(256)]
    )
    light = Image.merge(
        "RGB", [layers.shade.image.point(table) for table in (_DUSK if dusk else _DAY)]
    )
    surface = ImageChops.multiply(layers.albedo.image, light)
    surface = ImageChops.multiply(surface, Image.merge("RGB", [solid] * 3))
    y, x = Canvas(size).axes((0, 0, 1, 1))
    stains = 1 + 0.05 * noise(rng, size, size, (7, 7), octaves=3)
    field = (stains * (1.1 - 0.2 * y if dusk else 1.1 - 0.1 * x))[..., None]
    sky = _sky(size, scene.cover, rng, dusk)
    open_air = 1 - np.asarray(solid.reduce(factor), dtype=np.float32)[..., None] / 255
    picture = np.asarray(surface.reduce(factor), dtype=np.float32) * field + sky * open_air
    if dusk:
        glow = layers.glow.image.reduce(factor)
        bloom = glow.filter(ImageFilter.GaussianBlur(0.022 * size))
        picture += 0.95 * np.asarray(glow, np.float32) + 0.55 * np.asarray(bloom, np.float32)
    return finish(picture, rng, grain=2.0)


def _tables(
    sunlit: tuple[float, float, float], shaded: tuple[float, float, float]
) -> list[list[int]]:
    """By colour channel, the light (255: all of it) at each depth of shadow."""
    return [
        [round(255 * (a + (b - a) * depth / 255)) for depth in range(256)]
        for a, b in zip(sunlit, shaded, strict=True)
    ]


_SKY = list(PALETTE).index("sky")
_DAY = _tables(
    (1.0, 0.94, 0.84), (0.47, 0.51, 0.60)
)  # a warm sun, the blue sky where it does not reach
_DUSK = _tables((0.36, 0.36, 0.48), (0.26, 0.26, 0.36))


def _sky(side: int, cover: float, rng: np.random.Generator, dusk: bool) -> Array:
    y = (np.arange(side, dtype=np.float32)[:, None] + 0.5) / side
    if dusk:
        back = vertical(
            y,
            [
                (0, (26, 34, 82)),
                (0.22, (72, 62, 122)),
                (0.42, (206, 120, 110)),
                (0.6, (250, 178, 104)),
            ],
        )
        front = vertical(y, [(0, (58, 54, 98)), (0.3, (146, 92, 122)), (0.6, (255, 196, 140))])
    else:
        back = vertical(y, [(0, (84, 146, 214)), (0.5, (186, 216, 240))])
        front = vertical(y, [(0, (246, 248, 252)), (0.5, (250, 250, 248))])
    return back + (front - back) * (0.85 * clouds(rng, side, side, cover))


def _wall(layers: _Layers, part: Part) -> None:
    y, x = layers.albedo.axes(part.box)
    base = np.array(
        tint(WALL[part.family], 1 + 0.06 * part.tone, 0.15 * part.tone), dtype=np.float32
    )
    table = layers.rng.random((32, 32)).astype(np.float32)
    plaster = noise(layers.rng, y.shape[0], x.shape[1], (9, 9), octaves=2)
    if WALLS[part.family] == "wall_brick":
        texture = _bricks(
            y - part.box[1], x - part.box[0], table, height=0.0208, length=0.05, joint=0.17
        )
        patch = (
            base * texture[..., None]
            + np.array([30, 28, 24], np.float32) * (texture < 0.75)[..., None]
        )
    elif WALLS[part.family] == "wall_stone":
        texture = _bricks(
            y - part.box[1], x - part.box[0], table, height=0.052, length=0.11, joint=0.06
        )
        patch = base * (0.6 + 0.4 * texture)[..., None]
    else:
        patch = base * (1 + 0.045 * plaster)[..., None]
    foot = np.clip((y - (part.box[3] - 0.05)) / 0.05, 0, 1)[..., None]  # splash water and dust
    layers.albedo.paste(patch * (1 - 0.13 * foot), part.box, part.outline)
    layers.shadow((part.box[2] - 0.006, part.box[1], part.box[2], part.box[3]), 90)


def _bricks(y: Array, x: Array, table: Array, height: float, length: float, joint: float) -> Array:
    """Tone of a running bond [H, W] around 1, darker (0.7) in the joints; `table` [32, 32]: of each brick."""
    row = y / height
    course = np.floor(row).astype(np.int64)
    column = x / length + 0.5 * (course % 2)
    number = np.floor(column).astype(np.int64)
    tone = 0.88 + 0.24 * table[course % 32, number % 32]
    gap = ((row - course) < joint) | ((column - number) < joint * height / length)
    return np.where(gap, np.float32(0.7), tone).astype(np.float32)


def _roof(layers: _Layers, part: Part) -> None:
    y, x = layers.albedo.axes(part.box)
    base = np.array(tint(ROOF[part.kind], 1 + 0.06 * part.tone), dtype=np.float32)
    table = layers.rng.random((32, 32)).astype(np.float32)
    if part.kind == "roof_copper":
        u = np.abs(((x - part.box[0]) / 0.034) % 1 - 0.5)
        patch = np.broadcast_to(1 + 0.16 * (u > 0.38), (y.shape[0], x.shape[1]))[..., None] * base
    else:
        course = np.floor((y - part.box[1]) / 0.02).astype(np.int64)
        rounded = (y - part.box[1]) / 0.02 - course
        number = np.floor((x - part.box[0]) / 0.024 + 0.5 * (course % 2)).astype(np.int64)
        tone = (0.86 + 0.22 * table[course % 32, number % 32]) * (1.08 - 0.3 * rounded**2)
        patch = tone[..., None] * base
    slope = (1.1 - 0.25 * (y - part.box[1]) / max(part.box[3] - part.box[1], 1e-6))[..., None]
    layers.albedo.polygon(
        part.outline, ROOF[part.kind]
    )  # under the edge pixels that the texture leaves out
    layers.albedo.paste((patch * slope).astype(np.float32), part.box, part.outline)


def _ground(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    y, x = layers.albedo.axes(part.box)
    depth = (y - y0) / (y1 - y0)
    slabs = np.where(((x - 0.5) / (0.6 + depth) / 0.11) % 1 < 0.04, 0.86, 1.0)
    speckle = 1 + 0.07 * noise(layers.rng, y.shape[0], x.shape[1], (8, 60), octaves=2)
    pavement = np.array([178, 172, 162], np.float32) * slabs[..., None]
    road = np.broadcast_to(np.array([98, 98, 104], np.float32), pavement.shape)
    edge = np.clip((depth - 0.47) / 0.02, 0, 1)[..., None]
    patch = (pavement + (road - pavement) * edge) * speckle[..., None]
    patch = np.where((np.abs(depth - 0.47) < 0.06)[..., None], floats([206, 202, 194]), patch)
    layers.albedo.paste(patch.astype(np.float32), part.box)
    layers.shadow((x0, y0, x1, y0 + 0.022), 110)


def _chimney(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    layers.albedo.box(part.box, (150, 82, 66))
    layers.albedo.box((x0 + 0.65 * (x1 - x0), y0, x1, y1), (112, 60, 52))
    layers.albedo.box((x0, y0, x1, y0 + 0.012), (190, 178, 160))


def _trim(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    if part.outline:
        layers.albedo.polygon(part.outline, TRIM)
        return
    layers.albedo.box(part.box, TRIM)
    layers.shadow(part.box, 0)
    if x1 - x0 > 2 * (y1 - y0):  # a ledge: bright top edge, shadow below, cast to the right
        layers.albedo.box((x0, y0, x1, y0 + 0.3 * (y1 - y0)), tint(TRIM, 1.1))
        layers.albedo.box((x0, y1 - 0.3 * (y1 - y0), x1, y1), tint(TRIM, 0.82))
        layers.shadow((x0 + 0.006, y1, x1 + 0.006, y1 + 0.55 * (y1 - y0) + 0.004), 150)


def _window(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    frame = FRAME[part.family]
    rim = min(0.1 * (x1 - x0), 0.011)
    if part.outline:
        layers.albedo.polygon(part.outline, frame)
        pane = _shrunk(part, rim)
    else:
        layers.albedo.box(part.box, frame)
        pane = ()
    inner = (x0 + rim, y0 + rim, x1 - rim, y1 - rim)
    _glass(layers, part, inner, pane)
    middle, bar = (x0 + x1) / 2, 0.55 * rim
    transom = y0 + 0.36 * (y1 - y0)
    for box in (
        (middle - bar, y0 + rim, middle + bar, y1),
        (x0 + rim, transom - bar, x1 - rim, transom + bar),
    ):
        layers.albedo.box(box, frame)
        layers.glow.box(box, 0)
    layers.shadow(
        (x0, y0, x1, y0 + 0.12 * (y1 - y0)) if not part.outline else (x0, y0 + rim, x0 + rim, y1),
        150,
    )
    layers.shadow((x0, y0 + 0.2 * (y1 - y0), x0 + 1.2 * rim, y1), 130)  # the reveal


def _shrunk(part: Part, rim: float) -> tuple[tuple[float, float], ...]:
    x0, y0, x1, y1 = part.box
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    sx, sy = 1 - 2 * rim / (x1 - x0), 1 - 2 * rim / (y1 - y0)
    return tuple((cx + (x - cx) * sx, cy + (y - cy) * sy) for x, y in part.outline)


def _glass(layers: _Layers, part: Part, box: Box, outline: tuple[tuple[float, float], ...]) -> None:
    """Panes that mirror the sky above and the street below; lit rooms show their curtains by day."""
    x0, y0, x1, y1 = box
    y, x = layers.albedo.axes(box)
    height = (y - y0) / (y1 - y0)
    across = (x - x0) / (x1 - x0)
    slant = float(layers.rng.uniform(0.5, 0.7))
    mirror = vertical(height, [(0, (150, 186, 214)), (0.5, (88, 118, 146)), (1, (44, 58, 76))])
    streak = np.abs(across + 0.55 * height - slant) < 0.11
    panes = np.where(streak[..., None], mirror * 1.28, mirror).astype(np.float32)
    drawn = np.abs(across - 0.5) > 0.27 + 0.1 * height  # curtains gathered outwards
    cloth = floats([236, 226, 206]) * (0.86 + 0.14 * np.cos(across * 40))[..., None]
    if part.lit:
        panes = np.where(drawn[..., None], cloth, panes)
    if layers.dusk:
        panes = panes * 0.55
    layers.albedo.paste(panes.astype(np.float32), box, outline)
    if part.lit and layers.dusk:
        level = 1.0 - 0.3 * height - 0.25 * drawn
        room = level[..., None] * floats(LAMPLIGHT)
        layers.glow.paste(room.astype(np.float32), box, outline)
    else:
        layers.glow.box(part.box, 0)


def _shop(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    layers.albedo.box(part.box, tint(DOOR[part.family], 0.9))
    count = max(1, round((x1 - x0) / 0.15))
    step = (x1 - x0) / count
    for n in range(count):
        pane = (x0 + n * step + 0.008, y0, x0 + (n + 1) * step - 0.008, y1 - 0.012)
        _glass(layers, Part("shop", pane, family=part.family), pane, ())
        goods = layers.rng.uniform(0.2, 0.8, (4, 3))
        for k, (hue, tall, _) in enumerate(goods):
            left = pane[0] + (k + 0.25) * (pane[2] - pane[0]) / 4
            colour = mix((200, 120, 70), (90, 130, 150), float(hue))
            item = (left, pane[3] - 0.3 * float(tall) * (y1 - y0), left + 0.6 * step / 4, pane[3])
            layers.albedo.box(item, colour)
        if layers.dusk:
            layers.glow.box(pane, tint(LAMPLIGHT, 0.72))


def _door(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    colour, w, h = DOOR[part.family], x1 - x0, y1 - y0
    layers.albedo.box(part.box, colour)
    light = (x0 + 0.1 * w, y0 + 0.03 * h, x1 - 0.1 * w, y0 + 0.18 * h)  # the fanlight
    layers.albedo.box(light, (112, 140, 160) if not layers.dusk else (120, 96, 60))
    if layers.dusk:
        layers.glow.box(light, tint(LAMPLIGHT, 0.75))
    for column in (0, 1):
        for top, low in ((0.26, 0.54), (0.6, 0.92)):
            left = x0 + (0.12 + 0.42 * column) * w
            panel = (left, y0 + top * h, left + 0.34 * w, y0 + low * h)
            layers.albedo.box(panel, tint(colour, 0.72))
            inset = 0.06 * w
            layers.albedo.box(
                (panel[0] + inset, panel[1] + inset, panel[2], panel[3]), tint(colour, 1.22)
            )
    layers.albedo.ellipse(x0 + 0.86 * w, y0 + 0.57 * h, 0.007, 0.007, (232, 196, 96))
    layers.shadow((x0, y0, x0 + 0.1 * w, y1), 140)
    layers.shadow((x0, y0, x1, y0 + 0.06 * h), 160)


def _shutter(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    colour = SHUTTER[part.family]
    layers.albedo.box(part.box, colour)
    edge = 0.16 * (x1 - x0)
    slats = max(4, round((y1 - y0) / 0.012))
    for n in range(slats):
        top = y0 + edge + n * (y1 - y0 - 2 * edge) / slats
        layers.albedo.box(
            (x0 + edge, top, x1 - edge, top + 0.4 * (y1 - y0) / slats), tint(colour, 0.72)
        )
    layers.shadow((x1, y0 + 0.006, x1 + 0.007, y1 + 0.006), 120)


def _balcony(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    slab = y1 - 0.016
    layers.albedo.box((x0, slab, x1, y1), TRIM)
    layers.shadow((x0, slab, x1, y1), 0)
    layers.albedo.box((x0, slab + 0.01, x1, y1), tint(TRIM, 0.78))
    layers.shadow((x0 + 0.008, y1, x1 + 0.012, y1 + 0.03), 150)
    bars = max(4, round((x1 - x0) / 0.02))
    for n in range(bars + 1):
        x = x0 + 0.004 + n * (x1 - x0 - 0.008) / bars
        for canvas, fill in ((layers.albedo, IRON), (layers.glow, (0, 0, 0))):
            canvas.box((x - 0.0035, y0, x + 0.0035, slab), fill)
    for top in (y0, y0 + 0.72 * (slab - y0)):
        for canvas, fill in ((layers.albedo, IRON), (layers.glow, (0, 0, 0))):
            canvas.box((x0, top, x1, top + 0.008), fill)


def _awning(layers: _Layers, part: Part) -> None:
    (x0, top), (x1, _), (wide, low), (left, _) = part.outline
    count = max(3, round((x1 - x0) / 0.034)) | 1
    for n in range(count):
        a, b = n / count, (n + 1) / count
        stripe = [
            (x0 + a * (x1 - x0), top),
            (x0 + b * (x1 - x0), top),
            (left + b * (wide - left), low),
            (left + a * (wide - left), low),
        ]
        colour = AWNING[part.family] if n % 2 == 0 else (240, 234, 222)
        layers.albedo.polygon(stripe, colour)
        layers.glow.polygon(stripe, 0)
        layers.albedo.box((stripe[3][0], low - 0.012, stripe[2][0], low), tint(colour, 0.82))
    layers.shadow((left + 0.01, low, wide + 0.01, low + 0.03), 150)


def _plant(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    layers.albedo.polygon(part.outline, (44, 82, 44))
    layers.glow.polygon(part.outline, 0)
    layers.shade.polygon(part.outline, 0)
    radius = (x1 - x0) / 2.4
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    turn = layers.rng.uniform(0, 2 * np.pi, 44)
    away = np.sqrt(layers.rng.uniform(0, 0.66, 44)) * radius
    for t, r in zip(turn, away, strict=True):
        dx, dy = float(r * np.cos(t)), float(r * np.sin(t))
        light = 1.0 - 0.55 * (dx + 1.4 * dy) / radius  # lit from the upper left
        leaf = 0.2 * radius
        layers.albedo.ellipse(
            cx + dx, cy + dy, leaf, leaf, tint((78, 124, 58), 0.72 + 0.35 * light)
        )
    layers.shadow((x0 + 0.02, y1 - 0.014, x1 + 0.03, y1 + 0.004), 120)


def _lamp(layers: _Layers, part: Part) -> None:
    x0, y0, x1, y1 = part.box
    layers.albedo.box(part.box, IRON)
    layers.shadow(part.box, 0)
    layers.glow.box(part.box, 0)
    if part.lit:
        head = (x0 + 0.008, y0 + 0.01, x1 - 0.008, y1 - 0.006)
        layers.albedo.box(head, (236, 232, 214))
        layers.glow.box(head, (255, 220, 150) if layers.dusk else (0, 0, 0))


_PAINT: dict[str, Callable[[_Layers, Part], None]] = {
    **dict.fromkeys(WALLS, _wall),
    **dict.fromkeys(ROOF, _roof),
    "ground": _ground,
    "chimney": _chimney,
    "trim": _trim,
    "window": _window,
    "shop": _shop,
    "door": _door,
    "shutter": _shutter,
    "balcony": _balcony,
    "awning": _awning,
    "plant": _plant,
    "lamp": _lamp,
}
