"""PixelGAN: one logit a pixel, which sees that pixel alone. Isola et al., CVPR 2017, Sec. 6.1.2."""

from torch import Tensor, nn

from i2i.networks.blocks import Conv, Norm, Width, activations, bias_without_norm, check_sides
from i2i.options import Count, validate_options


class Pixel(nn.Module):
    """Images [N, in_channels, H, W] -> raw logits [N, 1, H, W].

    Three 1x1 convolutions with `width`, 2 * `width` and 1 channels (Sec. 4.4).
    """

    scales = receptive_field = 1
    min_size = 2  # one pixel has no variance to normalize by
    size: tuple[int, int] | None = None

    @validate_options
    def __init__(self, in_channels: Count, *, width: Width = 64, norm: Norm = "batch") -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Conv(in_channels, width, 1), Conv(width, 2 * width, 1, norm=norm)]
        )
        self.head = Conv(2 * width, 1, 1, bias=bias_without_norm(norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the activations of each layer, outermost first, and the logits [N, 1, H, W]."""
        check_sides(x, size_divisor=1, min_size=self.min_size)
        return activations(self.layers, self.head, x)
