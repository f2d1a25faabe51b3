"""PatchGAN: a convolutional discriminator with one logit a patch or, further down, one an image.

Isola et al., CVPR 2017, Sec. 3.2.2 and 6.1.2; the image head is the discriminator of Radford et
al., ICLR 2016.
"""

from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor, nn

from i2i.errors import OptionError
from i2i.networks.blocks import (
    Antialias,
    Conv,
    Norm,
    Spectral,
    Width,
    activations,
    check_sides,
    check_size,
)
from i2i.options import Count, Doc, Few, validate_options

Layers = Annotated[Few, Doc("convolutions of stride 2; 1, 2, 3, 4 see 16, 34, 70, 142 pixels")]

_Head = Annotated[Literal["patch", "image"], Doc("one logit a patch, or one an image")]
_Size = Annotated[
    tuple[Count, Count] | None,
    Doc("[height, width] in pixels with head image, by default data.crop_size; None: any"),
]


class PatchGAN(nn.Module):
    """Images [N, in_channels, H, W] -> raw logits [N, 1, h, w].

    head "patch": `layers` convolutions of stride 2 and two of stride 1. A logit sees
    `receptive_field` pixels a side, and both sides need at least 3 * 2^layers.
    head "image": images are exactly `size`; `layers` convolutions of stride 2 and as many more as
    reduce the shorter side below 8 pixels, then one over all that is left: [N, 1, 1, 1].
    Layer i has width * min(2^i, 8) channels. With `antialias` the convolutions of stride 2 have
    stride 1, and a blur of stride 2 behind their activation (Park et al., ECCV 2020, code).

    Raises:
        OptionError: `head` and `size` do not go together.
    """

    scales = 1

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        *,
        width: Width = 64,
        layers: Layers = 3,
        norm: Norm = "batch",
        head: _Head = "patch",
        size: _Size = None,
        spectral: Spectral = False,
        antialias: Antialias = False,
    ) -> None:
        super().__init__()
        if head == "image" and size is None:
            raise OptionError("size", "head=image needs the (height, width) of its images")
        if head == "patch" and size is not None:
            reason = f"{size} is for head=image, and head=patch takes images of any size"
            raise OptionError("size", reason, "Leave size out")
        self.size = size
        self.min_size = 3 << layers if size is None else min(size)
        strided = layers if size is None else _halvings(size, layers)
        widths = [width * min(2**i, 8) for i in range(strided + 1)]
        self.antialias, self.blurred = antialias, strided if antialias else 0
        stride = 1 if antialias else 2
        self.layers = nn.ModuleList([Conv(in_channels, width, 4, stride, 1, spectral=spectral)])
        for outer, inner in pairwise(widths[:strided]):
            self.layers.append(Conv(outer, inner, 4, stride, 1, norm=norm, spectral=spectral))
        if size is None:
            last = Conv(widths[-2], widths[-1], 4, 1, 1, norm=norm, spectral=spectral)
            self.layers.append(last)
            self.head = Conv(widths[-1], 1, 4, 1, 1, spectral=spectral)
            halving = [(4, 1), (3, 2)] if antialias else [(4, 2)]
            self.receptive_field = _receptive_field([*halving * layers, (4, 1), (4, 1)])
        else:
            kernel = (size[0] >> strided, size[1] >> strided)
            self.head = Conv(widths[-2], 1, kernel, spectral=spectral)
            self.receptive_field = max(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the activations of each layer, outermost first, and the logits [N, 1, h, w]."""
        if self.size is None:
            check_sides(x, size_divisor=1, min_size=self.min_size)
        else:
            check_size(x, self.size)
        return activations(self.layers, self.head, x, self.blurred)


def _receptive_field(layers: list[tuple[int, int]]) -> int:
    """Return the pixels a side that one output of layers with these (kernel, stride) sees."""
    pixels = 1
    for kernel, stride in reversed(layers):
        pixels = (pixels - 1) * stride + kernel
    return pixels


def _halvings(size: tuple[int, int], layers: int) -> int:
    """Return the number of convolutions of stride 2 of the image head.

    Raises:
        OptionError: images of `size` are too small for `layers`.
    """
    shorter, halvings = min(size), layers
    while shorter >> halvings >= 8:
        halvings += 1
    if shorter >> halvings < 2:
        reason = f"{size[0]}x{size[1]} is too small for {layers} halvings"
        raise OptionError("size", reason, "Choose fewer layers, or larger images")
    return halvings
