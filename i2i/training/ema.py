"""A moving average of the generators' weights. Karras et al., ICLR 2018, Sec. 4."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Averaged copies of networks, with a half-life in images."""

    def __init__(self, nets: Mapping[str, nn.Module], half_life: float) -> None:
        self.half_life = half_life
        self.sources = dict(nets)
        self.nets = {name: copy.deepcopy(net).requires_grad_(False) for name, net in nets.items()}

    @torch.no_grad()
    def update(self, step_images: int, position: int) -> None:
        """Move the averages towards the networks, after a step of `step_images` up to `position`.

        At the start the half-life is a twentieth of the position, or the average would keep the
        random weights of the beginning for long (Karras et al., CVPR 2020, in their code).
        """
        weight = 1 - 0.5 ** (step_images / min(self.half_life, max(position / 20, 1e-8)))
        for name, average in self.nets.items():
            source = self.sources[name]
            averages: list[Tensor] = list(average.parameters())
            torch._foreach_lerp_(averages, [p.detach() for p in source.parameters()], weight)
            for buffer, current in zip(average.buffers(), source.buffers(), strict=True):
                buffer.copy_(current)  # running statistics are averages already
