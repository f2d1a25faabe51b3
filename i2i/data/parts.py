"""Parts of images: halves of pairs side by side, and crops of images that are not loaded."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal

import numpy as np

from i2i import images
from i2i.config import AlphaUse, DataConfig
from i2i.images import Array
from i2i.images.pixels import with_nan
from i2i.images.spec import ImageSpec
from i2i.images.stacks import stack
from i2i.images.windows import ANY_SIZE, open_windows


def halves(image: Array, layout: Literal["ab", "ba"]) -> dict[str, Array]:
    """Return the domains of a side-by-side image [H, W, C]; `layout` lists them from the left."""
    half = image.shape[1] // 2
    return {layout[0]: image[:, :half], layout[1]: image[:, half:]}


def takes_crops(config: DataConfig) -> bool:
    """Return True if samples are crops of files: nothing else is done to the complete image."""
    return config.resize == "none" and not (config.rotate_degrees or config.elastic_pixels)


class LargeImage:
    """An image above the limit of pixels, stacked of one file or more: parts of it are read.

    It is sliced as an array [H, W, C] of uint8, or float32 in [0, 1].
    """

    def __init__(self, files: Sequence[str], spec: ImageSpec, alpha: AlphaUse) -> None:
        self._files, self._spec, self._alpha = files, spec, alpha
        header = images.read_header(files[0], ANY_SIZE)
        self.shape = header.height, header.width, spec.file_channels

    def __getitem__(self, where: tuple[slice, slice]) -> Array:
        """Return rows and columns.

        Raises:
            ImageError: as `stacks.read`.
        """
        rows, columns = (slice(*one.indices(n)) for one, n in zip(where, self.shape, strict=False))
        box = rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
        watched = self._spec.watched()
        with ExitStack() as opened:
            windows = [opened.enter_context(open_windows(file, 0, watched)) for file in self._files]
            pictures = [each.read(*box) for each in windows]
        part = stack(self._files, pictures, self._spec, self._alpha, watched)
        array = part.array if part.missing is None else with_nan(part.array, part.missing)
        kept = array.dtype == np.uint8 or self._spec.classes  # class numbers stay integers
        return array if kept else images.to_unit(array)
