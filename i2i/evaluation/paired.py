"""PSNR, SSIM and L1 of outputs against targets, one value per image, and bootstrap intervals.

Everything is measured on what files hold: images clamped to [-1, 1], rounded to the levels of
`depth` bits (32: not rounded) and scaled to [0, 1] (data range 1), in double precision on the CPU.
Color channels count equally; no luma is taken.

Each metric takes outputs and targets [N, C, H, W] in [-1, 1] and returns [N] float64. It raises
ValueError where their shapes differ or are not four-dimensional, or a value is not finite.
"""

from typing import NamedTuple

import numpy as np
import torch
from kornia.metrics import psnr as kornia_psnr
from kornia.metrics import ssim as kornia_ssim
from torch import Tensor

from i2i.images import MAX_VALUE, from_tensor

WINDOW = 11  # pixels; the Gaussian's standard deviation is 1.5 pixels
# Decibels, for equal images: one step in one of 256 x 256 pixels gives 96.3 (8 bits), 144.5 (16).
MAX_PSNR = {8: 100.0, 16: 150.0, 32: 150.0}


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float


def psnr(outputs: Tensor, targets: Tensor, depth: int = 8) -> Tensor:
    """Peak signal-to-noise ratio in decibels: 10 log10(1 / MSE), MSE over pixels and channels.

    Values above 100 dB (8 bits) or 150 dB, infinite for equal images, become that, so that a mean
    over images exists.
    """
    pairs = zip(*_levels(outputs, targets, depth), strict=True)
    values = [kornia_psnr(output, target, max_val=1.0) for output, target in pairs]
    if not values:
        return torch.empty(0, dtype=torch.float64)
    return torch.stack(values).clamp(max=MAX_PSNR[depth])


def ssim(outputs: Tensor, targets: Tensor, depth: int = 8) -> Tensor:
    """Structural similarity, at most 1: the mean of the SSIM map over positions and channels.

    Wang et al., IEEE TIP 2004, Sec. III-C: Gaussian window of 11 x 11 with standard deviation 1.5,
    K1 = 0.01, K2 = 0.03, weighted moments without bias correction, and, as there, only positions
    whose window lies inside the image (no padding).

    Raises:
        ValueError: also where a side is below 11.
    """
    one, other = _levels(outputs, targets, depth)
    height, width = one.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(
            f"ssim: images of {width}x{height} are smaller than its {WINDOW}x{WINDOW} window"
        )
    maps = kornia_ssim(one, other, WINDOW, max_val=1.0, eps=0.0, padding="valid")
    return maps.mean(dim=(1, 2, 3))


def l1(outputs: Tensor, targets: Tensor, depth: int = 8) -> Tensor:
    """Mean absolute difference in units of the full range.

    1 is black against white, 1/255 one 8-bit step in every pixel.
    """
    one, other = _levels(outputs, targets, depth)
    return (one - other).abs().mean(dim=(1, 2, 3))


def score_pairs(outputs: Tensor, targets: Tensor, depth: int = 8) -> dict[str, Tensor]:
    """All metrics by name."""
    return {metric.__name__: metric(outputs, targets, depth) for metric in (psnr, ssim, l1)}


def bootstrap(values: Tensor, seed: int = 0, rounds: int = 1000) -> Interval:
    """Mean of `values` [N], and its 95 % percentile interval over `rounds` resamplings of images.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, Sec. 13.3. The same seed gives the
    same interval. The interval of one value is that value.

    Raises:
        ValueError: there are no values, or no rounds.
    """
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"bootstrap: expected values [N], N > 0, got {list(values.shape)}")
    means = resampled_means(values, seed, rounds)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.detach().to("cpu", torch.float64).mean()), low, high)


def resampled_means(values: Tensor, seed: int = 0, rounds: int = 1000) -> Tensor:
    """Return the means [rounds] float64 of `values` [N], each drawn from them with replacement."""
    if rounds < 1:
        raise ValueError(f"rounds: must be at least 1, got {rounds}")
    sample = values.detach().to("cpu", torch.float64)
    rng = torch.Generator().manual_seed(seed)
    means = torch.empty(rounds, dtype=torch.float64)
    for number in range(rounds):
        means[number] = sample[torch.randint(len(sample), (len(sample),), generator=rng)].mean()
    return means


def _levels(outputs: Tensor, targets: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Both as they would be stored in `depth` bits, float64 in [0, 1] on the CPU."""
    if outputs.shape != targets.shape or outputs.ndim != 4:
        raise ValueError(
            "pairs: expected outputs and targets of one shape [N, C, H, W], got "
            f"{list(outputs.shape)} and {list(targets.shape)}"
        )
    one, other = (_stored(x, depth) for x in (outputs, targets))
    return one, other


def _stored(x: Tensor, depth: int) -> Tensor:
    levels = torch.from_numpy(from_tensor(x, depth).astype(np.float64))
    return levels.movedim(-1, -3) / MAX_VALUE[depth]
