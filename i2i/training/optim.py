"""Adam for the networks of each phase: learning-rate decay, gradient scaling (fp16), clipping."""

import math
from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from i2i.config import OptimConfig
from i2i.methods._base import Phase


def lr_factor(images: int, total: int, decay_start: float) -> float:
    """Return the factor of the learning rate for an update whose first image is number `images`.

    1 up to `decay_start` x `total`, then falling linearly, ending above 0.
    """
    start = decay_start * total
    if images <= start or start >= total:
        return 1.0
    return max(total - images, 1) / (total - start)


class _Adam(torch.optim.Adam):
    """Adam without an import of torch's compiler, which takes half as long as that of torch.

    The wrappers that are left out only tell the compiler what not to compile (torch 2.14).
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class PhaseOptimizer:
    """Adam and a gradient scaler for one set of networks, named after the first phase over it."""

    def __init__(
        self, phase: Phase, config: OptimConfig, device: torch.device, precision: str
    ) -> None:
        self.name, self.config = phase.name, config
        self.parameters = phase.trainable()
        self.base_lr = config.lr if phase.live else config.lr_discriminator or config.lr
        self.adam: torch.optim.Adam = _Adam(
            self.parameters, self.base_lr, config.betas, fused=device.type in ("cpu", "cuda")
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def clip_gradients(self) -> Tensor:
        """Unscale the gradients and limit their norm; return the norm before, 0-d."""
        self.scaler.unscale_(self.adam)
        return nn.utils.clip_grad_norm_(self.parameters, self.config.clip or math.inf)

    def step(self, lr_factor: float) -> None:
        """Apply the gradients; the scaler skips those that overflowed."""
        for group in self.adam.param_groups:
            group["lr"] = self.base_lr * lr_factor
        self.scaler.step(self.adam)
        self.scaler.update()

    def restore(self, adam: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Load both states, but for settings that a resumed run may change."""
        self.adam.load_state_dict(adam)
        for parameter, averages in self.adam.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                if averages[name].shape != parameter.shape:
                    shapes = (
                        f"{tuple(averages[name].shape)}, {tuple(parameter.shape)} in the network"
                    )
                    raise ValueError(f"{name} of the optimizer {self.name} is {shapes}")
        for group in self.adam.param_groups:
            group["betas"] = self.config.betas
        self.scaler.load_state_dict(scaler)


def phase_optimizers(
    phases: Iterable[Phase], config: OptimConfig, device: torch.device, precision: str
) -> dict[str, PhaseOptimizer]:
    """Return the optimizer of each phase by name; phases over the same networks share one."""
    by_nets: dict[tuple[nn.Module, ...], PhaseOptimizer] = {}
    by_phase = {}
    for phase in phases:
        if phase.nets not in by_nets:
            by_nets[phase.nets] = PhaseOptimizer(phase, config, device, precision)
        by_phase[phase.name] = by_nets[phase.nets]
    return by_phase
