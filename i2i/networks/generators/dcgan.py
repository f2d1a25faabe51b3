"""Generator of DCGAN: a transposed convolution of the latent, then doublings to the image size.

Radford et al., ICLR 2016 (arXiv 1511.06434), Fig. 1.
"""

from itertools import pairwise, product
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.errors import OptionError
from i2i.networks.blocks import (
    Head,
    HeadLayers,
    Norm,
    Up,
    Upsample,
    Width,
    bias_without_norm,
    norm_layer,
)
from i2i.networks.contract import InputError
from i2i.options import Count, Doc, validate_options

_MIN_BASE, _MAX_BASE = 3, 7  # pixels, the base's shorter side
_MAX_LONGER = 16  # pixels, the base's longer side: the first kernel has that size

_Size = Annotated[tuple[Count, Count], Doc("[height, width] in pixels; by default data.crop_size")]


class DCGAN(nn.Module):
    """Latents [N, in_channels, 1, 1] -> images [N, out_channels, *size] in [-1, 1].

    `size` is (height, width) = base * 2^depth, the base's shorter side 3 to 7 pixels: 64x64 is 4x4
    doubled four times, 28x28 is 7x7 doubled twice, 96x64 is 6x4. Before the output there are
    `width` channels; every level inwards has twice as many, up to 8 * width. With head layers the
    last doubling gives `width` channels, to a `Head`.

    Raises:
        OptionError: another size; the hint names the nearest that fit.
    """

    size_divisor = min_size = 1

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        *,
        size: _Size = (64, 64),
        width: Width = 64,
        norm: Norm = "batch",
        upsample: Upsample = "deconv",
        head_layers: HeadLayers = 0,
    ) -> None:
        super().__init__()
        plan = _plan(size)
        if plan is None:
            raise OptionError(
                "size",
                f"{size[0]}x{size[1]} (height x width) is not reached by doubling a base of "
                f"{_MIN_BASE} to {_MAX_BASE} pixels, up to {_MAX_LONGER} on its longer side",
                f"Nearest: {' and '.join(f'{h}x{w}' for h, w in _nearest(size))}",
            )
        base, depth = plan
        self.size: tuple[int, int] | None = size
        widths = [width * min(2**level, 8) for level in reversed(range(depth))]
        self.in_channels = in_channels
        self.stem = nn.ConvTranspose2d(in_channels, widths[0], base, bias=norm == "none")
        self.norm = norm_layer(norm, widths[0])
        doubled = [*widths, width] if head_layers else widths
        self.ups = nn.ModuleList(
            Up(inner, outer, 4, norm=norm, upsample=upsample) for inner, outer in pairwise(doubled)
        )
        self.head: nn.Module
        if head_layers:
            self.head = Head(width, out_channels, head_layers, norm=norm)
        else:
            bias = bias_without_norm(norm)
            self.head = Up(width, out_channels, 4, norm="none", upsample=upsample, bias=bias)

    def forward(self, latent: Tensor) -> Tensor:
        if latent.shape[1:] != (self.in_channels, 1, 1):
            expected = f"[N, {self.in_channels}, 1, 1]"
            raise InputError("latent", f"expected {expected}, got {list(latent.shape)}")
        x = F.relu(self.norm(self.stem(latent)))  # [N, L, 1, 1] -> [N, C, base height, base width]
        for up in self.ups:
            x = F.relu(up(x))
        return torch.tanh(self.head(x))


def _plan(size: tuple[int, int]) -> tuple[tuple[int, int], int] | None:
    """Return the base (height, width) of an image and its doublings, or None if it has none."""
    (height, width), depth = size, 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * _MIN_BASE:
        height, width, depth = height // 2, width // 2, depth + 1
    fits = _MIN_BASE <= min(height, width) <= _MAX_BASE and max(height, width) <= _MAX_LONGER
    return ((height, width), depth) if depth > 0 and fits else None


def _nearest(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the two sizes with a plan nearest to `size`; equal changes of both sides win ties."""
    steps = [2**depth for depth in range(1, 12)]
    sides: list[set[int]] = []
    for side in size:
        near = product(steps, (-1, 0, 1))
        sides.append({(max(side // step, _MIN_BASE) + more) * step for step, more in near})

    def distance(pair: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        rows, columns = pair[0] - size[0], pair[1] - size[1]
        return abs(rows) + abs(columns), abs(rows - columns), pair

    return sorted(filter(_plan, product(sides[0], sides[1])), key=distance)[:2]
