"""Labels: numbers that are the same at any depth, and never colors."""

from i2i.images.formats import Array, ImageError
from i2i.images.pixels import MAX_VALUE


def check_gray(pixels: Array) -> None:
    """Raise ImageError for colors, which would become luma: a mixture of labels."""
    if pixels.shape[2] in (3, 4) and (pixels[..., :1] != pixels[..., :3]).any():
        reason = "holds colors, and the labels of the model are gray"
        raise ImageError("image", reason, "Convert it to the values of training")


def relabeled(labels: Array, depth: int, reason: str) -> Array:
    """Return labels with the bits of a depth; raise ImageError with `reason` if one needs more."""
    highest = labels.max()
    if highest > MAX_VALUE[depth]:
        hint = "Convert them to the values of training, and choose a depth that holds them"
        raise ImageError("image", f"holds labels up to {highest}, and {reason}", hint)
    return labels.astype(f"u{depth // 8}")
