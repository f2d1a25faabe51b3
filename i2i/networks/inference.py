"""Networks after training: evaluation mode, and BatchNorm on the statistics of one image.

pix2pix runs its generator with the statistics of the test batch, which is one image: Isola et al.,
CVPR 2017, Sec. 3.3.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from i2i.networks.blocks import instance_norm
from i2i.networks.contract import InputError


class PerImageNorm(nn.Module):
    """InstanceNorm with the affine weights of a BatchNorm: each image is a batch of its own."""

    def __init__(self, trained: _BatchNorm) -> None:
        super().__init__()
        self.weight = trained.weight
        self.bias = trained.bias
        self.eps = trained.eps

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] * x.shape[-2] == 1:
            # zeros, or running statistics in this one layer, would be unlike anything in training
            reason = "per-image statistics of a map of a single pixel, which has no variance"
            raise InputError("input", reason, "Give larger images, or use running statistics")
        return instance_norm(x, self.eps, self.weight, self.bias)


def per_image_statistics(net: nn.Module) -> nn.Module:
    """Return a copy of `net` in which every BatchNorm normalizes each image by its own statistics.

    The result for an image is that of `net` in training mode on a batch of this image alone (on the
    CPU each norm bit for bit), whatever else is in the batch; it does not depend on train() or
    eval(). `net` does not change; the copy shares its parameters and buffers, so it follows later
    training, and moving or casting the copy moves `net`. The copy has no running statistics.

    Raises:
        InputError: when the copy is called, and a normalized map has one pixel.
    """
    return with_norms(
        net, lambda norm: PerImageNorm(norm) if isinstance(norm, _BatchNorm) else None
    )


def with_norms(net: nn.Module, replace: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Return a copy of `net` with its modules replaced where `replace` returns another one.

    The copy shares parameters and buffers with `net`.
    """
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    twin = copy.deepcopy(net, memo=shared)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if new := replace(child):
                setattr(module, name, new)
    return replace(twin) or twin


@contextmanager
def inference(net: nn.Module) -> Iterator[nn.Module]:
    """Put `net` in evaluation mode, and turn gradients off, within a `with` block."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield net
    finally:
        for module, training in modes:
            module.training = training
