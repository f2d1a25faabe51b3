"""Multi-scale discriminator of pix2pixHD: one PatchGAN for each level of an image pyramid.

Wang et al., CVPR 2018, Sec. 3.2.
"""

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from i2i.networks.blocks import Norm, Spectral, Width, check_sides
from i2i.networks.discriminators.patchgan import Layers, PatchGAN
from i2i.options import Count, Doc, Few, validate_options


class MultiScale(nn.Module):
    """Images [N, in_channels, H, W] -> a list of logit maps [N, 1, h_i, w_i], full size first.

    Every PatchGAN has its own weights; each next one sees the image average-pooled to half the
    size.
    """

    size: tuple[int, int] | None = None

    @validate_options
    def __init__(
        self,
        in_channels: Count,
        *,
        scales: Annotated[Few, Doc("PatchGANs, each at half the resolution of the last")] = 3,
        width: Width = 64,
        layers: Layers = 3,
        norm: Norm = "instance",
        spectral: Spectral = False,
    ) -> None:
        super().__init__()
        self.scales = scales
        self.patchgans = nn.ModuleList(
            PatchGAN(in_channels, width=width, layers=layers, norm=norm, spectral=spectral)
            for _ in range(scales)
        )
        coarsest = self.patchgans[-1]
        assert isinstance(coarsest, PatchGAN)
        self.min_size = (coarsest.min_size - 1 << scales - 1) + 1  # pooling halves with ceiling
        self.receptive_field = coarsest.receptive_field
        for _ in range(scales - 1):
            self.receptive_field = 2 * (self.receptive_field - 1) + 3

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.features(x)[-self.scales :]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return all hidden layers, full size first, and then the logits of all scales.

        The last `scales` entries equal `forward(x)`; those before: feature matching (Eqn. 4).
        """
        check_sides(x, size_divisor=1, min_size=self.min_size)
        hidden: list[Tensor] = []
        logits: list[Tensor] = []
        for level, patchgan in enumerate(self.patchgans):
            assert isinstance(patchgan, PatchGAN)
            if level > 0:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            *activations, own = patchgan.features(x)
            hidden += activations
            logits.append(own)
        return hidden + logits
