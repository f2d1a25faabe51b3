"""Distances of an image to its known target: the same terms for every method on pairs."""

from typing import Annotated, NamedTuple

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


class Distances(NamedTuple):
    """Weights of the distances to the target; 0: not computed."""

    l1: float
    focal_frequency: float
    gradient: float

    def terms(self, fake: Tensor, real: Tensor) -> Terms:
        """Return the weighted distances of [N, C, H, W] by name."""
        weights = self._asdict().items()
        return {name: weight * _DISTANCES[name](fake, real) for name, weight in weights if weight}
