"""PatchNCE: a patch of the output should be closest to its own patch of the input. Park et al., ECCV 2020, Eqn. (3)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def patch_nce(query: Tensor, key: Tensor, temperature: float = 0.07) -> Tensor:
    """Return the mean cross-entropy of finding each query's own key among the keys of the same image.

    Args:
        query: unit features of the output, [N, S, D]: S places.
        key: unit features of the input at the same places, [N, S, D]; no gradient flows into them.
        temperature: τ of Eqn. (1).
    """
    with torch.autocast(
        query.device.type, enabled=False
    ):  # 1 / τ would magnify the rounding of 16 bits
        similarity = query.float() @ key.detach().float().transpose(1, 2) / temperature  # [N, S, S]
        places = torch.arange(query.shape[1], device=query.device).repeat(query.shape[0])
        return cross_entropy(similarity.flatten(0, 1), places)
