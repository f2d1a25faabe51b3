"""Latents of generators, and the BatchNorm statistics that belong to them."""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LatentDistribution = Literal["normal", "uniform"]  # N(0, 1), or U[-1, 1]


@dataclass(frozen=True)
class LatentSpec:
    """Latent vectors of `length` independent values."""

    length: int
    distribution: LatentDistribution = "normal"

    def sample(
        self,
        count: int,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return [count, length, 1, 1]. `generator`: one of that device; None: the global one."""
        shape = (count, self.length, 1, 1)
        if self.distribution == "uniform":
            return (
                torch.rand(shape, device=device, dtype=torch.float32, generator=generator) * 2 - 1
            )
        return torch.randn(shape, device=device, dtype=torch.float32, generator=generator)


@torch.no_grad()
def recalibrate_batchnorm(net: nn.Module, latent: LatentSpec) -> nn.Module:
    """Return a copy of a generator with the BatchNorm statistics of its own activations.

    Taken over 256 latents.

    Averaged weights give other activations than the weights they are the average of; with the
    running statistics of the latter their images are washed out. torch.optim.swa_utils.update_bn
    does the same for classifiers.
    """
    twin = copy.deepcopy(net).train()
    norms = unsynchronized(twin)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    device = next(twin.parameters()).device
    generator = torch.Generator().manual_seed(0)  # its own: the run's random state does not move
    for _ in range(8 if norms else 0):
        twin(latent.sample(32, generator=generator).to(device))
    return twin.eval()


def unsynchronized(net: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorm layers of `net`, which from here on wait for no other process."""
    norms = [layer for layer in net.modules() if isinstance(layer, _BatchNorm)]
    for norm in norms:
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm3d):  # those are never synchronized
            norm.__class__ = nn.BatchNorm2d
    return norms
