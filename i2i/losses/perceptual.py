"""Distance of two images in the features of a pretrained network.

Zhang et al., CVPR 2018, Eqn. (1), without learned weights of channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def perceptual_distance(output: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Return the squared distance of unit features, mean over positions and maps: 0-d, 0 to 4.

    Args:
        output: maps [N, C_i, h_i, w_i] of some depths.
        target: maps of the same shapes.
    """
    pairs = zip(output, target, strict=True)
    differences = [normalize(x.float(), dim=1) - normalize(y.float(), dim=1) for x, y in pairs]
    return torch.stack([each.square().sum(1).mean() for each in differences]).mean()
