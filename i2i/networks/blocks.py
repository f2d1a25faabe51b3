"""The layers every network here is made of: norms, one convolution, one down, one up, one residual block.

Bias rule. A convolution with a norm behind it has no bias: InstanceNorm subtracts it again, so its
true gradient is zero and Adam would turn the round-off into drift; the other norms bring a shift of
their own. A convolution without a norm has one, except in the few places where `bias_without_norm`
is asked.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from i2i.networks import padding

NormName = Literal["instance", "batch", "group", "none"]
UpsampleName = Literal["deconv", "nearest", "bilinear", "pixelshuffle"]


def norm_layer(name: NormName, channels: int) -> nn.Module:
    """A normalization of [N, C, H, W] -> [N, C, H, W].

    instance: no affine, no running statistics (Ulyanov et al., arXiv 1607.08022). batch: affine,
        eps 1e-5,
    momentum 0.1 (Ioffe and Szegedy, ICML 2015). group: affine, 32 groups or the largest number
    below that divides `channels` (Wu and He, ECCV 2018). none: the identity. Raises ValueError for
    another name.
    """
    match name:
        case "instance":
            return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)
        case "batch":
            return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)
        case "group":
            return nn.GroupNorm(max(n for n in range(1, 33) if channels % n == 0), channels)
        case "none":
            return nn.Identity()
    raise ValueError(f"norm: must be instance, batch, group or none, got {name!r}")


def bias_without_norm(norm: NormName) -> bool:
    """Whether the convolutions that the published BatchNorm networks leave bare (no norm, no bias) have a bias here.

    Not with batch and group, so that training follows the published networks number for number;
    otherwise they do.
    """
    return norm in ("instance", "none")


def check_at_least(minimum: int, **values: int) -> None:
    """Raise ValueError, naming the argument, for every integer below `minimum`."""
    for name, value in values.items():
        if value < minimum:
            raise ValueError(f"{name}: must be at least {minimum}, got {value}")


def check_sides(x: Tensor, size_divisor: int, min_size: int) -> None:
    """Raise ValueError unless both sides of the images x [N, C, H, W] are multiples of `size_divisor`, >= `min_size`."""
    height, width = x.shape[-2:]
    if height < min_size or width < min_size:
        raise ValueError(
            f"input: {height}x{width} pixels (height x width) are too few for this network; "
            f"both sides need at least {min_size} (enlarge or pad the image, or take a shallower network)"
        )
    if height % size_divisor or width % size_divisor:
        raise ValueError(
            f"input: {height}x{width} pixels (height x width), but both sides must be multiples of {size_divisor} "
            f"(pad to {-(-height // size_divisor) * size_divisor}x{-(-width // size_divisor) * size_divisor} and crop the result)"
        )


def reflect(x: Tensor, pixels: int) -> Tensor:
    """Reflection padding: [N, C, H, W] -> [N, C, H + 2 pixels, W + 2 pixels]."""
    return padding.reflect(x, pixels, pixels, pixels, pixels)


class Conv(nn.Module):
    """Convolution, then norm: [N, C_in, H, W] -> [N, C_out, H', W'].

    `bias=None` follows the bias rule of this file. `spectral` divides the weight by its largest
    singular value (Miyato et al., ICLR 2018).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        norm: NormName = "none",
        bias: bool | None = None,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        has_bias = norm == "none" if bias is None else bias
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=has_bias)
        self.conv = spectral_norm(conv) if spectral else conv
        self.norm = norm_layer(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class Down(Conv):
    """Convolution with stride 2 and zero padding 1, then norm: [N, C_in, H, W] -> [N, C_out, H // 2, W // 2].

    Kernel 4 halves with floor, kernel 3 with ceiling. There is no activation: pre- and
    post-activation networks share it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Literal[3, 4],
        norm: NormName,
        bias: bool | None = None,
        spectral: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=2,
            padding=1,
            norm=norm,
            bias=bias,
            spectral=spectral,
        )


class Up(nn.Module):
    """Doubling of both sides, then norm: [N, C_in, H, W] -> [N, C_out, 2H, 2W]; no activation.

    deconv: a transposed convolution with `kernel` 3 (output padding 1) or 4. nearest, bilinear:
        interpolation
    and a 3x3 convolution, which avoids checkerboards (Odena et al., Distill 2016). pixelshuffle: a
    3x3 convolution to 4 C_out channels, rearranged (Shi et al., CVPR 2016). `bias=None` follows the
    bias rule of this file.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Literal[3, 4],
        norm: NormName,
        upsample: UpsampleName = "deconv",
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        has_bias = norm == "none" if bias is None else bias
        self.upsample = upsample
        self.conv: nn.Module
        match upsample:
            case "deconv":
                self.conv = nn.ConvTranspose2d(
                    in_channels,
                    out_channels,
                    kernel,
                    stride=2,
                    padding=1,
                    output_padding=4 - kernel,
                    bias=has_bias,
                )
            case "nearest" | "bilinear":
                self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=has_bias)
            case "pixelshuffle":
                self.conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1, bias=has_bias)
            case _:
                raise ValueError(
                    f"upsample: must be deconv, nearest, bilinear or pixelshuffle, got {upsample!r}"
                )
        self.norm = norm_layer(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample in ("nearest", "bilinear"):
            x = F.interpolate(x, scale_factor=2.0, mode=self.upsample)
        x = self.conv(x)
        if self.upsample == "pixelshuffle":
            x = F.pixel_shuffle(x, 2)
        y: Tensor = self.norm(x)
        return y


class Residual(nn.Module):
    """x + norm(conv(dropout(relu(norm(conv(x)))))) with reflection padding, both sides >= 2; [N, C, H, W] -> same.

    He et al., CVPR 2016, without the ReLU after the sum (Johnson et al., ECCV 2016). Dropout has p
    = 0.5.
    """

    def __init__(self, channels: int, *, norm: NormName, dropout: bool = False) -> None:
        super().__init__()
        self.first = Conv(channels, channels, 3, norm=norm)
        self.second = Conv(channels, channels, 3, norm=norm)
        self.dropout = nn.Dropout(0.5) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(F.relu(self.first(reflect(x, 1))))
        y = self.second(reflect(y, 1))
        return x + y
