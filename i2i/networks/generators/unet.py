"""U-Net generator of pix2pix: an encoder down to one pixel, a decoder up again, skips between equal sizes.

Ronneberger et al., MICCAI 2015; Isola et al., CVPR 2017, Sec. 3.2.1 and 6.1.1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import (
    Down,
    NormName,
    Up,
    UpsampleName,
    bias_without_norm,
    check_at_least,
    check_sides,
)

PRESETS: dict[str, dict[str, int]] = {"unet_128": {"depth": 7}, "unet_256": {"depth": 8}}


class UNet(nn.Module):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H and W are multiples of 2^depth.

    `depth` (>= 2) is the number of times the size is halved; level i has width * min(2^i, 8)
    channels. `dropout` (p = 0.5) acts in the decoder on the depth - 5 levels just outside the
    innermost one, so on none of a U-Net of five levels or fewer. Raises ValueError for options out
    of range and for images of another size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        depth: int = 8,
        norm: NormName = "batch",
        dropout: bool = True,
        upsample: UpsampleName = "deconv",
    ) -> None:
        super().__init__()
        check_at_least(1, in_channels=in_channels, out_channels=out_channels, width=width)
        check_at_least(2, depth=depth)
        self.size_divisor: int = 2**depth
        widths = [width * min(2**level, 8) for level in range(depth)]
        bare = bias_without_norm(norm)
        self.downs = nn.ModuleList()  # outermost first
        self.ups = nn.ModuleList()  # innermost first
        self.dropouts = nn.ModuleList()
        for level in range(depth):
            inner, outer = level == depth - 1, level == 0
            channels = in_channels if outer else widths[level - 1]
            if (
                inner or outer
            ):  # no norm on the image, and none on the bottleneck: it can be a single pixel
                self.downs.append(Down(channels, widths[level], kernel=4, norm="none", bias=bare))
            else:
                self.downs.append(Down(channels, widths[level], kernel=4, norm=norm))
        for level in reversed(range(depth)):
            channels = widths[level] if level == depth - 1 else 2 * widths[level]
            target = widths[level - 1] if level > 0 else out_channels
            self.ups.append(
                Up(
                    channels,
                    target,
                    kernel=4,
                    norm=norm if level > 0 else "none",
                    upsample=upsample,
                )
            )
            self.dropouts.append(
                nn.Dropout(0.5) if dropout and 4 <= level < depth - 1 else nn.Identity()
            )

    def forward(self, x: Tensor) -> Tensor:
        levels = self._encode(x, len(self.downs))
        x = levels.pop()
        for up, dropout in zip(self.ups, self.dropouts, strict=True):
            x = dropout(up(F.relu(x)))
            if levels:
                x = torch.cat([levels.pop(), x], dim=1)  # the skip comes first
        return torch.tanh(x)

    def features(self, x: Tensor) -> list[Tensor]:
        """The five outermost levels of the encoder (all of them if depth < 5), [N, width min(2^i, 8), H/2^(i+1), ...].

        Each is taken after its norm and before its activation. Nothing deeper is computed.
        """
        return self._encode(x, min(5, len(self.downs)))

    def _encode(self, x: Tensor, depth: int) -> list[Tensor]:
        check_sides(x, self.size_divisor, min_size=self.size_divisor)
        levels = [self.downs[0](x)]
        for down in self.downs[1:depth]:
            levels.append(down(F.leaky_relu(levels[-1], 0.2)))
        return levels
