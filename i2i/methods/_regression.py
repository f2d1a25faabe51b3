"""Distances of an image to its known target: the same terms for every method on pairs."""

from typing import Annotated

from torch import Tensor
from torch.nn.functional import l1_loss

from i2i.losses.regression import focal_frequency, gradient_l1
from i2i.methods._base import Terms
from i2i.options import Doc, Weight

LambdaL1 = Annotated[Weight, Doc("weight of the L1 distance to the target", True)]
LambdaFocalFrequency = Annotated[
    Weight, Doc("weight of the focal frequency loss (Jiang et al., ICCV 2021)", True)
]
LambdaGradient = Annotated[Weight, Doc("weight of the L1 distance of image gradients", True)]

_DISTANCES = {
    "l1": lambda fake, real: l1_loss(fake.float(), real),
    "focal_frequency": focal_frequency,
    "gradient": gradient_l1,
}


def regression_terms(fake: Tensor, real: Tensor, weights: dict[str, float]) -> Terms:
    """Return the distances of [N, C, H, W] with a weight above 0; `weights` by name."""
    return {name: w * _DISTANCES[name](fake, real) for name, w in weights.items() if w}
