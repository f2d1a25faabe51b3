"""Learned perceptual distance of pairs of images (LPIPS). Zhang et al., CVPR 2018, Eqn. (1).

Version 0.1 on AlexNet: the backbone comes from a file, the weights of its channels, which are
learned from judgments of people, from the package `lpips` (BSD-2-Clause, extra [lpips]).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i.evaluation.features.network import FeatureError, Pretrained
from i2i.files import sha256

MIN_SIDE = 31  # pixels, for the last level to have one
_CHANNELS_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
_LEVELS = {1, 4, 7, 9, 11}  # layers whose output is compared: each ReLU
_SHIFT = (-0.030, -0.088, -0.188)  # of pixels in [-1, 1], per channel
_SCALE = (0.458, 0.448, 0.450)


class AlexNet(Pretrained):
    """Normalized features of five levels. Krizhevsky, 2014 (arXiv 1404.5997)."""

    title = "LPIPS 0.1 on AlexNet (torchvision)"
    digest = "7be5be79"  # also in the name of the file
    source = (
        "Get https://download.pytorch.org/models/alexnet-owt-7be5be79.pth "
        "and pass it as --lpips-weights"
    )

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[N, 3, H, W] in [0, 255] -> levels [N, C, h, w], of unit length over channels."""
        shift, scale = (pixels.new_tensor(each)[:, None, None] for each in (_SHIFT, _SCALE))
        x = (pixels / 127.5 - 1 - shift) / scale
        levels = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in _LEVELS:
                levels.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return levels

    @staticmethod
    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the file without those of the classifier."""
        return {name: weight for name, weight in state.items() if name.startswith("features.")}


def channels_file() -> Path:
    """Return the file with the weights of channels inside the installed package `lpips`.

    Raises:
        FeatureError: the package is not installed, or the file holds other weights.
    """
    spec = find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise FeatureError("lpips", "needs an extra", "pip install 'i2i[lpips]'")
    path = Path(spec.submodule_search_locations[0], "weights", "v0.1", "alex.pth")
    if not path.is_file() or sha256(path) != _CHANNELS_SHA256:
        raise FeatureError(path, "is not the file of lpips 0.1.4", "pip install lpips==0.1.4")
    return path


class Lpips:
    """LPIPS of pairs of images, on a device."""

    def __init__(self, network: Pretrained, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._network = network.to(self.device).eval().requires_grad_(False)
        state = torch.load(channels_file(), map_location=self.device, weights_only=True)
        self._channels = [state[f"lin{k}.model.1.weight"].flatten() for k in range(len(_LEVELS))]

    @torch.no_grad()
    def __call__(self, output: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
        """Return the distance of two RGB images [H, W, 3] of one size, 0 for equal ones.

        Raises:
            FeatureError: a side is below 31 pixels.
        """
        height, width = output.shape[:2]
        if min(height, width) < MIN_SIDE:
            reason = f"{width}x{height} pixels, needs sides of at least {MIN_SIDE}"
            raise FeatureError("lpips", reason, "Choose a larger size")
        pair = torch.from_numpy(np.stack([output, target])).movedim(-1, 1).float()
        total = 0.0
        # TF32, the default of cuDNN, would round features to three digits
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            levels = self._network(pair.to(self.device))
        for level, weights in zip(levels, self._channels, strict=True):
            squared = (level[0] - level[1]).square()  # [C, h, w]
            total += float((squared * weights[:, None, None]).sum(0).mean())
        return total
