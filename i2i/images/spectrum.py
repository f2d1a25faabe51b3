"""Grids of period 2, as transposed convolutions leave them, in the spectrum of images.

Odena et al., Deconvolution and Checkerboard Artifacts, Distill, 2016. The power of windows at the
Nyquist frequency is compared with that at 7/16 cycles a pixel. The spectrum of images is even about
the Nyquist frequency and so flat there: texture and noise have as much power at 7/16, and what
exceeds it is a grid. Decibels are averaged over windows, since a grid is visible in smooth ones.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

WINDOW = 32  # pixels, the side of a window; at 7/16 its Hann taper does not see a grid
_STEP = WINDOW // 2  # pixels between windows, at most
_GAIN = (
    WINDOW / 2
) ** 4 / 12**2  # power at 1/2 of a grid of amplitude 1, white noise of variance 1
_FLOOR = _GAIN * (0.25 * 2 / 255) ** 2  # of a quarter of an 8-bit level: a weaker grid is invisible


def grid_excess(images: Tensor) -> Tensor:
    """Return how much a grid of period 2 stands out of [N, C, H, W] in [-1, 1], in dB.

    Gaussian noise of any variance has 0 on average, and so has a constant image. H and W are at
    least `WINDOW`. No host sync.

    Returns:
        [N, 3]: of rows, of columns and of both (a checkerboard). Power is averaged over channels,
        since the colors of a grid differ, and its logarithm over windows and, at 7/16, phases.
    """
    x = images.to(torch.promote_types(images.dtype, torch.float32))
    waves = _waves(x)  # [WINDOW, 4]
    x = x.unfold(2, WINDOW, _step(x.shape[2])) @ waves  # [N, C, windows, W, 4]
    x = x.unfold(3, WINDOW, _step(x.shape[3])) @ waves  # [N, C, windows, windows, 4, 4]
    level = 10 * (x.square().mean(1) + _FLOOR).log10().mean((1, 2))  # [N, 4, 4]
    rows = level[:, 1, 0] - level[:, 2:, 0].mean(1)
    columns = level[:, 0, 1] - level[:, 0, 2:].mean(1)
    return torch.stack([rows, columns, level[:, 1, 1] - level[:, 2:, 2:].mean((1, 2))], 1)


def _step(side: int) -> int:
    """Return the distance of windows, at most `_STEP`, with which they cover a side best."""
    gaps = math.ceil((side - WINDOW) / _STEP)
    return (side - WINDOW) // gaps if gaps else _STEP


def _waves(like: Tensor) -> Tensor:
    """Return tapered waves of unit norm as columns: constant, at 1/2, and two phases at 7/16."""
    n = torch.arange(WINDOW, dtype=like.dtype, device=like.device) * math.pi
    phases = [torch.ones_like(n), n.cos(), (7 / 8 * n).cos(), (7 / 8 * n).sin()]
    waves = torch.stack(phases, 1) * (n / WINDOW).sin().square()[:, None]
    return normalize(waves, dim=0)
