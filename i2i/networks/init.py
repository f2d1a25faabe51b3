"""Random initialization of networks, by the schemes that GAN papers start from."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from i2i.config.sections import InitName
from i2i.errors import OptionError
from i2i.networks.blocks import SubPixel

# (weight, gain, slope)
_SCHEMES: dict[InitName, Callable[[Tensor, float, float], Tensor]] = {
    "normal": lambda weight, gain, _: nn.init.normal_(weight, 0.0, gain),
    "xavier": lambda weight, gain, _: nn.init.xavier_normal_(weight, gain),
    "kaiming": lambda weight, _, slope: nn.init.kaiming_normal_(weight, slope),
    "orthogonal": lambda weight, gain, _: nn.init.orthogonal_(weight, gain),
}
# 0.02: Radford et al., and the code of pix2pix, CycleGAN and CUT; kaiming takes none
GAINS: dict[InitName, float | None] = {
    "normal": 0.02,
    "xavier": 0.02,
    "kaiming": None,
    "orthogonal": 1.0,
}
_NORM_SPREAD = 0.02


@torch.no_grad()
def init_weights(
    net: nn.Module, scheme: InitName = "normal", gain: float | None = None, slope: float = 0.0
) -> None:
    """Draw new weights for every convolution, linear layer and affine norm of `net`, in place.

    Convolutions and linear layers: normal N(0, gain) (Radford et al., ICLR 2016, Sec. 4); xavier
    (Glorot and Bengio, AISTATS 2010) and orthogonal (Saxe et al., ICLR 2014) times `gain`; kaiming
    (He et al., ICCV 2015) without it, for leaky ReLU of `slope` (Eqn. 15). Affine norms: N(1, gain)
    with normal, else N(1, 0.02). All biases: 0. Kernels that a `SubPixel` shares are drawn once.
    Draws from torch's global random state, in the order of `net.modules()`. A network with
    `own_init = True` keeps the weights that its constructor drew.

    Args:
        net: any network.
        scheme: distribution of the weights.
        gain: standard deviation (normal) or factor; None: that of `GAINS`.
        slope: of the activations below 0; 0: ReLU.

    Raises:
        OptionError: another scheme.
    """
    if scheme not in _SCHEMES:
        raise OptionError("init", f"must be one of {', '.join(_SCHEMES)}, got {scheme!r}")
    if getattr(net, "own_init", False):
        return
    factor = gain or GAINS[scheme] or 1.0
    spread = factor if scheme == "normal" else _NORM_SPREAD
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # under spectral norm `module.weight` is a function of the parameter
            spectral = is_parametrized(module, "weight")
            name = "parametrizations.weight.original" if spectral else "weight"
            _SCHEMES[scheme](module.get_parameter(name), factor, slope)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, SubPixel):
                module.share_kernels()
            if spectral:
                _warm_up_power_iteration(module)
        elif isinstance(module, _BatchNorm | nn.GroupNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, spread)
            nn.init.zeros_(module.bias)


def _warm_up_power_iteration(module: nn.Module) -> None:
    """Let spectral norm find the new weight's largest singular value before the first step."""
    training = module.training
    module.train()
    for _ in range(15):
        _ = module.weight  # each access in training mode is one power iteration
    module.train(training)
