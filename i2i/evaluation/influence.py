"""Scores of two sets of images as sums of what each image contributes, and their intervals.

A score is estimated once, on all images; each image's contribution to it (its influence: the
derivative with respect to the image's weight) is resampled for the interval. A distance recomputed
on resampled images would measure their duplicates too, and its interval lie above the estimate.
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, Sec. 13.3 and Ch. 22.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from i2i.evaluation.metric import Interval
from i2i.evaluation.paired import resampled_means
from i2i.seeds import key


class Influence(NamedTuple):
    """A score of two sets, and the contributions of images to it, each up to a constant."""

    score: float
    reals: Tensor  # [N] float64
    fakes: Tensor  # [M] float64


def mean(influences: Sequence[Influence]) -> Influence:
    """Return the mean of scores of the same images."""
    scores = [influence.score for influence in influences]
    reals = torch.stack([influence.reals for influence in influences]).mean(0)
    fakes = torch.stack([influence.fakes for influence in influences]).mean(0)
    return Influence(sum(scores) / len(scores), reals, fakes)


def interval(influence: Influence, seed: int = 0, lowest: float = -float("inf")) -> Interval:
    """Return a score with its 95 % percentile interval over resampled images of both sets.

    Args:
        influence: of the score.
        seed: the same one gives the same interval.
        lowest: value of the metric, below which the interval does not extend.
    """
    reals = resampled_means(influence.reals - influence.reals.mean(), key(seed, "reals") >> 1)
    fakes = resampled_means(influence.fakes - influence.fakes.mean(), key(seed, "fakes") >> 1)
    limits = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = (influence.score + torch.quantile(reals + fakes, limits)).tolist()
    return Interval(*(max(value, lowest) for value in (influence.score, low, high)))
