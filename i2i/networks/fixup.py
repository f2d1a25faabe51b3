"""Layers of networks without normalization, which draw their own initial weights: R3GAN's.

Huang et al., NeurIPS 2024 (arXiv 2501.05441), Sec. 4.1 and its code; fix-up initialization: Zhang
et al., ICLR 2019.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import LEAKY_SLOPE
from i2i.options import Doc, Few

Blocks = Annotated[Few, Doc("residual blocks of each resolution; published: 2")]

_GROUP = 16  # channels, as published at every resolution
_MAX_CHANNELS = 768


def channels(width: int, depth: int) -> list[int]:
    """Return the channels of each resolution: `width` outermost, doubled inwards up to 768.

    Width 96 gives the published network of 256x256, 384 of 64x64, 768 of 32x32.
    """
    return [max(width, min(width << level, _MAX_CHANNELS)) for level in range(depth + 1)]


def stages(widths: list[int], blocks: int) -> nn.ModuleList:
    """Return for each resolution of `widths` channels its `blocks` residual blocks."""
    total = blocks * len(widths)
    resolutions = nn.ModuleList()
    for width in widths:
        resolutions.append(nn.Sequential(*(Bottleneck(width, total) for _ in range(blocks))))
    return resolutions


def linear(in_channels: int, out_channels: int) -> nn.Module:
    """Return a 1x1 convolution without bias that keeps the variance; none for equal channels."""
    if in_channels == out_channels:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    nn.init.normal_(conv.weight, 0, in_channels**-0.5)
    return conv


class Bottleneck(nn.Module):
    """x + conv1x1(act(conv3x3(act(conv1x1(x))))): [N, C, H, W] -> same; twice as wide inside.

    The 3x3 convolution has groups of 16 channels; act is leaky ReLU after a bias. At first the
    block is the identity: its last weights are 0, and those before are divided by the fourth root
    of the `total` number of blocks of the network.
    """

    def __init__(self, channels: int, total: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.expand = nn.Conv2d(channels, hidden, 1)
        groups = hidden // math.gcd(hidden, _GROUP)
        self.middle = nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups)
        self.reduce = nn.Conv2d(hidden, channels, 1, bias=False)
        for conv in (self.expand, self.middle):
            nn.init.kaiming_normal_(conv.weight, LEAKY_SLOPE, nonlinearity="leaky_relu")
            conv.weight.data *= total**-0.25
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.reduce.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.expand(x), LEAKY_SLOPE)
        y = F.leaky_relu(self.middle(y), LEAKY_SLOPE)
        z: Tensor = x + self.reduce(y)
        return z


class Resample(nn.Module):
    """[N, C, H, W] -> [N, C, 2H, 2W] with `up`, else [N, C, H/2, W/2], filtered by [1, 3, 3, 1].

    That is [1, 2, 1], as published, around the replication or the mean of two pixels.
    """

    def __init__(self, up: bool) -> None:
        super().__init__()
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        taps = 2 - (torch.arange(4, device=x.device, dtype=x.dtype) - 1.5).abs()  # 1/2 3/2 3/2 1/2
        taps = taps / (2 if self.up else 4)
        kernel = (taps[:, None] * taps).expand(channels, 1, 4, 4)
        resample = F.conv_transpose2d if self.up else F.conv2d
        y: Tensor = resample(x, kernel, stride=2, padding=1, groups=channels)
        return y
