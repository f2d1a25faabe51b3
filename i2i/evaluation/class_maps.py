"""Pixel accuracy and mean intersection over union of class maps, of all images together.

Long et al., CVPR 2015, Sec. 5: the IoU of a class is the number of pixels that have it in output
and target over that of pixels that have it in either, and the mean is over classes. A class that is
in no output and in no target has no IoU and is left out; so it is in a resampling without it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from i2i.evaluation.metric import Interval
from i2i.evaluation.paired import drawn, interval
from i2i.images import Array

_VALUES = 2**22  # of classes and resamplings, in memory at once


class _Counts(NamedTuple):
    """Pixels of an output and its target, by the classes that are in one of them."""

    classes: Tensor
    both: Tensor
    either: Tensor
    pixels: int


class ClassScorer:
    """Counts of outputs, one for each target, and what follows from them."""

    def __init__(self) -> None:
        self._counts: list[_Counts] = []

    def add(self, output: Array, target: Array, inside: Array | None = None) -> dict[str, float]:
        """Count class numbers [H, W, 1] where `inside` [H, W]; return the scores of the image.

        Raises:
            ValueError: they differ in shape, or no pixel counts.
        """
        if output.shape != target.shape or output.shape[2:] != (1,):
            raise ValueError(f"maps: expected one shape [H, W, 1], got {output.shape}")
        parts = [each[..., 0] if inside is None else each[inside] for each in (output, target)]
        one, other = (part.ravel().astype(np.int64) for part in parts)
        length = int(max(one.max(), other.max())) + 1
        outputs, targets, both = (
            torch.from_numpy(np.bincount(x, minlength=length))
            for x in (one, other, one[one == other])
        )
        either = outputs + targets - both
        (classes,) = either.nonzero(as_tuple=True)
        counts = _Counts(classes, both[classes], either[classes], len(one))
        self._counts.append(counts)
        accuracy = float(counts.both.sum()) / counts.pixels
        return {"pixel_accuracy": accuracy, "miou": float((counts.both / counts.either).mean())}

    def scores(self) -> dict[str, Interval]:
        """Return the scores of all images together, and their intervals over images.

        Images are resampled as in `bootstrap`, and everything is counted again.
        """
        count = len(self._counts)
        totals = [(float(each.both.sum()), float(each.pixels)) for each in self._counts]
        matrices = _by_class(self._counts)
        values = [_ratios(torch.ones(1, count), totals, matrices)]
        for draws in drawn(count):
            weights = torch.zeros(draws.shape).scatter_add_(1, draws, torch.ones(draws.shape))
            parts = torch.split(weights, max(1, _VALUES // matrices[0].shape[0]))
            values += [_ratios(part, totals, matrices) for part in parts]
        names = ("pixel_accuracy", "miou")
        columns = torch.cat(values, dim=1)
        return {name: interval(x[0], x[1:]) for name, x in zip(names, columns, strict=True)}


def _by_class(counts: Sequence[_Counts]) -> tuple[Tensor, Tensor]:
    """Return pixels of both and of either, sparse [classes that there are, images] float64."""
    classes = torch.cat([each.classes for each in counts])
    lengths = torch.tensor([len(each.classes) for each in counts])
    images = torch.arange(len(counts)).repeat_interleave(lengths)
    there, rows = np.unique(classes.numpy(), return_inverse=True)
    indices = torch.stack([torch.from_numpy(rows), images])
    shape = len(there), len(counts)
    both, either = (
        torch.sparse_coo_tensor(
            indices, torch.cat(values).double(), shape, check_invariants=True
        ).coalesce()
        for values in ([each.both for each in counts], [each.either for each in counts])
    )
    return both, either


def _ratios(
    weights: Tensor, totals: list[tuple[float, float]], matrices: tuple[Tensor, Tensor]
) -> Tensor:
    """Return accuracy and mean IoU, [2, R], of images that count `weights` times, [R, images]."""
    weights = weights.double().T
    correct, pixels = torch.tensor(totals, dtype=torch.float64).T @ weights
    both, either = (torch.sparse.mm(matrix, weights) for matrix in matrices)
    there = either > 0
    ratios = torch.where(there, both / either, 0.0)
    return torch.stack([correct / pixels, ratios.sum(0) / there.sum(0)])
