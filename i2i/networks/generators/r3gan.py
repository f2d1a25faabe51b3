"""Generator of R3GAN: residual blocks without normalization. Huang et al., NeurIPS 2024.

Sec. 4.1 of arXiv 2501.05441 (Config E), and its code.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from i2i.networks.blocks import Width
from i2i.networks.doubling import Size, check_latent, doublings
from i2i.networks.fixup import Blocks, Resample, channels, linear, stages
from i2i.options import Count, validate_options


class R3GAN(nn.Module):
    """Latents [N, in_channels, 1, 1] -> images [N, out_channels, *size] in [-1, 1].

    The latent weights learned maps of the base of `size`, which is as in DCGAN; then come `blocks`
    residual blocks at each resolution. `width` channels at full resolution, twice as many at every
    level inwards, up to 768. Published without the tanh at the end.

    Raises:
        OptionError: another size; the hint names the nearest that fit.
    """

    size_divisor = min_size = 1
    own_init = True

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        *,
        size: Size = (64, 64),
        width: Width = 8,
        blocks: Blocks = 1,
    ) -> None:
        super().__init__()
        base, depth = doublings(size)
        self.size: tuple[int, int] | None = size
        self.in_channels = in_channels
        widths = channels(width, depth)[::-1]
        self.stem = nn.Conv2d(in_channels, widths[0], 1, bias=False)
        nn.init.normal_(self.stem.weight, 0, in_channels**-0.5)
        self.basis = nn.Parameter(torch.randn(widths[0], *base))
        self.stages = stages(widths, blocks)
        self.ups = nn.ModuleList(
            nn.Sequential(linear(inner, outer), Resample(up=True))
            for inner, outer in pairwise(widths)
        )
        self.head = nn.Conv2d(widths[-1], out_channels, 1, bias=False)
        nn.init.normal_(self.head.weight, 0, widths[-1] ** -0.5)

    def forward(self, latent: Tensor) -> Tensor:
        check_latent(latent, self.in_channels)
        x = self.stages[0](self.basis * self.stem(latent))  # [N, C, base height, base width]
        for up, stage in zip(self.ups, self.stages[1:], strict=True):
            x = stage(up(x))
        return torch.tanh(self.head(x))
