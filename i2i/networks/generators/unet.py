"""U-Net generator of pix2pix: encoder to one pixel, decoder, skips between equal resolutions.

Ronneberger et al., MICCAI 2015; Isola et al., CVPR 2017, Sec. 3.2.1 and 6.1.1.
"""

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from i2i.networks.blocks import (
    Conv,
    Head,
    HeadLayers,
    Norm,
    NormName,
    Up,
    Upsample,
    Width,
    bias_without_norm,
    check_sides,
)
from i2i.networks.receptive import Rows, conv, doubling, halo
from i2i.options import Count, Doc, validate_options

PRESETS: dict[str, dict[str, int]] = {"unet_128": {"depth": 7}, "unet_256": {"depth": 8}}

_Depth = Annotated[int, Field(ge=2, le=30), Doc("halvings; sides are multiples of 2^depth")]
_Dropout = Annotated[bool, Doc("dropout (p = 0.5) in the decoder; none up to depth 5")]


class UNet(nn.Module):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1].

    H and W are multiples of 2^depth. Level i has width * min(2^i, 8) channels. Dropout
    acts on the depth - 5 levels just outside the innermost one. With head layers the last doubling
    gives `width` channels, to a `Head`.
    """

    size: tuple[int, int] | None = None

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        *,
        width: Width = 64,
        depth: _Depth = 8,
        norm: Norm = "batch",
        dropout: _Dropout = True,
        upsample: Upsample = "deconv",
        head_layers: HeadLayers = 0,
    ) -> None:
        super().__init__()
        self.size_divisor = self.min_size = 2**depth
        widths = [width * min(2**level, 8) for level in range(depth)]
        self.downs = nn.ModuleList()  # outermost first
        self.ups = nn.ModuleList()  # innermost first
        self.dropouts = nn.ModuleList()
        for level, (channels, inner) in enumerate(pairwise([in_channels, *widths])):
            bare = level in (0, depth - 1)  # no norm on the image, and none on a single pixel
            own: NormName = "none" if bare else norm
            bias = bias_without_norm(norm) if bare else None
            self.downs.append(Conv(channels, inner, 4, 2, 1, norm=own, bias=bias))
        for level in reversed(range(depth)):
            channels = widths[level] if level == depth - 1 else 2 * widths[level]
            image = level == 0 and not head_layers
            target = out_channels if image else widths[max(level - 1, 0)]
            own = "none" if image else norm
            self.ups.append(Up(channels, target, 4, norm=own, upsample=upsample))
            active = dropout and 4 <= level < depth - 1
            self.dropouts.append(nn.Dropout(0.5) if active else nn.Identity())
        self.head: nn.Module = nn.Identity()
        if head_layers:
            head = Head(width, out_channels, head_layers, norm=norm)
            self.head = nn.Sequential(nn.ReLU(), head)
        self.halo = halo(lambda rows: self._sees(rows, head_layers), self.size_divisor)

    def forward(self, x: Tensor) -> Tensor:
        levels = self._encode(x, len(self.downs))
        x = levels.pop()
        for up, dropout in zip(self.ups, self.dropouts, strict=True):
            x = dropout(up(F.relu(x)))
            if levels:
                x = torch.cat([levels.pop(), x], dim=1)  # the skip comes first
        return torch.tanh(self.head(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the five outermost levels of the encoder (all if depth < 5), before activation.

        Level i is [N, width min(2^i, 8), H/2^(i+1), W/2^(i+1)]. Nothing deeper is computed.
        """
        return self._encode(x, min(5, len(self.downs)))

    def _sees(self, rows: Rows, head_layers: int) -> Rows:
        rows = conv(rows, 2 * head_layers + 3) if head_layers else rows
        for up in reversed(self.ups):
            rows = doubling(rows, up)
        for _ in self.downs:
            rows = conv(rows, 4, 2)
        return rows

    def _encode(self, x: Tensor, depth: int) -> list[Tensor]:
        check_sides(x, self.size_divisor, self.min_size)
        levels = [self.downs[0](x)]
        for down in self.downs[1:depth]:
            levels.append(down(F.leaky_relu(levels[-1], 0.2)))
        return levels
