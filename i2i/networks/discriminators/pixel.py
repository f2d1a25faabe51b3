"""PixelGAN: a discriminator that judges every pixel by itself. Isola et al., CVPR 2017, Sec. 4.4 and 6.1.2."""

import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import Conv, NormName, bias_without_norm, check_at_least


class Pixel(nn.Module):
    """Images [N, in_channels, H, W] -> raw logits [N, 1, H, W].

    Three 1x1 convolutions with `width`, 2 * `width` and 1 channels. Raises ValueError for options
    out of range.
    """

    receptive_field: int = 1

    def __init__(self, in_channels: int, *, width: int = 64, norm: NormName = "batch") -> None:
        super().__init__()
        check_at_least(1, in_channels=in_channels, width=width)
        self.layers = nn.ModuleList(
            [Conv(in_channels, width, 1), Conv(width, 2 * width, 1, norm=norm)]
        )
        self.head = Conv(2 * width, 1, 1, bias=bias_without_norm(norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """The activations after each layer, outermost first; the last entry is the logits [N, 1, H, W]."""
        found = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found.append(x)
        found.append(self.head(x))
        return found
