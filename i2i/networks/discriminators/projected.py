"""Projected discriminator: small heads on random mixtures of a classifier's features.

Sauer et al., NeurIPS 2021, Sec. 3; sizes as in https://github.com/autonomousvision/projected-gan.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from i2i.networks.blocks import Conv, Norm, activations
from i2i.networks.discriminators.patchgan import PatchGAN
from i2i.networks.pretrained import PretrainedFeatures
from i2i.options import Count, Doc, validate_options

_Width = Annotated[
    int, Field(ge=1, le=4096, strict=True), Doc("channels of the finest of four mixed maps")
]
_Side = Annotated[
    int, Field(ge=128, le=4096, strict=True), Doc("pixels to which shorter sides are enlarged")
]


class Projected(nn.Module):
    """Images [N, in_channels, H, W] in [-1, 1] -> a list of logit maps [N, 1, h, w], finest first.

    Features are those of EfficientNet-Lite1 at four depths (`PretrainedFeatures`); neither they nor
    their mixtures are trained. The published code enlarges images to a `side` of 224 pixels.
    `patchgan` adds one more map, of the pixels themselves.

    Raises:
        OptionError: the extra [features] is not installed, or an image has not 1 or 3 channels.
    """

    size: tuple[int, int] | None = None
    receptive_field = 1307  # without enlarging, at most: 7 features of 1115 pixels, 32 apart

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        *,
        width: _Width = 64,
        norm: Norm = "batch",
        side: _Side = 224,
        patchgan: Annotated[bool, Doc("a PatchGAN on the image beside the heads")] = False,
    ) -> None:
        super().__init__()
        self.projection = PretrainedFeatures(in_channels, side=side, option="name")
        self.mixing = _Mixing(self.projection.channels, width)
        inner = [width * 2**level for level in range(4)]  # of heads, at a 4th, 8th, … of a side
        heads = enumerate(self.mixing.channels)
        self.heads = nn.ModuleList(_Head([own, *inner[level:]], norm) for level, own in heads)
        self.patchgan = PatchGAN(in_channels, width=width, norm=norm) if patchgan else None
        self.scales = len(self.heads) + patchgan
        self.min_size = self.patchgan.min_size if self.patchgan else 1

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.features(x)[-self.scales :]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return all hidden layers of the heads, finest first, and then the logits of all."""
        outputs = [self.patchgan.features(x)] if self.patchgan else []  # first: it checks sides
        maps = self.mixing(self.projection(x))
        outputs[:0] = [head(each) for head, each in zip(self.heads, maps, strict=True)]
        hidden = [layer for output in outputs for layer in output[:-1]]
        return hidden + [output[-1] for output in outputs]


class _Mixing(nn.Module):
    """Fixed random mixtures of maps over channels and, from coarse to fine, over scales (Sec. 3.2).

    Maps [N, C_i, h_i, w_i], each half the size of the last -> maps [N, channels[i], 2 h_i, 2 w_i].
    """

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        mixed = [width * 2**level for level in range(len(channels))]
        self.channels = (width, *mixed[:-1])
        for level, shape in enumerate(zip(channels, mixed, self.channels, strict=True)):
            for name, (inputs, outputs) in zip(("across", "up"), pairwise(shape), strict=True):
                # buffers are neither trained nor initialized by the settings
                weight = nn.init.kaiming_normal_(torch.empty(outputs, inputs, 1, 1))
                self.register_buffer(f"{name}{level}", weight)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        for level in reversed(range(len(maps))):
            x = conv2d(maps[level], self.get_buffer(f"across{level}"))
            x = x + outputs[0] if outputs else x
            x = conv2d(x, self.get_buffer(f"up{level}"))  # as after enlarging, at a fourth the cost
            x = interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            outputs.insert(0, x)
        return outputs


class _Head(nn.Module):
    """Map [N, widths[0], h, w] -> hidden layers, each half the size of the last, and logits."""

    def __init__(self, widths: list[int], norm: Norm) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for outer, inner in pairwise(widths):
            self.layers.append(Conv(outer, inner, 4, 2, 1, norm=norm, spectral=True))
        self.logits = Conv(widths[-1], 1, 4, bias=False, spectral=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return activations(self.layers, self.logits, x)
