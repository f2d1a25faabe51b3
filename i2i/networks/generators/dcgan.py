"""Generator of DCGAN: a transposed convolution of the latent, then doublings to the image size.

Radford et al., ICLR 2016 (arXiv 1511.06434), Fig. 1.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from i2i.networks.doubling import Size, check_latent, doublings
from i2i.options import Count, validate_options


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
        size: Size = (64, 64),
        width: Width = 64,
        norm: Norm = "batch",
        upsample: Upsample = "deconv",
        head_layers: HeadLayers = 0,
    ) -> None:
        super().__init__()
        base, depth = doublings(size)
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
        check_latent(latent, self.in_channels)
        x = F.relu(self.norm(self.stem(latent)))  # [N, L, 1, 1] -> [N, C, base height, base width]
        for up in self.ups:
            x = F.relu(up(x))
        return torch.tanh(self.head(x))
