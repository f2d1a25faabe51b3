"""Masks of the pixels that count, matched to images by the stem of their files."""

from collections.abc import Sequence
from pathlib import Path

from i2i import images
from i2i.data.folders import find_images, preview
from i2i.data.pairing import normal
from i2i.data.volumes import slices_of
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.pairs import EvaluationError, resized
from i2i.evaluation.scoring import Mask
from i2i.images import Array
from i2i.images.slices import parse
from i2i.translation.options import TargetSize

_FLAG = "--mask"


class Masks:
    """Masks below a folder, one for each of `names`.

    Raises:
        DataError: the folder has no images.
        EvaluationError: an image has no mask, or several, or shares one with another.
    """

    def __init__(self, folder: str | Path, names: Sequence[str]) -> None:
        self._paths: dict[str, str] = {}
        part = parse(names[0])
        axis = part.axis if part else "acquisition"
        for path in slices_of(find_images(folder), axis):
            if (first := self._paths.setdefault(_stem(path), path)) != path:
                raise EvaluationError(
                    _FLAG, f"two masks of one stem: {first} and {path}", "Keep one"
                )
        lacking = [name for name in names if _stem(name) not in self._paths]
        if lacking:
            reason = f"{folder} has no mask for {len(lacking)} of {len(names)} images"
            hint = "A mask has the stem of its image"
            raise EvaluationError(_FLAG, f"{reason} (first: {preview(lacking)})", hint)
        owners: dict[str, str] = {}
        for name in names:
            if (first := owners.setdefault(_stem(name), name)) != name:
                raise EvaluationError(
                    _FLAG, f"one mask for two images: {first} and {name}", "Rename one of them"
                )
        self.collector = Collector(names)

    def read(
        self, name: str, image: Array, size: TargetSize, max_pixels: int = images.MAX_PIXELS
    ) -> Mask:
        """Return [H, W], True where the mask of the file `name` is above 0, resized to `size`.

        Raises:
            ImageError: the mask cannot be read.
            EvaluationError: it differs in size from `image` before resizing.
        """
        path = self._paths[_stem(name)]
        pixels = images.decode(path, max_pixels=max_pixels)
        (height, width), other = pixels.shape[:2], image.shape[:2]
        if (height, width) != other:
            reason = f"{width}x{height} pixels, but its image has {other[1]}x{other[0]}"
            raise EvaluationError(path, reason, "A mask has the size of its image")
        inside = (pixels > 0).any(axis=2, keepdims=True).astype("uint8")
        self.collector.add(name, inside)
        scaled: Mask = resized(inside, size, nearest=True)[..., 0] > 0
        return scaled


def _stem(path: str) -> str:
    return normal(images.stem_of(Path(path).name))
