"""Layers that all networks share: norms, convolution, upsampling, residual block.

Bias rule. A convolution with a norm behind it has no bias: InstanceNorm subtracts it again, so its
true gradient is zero and Adam would turn the round-off into drift; the other norms have a shift of
their own. A convolution without a norm has a bias, except where `bias_without_norm` says otherwise.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from i2i.networks import padding
from i2i.networks.contract import InputError
from i2i.options import Doc

NormName = Literal["instance", "batch", "group", "none"]
UpsampleName = Literal["deconv", "deconv_blur", "nearest", "bilinear", "pixelshuffle"]

LEAKY_SLOPE = 0.2  # of the activations of discriminators

# Options that several networks have.
Norm = Annotated[NormName, Doc("normalization after convolutions")]
Upsample = Annotated[UpsampleName, Doc("how the decoder doubles sides")]
Antialias = Annotated[
    bool, Doc("halvings by a convolution of stride 1 and a blur, as in CUT's code")
]
HeadLayers = Annotated[
    int, Field(ge=0, le=100, strict=True), Doc("hidden 3x3 convolutions at full size")
]
Width = Annotated[int, Field(ge=1, le=65_536, strict=True), Doc("channels at full resolution")]
Spectral = Annotated[bool, Doc("spectral normalization of all convolutions, whatever norm is")]


def norm_layer(name: NormName, channels: int) -> nn.Module:
    """Return a normalization of [N, C, H, W] -> [N, C, H, W], affine but for instance."""
    match name:
        case "instance":
            return InstanceNorm(channels)
        case "batch":  # Ioffe and Szegedy, ICML 2015
            return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)
        case "group":  # Wu and He, ECCV 2018; 32 groups, or the most below that divide the channels
            return nn.GroupNorm(max(n for n in range(1, 33) if channels % n == 0), channels)
        case "none":
            return nn.Identity()


class InstanceNorm(nn.InstanceNorm2d):
    """Normalization of each image and channel. Ulyanov et al., arXiv 1607.08022."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=False, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(x, self.eps)


def instance_norm(
    x: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Normalize each channel of each image of x, [N, C, H, W].

    In channels-last memory as a group norm of one channel a group, which is the same function:
    torch's instance norm would copy x to contiguous memory and return it so.
    """
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    return F.group_norm(x, x.shape[1], weight, bias, eps)


def bias_without_norm(norm: NormName) -> bool:
    """Return True if a convolution left bare (no norm, no bias) by BatchNorm networks has a bias.

    Not with batch and group, so that training follows the published networks number for number.
    """
    return norm in ("instance", "none")


def check_sides(x: Tensor, size_divisor: int, min_size: int) -> None:
    """Check that both sides of x, [N, C, H, W], are multiples of `size_divisor`, >= `min_size`.

    Raises:
        InputError: they are not.
    """
    height, width = x.shape[-2:]
    given = f"{height}x{width} pixels (height x width), but both sides"
    if height < min_size or width < min_size:
        hint = "Enlarge or pad the image, or choose a shallower network"
        raise InputError("input", f"{given} need at least {min_size}", hint)
    if height % size_divisor or width % size_divisor:
        up = [-(-side // size_divisor) * size_divisor for side in (height, width)]
        hint = f"Pad to {up[0]}x{up[1]} and crop the result"
        raise InputError("input", f"{given} must be multiples of {size_divisor}", hint)


def check_size(x: Tensor, size: tuple[int, int]) -> None:
    """Check that x, [N, C, H, W], has the (height, width) that a discriminator was built for.

    Raises:
        InputError: it has not.
    """
    if x.shape[-2:] != size:
        given, built = (f"{height}x{width}" for height, width in (x.shape[-2:], size))
        reason = f"{given} pixels (height x width), this discriminator was built for {built}"
        raise InputError("input", reason)


def reflect(x: Tensor, pixels: int) -> Tensor:
    """Pad by reflection: [N, C, H, W] -> [N, C, H + 2 pixels, W + 2 pixels]."""
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
        stride: int = 1,
        padding: int = 0,
        *,
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


def blur(x: Tensor, stride: int = 1) -> Tensor:
    """Filter rows and columns by [1, 2, 1] / 4 at reflected borders; keep each `stride`-th pixel.

    [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)]. A constant stays what it is, and
    a pattern of period 2 vanishes: the response is cos²(ω/2). Zhang, ICML 2019.
    """
    # made here: a buffer would be lost where networks are built without memory and then loaded
    weight = x.new_full((x.shape[1], 1, 3, 3), 1 / 16)
    weight[:, :, 1] *= 2
    weight[:, :, :, 1] *= 2
    return F.conv2d(reflect(x, 1), weight, stride=stride, groups=x.shape[1])


class SubPixel(nn.Conv2d):
    """3x3 convolution to 4 C_out channels, rearranged: [N, C_in, H, W] -> [N, C_out, 2H, 2W].

    Shi et al., CVPR 2016. The four pixels that come of one start with equal kernels: the layer
    then is a convolution with nearest interpolation behind it, which has no grid (ICNR, Aitken et
    al., arXiv 1707.02937).
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, 4 * out_channels, 3, padding=1, bias=bias)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.share_kernels()

    @torch.no_grad()
    def share_kernels(self) -> None:
        """Give the four pixels of each channel the kernel and the bias of the first."""
        for parameter in self.parameters():
            parameter.copy_(parameter[::4].repeat_interleave(4, 0))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), 2)


class Up(nn.Module):
    """Doubling of both sides, then norm: [N, C_in, H, W] -> [N, C_out, 2H, 2W]; no activation.

    deconv: a transposed convolution with `kernel` 3 (output padding 1) or 4.
    deconv_blur: the same, then `blur`, which removes its checkerboard (Odena et al., Distill 2016)
    and moves nothing, as its kernel has a center.
    nearest, bilinear: interpolation and a 3x3 convolution, which makes no checkerboard. Bilinear is
    the blurred upsampling of CUT's code: zeros between pixels, [1, 3, 3, 1] / 4, repeated borders.
    pixelshuffle: `SubPixel`.
    `bias=None` follows the bias rule of this file.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Literal[3, 4],
        *,
        norm: NormName,
        upsample: UpsampleName = "deconv",
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        bias = norm == "none" if bias is None else bias
        self.upsample = upsample
        conv: nn.Module
        if upsample in ("deconv", "deconv_blur"):
            extra = 4 - kernel  # output padding: both kernels double exactly
            conv = nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, 1, extra, bias=bias)
        elif upsample == "pixelshuffle":
            conv = SubPixel(in_channels, out_channels, bias=bias)
        else:
            conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.conv = conv
        self.norm = norm_layer(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample in ("nearest", "bilinear"):
            x = F.interpolate(x, scale_factor=2.0, mode=self.upsample)
        x = self.conv(x)
        if self.upsample == "deconv_blur":
            x = blur(x)
        y: Tensor = self.norm(x)
        return y


class Head(nn.Module):
    """`layers` hidden 3x3 convolutions with norm and ReLU, then a linear one to the image.

    [N, width, H, W] -> [N, C_out, H, W]. A doubling straight to the image has no non-linearity at
    full size.
    """

    def __init__(self, width: int, out_channels: int, layers: int, *, norm: NormName) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            Conv(width, width, 3, padding=1, norm=norm) for _ in range(layers)
        )
        self.image = Conv(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x))
        y: Tensor = self.image(x)
        return y


def activations(
    layers: Iterable[nn.Module], head: nn.Module, x: Tensor, blurred: int = 0
) -> list[Tensor]:
    """Return the output of each layer after leaky ReLU of `LEAKY_SLOPE`, and of the head.

    Those of the first `blurred` layers are halved by `blur`.
    """
    outputs = []
    for number, layer in enumerate(layers):
        x = F.leaky_relu(layer(x), LEAKY_SLOPE)
        x = blur(x, 2) if number < blurred else x
        outputs.append(x)
    return [*outputs, head(x)]


class Residual(nn.Module):
    """x + norm(conv(dropout(relu(norm(conv(x)))))): [N, C, H, W] -> same, both sides >= 2.

    He et al., CVPR 2016, without the ReLU after the sum (Johnson et al., ECCV 2016). Reflection
    padding; dropout has p = 0.5.
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
