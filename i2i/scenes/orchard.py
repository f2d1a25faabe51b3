"""Orchards with red or yellow fruit: unpaired, like horse -> zebra (Zhu et al., ICCV 2017)."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from i2i.scenes.canvas import Array, Canvas, colors, finish, generators, gradient, noise, over, sky

FRUIT = {"red": colors("d42224")[0], "yellow": colors("face2c")[0]}
BARK, WOOD, AIR, SHINE, CLOUDS = *colors("624836 b28654 5c98da ffe9e0"), colors("faf9f6")
LEAVES, GRASS = colors("34642c 688634"), colors("568a3a a69e52")
HILLS, HAZE = colors("628c68 8c846e"), colors("c4d8e8 eedcc4")
FRONT = {1: (0.78, 26), 2: (0.66, 17), 3: (0.56, 12)}  # trees in front: their scale and fruit


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Scene `index` of `seed`, [size, size, 3] uint8; the styles differ in the fruit alone."""
    plan, rng = generators(2, seed, index)
    horizon = plan.uniform(0.4, 0.5)
    trees = [*_row(plan, 7, horizon + 0.05, 0.17, 0), *_row(plan, 4, horizon + 0.17, 0.34, 7)]
    count = int(plan.integers(1, 4))
    scale, load = FRONT[count][0] * plan.uniform(0.94, 1.06), FRONT[count][1]
    trees += _row(plan, count, plan.uniform(0.84, 0.9), scale, load)
    grass, fruit = gradient([0.75 * plan.random()], GRASS), FRUIT[style]
    crates = [plan.uniform([0.1, 0.93], [0.9, 0.97])] if plan.random() < 0.45 else []
    cover, hills = plan.uniform(0.1, 0.7), gradient([plan.random()], HILLS)
    haze = gradient([0.7 * plan.random()], HAZE)
    small = Canvas(size, factor=1)
    y, x = small.y, small.x
    back = sky(rng, y / horizon, np.stack([AIR, haze]), CLOUDS, cover)
    for n in range(3):
        ridge = horizon - 0.1 + 0.045 * n + 0.05 * noise(rng, (1, size), (2, 3 + 2 * n), 3)
        hill = over(haze, hills, 0.3 + 0.3 * n) * (1 + 0.05 * noise(rng, (size, size), (30, 12), 1))
        back = over(back, hill, np.clip((y - ridge) * size + 0.5, 0, 1))
    depth = np.clip((y - horizon) / (1 - horizon), 0, 1)
    blades = noise(rng, (512, size), (160, 34), 2)  # in perspective
    rows = np.clip(511 * (1 - 0.25 / (0.25 + depth[:, 0, 0])) / 0.8, 0, 511).astype(int)
    tone = 1 + 0.11 * blades[rows] + 0.05 * np.sin((x - 0.5) / (0.16 + depth) * 9)
    tone = tone + 0.05 * noise(rng, (size, size), (8, 5), 2)
    for left, foot, s, _, _, wide, _ in trees:  # their shadows
        far = np.hypot((x - left) / (wide * s) - 0.35, (y - foot) / (0.28 * wide * s) - 0.25)
        tone = tone * (1 - 0.35 * np.clip(0.5 + (1.05 - far) * 10 * wide * s, 0, 1))
    ground = over(over(grass, haze, 0.4), grass, np.clip(depth * 2.5, 0, 1)) * tone
    back = over(back, ground, np.clip((y - horizon) * size + 0.5, 0, 1))
    canvas = Canvas(size)
    for tree in trees:
        _paint_tree(canvas, rng, tree, fruit, grass, haze)
    for left, foot in crates:
        for slot in (0.5, 1.5, 2.5, 3.5, 0, 1, 2, 3, 4):
            x, top = left + 0.036 * (slot - 2), foot - 0.08 - 0.055 * (slot % 1)
            _apple(canvas, x + rng.uniform(-0.004, 0.004), top, 0.025, fruit, 0.5 * fruit)
        crate, _, v = canvas.region(left - 0.085, foot - 0.075, left + 0.085, foot)
        crate[:] = WOOD * np.where(3 * v % 1 < 0.8, 1, 0.5)
    front, bare = canvas.shrink()
    return finish(back * bare + front, rng, grain=2.0)


def _row(rng: Generator, count: int, foot: float, scale: float, load: int) -> list[Array]:
    """Trees from far to near: x, foot, scale, lean, share of light leaves, half width, fruit."""
    low, high = [-0.2, 0, 0.9, 0.7, -0.08, -0.06, 0.36], [0.2, 1, 1.1, 1.3, 0.08, 0.06, 0.44]
    x = (np.arange(count) + 0.5) / count + rng.uniform(-0.08, 0.08)
    dx, light, size, loads, down, lean, wide = rng.uniform(low, high, (count, 7)).T
    traits = x + dx / count, foot + down * scale, scale * size, lean, light, wide, load * loads
    return sorted(np.transpose(traits), key=lambda tree: tree[1])


def _paint_tree(canvas: Canvas, rng: Generator, tree: Array, *paints: Array) -> None:
    (x, foot, s, lean, light, wide, load), (fruit, grass, haze) = tree, paints
    veil, green = np.clip(0.55 - 0.9 * s, 0, 0.5), gradient([light], LEAVES)  # contrast fades afar
    cx, cy, rx, ry = x + lean * s, foot - 0.58 * s, wide * s, 0.33 * s
    trunk, u, v = canvas.region(x - 0.12 * s, cy, x + 0.12 * s, foot)
    across = (u - 0.5 - 4.2 * lean * (1 - v)) / (0.13 + 0.12 * v**4)
    bark = over(BARK, haze, veil) * np.where(across > 0.1, 0.7, 1)
    np.copyto(trunk, bark, where=abs(across) < 1)
    crown, u, v = canvas.region(cx - 1.25 * rx, cy - 1.25 * ry, cx + 1.25 * rx, cy + 1.25 * ry)
    u, v = 2.5 * u - 1.25, 2.5 * v - 1.25
    cells = (8, 13) if s < 0.25 else (15, 16) if s < 0.45 else (20, 22)
    puffs = noise(rng, crown.shape[:2], cells, 1)
    tone = 0.25 * puffs - (u + 1.5 * v) / 1.8  # lit from the upper left
    leaf = over(green, haze, veil) * (0.85 + 0.34 * tone) * (1 + tone * [0.06, 0, -0.06])
    np.copyto(crown, leaf, where=np.hypot(u, v) < 1.1 + 0.1 * puffs)
    radius, count, hanging = 0.014 + 0.022 * s, round(load), np.full((1, 2), 9.0)
    for turn, area in rng.uniform(0, [2 * np.pi, 1], (4 * count, 2)):
        u, v = np.sqrt(area) * np.cos(turn), np.sqrt(area) * np.sin(turn)
        spot = np.array([cx + rx * u, cy + ry * v + 0.03 * s])
        if len(hanging) > count:
            break
        if np.hypot(*(hanging - spot).T).min() > 2.3 * radius:
            hanging = np.append(hanging, [spot], axis=0)
            _apple(canvas, spot[0], spot[1], radius, fruit, 0.5 * green)
    for _ in range(rng.integers(0, 5) if s > 0.45 else 0):  # fallen
        left, top = x + rng.uniform(-0.4, 0.4) * s, foot + rng.uniform(0.0, 0.07) * s
        _apple(canvas, left, top, 0.9 * radius, fruit, 0.5 * grass)


def _apple(canvas: Canvas, x: float, y: float, r: float, fruit: Array, shadow: Array) -> None:
    region, u, v = canvas.region(x - r, y - r, x + 1.4 * r, y + 1.4 * r)
    u, v = 2.4 * u - 1, 2.4 * v - 1
    np.copyto(region, shadow, where=np.hypot(u - 0.25, v - 0.3) < 1.1)
    np.copyto(region, fruit * 0.72, where=np.hypot(u, v) < 1)
    np.copyto(region, fruit, where=np.hypot(u + 0.12, v + 0.12) < 0.82)
    np.copyto(region, SHINE, where=np.hypot(u + 0.32, v + 0.36) < 0.24)
