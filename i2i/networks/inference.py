"""Networks as they are used after training: evaluation mode, and BatchNorm on the statistics of one image.

pix2pix runs its generator with the statistics of the test batch, which is one image: Isola et al.,
CVPR 2017, Sec. 3.3.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _PerImageNorm(nn.Module):
    """InstanceNorm with the affine weights of a BatchNorm: each image is normalized as if alone in a training batch."""

    def __init__(self, trained: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.weight = trained.weight
        self.bias = trained.bias
        self.eps = trained.eps

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] * x.shape[-2] == 1:
            # Zeros, or running statistics for this one layer, would be a result that training never
            # saw.
            raise ValueError(
                "per-image statistics: a normalized map has a single pixel, so it has no variance "
                "(give larger images, or use running statistics)"
            )
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


def per_image_statistics(net: nn.Module) -> nn.Module:
    """A copy of `net` in which every BatchNorm normalizes each image by that image's own statistics.

    The result for an image is that of `net` in training mode on a batch of this image alone (on the
    CPU each norm bit for bit), whatever else is in the batch; it does not depend on train() or
    eval(). `net` stays as it is; the copy shares its parameters and buffers, so it follows later
    training, and moving or casting the copy moves `net`. The copy has no running statistics. A
    normalized map of one pixel raises ValueError when the copy is called.
    """
    memo = {
        id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())
    }  # what deepcopy is to share
    twin = copy.deepcopy(net, memo)
    if isinstance(twin, nn.modules.batchnorm._BatchNorm):
        return _PerImageNorm(twin)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, _PerImageNorm(child))
    return twin


@contextmanager
def inference(net: nn.Module) -> Iterator[nn.Module]:
    """`with inference(net):` evaluation mode (no dropout, running statistics) and no gradients; then all as before."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield net
    finally:
        for module, training in modes:
            module.training = training
