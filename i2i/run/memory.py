"""Memory that a training step needs, and what to change where there is not enough."""

import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from i2i.config import Config, height_width
from i2i.console import log
from i2i.errors import I2IError
from i2i.execution import Execution
from i2i.memory import is_out_of_memory
from i2i.methods._base import Method
from i2i.networks.activation_checkpointing import checkpoint_activations
from i2i.networks.contract import Discriminator, Generator
from i2i.networks.tracing import PeakMemory, without_content
from i2i.precision import computes_in_bf16
from i2i.training.trainer import Trainer

_MAX_ADVICE = 3  # changes that an error names
_WORTHWHILE = 0.95  # part of the memory of now that a change may take to be named


class OutOfMemoryError(I2IError, MemoryError):
    """Memory ended within a training step; nothing of that step is saved."""


@contextmanager
def explaining_out_of_memory(
    trainer: Trainer, config: Config, channels: Mapping[str, int], folder: Path
) -> Iterator[None]:
    """Advise what to change if memory ends within the block, which trains as `config` says.

    Args:
        folder: of the run, to be continued with a change.

    Raises:
        OutOfMemoryError: memory ended.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, I2IError) or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # and with them the graphs of the step
        trainer.method.zero_grad()
        log("out of memory: counting what a step takes with other settings")
        hint = _advice(trainer, config, channels)
        reason = f"out of memory in a training step ({str(error)[:200]})"
    else:
        return
    raise OutOfMemoryError(trainer.device, reason, f"Continue with i2i resume {folder} and {hint}")


def _advice(trainer: Trainer, config: Config, channels: Mapping[str, int]) -> str:
    """Return the first changes that save memory, with what a step takes with each."""
    method, execution = trainer.method, trainer.execution
    now = step_bytes(method, config, channels, execution)
    advice = []
    for flags, changed, other in _changes(trainer, config):
        need = step_bytes(method, changed, channels, other)
        if not (now and need):
            advice.append(flags)
        elif need < _WORTHWHILE * now:
            advice.append(f"{flags} (about {need / 1e9:.2g} GB)")
        if len(advice) == _MAX_ADVICE:
            break
    about = f" instead of the {now / 1e9:.2g} GB of a step now" if now else ""
    return f"{', or '.join(advice) or 'smaller networks'}{about}"


def _changes(trainer: Trainer, config: Config) -> Iterator[tuple[str, Config, Execution]]:
    """Yield changes, as flags, settings and execution: those that change least come first."""
    train, method, execution = config.train, trainer.method, trainer.execution
    if not (train.activation_checkpointing or train.compile):
        changed = _with(config, "train", activation_checkpointing=True)
        yield "--set train.activation_checkpointing=true", changed, execution
    if train.batch % 2 == 0:
        batch, accumulate = train.batch // 2, 2 * train.accumulate
        changed = _with(config, "train", batch=batch, accumulate=accumulate)
        yield f"--set train.batch={batch} --set train.accumulate={accumulate}", changed, execution
    if execution.precision == "fp32" and computes_in_bf16(trainer.device):
        yield "--precision bf16", config, Execution("bf16")
    nets = [net for net in method.modules() if isinstance(net, Generator | Discriminator)]
    if not any(net.size for net in nets):
        unit = max(net.size_divisor for net in nets if isinstance(net, Generator))
        least = max(net.min_size for net in nets)
        sides = [side * 3 // 4 // unit * unit for side in height_width(config.data.crop_size)]
        if min(sides) >= least:
            size = sides[0] if sides[0] == sides[1] else sides
            changed = _with(config, "data", crop_size=size)
            yield f"--set data.crop_size={str(size).replace(' ', '')}", changed, execution


def _with(config: Config, section: str, **values: Any) -> Config:
    part = getattr(config, section).model_copy(update=values)
    return config.model_copy(update={section: part})


def step_bytes(
    method: Method, config: Config, channels: Mapping[str, int], execution: Execution
) -> int:
    """Return what a step takes at its peak, traced: weights and Adam's moments are included.

    Old fakes in the pools are not. 0 for methods that cannot be traced.
    """
    train, size, count = config.train, height_width(config.data.crop_size), PeakMemory()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of copying such tensors
            twin = without_content(method, "cpu")
            twin.to = lambda *_, **__: twin  # type: ignore[method-assign]  # refused by these tensors
            if train.activation_checkpointing:
                for net in twin.translators().values():
                    checkpoint_activations(net)
            device = torch.device("cpu")
            trainer = Trainer(twin, train, config.optim, device, execution)
            trainer.check_every_step = False  # there are no values
            with count:
                count.hold([*twin.parameters(), *twin.buffers()])
                for net in trainer.ema.nets.values() if trainer.ema else ():
                    count.hold([*net.parameters(), *net.buffers()])
                shapes = {name: (train.batch, channels[name], *size) for name in twin.domains}
                batch = {name: torch.zeros(shape) for name, shape in shapes.items()}
                trainer.step([batch] * train.accumulate)
    except Exception:  # of components of others, too
        return 0
    return count.bytes
