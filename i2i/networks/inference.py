"""Networks after training: evaluation mode, and BatchNorm on the statistics of one image.

pix2pix runs its generator with the statistics of the test batch, which is one image: Isola et al.,
CVPR 2017, Sec. 3.3.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from i2i.networks.blocks import instance_norm
from i2i.networks.contract import InputError


class _PerImageNorm(nn.Module):
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
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    twin = copy.deepcopy(net, memo=shared)
    if isinstance(twin, _BatchNorm):
        return _PerImageNorm(twin)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, _PerImageNorm(child))
    return twin


def without_content(net: nn.Module) -> nn.Module:
    """Return a copy of `net` on the meta device: it computes shapes, and takes no memory."""
    memo: dict[int, Tensor] = {}
    for tensor in (*net.parameters(), *net.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        trained = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if trained else empty
    return copy.deepcopy(net, memo)


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
