"""PatchNCE: each patch of the output should be closest to its own patch of the input.

Park et al., ECCV 2020, Eqn. (3).
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def patch_nce(query: Tensor, key: Tensor, temperature: float = 0.07) -> Tensor:
    """Return the mean cross-entropy of finding each query's own key among those of its image.

    Args:
        query: unit features of S patches of the output, [N, S, D].
        key: unit features of the input at the same positions, [N, S, D]; they get no gradient.
        temperature: τ of Eqn. (1).
    """
    with torch.autocast(query.device.type, enabled=False):  # 1 / τ magnifies rounding to 16 bits
        similarity = query.float() @ key.detach().float().transpose(1, 2) / temperature  # [N, S, S]
        own = torch.arange(query.shape[1], device=query.device).repeat(query.shape[0])
        return cross_entropy(similarity.flatten(0, 1), own)
