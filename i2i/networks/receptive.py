"""Rows of the input that rows of the output depend on, layer by layer from the output inwards."""

from collections.abc import Callable

from torch import nn

from i2i.networks.blocks import Up

Rows = tuple[int, int]  # first and last


def conv(rows: Rows, kernel: int, stride: int = 1) -> Rows:
    """Return what a convolution sees that keeps sides, or divides them by `stride`."""
    first, last = (stride * row - (kernel - 1) // 2 for row in rows)
    return first, last + kernel - 1


def doubling(rows: Rows, up: nn.Module) -> Rows:
    """Return what an `Up` sees."""
    assert isinstance(up, Up)
    first, last = rows
    kernel = up.conv.weight.shape[-1]
    assert isinstance(kernel, int)
    match up.upsample:
        case "deconv":  # kernels 3 and 4, padding 1
            return (first + 3 - kernel) // 2, (last + 1) // 2
        case "deconv_blur":
            return (first + 2 - kernel) // 2, (last + 2) // 2
        case "pixelshuffle":
            return conv((first // 2, last // 2), 3)
        case "nearest":
            first, last = conv(rows, 3)
            return first // 2, last // 2
        case "bilinear":  # an even pixel sees its own and the one before, an odd one the one behind
            first, last = conv(rows, 3)
            return (first - 1) // 2, (last + 1) // 2


def halo(sees: Callable[[Rows], Rows], divisor: int) -> int:
    """Return how many pixels beyond a square of `divisor` pixels, on a grid of such, are seen."""
    first, last = sees((0, divisor - 1))
    return max(-first, last - divisor + 1)
