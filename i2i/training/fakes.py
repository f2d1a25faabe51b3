"""The generators' output within one step: made once and shared by every phase, made again only where it is stale."""

from collections.abc import Callable

import torch

from i2i.methods._base import Images


class Fakes:
    """Fakes for the batches of one step.

    Args:
        make: runs the generators on a batch.
        show: passes detached fakes through the history pools.
        reals: the batches.
        graph: whether the first pass keeps its graph, because a live phase is due and there is one
            batch. With several batches the graphs would not fit into memory together, so each live
            use makes its own.
    """

    def __init__(
        self,
        make: Callable[[Images], Images],
        show: Callable[[Images], Images],
        reals: list[Images],
        graph: bool,
    ) -> None:
        self._make_fakes, self._show, self._reals, self._graph = make, show, reals, graph
        self._with_graph: list[Images | None] = [None] * len(reals)
        self._detached: list[Images | None] = [None] * len(reals)
        self._shown: list[Images | None] = [None] * len(reals)

    def live(self, index: int) -> Images:
        """Return fakes of the generators as they are now, with their graph; one backward uses it up."""
        made, self._with_graph[index] = self._with_graph[index], None
        return made if made is not None else self._make(index, graph=True)

    def detached(self, index: int) -> Images:
        """Return fakes without a graph, half of them old where the method keeps a history."""
        shown = self._shown[index]
        if shown is None:
            fakes = self._detached[index]
            if fakes is None:
                made = self._make(index, self._graph)
                self._with_graph[index] = made if self._graph else None
                fakes = {name: fake.detach() for name, fake in made.items()}
            shown = self._shown[index] = self._show(fakes)
        return shown

    def first(self, index: int) -> Images:
        """Return the fakes of this step's first pass, detached; none where no phase has asked for any."""
        return self._detached[index] or {}

    def generator_moved(self) -> None:
        """Drop graphs from before an update of the generators: their backward would mix old and new weights."""
        self._with_graph = [None] * len(self._reals)

    def _make(self, index: int, graph: bool) -> Images:
        with torch.set_grad_enabled(graph):
            made = self._make_fakes(self._reals[index])
        if self._detached[index] is None:
            self._detached[index] = {name: fake.detach() for name, fake in made.items()}
        return made
