"""PSNR, SSIM, MS-SSIM and L1 of outputs against targets per image, and bootstrap intervals.

Everything is measured on what files hold: images clamped to [-1, 1], rounded to the levels of
`depth` bits (32: not rounded) and scaled to [0, 1] (data range 1), in double precision on the CPU.
Color channels count equally; no luma is taken.

Each metric takes outputs and targets [N, C, H, W] in [-1, 1] and returns [N] float64. It raises
ValueError where their shapes differ or are not four-dimensional, or a value is not finite. `inside`
is a mask [N, H, W] of the pixels that count, by default all; NaN where none does.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from i2i.evaluation.metric import Interval
from i2i.images import MAX_VALUE, from_tensor

WINDOW = 11  # pixels; the Gaussian's standard deviation is 1.5 pixels
MS_SSIM_SIDE = WINDOW * 2**4  # pixels: the window fits the coarsest scale
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents, finest first
_C1, _C2 = 0.01**2, 0.03**2  # of values from 0 to 1
# Decibels, for equal images: one step in one of 256 x 256 pixels gives 96.3 (8 bits), 144.5 (16).
MAX_PSNR = {8: 100.0, 16: 150.0, 32: 150.0}


def psnr(outputs: Tensor, targets: Tensor, depth: int = 8, inside: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in decibels: 10 log10(1 / MSE), MSE over pixels and channels.

    Values above 100 dB (8 bits) or 150 dB, infinite for equal images, become that, so that a mean
    over images exists.
    """
    one, other = _levels(outputs, targets, depth)
    errors = _mean((one - other).square(), inside)
    return (-10 * torch.log10(errors)).clamp(max=MAX_PSNR[depth])


def ssim(outputs: Tensor, targets: Tensor, depth: int = 8, inside: Tensor | None = None) -> Tensor:
    """Structural similarity, at most 1: the mean of the SSIM map over positions and channels.

    Wang et al., IEEE TIP 2004, Sec. III-C: Gaussian window of 11 x 11 with standard deviation 1.5,
    K1 = 0.01, K2 = 0.03, weighted moments without bias correction, and, as there, only positions
    whose window lies inside the image (no padding). Of a mask, positions count whose center is
    inside; the window reaches beyond it.

    Raises:
        ValueError: also where a side is below 11.
    """
    one, other = _levels(outputs, targets, depth)
    _check_side("ssim", one, WINDOW, f"its {WINDOW}x{WINDOW} window")
    edge = WINDOW // 2
    centers = None if inside is None else inside[:, edge:-edge, edge:-edge]
    return _mean(_similarity(one, other)[0], centers)


def ms_ssim(outputs: Tensor, targets: Tensor, depth: int = 8) -> Tensor:
    """Multi-scale structural similarity over 5 scales, at most 1.

    Wang et al., Asilomar 2003, Eqn. (7): the contrast and structure terms of the finer scales and
    the SSIM of the coarsest, as means over positions and channels, to the powers that are published
    there, multiplied. Scales are halved by means of 2 x 2 pixels; negative means count as 0. As in
    torchmetrics 1.9 the coarsest scale is padded by reflection.

    Raises:
        ValueError: also where a side is below 176.
    """
    one, other = _levels(outputs, targets, depth)
    _check_side("ms_ssim", one, MS_SSIM_SIDE, "what its 5 scales need")
    product = torch.ones(len(one), dtype=torch.float64)
    for weight in _SCALES[:-1]:
        product = product * _mean(_similarity(one, other)[1]).clamp(min=0) ** weight
        one, other = avg_pool2d(one, 2), avg_pool2d(other, 2)
    one, other = (pad(x, [WINDOW // 2] * 4, mode="reflect") for x in (one, other))
    return product * _mean(_similarity(one, other)[0]).clamp(min=0) ** _SCALES[-1]


def l1(outputs: Tensor, targets: Tensor, depth: int = 8, inside: Tensor | None = None) -> Tensor:
    """Mean absolute difference in units of the full range.

    1 is black against white, 1/255 one 8-bit step in every pixel.
    """
    one, other = _levels(outputs, targets, depth)
    return _mean((one - other).abs(), inside)


def bootstrap(values: Tensor, seed: int = 0, rounds: int = 1000) -> Interval:
    """Mean of `values` [N], and its 95 % percentile interval over `rounds` resamplings of images.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, Sec. 13.3. The same seed gives the
    same interval. The interval of one value is that value.

    Raises:
        ValueError: there are no values, or no rounds.
    """
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"bootstrap: expected values [N], N > 0, got {list(values.shape)}")
    mean = values.detach().to("cpu", torch.float64).mean()
    return interval(mean, resampled_means(values, seed, rounds))


def interval(value: Tensor, resampled: Tensor) -> Interval:
    """Return a value with the percentile interval of what resamplings gave, [rounds] float64."""
    limits = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.quantile(resampled, limits).tolist()
    return Interval(float(value), low, high)


def resampled_means(values: Tensor, seed: int = 0, rounds: int = 1000) -> Tensor:
    """Return the means [rounds] float64 of `values` [N], each drawn from them with replacement."""
    sample = values.detach().to("cpu", torch.float64)
    return torch.cat([sample[draws].mean(dim=1) for draws in drawn(len(sample), seed, rounds)])


def drawn(count: int, seed: int = 0, rounds: int = 1000) -> Iterator[Tensor]:
    """Yield draws with replacement from `count` images, [rounds at once, count]."""
    if rounds < 1:
        raise ValueError(f"rounds: must be at least 1, got {rounds}")
    rng = torch.Generator().manual_seed(seed)
    at_once = max(1, 2**20 // count)  # draws that fit a cache
    for first in range(0, rounds, at_once):
        yield torch.randint(count, (min(at_once, rounds - first), count), generator=rng)


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


def _similarity(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maps of SSIM and of its contrast and structure term, [N, C, H - 10, W - 10]."""
    m1, m2 = _blurred(one), _blurred(other)
    variances = _blurred(one.square()) - m1.square() + _blurred(other.square()) - m2.square()
    contrast = (2 * (_blurred(one * other) - m1 * m2) + _C2) / (variances + _C2)
    return (2 * m1 * m2 + _C1) / (m1.square() + m2.square() + _C1) * contrast, contrast


def _blurred(x: Tensor) -> Tensor:
    """Return the means under the window of SSIM, [..., H, W] -> [..., H - 10, W - 10]."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    for dim in (-2, -1):  # torch convolves double precision 13 times slower
        length = x.shape[dim] - WINDOW + 1
        total = torch.zeros_like(x.narrow(dim, 0, length))
        for start, weight in enumerate((window / window.sum()).tolist()):
            total.add_(x.narrow(dim, start, length), alpha=weight)
        x = total
    return x


def _mean(values: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return the mean of [N, C, H, W] over channels and the positions `inside`, [N]."""
    if inside is None:
        return values.mean(dim=(1, 2, 3))
    weights = inside[:, None].to(values.dtype)
    return (values.mean(dim=1, keepdim=True) * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))


def _check_side(name: str, x: Tensor, side: int, need: str) -> None:
    height, width = x.shape[-2:]
    if min(height, width) < side:
        raise ValueError(f"{name}: images of {width}x{height} are smaller than {need}")
