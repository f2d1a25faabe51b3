"""Means and histograms of named terms between two rows of the log, on the device until then."""

import math
from typing import Any

import torch
from torch import Tensor

from i2i.errors import I2IError
from i2i.methods._base import Terms
from i2i.training.distributed import Rank


class NonFiniteError(I2IError, ArithmeticError):
    """A loss term or a gradient that is NaN or infinite; the subject is its name.

    `update` is the step that had it first, as `Trainer.updates` was when it began. Detected within
    that step, nothing of the phase that had it was applied, on any rank.
    """

    exit_code = 3

    def __init__(
        self, subject: object, reason: str = "not finite", hint: str = "", update: int = 0
    ) -> None:
        super().__init__(subject or "a term of another process", reason, hint)
        self.update = update


class Meter:
    """Sums and counts of terms since the last `pop`, and the first update that was not finite.

    Histograms are counts of one dimension, and are summed.
    """

    def __init__(self, rank: Rank, device: torch.device) -> None:
        self._rank, self._device = rank, device
        self._sums: Terms = {}
        self._counts: dict[str, int] = {}
        self._histograms: Terms = {}
        self._nonfinite_at = torch.full((), -1, device=device)  # -1: none

    def record(self, terms: Terms) -> None:
        """Add 0-d tensors to the means of their names, and others to their histograms."""
        for name, term in terms.items():
            if term.ndim:
                add_term(self._histograms, name, term)
                continue
            add_term(self._sums, name, term.detach())
            self._counts[name] = self._counts.get(name, 0) + 1

    def flag_nonfinite(self, value: Tensor, update: int) -> None:
        """Keep `update` if it is the first whose `value` is not finite. No host sync."""
        is_first = (self._nonfinite_at < 0) & ~torch.isfinite(value)
        self._nonfinite_at = torch.where(is_first, update, self._nonfinite_at)

    def check_finite(self, updates: int) -> None:
        """Raise NonFiniteError if one of the `updates` so far was flagged, on any rank."""
        first = int(self._nonfinite_at)
        # the largest distance back is the first step, whichever rank had it
        distance = self._rank.any(updates - first if first >= 0 else 0)
        if distance:
            raise NonFiniteError(", ".join(nonfinite(self._sums)), update=updates - distance)

    def pop(self, extra: Terms) -> dict[str, float]:
        """Return the means since the last call and `extra`, averaged over ranks, in one fetch."""
        if not self._sums:
            return {}
        means = {name: total / self._counts[name] for name, total in self._sums.items()} | extra
        values = self._rank.mean(torch.stack(list(means.values()))).tolist()
        self._sums, self._counts = {}, {}
        return dict(zip(means, values, strict=True))

    def pop_histograms(self) -> dict[str, list[int]]:
        """Return the counts of all ranks since the last call, in one fetch."""
        if not self._histograms:
            return {}
        counts = self._rank.sum(torch.stack(list(self._histograms.values()))).tolist()
        names, self._histograms = list(self._histograms), {}
        return dict(zip(names, counts, strict=True))

    def state(self) -> dict[str, Any]:
        """Return the sums and counts of the unfinished interval."""
        sums, counts, histograms = self._sums, self._counts, self._histograms
        return {"sums": dict(sums), "counts": dict(counts), "histograms": dict(histograms)}

    def restore(self, state: dict[str, Any]) -> None:
        """Load what `state` returned."""
        self._sums = {name: total.to(self._device) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])
        histograms = state.get("histograms", {})  # not in format 3 and before
        self._histograms = {name: counts.to(self._device) for name, counts in histograms.items()}
        self._nonfinite_at.fill_(-1)


def add_term(sums: Terms, name: str, term: Tensor) -> None:
    """Add `term` to the sum under `name`."""
    sums[name] = sums[name] + term if name in sums else term


def nonfinite(terms: Terms) -> list[str]:
    """Return the names of the terms that are NaN or infinite. Waits for the device."""
    return [name for name, term in terms.items() if not math.isfinite(term.item())]
