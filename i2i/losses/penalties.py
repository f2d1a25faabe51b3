"""Gradient penalties of a discriminator: R1, R2 and WGAN-GP, as means over images in fp32."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor | Sequence[Tensor]]


def zero_centered_gradient_penalty(net: Network, images: Tensor) -> Tensor:
    """Return E[|dD/dx|^2] at `images`, [N, C, H, W]: R1 on reals, R2 on fakes.

    Mescheder et al., ICML 2018, Eqn. (9).
    """
    return _squared_norms(net, images).mean()


def wgan_gp_penalty(net: Network, real: Tensor, fake: Tensor) -> Tensor:
    """Return E[(|dD/dx| - 1)^2] on lines between `real` and `fake`, [N, C, H, W].

    Gulrajani et al., NeurIPS 2017, Eqn. (3).
    """
    position = torch.rand(real.shape[0], 1, 1, 1, device=real.device)
    norms = _squared_norms(net, position * real + (1 - position) * fake)
    return ((norms + 1e-12).sqrt() - 1).square().mean()  # the root has no slope at 0


def _squared_norms(net: Network, images: Tensor) -> Tensor:
    """Return the squared norm of the gradient of each image's score, [N]."""
    images = images.detach().requires_grad_(True)
    logits = net(images)
    scales = [logits] if isinstance(logits, Tensor) else logits
    # A patch discriminator's score of an image is the mean over its map: the penalty does not grow
    # with the map.
    score = torch.stack([scale.mean([1, 2, 3]).sum() for scale in scales]).sum()
    (gradient,) = torch.autograd.grad(score, images, create_graph=True)
    return gradient.square().sum([1, 2, 3])
