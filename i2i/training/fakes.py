"""The generators' output within one step: computed once for all phases, again only where stale."""

from collections.abc import Callable, Sequence

import torch

from i2i.methods._base import Images


class Fakes:
    """Fakes for the batches of one step.

    `keep_graph` keeps the graph of the first pass for a live phase that is due. The graphs of
    several batches would not fit into memory together: there each live use has a pass of its own.
    """

    def __init__(
        self,
        generate: Callable[[Images], Images],  # runs the generators on a batch
        query_pools: Callable[[Images], Images],  # exchanges detached fakes for older ones
        reals: Sequence[Images],
        keep_graph: bool,
    ) -> None:
        self._generate, self._query_pools = generate, query_pools
        self._reals, self._keep_graph = reals, keep_graph
        self._live: dict[int, Images] = {}  # index of a batch -> fakes with their graph
        self._first: dict[int, Images] = {}  # fakes of the first pass, detached
        self._pooled: dict[int, Images] = {}  # the same after the pools

    def live(self, index: int) -> Images:
        """Return fakes of the generators as they are now, with their graph, for one backward."""
        if index in self._live:
            return self._live.pop(index)
        return self._forward(index, graph=True)

    def detached(self, index: int) -> Images:
        """Return fakes without a graph, half of them old where the method keeps a history."""
        if index not in self._pooled:
            if index not in self._first:
                fakes = self._forward(index, self._keep_graph)
                if self._keep_graph:
                    self._live[index] = fakes
            self._pooled[index] = self._query_pools(self._first[index])
        return self._pooled[index]

    def first(self, index: int) -> Images:
        """Return the detached fakes of the first pass; empty where no phase has used any."""
        return self._first.get(index, {})

    def generator_moved(self) -> None:
        """Drop graphs from before an update: their backward would mix old and new weights."""
        self._live.clear()

    def _forward(self, index: int, graph: bool) -> Images:
        with torch.set_grad_enabled(graph):
            fakes = self._generate(self._reals[index])
        if index not in self._first:
            self._first[index] = {name: fake.detach() for name, fake in fakes.items()}
        return fakes
