"""A term that compares the output with its target as a pretrained network looks at them."""

from typing import Annotated

import torch
from torch import Tensor, nn

from i2i.losses.perceptual import perceptual_distance
from i2i.methods._base import Terms
from i2i.networks.effnet import STRIDE
from i2i.networks.pretrained import PretrainedFeatures
from i2i.options import Doc, Weight

Perceptual = Annotated[
    Weight, Doc("weight of the distance to the target in features of EfficientNet-Lite1", True)
]


class PerceptualLoss(nn.Module):
    """Weighted distance of images [N, channels, H, W] in [-1, 1], not enlarged for the network.

    Raises:
        OptionError: the extra [features] is not installed, or an image has not 1 or 3 channels.
    """

    def __init__(self, channels: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.features = PretrainedFeatures(channels, side=STRIDE, option="perceptual")

    def forward(self, output: Tensor, target: Tensor) -> Terms:
        """Return the term "perceptual"; its gradient reaches `output` alone."""
        with torch.no_grad():
            wanted = self.features(target)
        return {"perceptual": self.weight * perceptual_distance(self.features(output), wanted)}
