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
        period = max(1, 2 * (size - 1))
        index = torch.arange(-before, size + after, device=x.device) % period
        x = x.index_select(axis, torch.minimum(index, period - index))
    return x
