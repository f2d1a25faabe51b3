"""Features of images by a pretrained network: resizing, batches, device."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from i2i.errors import I2IError
from i2i.evaluation.features.resize import clean_resize

_BATCH = 32  # images on a GPU; a CPU gains nothing by batches, and rounds differently in them


class FeatureError(I2IError, ValueError):
    """Weights that are missing or not those of a metric, or images that its network cannot take."""


class Pretrained(nn.Module):
    """Network whose weights are in a file that everybody uses."""

    title: str
    digest: str  # beginning of the sha256 of the file with the weights
    source: str  # how to get that file

    @staticmethod
    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the file under the names of this network."""
        return state


class FeatureNetwork(Pretrained):
    """Network that maps pixels [N, 3, side, side] in [0, 255] to features [N, D]."""

    side: int  # pixels


class Features:
    """A pretrained network on a device, and its features of images."""

    def __init__(self, network: FeatureNetwork, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.batch = 1 if self.device.type == "cpu" else _BATCH
        self._network = network.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return features [N, D], float32 on the CPU, of RGB images [H, W, 3] of any sizes.

        Each image is resized alone, and the last batch is filled up: the features of an image do
        not depend on the others.
        """
        planes = [clean_resize(picture, self._network.side) for picture in pictures]
        parts = []
        # TF32, the default of cuDNN, would round features to three digits
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for batch in torch.split(torch.stack(planes), self.batch):
                full = pad(batch, (0, 0, 0, 0, 0, 0, 0, self.batch - len(batch)))
                parts.append(self._network(full.to(self.device))[: len(batch)].cpu())
        return torch.cat(parts)
