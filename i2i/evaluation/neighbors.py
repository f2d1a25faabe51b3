"""Fidelity and diversity by nearest neighbors of features: precision, recall, density, coverage."""

import torch
from torch import Tensor, cdist

from i2i.evaluation.influence import Influence

NEIGHBORS = {"precision": 3, "recall": 3, "density": 5, "coverage": 5}  # as in their papers
MIN_IMAGES = 6  # of a set
_ROWS = 1024  # of a matrix of distances at once


def neighbor_scores(reals: Tensor, fakes: Tensor) -> dict[str, Influence]:
    """Return precision, recall, density and coverage of features [N, D] and [M, D].

    Each image of a set is the center of a ball that ends at its k-th nearest neighbor in the set.

    - precision: share of fakes in a ball of a real; recall: share of reals in a ball of a fake
      (k = 3). Kynkäänniemi et al., NeurIPS 2019, Eqn. (1) and (2).
    - density: number of balls of reals that a fake is in, over k, mean over fakes; coverage: share
      of reals whose ball holds a fake (k = 5). Naeem et al., ICML 2020, Eqn. (4) and (6).

    The balls are taken as given: what is resampled for an interval are the images in them.
    """
    reals, fakes = reals.double(), fakes.double()
    small, large = (_radii(reals, NEIGHBORS[name]) for name in ("precision", "density"))
    of_fakes = _radii(fakes, NEIGHBORS["recall"])
    precise, dense = [], []
    recalled = torch.zeros(len(reals), dtype=torch.bool)
    covered = recalled.clone()
    for rows, radii in zip(torch.split(fakes, _ROWS), torch.split(of_fakes, _ROWS), strict=True):
        distances = cdist(rows, reals)  # [rows, N]
        precise.append((distances <= small).any(1))
        dense.append((distances <= large).double().mean(1) * len(reals) / NEIGHBORS["density"])
        recalled |= (distances <= radii[:, None]).any(0)
        covered |= (distances <= large).any(0)
    none, nothing = torch.zeros(len(reals)), torch.zeros(len(fakes))
    values = {
        "precision": (none, torch.cat(precise)),
        "recall": (recalled, nothing),
        "density": (none, torch.cat(dense)),
        "coverage": (covered, nothing),
    }
    return {name: _mean(one.double(), other.double()) for name, (one, other) in values.items()}


def _mean(reals: Tensor, fakes: Tensor) -> Influence:
    """Return the mean of the values of one set; those of the other are 0."""
    return Influence(float(reals.mean() + fakes.mean()), reals, fakes)


def _radii(features: Tensor, neighbors: int) -> Tensor:
    """Return the distance of each of [N, D] to its nearest neighbor of that order, [N]."""
    # the first of all is the image itself
    radii = [
        cdist(rows, features).kthvalue(neighbors + 1).values
        for rows in torch.split(features, _ROWS)
    ]
    return torch.cat(radii)
