"""Features of images by EfficientNet-Lite1 as ImageNet left it, for what trains against them."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from i2i.errors import I2IError, OptionError
from i2i.files import sha256
from i2i.networks.effnet import LITE1, MAPS, STRIDE, ConvNorm, EfficientNetLite


class FeatureError(I2IError, ValueError):
    """Weights that are missing or not the published ones, or images that their network refuses."""


def read_weights(path: Path, digest: str, source: str) -> dict[str, Tensor]:
    """Return the tensors in a file whose sha256 begins with `digest`, on the CPU.

    Raises:
        FeatureError: the file is another; `source` says how to get it.
    """
    actual = sha256(path)
    if not actual.startswith(digest):
        reason = f"its sha256 begins with {actual[:8]}, not with {digest[:8]}"
        raise FeatureError(path, reason, source)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


class PretrainedFeatures(nn.Module):
    """Images [N, in_channels, H, W] in [-1, 1] -> maps [N, channels[i], H / 4, …] to H / 32.

    Of gray images each channel is repeated; of several RGB images on channels each is looked at by
    itself, and their maps are stacked on channels. Shorter sides below `side` pixels are enlarged
    to it, bilinearly, and all sides to a multiple of 32.

    Gradients flow through the network, not into it. It is no submodule, so it is neither trained,
    initialized, averaged nor saved: its file, whose hash is part of the program, is read again.

    Raises:
        OptionError: `option` needs weights that are not installed, or images of other channels.
        FeatureError: the file with the weights is another.
    """

    def __init__(self, in_channels: int, *, side: int, option: str) -> None:
        super().__init__()
        if in_channels > 2 and in_channels % 3:
            reason = f"looks at gray and at RGB images, and here are {in_channels} channels"
            raise OptionError(option, reason, "Use images of 1 or 3 channels, or another network")
        self.side, self.groups = side, in_channels if in_channels < 3 else in_channels // 3
        self.channels = tuple(self.groups * channels for channels in MAPS)
        self._network = (_lite1(option),)  # in a tuple, which hides it from torch

    def forward(self, x: Tensor) -> list[Tensor]:
        size = [_enlarged(side, min(x.shape[-2:]), self.side) for side in x.shape[-2:]]
        n, x = len(x), x.reshape(len(x) * self.groups, -1, *x.shape[2:])  # one by one
        if size != list(x.shape[-2:]):
            x = interpolate(x, size, mode="bilinear")
        maps = self._network[0].maps(127.5 * (x.expand(-1, 3, -1, -1) + 1))
        return [each.reshape(n, -1, *each.shape[2:]) for each in maps]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._network[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]  # is moved too
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _enlarged(side: int, shorter: int, least: int) -> int:
    """Return a side of an image whose `shorter` one becomes at least `least`."""
    enlarged = max(side, -(-side * least // shorter))
    return -(-enlarged // STRIDE) * STRIDE


def _lite1(option: str) -> EfficientNetLite:
    """Return the network with its published weights, frozen."""
    path = LITE1.weights_file()
    if path is None:
        reason = "needs the weights of EfficientNet-Lite1, which are not installed"
        raise OptionError(option, reason, LITE1.source)
    state = read_weights(path, LITE1.digest, LITE1.source)
    with torch.device("meta"):  # takes no random number
        network = EfficientNetLite(LITE1)
    network.to_empty(device="cpu").load_state_dict(network.renamed(state))
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    return network.requires_grad_(False).eval()
