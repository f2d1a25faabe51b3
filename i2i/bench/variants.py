"""The two ways in which everything is measured: as i2i does it by default, and plainly.

Plainly is fp32, eager, contiguous, with an Adam that updates one tensor after the other.
"""

from typing import Literal

import numpy as np
import torch

from i2i.config import Config
from i2i.execution import Execution
from i2i.methods._base import Method
from i2i.precision import pick_device
from i2i.run.execution import pick_execution
from i2i.training.distributed import Rank
from i2i.training.trainer import Trainer
from i2i.translation.loading import load
from i2i.translation.translator import Translator
from i2i.translation.tuning import tune

Variant = Literal["default", "baseline"]
VARIANTS: tuple[Variant, ...] = ("default", "baseline")


def make_trainer(
    variant: Variant, settings: Config, method: Method, device: str, rank: Rank | None = None
) -> Trainer:
    """Return the trainer of `method`, as `i2i train` would build it or plain."""
    target, rank = pick_device(device), rank or Rank()
    execution = Execution()
    if variant == "default" and rank.is_main:
        channels = {"a": 3, "b": 3, "image": 3}
        execution = pick_execution(settings, method, channels, target, None)
    execution = rank.gather(execution)[0]
    trainer = Trainer(method, settings.train, settings.optim, target, execution, rank)
    if variant == "baseline":
        for each in trainer.optimizers.values():
            each.adam = torch.optim.Adam(
                each.parameters, each.base_lr, settings.optim.betas, foreach=False, fused=False
            )
    return trainer


def make_translator(
    variant: Variant, model: str, device: str, precision: str, size: int
) -> Translator:
    """Return the translator of a model, as `i2i translate` has it in a long job, or plain."""
    translator = load(
        model, device=device, precision="fp32" if variant == "baseline" else precision
    )
    if translator.automatic:
        shape = (size, size, translator.in_channels)
        tune(translator, np.random.default_rng(0).integers(0, 256, shape, np.uint8), 10**6)
        translator.automatic = False  # the folder job keeps it
    return translator
