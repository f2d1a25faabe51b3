"""Random weights for a network: the laws that GAN papers start from."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

InitName = Literal["normal", "xavier", "kaiming", "orthogonal"]


@torch.no_grad()
def init_weights(net: nn.Module, scheme: InitName = "normal", gain: float = 0.02) -> None:
    """Draw new weights for every convolution, linear layer and affine norm of `net`, in place.

    Weights of convolutions and linear layers: normal N(0, gain) (Radford et al., ICLR 2016, Sec.
        4), xavier
    (Glorot and Bengio, AISTATS 2010) and orthogonal (Saxe et al., ICLR 2014) times `gain`, kaiming
    (He et al., ICCV 2015) without it. Weights of affine norms: N(1, gain). All biases: 0. Draws
    from torch's global random state, in the order of `net.modules()`. Raises ValueError for another
    scheme.
    """
    if scheme not in ("normal", "xavier", "kaiming", "orthogonal"):
        raise ValueError(f"init: must be normal, xavier, kaiming or orthogonal, got {scheme!r}")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(_stored_weight(module), scheme, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            _warm_up_power_iteration(module)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)


def _draw(weight: Tensor, scheme: InitName, gain: float) -> None:
    match scheme:
        case "normal":
            nn.init.normal_(weight, 0.0, gain)
        case "xavier":
            nn.init.xavier_normal_(weight, gain)
        case "kaiming":
            nn.init.kaiming_normal_(weight)
        case "orthogonal":
            nn.init.orthogonal_(weight, gain)


def _stored_weight(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Tensor:
    """The parameter itself; under spectral norm `module.weight` is only a function of it."""
    if not is_parametrized(module, "weight"):
        return module.weight
    stored = module.get_parameter("parametrizations.weight.original")
    return stored


def _warm_up_power_iteration(module: nn.Module) -> None:
    """Let spectral norm find the new weight's largest singular value before the first step uses it."""
    if is_parametrized(module, "weight"):
        training = module.training
        module.train()
        for _ in range(15):
            _ = module.weight  # each look in training mode is one power iteration
        module.train(training)
