"""A moving average of the generators' weights, with its half-life in images. Karras et al., ICLR 2018, Sec. 4."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Averaged copies of networks."""

    def __init__(self, nets: Mapping[str, nn.Module], half_life: float) -> None:
        self.half_life = half_life
        self.sources = dict(nets)
        self.nets = {name: copy.deepcopy(net).requires_grad_(False) for name, net in nets.items()}

    @torch.no_grad()
    def update(self, images: int, seen: int) -> None:
        """Move the averages towards the networks, after an update made from `images` images, the `seen`-th the last.

        At the start the half-life is a twentieth of what was seen, or the average would keep the
        random weights of the beginning for long (Karras et al., CVPR 2020, in their code).
        """
        weight = 1 - 0.5 ** (images / min(self.half_life, max(seen / 20, 1e-8)))
        for name, average in self.nets.items():
            source = self.sources[name]
            floats: list[Tensor] = list(average.parameters())
            torch._foreach_lerp_(floats, [p.detach() for p in source.parameters()], weight)
            for kept, buffer in zip(average.buffers(), source.buffers(), strict=True):
                kept.copy_(buffer)  # running statistics are averages already
