"""One process or many: which rank this is, and what ranks agree on."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Rank:
    """This process among its peers."""

    index: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True for the one process that writes to disk."""
        return self.index == 0

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over ranks, in one flat all-reduce."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over ranks."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def any(self, flag: int) -> int:
        """Return the largest `flag` of all ranks: all act on what one has seen, at the same step."""
        if self.world == 1:
            return flag
        seen = torch.tensor(flag)  # on the CPU, over gloo: the device is not waited for
        dist.all_reduce(seen, dist.ReduceOp.MAX)
        return int(seen)

    def gather(self, value: Any) -> list[Any]:
        """Return `value` of every rank, on every rank."""
        values = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank the first rank's values."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)


@contextmanager
def process_group(device: torch.device, timeout: timedelta = timedelta(minutes=10)) -> Iterator[Rank]:
    """Join the group that torchrun describes in the environment; alone without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Rank()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=timeout)
    try:
        yield Rank(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()
