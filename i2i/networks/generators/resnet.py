"""Residual generator of CycleGAN: encode to a quarter of the size, transform there, decode.

Johnson et al., ECCV 2016; Zhu et al., ICCV 2017, Sec. 4 and appendix.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import (
    Antialias,
    Conv,
    Norm,
    Residual,
    Up,
    Upsample,
    Width,
    blur,
    check_sides,
    reflect,
)
from i2i.networks.receptive import Rows, conv, doubling, halo
from i2i.options import Count, Doc, Few, validate_options

PRESETS: dict[str, dict[str, int]] = {
    "resnet_6blocks": {"blocks": 6},
    "resnet_9blocks": {"blocks": 9},
}


class ResNet(nn.Module):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1].

    The paper has 6 blocks for images of 128x128 and 9 from 256x256 on. CUT's code (Park et al.,
    ECCV 2020) has `antialias`, and `upsample` bilinear. With `skips` the decoder gets the
    encoder's maps of H and H/2 too, as in a U-Net (Ronneberger et al., MICCAI 2015), so that edges
    need not pass through a quarter of the size.
    """

    size_divisor = 4
    min_size = 8  # reflection by 1 at a quarter of the size needs 2 pixels there
    size: tuple[int, int] | None = None

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        out_channels: Count,
        *,
        width: Width = 64,
        blocks: Annotated[Few, Doc("residual blocks")] = 9,
        norm: Norm = "instance",
        dropout: Annotated[bool, Doc("dropout (p = 0.5) inside the residual blocks")] = False,
        upsample: Upsample = "deconv",
        antialias: Antialias = False,
        skips: Annotated[bool, Doc("encoder maps beside decoder maps of equal size")] = False,
    ) -> None:
        super().__init__()
        self.antialias, self.skips = antialias, skips
        maps = 2 if skips else 1  # of equal width, into the layers behind a doubling
        stride = 1 if antialias else 2
        self.stem = Conv(in_channels, width, 7, norm=norm)
        self.downs = nn.ModuleList(
            Conv(scale * width, 2 * scale * width, 3, stride, 1, norm=norm) for scale in (1, 2)
        )
        self.blocks = nn.ModuleList(
            Residual(4 * width, norm=norm, dropout=dropout) for _ in range(blocks)
        )
        self.ups = nn.ModuleList(
            Up(channels, scale * width, 3, norm=norm, upsample=upsample)
            for channels, scale in ((4 * width, 2), (maps * 2 * width, 1))
        )
        self.head = nn.Conv2d(maps * width, out_channels, 7)
        self.halo = halo(self._sees, self.size_divisor)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(x, self.size_divisor, self.min_size)
        x = F.relu(self.stem(reflect(x, 3)))  # [N, C, H, W] -> [N, width, H, W]
        levels = []
        for down in self.downs:
            if self.skips:
                levels.append(x)
            x = self._halve(F.relu(down(x)))  # -> [N, 4 width, H/4, W/4]
        for block in self.blocks:
            x = block(x)
        for up in self.ups:
            x = F.relu(up(x))  # -> [N, width, H, W]
            if levels:
                x = torch.cat([levels.pop(), x], dim=1)  # as in `UNet`: the skip comes first
        return torch.tanh(self.head(reflect(x, 3)))

    def features(self, x: Tensor) -> list[Tensor]:
        """Return five depths: padded image, both downs before their norm, blocks 1 and 5 (or last).

        Park et al., ECCV 2020, appendix. Nothing deeper is computed. The downs are [N, 2 width,
        H/2, W/2] and [N, 4 width, H/4, W/4]; with `antialias`, not yet halved, twice these sides.
        """
        check_sides(x, self.size_divisor, self.min_size)
        x = reflect(x, 3)
        depths = [x]  # [N, C, H + 6, W + 6]
        x = F.relu(self.stem(x))
        for down in self.downs:
            assert isinstance(down, Conv)
            x = down.conv(x)
            depths.append(x)
            x = self._halve(F.relu(down.norm(x)))
        last = min(5, len(self.blocks))
        for number, block in enumerate(self.blocks[:last], start=1):
            x = block(x)
            depths += [x] * ((number == 1) + (number == last))  # [N, 4 width, H/4, W/4]
        return depths

    def _sees(self, rows: Rows) -> Rows:
        rows = conv(rows, 7)
        for up in reversed(self.ups):
            rows = doubling(rows, up)
        rows = conv(rows, 4 * len(self.blocks) + 1)  # two of 3 in each
        for _ in self.downs:
            rows = conv(conv(rows, 3, 2), 3) if self.antialias else conv(rows, 3, 2)
        return conv(rows, 7)

    def _halve(self, x: Tensor) -> Tensor:
        return blur(x, 2) if self.antialias else x
