"""Generator of DCGAN: a latent vector, one full transposed convolution, doublings until the image has its size.

Radford et al., ICLR 2016 (arXiv 1511.06434), Fig. 1.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import (
    NormName,
    Up,
    UpsampleName,
    bias_without_norm,
    check_at_least,
    norm_layer,
)

_SMALLEST, _LARGEST = 3, 7  # pixels, the base's shorter side
_LONGEST = (
    16  # pixels, the base's longer side: its transposed convolution has a kernel of that size
)


class DCGAN(nn.Module):
    """Latents [N, in_channels, 1, 1] -> images [N, out_channels, *size] in [-1, 1].

    `size` is (height, width) = base * 2^depth, the base's shorter side 3 to 7 pixels: 64x64 is 4x4
    doubled four times, 28x28 is 7x7 doubled twice, 96x64 is 6x4. `width` is the number of channels
    before the output; every step inwards has twice as many, up to 8 * width. Raises ValueError for
    options out of range, with the nearest sizes that fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: tuple[int, int] = (64, 64),
        width: int = 64,
        norm: NormName = "batch",
        upsample: UpsampleName = "deconv",
    ) -> None:
        super().__init__()
        check_at_least(1, in_channels=in_channels, out_channels=out_channels, width=width)
        plan = _plan(size)
        if plan is None:
            raise ValueError(
                f"size: {size[0]}x{size[1]} (height x width) is not reached by doubling a base of 3 to 7 pixels, "
                f"16 on its longer side (nearest that fit: {' and '.join(f'{h}x{w}' for h, w in _nearest(size))})"
            )
        base, depth = plan
        widths = [width * min(2**step, 8) for step in reversed(range(depth))]
        self.in_channels = in_channels
        self.stem = nn.ConvTranspose2d(in_channels, widths[0], base, bias=norm == "none")
        self.norm = norm_layer(norm, widths[0])
        self.ups = nn.ModuleList(
            Up(inner, outer, kernel=4, norm=norm, upsample=upsample)
            for inner, outer in pairwise(widths)
        )
        self.head = Up(
            width,
            out_channels,
            kernel=4,
            norm="none",
            upsample=upsample,
            bias=bias_without_norm(norm),
        )

    def forward(self, latent: Tensor) -> Tensor:
        if latent.shape[1:] != (self.in_channels, 1, 1):
            raise ValueError(
                f"latent: expected [N, {self.in_channels}, 1, 1], got {list(latent.shape)}"
            )
        x = F.relu(self.norm(self.stem(latent)))  # [N, L, 1, 1] -> [N, C, base height, base width]
        for up in self.ups:
            x = F.relu(up(x))
        return torch.tanh(self.head(x))


def _plan(size: tuple[int, int]) -> tuple[tuple[int, int], int] | None:
    """The base (height, width) and the number of doublings of an image, or None if it has none."""
    (height, width), depth = size, 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * _SMALLEST:
        height, width, depth = height // 2, width // 2, depth + 1
    fits = (
        depth > 0 and _SMALLEST <= min(height, width) <= _LARGEST and max(height, width) <= _LONGEST
    )
    return ((height, width), depth) if fits else None


def _nearest(size: tuple[int, int]) -> list[tuple[int, int]]:
    """The two sizes with a plan that are nearest to `size`, the nearest first; equal changes of both sides win ties."""
    steps = [2**depth for depth in range(1, 12)]
    sides = [
        {(max(side // step, _SMALLEST) + more) * step for step in steps for more in (-1, 0, 1)}
        for side in size
    ]
    found = [(height, width) for height in sides[0] for width in sides[1] if _plan((height, width))]

    def distance(pair: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
        rows, columns = pair[0] - size[0], pair[1] - size[1]
        return abs(rows) + abs(columns), abs(rows - columns), pair

    return sorted(found, key=distance)[:2]
