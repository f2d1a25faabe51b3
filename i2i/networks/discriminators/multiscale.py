"""Multi-scale discriminator of pix2pixHD: one PatchGAN for each level of an image pyramid.

Wang et al., CVPR 2018, Sec. 3.2.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import NormName, check_at_least, check_sides
from i2i.networks.discriminators.patchgan import PatchGAN


class MultiScale(nn.Module):
    """Images [N, in_channels, H, W] -> a list of `scales` logit maps [N, 1, h_i, w_i], full size first.

    Every PatchGAN has its own weights; each next one sees the image average-pooled to half the
    size. `receptive_field` is that of the coarsest, in pixels of the full image. Raises ValueError
    for options out of range and for images that are too small for the coarsest one.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        scales: int = 3,
        width: int = 64,
        layers: int = 3,
        norm: NormName = "instance",
        spectral: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, scales=scales)
        self.scales = scales
        self.patchgans = nn.ModuleList()
        for _ in range(scales):
            patchgan = PatchGAN(
                in_channels, width=width, layers=layers, norm=norm, spectral=spectral
            )
            self.patchgans.append(patchgan)
        self.min_size: int = (
            patchgan.min_size - 1 << scales - 1
        ) + 1  # pooling halves with ceiling
        self.receptive_field: int = patchgan.receptive_field
        for _ in range(scales - 1):
            self.receptive_field = 2 * (self.receptive_field - 1) + 3

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.features(x)[-len(self.patchgans) :]

    def features(self, x: Tensor) -> list[Tensor]:
        """The activations of all hidden layers, full size first, and then the logits of all scales.

        A flat list: the last `scales` entries equal `forward(x)`, those before are for feature
            matching (Eqn.
        4).
        """
        check_sides(x, size_divisor=1, min_size=self.min_size)
        hidden: list[Tensor] = []
        logits: list[Tensor] = []
        for level, patchgan in enumerate(self.patchgans):
            assert isinstance(patchgan, PatchGAN)
            if level > 0:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            found = patchgan.features(x)
            hidden += found[:-1]
            logits.append(found[-1])
        return hidden + logits
