"""Normalization of an image that is given in parts, by the statistics of the whole.

The input of a norm depends on the statistics of all norms before it. So each pass through all
parts normalizes by given statistics and measures those of every norm; after pass p the first p are
exact. That alone is slow: an error of one norm is measured in the next, and moves through the
network by one norm a pass. The correction is therefore relative to a sample of the image, which
goes through the network as one batch after each pass: its own statistics, norm after norm, times
what the image differed from it in the last pass. What errors of earlier norms do to the sample and
to the image alike cancels, and a few passes do.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from i2i.networks.contract import InputError
from i2i.networks.inference import PerImageNorm, with_norms

_Norm = PerImageNorm | _InstanceNorm | _BatchNorm | nn.GroupNorm
Box = tuple[int, int, int, int]  # top, bottom, left, right; bottom and right are exclusive


class WholeImage:
    """A copy of `network`, which shares its weights, with norms by statistics that are given.

    Statistics are those that the network takes from its input: of instance norm, group norm, and
    BatchNorm without running statistics.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = with_norms(network, _given)
        modules = self.network.named_modules()
        self._norms = {name: norm for name, norm in modules if isinstance(norm, _GivenNorm)}

    def __len__(self) -> int:
        """Return the number of norms whose statistics are needed."""
        return len(self._norms)

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Mean and variance of each norm's input, [2, C] float64, by the norm's name.

        Raises:
            InputError: when set, to those of another network.
        """
        return {name: norm.given.cpu() for name, norm in self._norms.items()}

    @statistics.setter
    def statistics(self, statistics: Mapping[str, Tensor]) -> None:
        if statistics.keys() != self._norms.keys():
            raise InputError("statistics", "are those of another network")
        for name, norm in self._norms.items():
            norm.given = statistics[name]

    def begin_pass(self) -> None:
        """Forget what was measured."""
        for norm in self._norms.values():
            norm.forget()

    def measure(self, x: Tensor, cores: Sequence[Box]) -> None:
        """Pass the parts x, [N, C, h, w], through the network, and measure the core of each.

        `cores` are in pixels of x. Those of all parts of the image do not overlap, and cover it.
        """
        self._run(x, "measure", cores)

    def correct(self, sample: Tensor) -> float:
        """Set the statistics to those of a sample of the image, corrected by the last pass.

        Args:
            sample: the same parts of the image in each call, [N, C, h, w].

        Returns:
            The largest change, in standard deviations of the input of a norm.

        Raises:
            InputError: a map of the sample has a single pixel.
        """
        self._run(sample, "correct")
        return max((norm.change for norm in self._norms.values()), default=0.0)

    def _run(self, x: Tensor, task: str, cores: Sequence[Box] = ()) -> None:
        for norm in self._norms.values():
            norm.begin(task, cores, (x.shape[-2], x.shape[-1]))
        try:
            self.network(x)
        finally:
            for norm in self._norms.values():
                norm.begin("", (), (0, 0))


class _GivenNorm(nn.Module):
    """Normalization by the statistics in `given`, with the affine weights of a norm.

    `groups` of channels share their statistics; None: each channel has its own.
    """

    def __init__(self, norm: _Norm, groups: int | None) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self._groups = groups
        self.given = torch.empty(2, 0)  # mean and variance, [2, C], as all below
        self.change = math.inf  # of `given` by the last correction, in standard deviations
        self._measured: Tensor | None = None
        self._pixels = 0  # of which `_measured` are the statistics
        self._sample: Tensor | None = None  # statistics of the sample in the last correction
        self._cores: Sequence[Box] = ()
        self._task, self._sides = "", (0, 0)

    def begin(self, task: str, cores: Sequence[Box], sides: tuple[int, int]) -> None:
        """Prepare for an input with `sides`, to be used as `task` says."""
        self._task, self._cores, self._sides = task, cores, sides

    def forget(self) -> None:
        """Begin to measure."""
        self._measured, self._pixels = None, 0

    def forward(self, x: Tensor) -> Tensor:
        if self._task == "measure":
            for part, core in zip(x, self._cores, strict=True):
                self._measure(part, core)
        elif self._task == "correct":
            self._correct(x)
        mean, variance = self.given.to(x.device, torch.float32)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)

    def _measure(self, part: Tensor, core: Box) -> None:
        """Add the core of a part, [C, h, w], to what is measured. Chan et al., 1979, Eqn. (2.1)."""
        height, width = part.shape[1:]
        top, bottom = (row * height // self._sides[0] for row in core[:2])
        left, right = (column * width // self._sides[1] for column in core[2:])
        pixels = (bottom - top) * (right - left)
        if pixels == 0:  # of a coarse map
            return
        new = _moments(part[None, :, top:bottom, left:right])
        self._pixels += pixels
        if self._measured is None:
            self._measured = new
        else:
            share = pixels / self._pixels
            step = new - self._measured
            self._measured = self._measured + share * step
            self._measured[1] += share * (1 - share) * step[0].square()

    def _correct(self, sample: Tensor) -> None:
        if sample.numel() == sample.shape[1]:
            reason = "statistics of a map of a single pixel, which has no variance"
            raise InputError("input", reason, "Give larger images or tiles")
        own, before = self._shared(_moments(sample)), self.given
        self.given = own
        if self._measured is not None and self._sample is not None:
            measured = self._shared(self._measured)
            factor = (own[1] + self.eps) / (self._sample[1] + self.eps)
            mean = own[0] + (measured[0] - self._sample[0]) * factor.sqrt()
            variance = (measured[1] + self.eps) * factor - self.eps
            self.given = torch.stack([mean, variance.clamp(min=0)])
            self.change = _difference(before, self.given, self.eps)
        self._sample = own

    def _shared(self, moments: Tensor) -> Tensor:
        """Return the statistics of each channel's group."""
        if self._groups is None:
            return moments
        means, variances = moments.reshape(2, self._groups, -1)
        mean = means.mean(1, keepdim=True)
        variance = (variances + (means - mean).square()).mean(1, keepdim=True)
        return torch.stack([mean, variance]).expand(2, *means.shape).reshape(2, -1)


def _given(norm: nn.Module) -> nn.Module | None:
    """Return what replaces a norm by the statistics of its input; None for other modules."""
    if isinstance(norm, nn.GroupNorm):
        return _GivenNorm(norm, norm.num_groups)
    if isinstance(norm, PerImageNorm):
        return _GivenNorm(norm, None)
    if isinstance(norm, _InstanceNorm | _BatchNorm) and norm.running_mean is None:
        return _GivenNorm(norm, None)
    return None


def _moments(x: Tensor) -> Tensor:
    """Return mean and variance of each channel of x, [N, C, H, W], as [2, C] float64."""
    x, axes = x.float(), (0, 2, 3)
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square_().mean(axes)  # torch.var_mean takes two to four times as long
    moments = torch.stack([mean.flatten(), variance])
    return (moments.cpu() if x.device.type == "mps" else moments).double()  # which lacks float64


def _difference(old: Tensor, new: Tensor, eps: float) -> float:
    """Return the largest change of a normalized value of up to one standard deviation."""
    deviations = (torch.stack([old[1], new[1]]) + eps).sqrt()
    shift = (old[0] - new[0]).abs() / deviations[1]
    scale = (deviations[0] / deviations[1] - 1).abs()
    return float(torch.maximum(shift, scale).max())
