"""Orchards with red or yellow fruit on otherwise equal trees: an unpaired task whose only answer is a local colour,
like horse -> zebra (Zhu et al., ICCV 2017, Sec. 5.2), but with the true partner of every picture known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageChops, ImageFilter

from i2i.data.scenes.canvas import (
    Array,
    Canvas,
    Colour,
    check_size,
    check_style,
    clouds,
    finish,
    floats,
    generator,
    mix,
    noise,
    supersampling,
    tint,
    vertical,
)

STYLES = ("red", "yellow")
FRUIT: dict[str, Colour] = {"red": (212, 34, 36), "yellow": (250, 206, 44)}
BARK: Colour = (98, 72, 54)
WOOD: Colour = (178, 134, 84)
NUMBER = 2  # keeps the random streams of the scene kinds apart


@dataclass(frozen=True)
class Tree:
    """A tree that stands at (x, foot); every length on it is a multiple of `scale`, its height in the picture."""

    x: float
    foot: float
    scale: float
    lean: float
    leaf: Colour
    wide: float  # half width of the crown
    fruits: int


@dataclass(frozen=True)
class Scene:
    """Far trees come first; `haze` is the colour of the distance."""

    horizon: float
    cover: float  # clouds, 0..1
    grass: Colour
    hills: Colour
    haze: Colour
    trees: tuple[Tree, ...]
    crates: tuple[tuple[float, float], ...]  # x and foot


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Scene `index` of `seed` as [size, size, 3] uint8 in one of STYLES, which differ in the fruit alone.

    Raises ValueError for a style, size, seed or index out of range.
    """
    check_style(style, STYLES)
    check_size(size)
    scene = sample(seed, index)
    rng = generator(NUMBER, seed, index, stream=1)
    factor = supersampling(size)
    back = _background(scene, size, rng)
    paint = Canvas(size * factor)  # black: nothing there; no colour used on it is black
    fruit = FRUIT[style]
    for tree in scene.trees:
        _paint_tree(paint, tree, fruit, scene, rng)
    for x, foot in scene.crates:
        _paint_crate(paint, x, foot, fruit, rng)
    _paint_tufts(paint, scene, rng)
    front = np.asarray(paint.image.reduce(factor), dtype=np.float32)
    red, green, blue = paint.image.split()
    painted = ImageChops.lighter(ImageChops.lighter(red, green), blue).point([0] + 255 * [255])
    share = np.asarray(painted.reduce(factor), dtype=np.float32)[..., None] / 255
    leaves = 1 + 0.07 * noise(rng, size, size, (44, 44), octaves=2)[..., None]
    return finish(back * (1 - share) + front * leaves, rng, grain=2.0)


def sample(seed: int, index: int) -> Scene:
    """The scene of this seed and index. Raises ValueError when either is negative."""
    rng = generator(NUMBER, seed, index)
    horizon = float(rng.uniform(0.4, 0.5))
    trees = [*_row(rng, 7, horizon + 0.05, 0.17, 0), *_row(rng, 4, horizon + 0.17, 0.34, 7)]
    front = int(rng.integers(1, 4))
    scale = {1: 0.78, 2: 0.66, 3: 0.56}[front] * float(rng.uniform(0.94, 1.06))
    trees += _row(rng, front, float(rng.uniform(0.84, 0.9)), scale, {1: 26, 2: 17, 3: 12}[front])
    dry = float(rng.uniform(0, 1))
    crates = (
        [(float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.93, 0.97)))]
        if rng.random() < 0.45
        else []
    )
    return Scene(
        horizon,
        cover=float(rng.uniform(0.1, 0.7)),
        grass=mix((86, 138, 58), (166, 158, 82), 0.75 * dry),
        hills=mix((98, 140, 104), (140, 132, 110), float(rng.uniform(0, 1))),
        haze=mix((196, 216, 232), (238, 220, 196), float(rng.uniform(0, 0.7))),
        trees=tuple(trees),
        crates=tuple(crates),
    )


def _row(
    rng: np.random.Generator, count: int, foot: float, scale: float, fruits: int
) -> list[Tree]:
    """`count` trees from left to right, none in quite the same line, sorted from far to near."""
    trees = []
    start = float(rng.uniform(-0.08, 0.08))
    for n in range(count):
        x = (n + 0.5) / count + start + float(rng.uniform(-0.2, 0.2)) / count
        leaf = mix((52, 100, 44), (104, 134, 52), float(rng.uniform(0, 1)))
        size = scale * float(rng.uniform(0.9, 1.1))
        number = round(fruits * float(rng.uniform(0.7, 1.3)))
        down = foot + float(rng.uniform(-0.08, 0.08)) * scale
        lean = float(rng.uniform(-0.06, 0.06))
        trees.append(Tree(x, down, size, lean, leaf, float(rng.uniform(0.36, 0.44)), number))
    return sorted(trees, key=lambda tree: tree.foot)


def _background(scene: Scene, size: int, rng: np.random.Generator) -> Array:
    """Sky, hills and the shaded ground, [size, size, 3] in 0..255."""
    y = Canvas(size).axes((0, 0, 1, 1))[0]
    sky = vertical(y, [(0, (92, 152, 218)), (scene.horizon, scene.haze)])
    opacity = clouds(rng, size, size, scene.cover)
    picture: Array = sky + (floats([250, 249, 246]) - sky) * (0.85 * opacity)
    for depth in range(3):
        bumps = noise(rng, 1, size, (2, 3 + 2 * depth), octaves=3)
        ridge = scene.horizon - 0.10 + 0.045 * depth + 0.05 * bumps
        colour = floats(mix(scene.haze, scene.hills, 0.3 + 0.3 * depth))
        edge = np.clip((y - ridge) * size + 0.5, 0, 1)[..., None]
        patches = 1 + 0.05 * noise(rng, size, size, (30, 12))[..., None]
        picture = picture + (colour * patches - picture) * edge
    ground = _ground(scene, size, rng)
    edge = np.clip((y - scene.horizon) * size + 0.5, 0, 1)[..., None]
    return floats(picture + (ground - picture) * edge)


def _ground(scene: Scene, size: int, rng: np.random.Generator) -> Array:
    """Grass in perspective, mown in strips, with the shadow of every tree."""
    y, x = Canvas(size).axes((0, 0, 1, 1))
    depth = np.clip((y - scene.horizon) / (1 - scene.horizon), 0, 1)
    blades = noise(rng, 512, size, (160, 34), octaves=2)
    rows = np.clip(511 * (1 - 0.25 / (0.25 + depth[:, 0])) / 0.8, 0, 511).astype(np.int64)
    strips = np.sin((x - 0.5) / (0.16 + depth) * 9.0)
    tone = (
        1 + 0.11 * blades[rows] + 0.05 * strips + 0.05 * noise(rng, size, size, (8, 5), octaves=2)
    )
    far = floats(mix(scene.grass, scene.haze, 0.4))
    colour = far + (floats(scene.grass) - far) * np.clip(depth * 2.5, 0, 1)[..., None]
    shade = Canvas(size, "L")
    for tree in scene.trees:
        reach = tree.wide * tree.scale
        shade.ellipse(
            tree.x + 0.35 * reach, tree.foot + 0.03 * tree.scale, 1.05 * reach, 0.28 * reach, 150
        )
    for cx, foot in scene.crates:
        shade.ellipse(cx + 0.03, foot, 0.11, 0.02, 170)
    blurred = shade.image.filter(ImageFilter.GaussianBlur(0.012 * size))
    shadow = np.asarray(blurred, dtype=np.float32)[..., None] / 255
    return floats(colour * tone[..., None] * (1 - shadow * floats([0.62, 0.55, 0.42])))


def _paint_tree(
    paint: Canvas, tree: Tree, fruit: Colour, scene: Scene, rng: np.random.Generator
) -> None:
    s, x, foot = tree.scale, tree.x, tree.foot
    veil = float(np.clip(0.55 - 0.9 * s, 0, 0.5))  # distance takes contrast
    bark, leaf = mix(BARK, scene.haze, veil), mix(tree.leaf, scene.haze, veil)
    top = (x + tree.lean * s, foot - 0.58 * s)
    _trunk(paint, tree, bark)
    count = 26 if s < 0.25 else 60 if s < 0.45 else 110
    turn = rng.uniform(0, 2 * np.pi, count)
    away = np.sqrt(rng.uniform(0, 1, count))
    puff = rng.uniform(0.85, 1.15, count) * {26: 0.115, 60: 0.088, 110: 0.07}[count] * s
    dx, dy = tree.wide * s * away * np.cos(turn), 0.33 * s * away * np.sin(turn)
    light = -(dx / (tree.wide * s) + 1.5 * dy / (0.33 * s)) / 1.8  # -1..1, lit from the upper left
    order = np.argsort(light + rng.uniform(-0.35, 0.35, count))
    paint.ellipse(*top, 0.82 * tree.wide * s, 0.27 * s, tint(leaf, 0.55))
    for n in order:
        cx, cy, r = top[0] + float(dx[n]), top[1] + float(dy[n]), float(puff[n])
        bright = 0.82 + 0.34 * float(light[n])
        paint.ellipse(cx, cy, r, 0.9 * r, tint(leaf, bright, 0.25 * float(light[n])))
        paint.ellipse(
            cx - 0.28 * r,
            cy - 0.3 * r,
            0.55 * r,
            0.5 * r,
            tint(leaf, bright * 1.17, 0.3 * float(light[n])),
        )
    _hang_fruit(paint, tree, top, fruit, scene, rng)


def _trunk(paint: Canvas, tree: Tree, bark: Colour) -> None:
    s, x, foot, bend = tree.scale, tree.x, tree.foot, tree.lean * tree.scale
    thick = 0.042 * s
    stem = [
        (x - 1.5 * thick, foot), (x - 0.9 * thick, foot - 0.05 * s), (x - 0.7 * thick + bend, foot - 0.4 * s),
        (x + 0.7 * thick + bend, foot - 0.4 * s), (x + 0.9 * thick, foot - 0.05 * s), (x + 1.5 * thick, foot),
    ]  # fmt: skip
    shaded = [(x + 0.1 * thick, foot), (x + 0.1 * thick + bend, foot - 0.4 * s), *stem[3:]]
    fork = (x + 0.7 * bend, foot - 0.26 * s)
    paint.polygon(stem, bark)
    for side in (-1, 1):
        tip = (x + bend + side * 0.2 * s, foot - 0.46 * s)
        paint.line([fork, tip], 0.035 * s, bark)
    paint.polygon(shaded, tint(bark, 0.7))


def _hang_fruit(
    paint: Canvas,
    tree: Tree,
    top: tuple[float, float],
    fruit: Colour,
    scene: Scene,
    rng: np.random.Generator,
) -> None:
    """Fruit spread over the crown, none on top of another, and a little of it in the grass."""
    s = tree.scale
    radius = 0.014 + 0.022 * s
    placed: list[tuple[float, float]] = []
    for _ in range(4 * tree.fruits):
        turn, away = float(rng.uniform(0, 2 * np.pi)), float(np.sqrt(rng.uniform(0, 1)))
        spot = (
            top[0] + tree.wide * s * away * float(np.cos(turn)),
            top[1] + (0.33 * float(np.sin(turn)) * away + 0.03) * s,
        )
        close = any(
            (spot[0] - a) ** 2 + (spot[1] - b) ** 2 < (2.3 * radius) ** 2 for a, b in placed
        )
        if not close and len(placed) < tree.fruits:
            placed.append(spot)
    for cx, cy in placed:
        paint.ellipse(
            cx + 0.25 * radius,
            cy + 0.3 * radius,
            1.12 * radius,
            1.12 * radius,
            tint(tree.leaf, 0.5),
        )
        _apple(paint, cx, cy, radius, fruit)
    for _ in range(int(rng.integers(0, 5)) if s > 0.45 else 0):
        cx = tree.x + float(rng.uniform(-0.4, 0.4)) * s
        cy = tree.foot + float(rng.uniform(0.0, 0.07)) * s
        paint.ellipse(
            cx + 0.2 * radius,
            cy + 0.75 * radius,
            1.1 * radius,
            0.45 * radius,
            tint(scene.grass, 0.5),
        )
        _apple(paint, cx, cy, 0.9 * radius, fruit)


def _apple(paint: Canvas, x: float, y: float, r: float, fruit: Colour) -> None:
    paint.ellipse(x, y, r, r, tint(fruit, 0.72))
    paint.ellipse(x - 0.12 * r, y - 0.12 * r, 0.82 * r, 0.82 * r, fruit)
    paint.ellipse(x - 0.32 * r, y - 0.36 * r, 0.27 * r, 0.22 * r, mix(fruit, (255, 255, 255), 0.65))


def _paint_crate(
    paint: Canvas, x: float, foot: float, fruit: Colour, rng: np.random.Generator
) -> None:
    wide, high, radius = 0.085, 0.075, 0.025
    for row in (1, 0):
        for n in range(5 - row):
            cx = x + (n - (4 - row) / 2) * 1.45 * radius + float(rng.uniform(-0.004, 0.004))
            _apple(paint, cx, foot - high - 0.2 * radius - 1.1 * row * radius, radius, fruit)
    for n in range(3):
        top = foot - high + n * high / 3
        slat = (x - wide, top, x + wide, top + 0.8 * high / 3)
        paint.box((x - wide, top, x + wide, top + high / 3), tint(WOOD, 0.5))
        paint.box(slat, tint(WOOD, 1.05 - 0.1 * n))
    for side in (-1, 1):
        post = (
            x + side * 0.9 * wide - 0.012,
            foot - high - 0.006,
            x + side * 0.9 * wide + 0.012,
            foot,
        )
        paint.box(post, tint(WOOD, 0.85))


def _paint_tufts(paint: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """Grass blades in front, longer towards the lower edge."""
    for x, depth, bend, tone in rng.uniform(0, 1, (70, 4)):
        foot = 0.72 + 0.3 * float(depth)
        length = 0.012 + 0.03 * float(depth)
        colour = tint(scene.grass, 0.72 + 0.5 * float(tone))
        tip = (float(x) + 0.03 * (float(bend) - 0.5), foot - length)
        blade = [(float(x) - 0.004, foot), tip, (float(x) + 0.004, foot)]
        paint.polygon(blade, colour)
