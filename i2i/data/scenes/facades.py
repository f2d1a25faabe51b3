"""Street fronts with an exact label map: every region of the picture is one named part, so labels -> picture is a
well-posed paired task (that of Isola et al., CVPR 2017, Sec. 4, on scenes that need no download)."""

import numpy as np
from numpy.typing import NDArray

from i2i.data.scenes.canvas import check_size, check_style, generator
from i2i.data.scenes.facade_light import render
from i2i.data.scenes.facade_plan import NUMBER, PALETTE, Scene, class_map, sample

STYLES = ("labels", "day", "dusk")


def draw(seed: int, index: int, size: int, style: str) -> NDArray[np.uint8]:
    """Scene `index` of `seed` as [size, size, 3] uint8 in one of STYLES; every style shows the same scene.

    Raises ValueError for a style, size, seed or index out of range.
    """
    check_style(style, STYLES)
    check_size(size)
    scene = sample(seed, index)
    if style == "labels":
        return label_map(scene, size)
    return render(scene, size, dusk=style == "dusk", rng=generator(NUMBER, seed, index, stream=1))


def label_map(scene: Scene, side: int) -> NDArray[np.uint8]:
    """The scene in the flat colours of PALETTE, [side, side, 3], without antialiasing."""
    colours = np.array(list(PALETTE.values()), dtype=np.uint8)
    return colours[class_map(scene, side)]
