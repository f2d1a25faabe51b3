"""Sample sheets of a run: fixed inputs or latents through the current networks."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i import images
from i2i.direction import Direction
from i2i.networks.inference import inference, per_image_statistics
from i2i.networks.latent import LatentSpec, recalibrate_batchnorm

Picture = NDArray[np.uint8]
Nets = Mapping[str, nn.Module]


def translation_sheet(
    samples: list[dict[str, Tensor]], device: torch.device
) -> Callable[[Nets], Picture]:
    """Return a function that draws a row of input, output and target for each of `samples`.

    A sample is {"a", "b"}: [C, H, W] in [-1, 1]. Two directions are drawn side by side: a, its
    translation, b, its translation.
    """

    def draw(nets: Nets) -> Picture:
        rows = []
        for sample in samples:
            row = []
            for direction, net in sorted(nets.items()):
                source, target = Direction(direction).source, Direction(direction).target
                with inference(per_image_statistics(net)) as used:
                    output = used(sample[source].unsqueeze(0).to(device))[0]
                row += [sample[source], output] + ([sample[target]] if len(nets) == 1 else [])
            rows += [_to_rgb(image) for image in row]
        return images.grid(rows, columns=len(rows) // len(samples))

    return draw


def generation_sheet(
    count: int, latent: LatentSpec, seed: int, device: torch.device
) -> Callable[[Nets], Picture]:
    """Return a function that draws `count` images from latents that are fixed by `seed`."""
    latents = latent.sample(count, generator=torch.Generator().manual_seed(seed))

    def draw(nets: Nets) -> Picture:
        with inference(recalibrate_batchnorm(nets["generate"], latent)) as used:
            fakes = torch.cat([used(part.to(device)).cpu() for part in torch.split(latents, 16)])
        return images.grid([_to_rgb(image) for image in fakes], columns=max(1, round(count**0.5)))

    return draw


def _to_rgb(image: Tensor) -> Picture:
    """Convert [C, H, W] in [-1, 1] to RGB: its first three channels, or its first as gray."""
    return images.to_display_rgb(images.from_tensor(image.cpu()), alpha=False)
