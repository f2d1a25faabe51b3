"""Batch norm over the batches of all ranks: they train as one process with the joint batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _MeanOverRanks(torch.autograd.Function):
    """Mean of a tensor over ranks; the gradient of each rank's loss reaches the inputs of all."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        mean = values.clone()
        dist.all_reduce(mean)
        return mean / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _MeanOverRanks.forward(ctx, gradient)


class RankBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d over equal batches of all ranks. torch's SyncBatchNorm, but for CPUs.

    In training mode all ranks must call it, as often and with the same shape.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x, [N, C, H, W], normalized by the statistics of all ranks."""
        if not self.training:
            return super().forward(x)
        mean = self._mean(x)
        centered = x - mean
        variance = self._mean(centered.square())
        with torch.no_grad():
            count = x.numel() // x.shape[1] * dist.get_world_size()
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight.view(1, -1, 1, 1) * (variance + self.eps).rsqrt()
        return centered * scale + self.bias.view(1, -1, 1, 1)

    @staticmethod
    def _mean(x: Tensor) -> Tensor:
        mean: Tensor = _MeanOverRanks.apply(x.mean((0, 2, 3), keepdim=True))
        return mean


def synchronize_batch_norm(method: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm2d in `method` take its statistics over all ranks, in place."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
        return
    for module in method.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = RankBatchNorm  # keeps tensors, hooks and mode as they are
