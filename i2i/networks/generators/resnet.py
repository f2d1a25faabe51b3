"""Residual generator of CycleGAN: encode to a quarter of the size, transform there, decode.

Johnson et al., ECCV 2016; Zhu et al., ICCV 2017, Sec. 4 and appendix.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import (
    Conv,
    Down,
    NormName,
    Residual,
    Up,
    UpsampleName,
    check_at_least,
    check_sides,
    reflect,
)

PRESETS: dict[str, dict[str, int]] = {
    "resnet_6blocks": {"blocks": 6},
    "resnet_9blocks": {"blocks": 9},
}


class ResNet(nn.Module):
    """[N, in_channels, H, W] -> [N, out_channels, H, W] in [-1, 1]; H and W are multiples of 4, at least 8.

    `width` is the number of channels at full size, `blocks` (>= 1) the number of residual blocks:
    the paper has 6 for 128x128 images and 9 from 256x256 on. `dropout` (p = 0.5) sits inside the
    residual blocks. Raises ValueError for options out of range and for images of another size.
    """

    size_divisor: int = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        blocks: int = 9,
        norm: NormName = "instance",
        dropout: bool = False,
        upsample: UpsampleName = "deconv",
    ) -> None:
        super().__init__()
        check_at_least(
            1, in_channels=in_channels, out_channels=out_channels, width=width, blocks=blocks
        )
        self.stem = Conv(in_channels, width, 7, norm=norm)
        self.downs = nn.ModuleList(
            Down(scale * width, 2 * scale * width, kernel=3, norm=norm) for scale in (1, 2)
        )
        self.blocks = nn.ModuleList(
            Residual(4 * width, norm=norm, dropout=dropout) for _ in range(blocks)
        )
        self.ups = nn.ModuleList(
            Up(2 * scale * width, scale * width, kernel=3, norm=norm, upsample=upsample)
            for scale in (2, 1)
        )
        self.head = nn.Conv2d(width, out_channels, 7)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        x = F.relu(self.stem(reflect(x, 3)))  # [N, C, H, W] -> [N, width, H, W]
        for down in self.downs:
            x = F.relu(down(x))  # -> [N, 4 width, H/4, W/4]
        for block in self.blocks:
            x = block(x)
        for up in self.ups:
            x = F.relu(up(x))  # -> [N, width, H, W]
        return torch.tanh(self.head(reflect(x, 3)))

    def features(self, x: Tensor) -> list[Tensor]:
        """Five depths of the encoder: the padded image, both down convolutions, residual blocks 1 and 5 (or the last).

        The down convolutions are taken before their norm. Nothing after the last feature is
        computed. Park et al., ECCV 2020, appendix.
        """
        self._check(x)
        x = reflect(x, 3)
        found = [x]  # [N, C, H + 6, W + 6]
        x = F.relu(self.stem(x))
        for down in self.downs:
            assert isinstance(down, Down)
            x = down.conv(x)
            found.append(x)  # [N, 2 width, H/2, W/2], [N, 4 width, H/4, W/4]
            x = F.relu(down.norm(x))
        last = min(5, len(self.blocks))
        for number, block in enumerate(self.blocks[:last], start=1):
            x = block(x)
            found += [x] * ((number == 1) + (number == last))  # [N, 4 width, H/4, W/4]
        return found

    def _check(self, x: Tensor) -> None:
        check_sides(
            x, self.size_divisor, min_size=8
        )  # reflection by 1 at a quarter of the size needs 2 pixels there
