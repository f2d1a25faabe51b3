"""Distances of images to their targets beyond L1, computed in fp32."""

from torch import Tensor
from torch.fft import fft2


def focal_frequency(fake: Tensor, real: Tensor) -> Tensor:
    """Return the focal frequency loss of [N, C, H, W] in [-1, 1].

    Jiang et al., ICCV 2021, Sec. 3.3, with α 1 on whole images: the squared distance of each
    frequency counts by its share of the largest distance in its channel, as a constant. DFTs are
    orthonormal, as in the authors' code.
    """
    spectrum: Tensor = fft2(fake.float() - real.float(), norm="ortho")
    squared = spectrum.real.square() + spectrum.imag.square()
    weight = squared.detach().sqrt()
    weight = weight / weight.amax((2, 3), keepdim=True).clamp_min(1e-12)  # equal images: 0, not NaN
    return (weight * squared).mean()


def gradient_l1(fake: Tensor, real: Tensor) -> Tensor:
    """Return the L1 distance of differences between neighbors of [N, C, H, W], down plus across.

    The gradient term of Eigen and Fergus, ICCV 2015, Eqn. (1), with L1 in place of squares.
    """
    difference = fake.float() - real.float()
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
