"""Discriminator of R3GAN: residual blocks without normalization, one logit an image.

Huang et al., NeurIPS 2024: Sec. 4.1 of arXiv 2501.05441 (Config E), and its code.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from i2i.networks.blocks import Width, check_size
from i2i.networks.doubling import Size, doublings
from i2i.networks.fixup import Blocks, Resample, channels, linear, stages
from i2i.options import Count, validate_options


class R3GAN(nn.Module):
    """Images [N, in_channels, *size] -> raw logits [N, 1, 1, 1].

    The mirror image of the generator: `blocks` residual blocks at each resolution, from `width`
    channels to up to 768, then a filter of the size of the base for each channel, and their sum.

    Raises:
        OptionError: a size without a base; the hint names the nearest that have one.
    """

    scales = 1
    own_init = True

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        *,
        size: Size = (64, 64),
        width: Width = 8,
        blocks: Blocks = 1,
    ) -> None:
        super().__init__()
        base, depth = doublings(size)
        self.size = size
        self.min_size, self.receptive_field = min(size), max(size)
        widths = channels(width, depth)
        self.stem = nn.Conv2d(in_channels, width, 1, bias=False)
        nn.init.normal_(self.stem.weight, 0, in_channels**-0.5)
        self.stages = stages(widths, blocks)
        self.downs = nn.ModuleList(
            nn.Sequential(Resample(up=False), linear(outer, inner))
            for outer, inner in pairwise(widths)
        )
        self.basis = nn.Parameter(torch.randn(widths[-1], *base) * (base[0] * base[1]) ** -0.5)
        self.head = nn.Conv2d(widths[-1], 1, 1, bias=False)
        nn.init.normal_(self.head.weight, 0, widths[-1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the output of each resolution, outermost first, and the logits [N, 1, 1, 1]."""
        check_size(x, self.size)
        maps = [self.stages[0](self.stem(x))]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            maps.append(stage(down(maps[-1])))
        scores = (maps[-1] * self.basis).sum((2, 3), keepdim=True)  # a filter for each channel
        return [*maps, self.head(scores)]
