"""Distances of two sets of features: kernel and Fréchet distance.

Both take features of reals [N, D] and of fakes [M, D], N and M at least 2, and compute in double
precision.
"""

import torch
from torch import Tensor

from i2i.evaluation.influence import Influence

_ROWS = 1024  # of a kernel matrix at once


def kernel_distance(reals: Tensor, fakes: Tensor) -> Influence:
    """Squared maximum mean discrepancy with the kernel (x·y / D + 1)³, over all pairs, unbiased.

    Binkowski et al., ICLR 2018, Eqn. (4) and Sec. 4, there on Inception features (KID). Averages
    over random subsets, as in other code, have the same expectation and more variance.
    """
    one, other = reals.double(), fakes.double()
    within_reals = _mean_kernels(one, one, same=True)
    within_fakes = _mean_kernels(other, other, same=True)
    across_reals, across_fakes = _mean_kernels(one, other), _mean_kernels(other, one)
    score = within_reals.mean() + within_fakes.mean() - 2 * across_reals.mean()
    # each pair of a set counts for both of its images
    return Influence(
        float(score), 2 * (within_reals - across_reals), 2 * (within_fakes - across_fakes)
    )


def frechet_distance(reals: Tensor, fakes: Tensor) -> Influence:
    """Squared Fréchet distance of normal distributions with the moments of the features.

    |μ₁ - μ₂|² + tr(S₁ + S₂ - 2 (S₁ S₂)^½), unbiased covariances S. Heusel et al., NeurIPS 2017,
    Eqn. (6), there on Inception features (FID). With centered features A and B, S₁ = AᵀA, the last
    trace is the sum of the singular values of A Bᵀ, which round less than the roots of eigenvalues.
    """
    means, centered, factors = [], [], []
    for features in (reals.double(), fakes.double()):
        means.append(features.mean(0))
        centered.append((features - means[-1]) / (len(features) - 1) ** 0.5)
        factors.append(_factored(centered[-1]))
    (left, one), (right, other) = factors
    u, values, vt = torch.linalg.svd(one @ other.T, full_matrices=False)
    shift = means[0] - means[1]
    score = shift.square().sum() - 2 * values.sum()
    contributions = []
    for sign, a, basis, vectors in ((1, centered[0], left, u), (-1, centered[1], right, vt.T)):
        score += a.square().sum()
        roots = ((basis @ vectors).square() * values).sum(1)
        scaled = 2 * sign * (a @ shift) / (len(a) - 1) ** 0.5 + a.square().sum(1) - roots
        contributions.append((len(a) - 1) * scaled)
    return Influence(float(score), contributions[0], contributions[1])


def _mean_kernels(one: Tensor, other: Tensor, same: bool = False) -> Tensor:
    """Return the mean kernel of each row of `one` with those of `other`; `same`: except itself."""
    sums = []
    for rows in torch.split(one, _ROWS):
        sums.append((rows @ other.T / one.shape[1] + 1).pow(3).sum(1))
    total = torch.cat(sums)
    if same:
        total -= (one.square().sum(1) / one.shape[1] + 1).pow(3)
    return total / (len(other) - same)


def _factored(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q [N, K] with orthonormal columns and R [K, D], Q R = `a`, K at most N and D."""
    if a.shape[0] <= a.shape[1]:
        return torch.eye(len(a), dtype=a.dtype), a
    q, r = torch.linalg.qr(a)
    return q, r
