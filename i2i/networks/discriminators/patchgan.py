"""PatchGAN: a convolutional discriminator with one logit a patch, or, going on down, one logit an image.

Isola et al., CVPR 2017, Sec. 3.2.2 and 6.1.2; the image head is the discriminator of Radford et
al., ICLR 2016.
"""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import Conv, Down, NormName, check_at_least, check_sides


class PatchGAN(nn.Module):
    """Images [N, in_channels, H, W] -> raw logits [N, 1, h, w].

    head "patch": `layers` convolutions of stride 2 and two of stride 1, so that a logit sees
    `receptive_field` pixels a side: 16, 34, 70, 142 for 1, 2, 3, 4 layers. Both sides need at least
        3 * 2^layers pixels.
    head "image": images are exactly `size` (height, width); `layers` convolutions of stride 2 and
    as many more as bring the shorter side below 8 pixels, then one convolution over all that is
        left: [N, 1, 1, 1].
    Layer i has width * min(2^i, 8) channels. `spectral` puts spectral normalization on every
    convolution, whatever `norm` is. Raises ValueError for options that are out of range or do not
    go together, and for images of another size.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 64,
        layers: int = 3,
        norm: NormName = "batch",
        head: Literal["patch", "image"] = "patch",
        size: tuple[int, int] | None = None,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, in_channels=in_channels, width=width, layers=layers)
        self.size = None if size is None else (size[0], size[1])
        self.min_size: int = 3 << layers if size is None else min(size)
        strided, kernel = layers, (4, 4)
        if head == "image":
            strided, kernel = _shrink(size, layers)
        elif head != "patch":
            raise ValueError(f"head: must be patch or image, got {head!r}")
        elif size is not None:
            raise ValueError(
                f"size: {size} is for head=image; a head=patch takes images of any size (leave size out)"
            )
        widths = [width * min(2**i, 8) for i in range(strided + 1)]
        self.layers = nn.ModuleList(
            [Down(in_channels, width, kernel=4, norm="none", spectral=spectral)]
        )
        for outer, inner in pairwise(widths[:strided]):
            self.layers.append(Down(outer, inner, kernel=4, norm=norm, spectral=spectral))
        if size is None:
            self.layers.append(
                Conv(widths[-2], widths[-1], 4, padding=1, norm=norm, spectral=spectral)
            )
            self.head = Conv(widths[-1], 1, 4, padding=1, spectral=spectral)
            self.receptive_field: int = _receptive_field([2] * layers + [1, 1])
        else:
            self.head = Conv(widths[-2], 1, kernel, spectral=spectral)
            self.receptive_field = max(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """The activations after each layer, outermost first; the last entry is the logits [N, 1, h, w]."""
        if self.size is None:
            check_sides(x, size_divisor=1, min_size=self.min_size)
        elif x.shape[-2:] != self.size:
            raise ValueError(
                f"input: {x.shape[-2]}x{x.shape[-1]} pixels, but this discriminator was built for "
                f"{self.size[0]}x{self.size[1]} (height x width)"
            )
        found = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found.append(x)
        found.append(self.head(x))
        return found


def _receptive_field(strides: list[int], kernel: int = 4) -> int:
    """Pixels a side that one output sees through convolutions of `kernel` pixels with these strides, first to last."""
    pixels = 1
    for stride in reversed(strides):
        pixels = (pixels - 1) * stride + kernel
    return pixels


def _shrink(size: tuple[int, int] | None, layers: int) -> tuple[int, tuple[int, int]]:
    """How many convolutions of stride 2 the image head has, and the (height, width) they leave."""
    if size is None:
        raise ValueError("size: head=image needs the size of its images, (height, width)")
    shorter, strided = min(size), layers
    while shorter >> strided >= 8:
        strided += 1
    if shorter >> strided < 2:
        raise ValueError(
            f"size: {size[0]}x{size[1]} is too small for {layers} halvings (fewer layers, or larger images)"
        )
    return strided, (size[0] >> strided, size[1] >> strided)
