"""The execution of a run: as asked for, as it began, or the fastest by a test."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from i2i.checkpoint import CHECKPOINTS, CheckpointError, read_manifest, steps
from i2i.config import Config, height_width
from i2i.console import log
from i2i.direction import Direction
from i2i.execution import Execution
from i2i.execution.choose import choose, is_emulated, plainest
from i2i.methods._base import Method
from i2i.precision import pick_precision

_TEST_SIDE, _TEST_BATCH = 128, 8  # pixels and images of a test of speed


def pick_execution(
    config: Config,
    method: Method,
    channels: Mapping[str, int],
    device: torch.device,
    recorded: Execution | None,
) -> Execution:
    """Return the execution of a run: as asked for, as `recorded` by it, or the fastest.

    Raises:
        DeviceError: the device cannot compute in this precision.
    """
    wanted = config.train.precision
    if wanted != "auto":
        return Execution(pick_precision(wanted, device), reason="as asked for")
    if recorded:
        pick_precision(recorded.precision, device)  # refuses what this device cannot do
        if is_emulated(recorded, device):
            log(f"note: the run began in {recorded}, which this machine emulates, and is slow")
        reason = recorded.reason.removeprefix("as the run began: ")
        return replace(recorded, reason=f"as the run began: {reason}")
    direction, net = next(iter(method.translators().items()))
    sample, images = _test_sample(config, method, net), float(config.train.total_images or 0)
    if method.latent is None:
        height, width = height_width(config.data.crop_size)
        sample = sample[:, :1].expand(-1, channels[Direction(direction).source], -1, -1)
        images *= height * width / (sample.shape[-2] * sample.shape[-1])
    return choose(net.to(device), sample.to(device), "train", images, tolerance=2 * 2 / 255)


def _test_sample(config: Config, method: Method, net: nn.Module) -> Tensor:
    """Return latents, or gray noise of at most 128 pixels a side: a test takes about 2 seconds."""
    random, batch = torch.Generator().manual_seed(0), min(config.train.batch, _TEST_BATCH)
    if method.latent is not None:
        return method.latent.sample(batch, generator=random)
    divisor = int(getattr(net, "size_divisor", 1))
    side = -(-_TEST_SIDE // divisor) * divisor
    sides = (min(length, side) for length in height_width(config.data.crop_size))
    return torch.rand(batch, 1, *sides, generator=random) * 2 - 1


def recorded_execution(folder: Path, device: torch.device) -> Execution | None:
    """Return the execution of the newest checkpoint: the plain one where it does not say."""
    for _, path in reversed(steps(folder / CHECKPOINTS)):
        with suppress(CheckpointError):
            facts = read_manifest(path)
            if "execution" in facts:
                return Execution.from_dict(facts["execution"], path)
            return plainest(device)
    return None
