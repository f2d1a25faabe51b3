"""Maps of class numbers: one-hot tensors for networks, and distinct colors for people."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.images.formats import Array, ImageError

MAX_CLASSES = 2**16  # that 16-bit files hold


def class_depth(classes: int) -> Literal[8, 16]:
    """Return the bits of files of so many classes."""
    return 8 if classes <= 2**8 else 16


def check_classes(array: Array, classes: int) -> Array:
    """Return an array of class numbers as files hold them: uint8 or uint16.

    Raises:
        ImageError: numbers that are not whole, or no class.
    """
    if array.dtype.kind not in "iu":
        raise ImageError("image", "holds floats, not numbers of classes", "Save it as uint8")
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest >= classes:
        wrong = lowest if lowest < 0 else highest
        reason = f"holds {wrong}, and the {classes} classes are 0 to {classes - 1}"
        raise ImageError("image", reason, "Raise data.classes, or correct the file")
    return array.astype(f"u{class_depth(classes) // 8}", copy=False)


def one_hot(numbers: Tensor, classes: int) -> Tensor:
    """Class numbers [..., 1, H, W] -> float32 [..., classes, H, W]: 1 in their channel, else -1."""
    shape = (*numbers.shape[:-3], classes, *numbers.shape[-2:])
    hot = torch.full(shape, -1.0, device=numbers.device)
    return hot.scatter_(-3, numbers.long(), 1.0)


def edges(numbers: Tensor) -> Tensor:
    """Numbers [..., H, W] -> float32: 1 where one of the four neighbors differs, -1 elsewhere.

    Wang et al., CVPR 2018, Sec. 3.3, for maps of instances; of class numbers the edges of objects
    of one class that touch are not among them. Outside of the map nothing differs.
    """
    edge = torch.full(numbers.shape, -1.0, device=numbers.device)
    for axis in (-2, -1):
        length = numbers.shape[axis] - 1
        parts = [edge.narrow(axis, first, length) for first in (0, 1)]
        differs = numbers.narrow(axis, 0, length) != numbers.narrow(axis, 1, length)
        for part in parts:
            part[differs] = 1.0
    return edge


def class_tensor(
    array: Array, classes: int, device: torch.device | str = "cpu", with_edges: bool = False
) -> Tensor:
    """[..., H, W, 1] of class numbers -> `one_hot`, on `device`; `with_edges`: `edges` come last.

    Raises:
        ImageError: as `check_classes`.
    """
    numbers = torch.from_numpy(check_classes(array, classes).astype(np.int32)).to(device)
    numbers = numbers.movedim(-1, -3)
    if not with_edges:
        return one_hot(numbers, classes)
    tensor = one_hot(numbers, classes + 1)  # of the last channel no pixel has the number
    tensor[..., -1:, :, :] = edges(numbers)
    return tensor


def class_map(tensor: Tensor) -> Array:
    """[..., classes, H, W] -> [..., H, W, 1]: the channel of the largest value, 8 or 16 bits.

    Raises:
        ImageError: a value is not finite.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise ImageError("image", "holds values that are not finite")
    numbers = tensor.detach().argmax(dim=-3).unsqueeze(-1).cpu().numpy()
    return np.asarray(numbers.astype(f"u{class_depth(tensor.shape[-3]) // 8}"))


def class_colors(numbers: Array) -> NDArray[np.uint8]:
    """Class numbers [H, W, 1] -> RGB [H, W, 3]: a color of its own for each, black for 0.

    Three bits of a number at a time become bits of red, green and blue, the highest ones first, as
    in the development kit of PASCAL VOC (Everingham et al., IJCV 2010).
    """
    rest = numbers[..., 0].astype(np.uint32)
    colors = np.zeros((*rest.shape, 3), np.uint8)
    for bit in range(7, -1, -1):
        for channel in range(3):
            colors[..., channel] |= ((rest >> channel & 1) << bit).astype(np.uint8)
        rest >>= 3
    return colors
