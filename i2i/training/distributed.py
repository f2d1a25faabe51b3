"""One process or many: the rank of this process, and what ranks agree on."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from i2i.errors import I2IError


class RankLostError(I2IError, RuntimeError):
    """Another process of this run ended early, or does not answer."""

    exit_code = 4


class LaunchError(I2IError, ValueError):
    """Variables of the environment that describe no group of processes."""


@dataclass(frozen=True)
class Rank:
    """This process among its peers."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """True for the one process that writes to disk."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """Number of processes on this machine, as torchrun counts them."""
        count = os.environ.get("LOCAL_WORLD_SIZE", "")
        return int(count) if count.isdecimal() and int(count) else self.world_size

    def average_gradients(self, parameters: Iterable[Tensor], nonfinite: bool = False) -> bool:
        """Replace every gradient by its mean over ranks, in one flat all-reduce.

        Returns:
            Whether any rank is `nonfinite`; False where asking would wait for a device.
        """
        if self.world_size == 1:
            return nonfinite
        gradients = [p.grad for p in parameters if p.grad is not None]
        flag = gradients[0].new_full((1,), float(nonfinite))
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), flag])
        dist.all_reduce(flat)
        any_rank = flat.device.type == "cpu" and bool(flat[-1] != 0)
        flat /= self.world_size
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, torch.split(flat[:-1], sizes), strict=True):
            gradient.copy_(part.view_as(gradient))
        return any_rank

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over ranks."""
        return self.sum(values) / self.world_size if self.world_size > 1 else values

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: int) -> int:
        """Return the largest `flag` of all ranks: all act on what one has seen, at one step."""
        if self.world_size == 1:
            return flag
        largest = torch.tensor(flag)  # on the CPU, over gloo: the device is not waited for
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def gather(self, value: Any) -> list[Any]:
        """Return `value` of every rank, on every rank."""
        values = [value]
        if self.world_size > 1:
            values = [None] * self.world_size
            dist.all_gather_object(values, value)
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every rank the first rank's values."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)


def _world_size(env: Mapping[str, str]) -> int:
    """Return the number of processes that torchrun describes; 1 where it describes none."""
    if env.get("WORLD_SIZE", "1") == "1":
        return 1
    names = ("WORLD_SIZE", "RANK", "MASTER_PORT")
    values = {name: env.get(name, "") for name in (*names, "MASTER_ADDR")}
    is_group = values["MASTER_ADDR"] and all(re.fullmatch("[0-9]{1,6}", values[n]) for n in names)
    if not is_group or not int(values["RANK"]) < int(values["WORLD_SIZE"]):
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        hint = "Start it with torchrun, or unset WORLD_SIZE"
        raise LaunchError("WORLD_SIZE", f"no group of processes: {given}", hint)
    return int(values["WORLD_SIZE"])


@contextmanager
def process_group(
    device: torch.device, timeout: timedelta = timedelta(minutes=10)
) -> Iterator[Rank]:
    """Join the group that torchrun describes in the environment; without it, be the only process.

    Raises:
        LaunchError: the environment describes no group.
        RankLostError: another process of the group ended, or did not answer within `timeout`.
    """
    world_size = _world_size(os.environ)
    if world_size == 1:
        yield Rank()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=timeout)
    rank = Rank(dist.get_rank(), world_size)
    try:
        yield rank
    except RuntimeError as error:
        is_lost = isinstance(error, dist.DistError) or "gloo" in str(error)  # those have no class
        if isinstance(error, I2IError) or not is_lost:
            raise
        detail = str(error).split("\n", 1)[0]
        raise RankLostError(
            f"rank {rank.rank}",
            f"another of the {world_size} processes ended or does not answer ({detail})",
            "Its last lines say why. Nothing that was saved is lost: resume with --resume",
        ) from error
    finally:
        dist.destroy_process_group()
