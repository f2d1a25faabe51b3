"""Reflection padding of any margin."""

import torch
import torch.nn.functional as F
from torch import Tensor


def reflect(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Pad [N, C, H, W] by reflection, in pixels, repeatedly where a margin exceeds the image."""
    height, width = x.shape[-2:]
    fits = max(top, bottom) < height and max(left, right) < width  # what F.pad accepts
    # The gradient of F.pad's reflection is not deterministic on CUDA.
    if fits and not torch.are_deterministic_algorithms_enabled():
        return F.pad(x, (left, right, top, bottom), mode="reflect")
    for axis, before, after in ((-2, top, bottom), (-1, left, right)):
        size = x.shape[axis]
        positions = torch.arange(-before, size + after, device=x.device)
        x = x.index_select(axis, mirrored(positions, size))
    return x


def mirrored(positions: Tensor, size: int) -> Tensor:
    """Return the pixels of an axis of `size` that lie at `positions` of its repeated reflection."""
    period = max(1, 2 * (size - 1))
    index = positions % period
    return torch.minimum(index, period - index)
