"""The two ways in which everything is measured: as i2i does it by default, and plainly.

Plainly is fp32, eager, contiguous, with an Adam that updates one tensor after the other.
"""

from typing import Literal

import torch

from i2i.config import Config
from i2i.methods._base import Method
from i2i.precision import pick_device, pick_precision
from i2i.training.distributed import Rank
from i2i.training.trainer import Trainer
from i2i.translation.translator import Translator, load

Variant = Literal["default", "baseline"]
VARIANTS: tuple[Variant, ...] = ("default", "baseline")


def make_trainer(
    variant: Variant, settings: Config, method: Method, device: str, rank: Rank | None = None
) -> Trainer:
    """Return the trainer of `method`, as `i2i train` would build it or plain."""
    target = pick_device(device)
    wanted = "fp32" if variant == "baseline" else settings.train.precision
    precision = pick_precision(wanted, target)
    trainer = Trainer(method, settings.train, settings.optim, target, precision, rank)
    if variant == "baseline":
        for each in trainer.optimizers.values():
            each.adam = torch.optim.Adam(
                each.parameters, each.base_lr, settings.optim.betas, foreach=False, fused=False
            )
    return trainer


def make_translator(variant: Variant, model: str, device: str, precision: str) -> Translator:
    """Return the translator of a model, as `i2i translate` would load it or plain."""
    return load(model, device=device, precision="fp32" if variant == "baseline" else precision)
