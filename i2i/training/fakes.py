"""The generators' output within one step: computed once for all phases, again only where stale."""

from collections.abc import Callable

import torch

from i2i.images.spec import VALID
from i2i.methods._base import Images

QueryPools = Callable[[Images], Images]  # exchanges detached fakes for older ones


def only_data(fakes: Images, real: Images) -> Images:
    """Return fakes with the values of the reals where there is no data: no loss tells them apart.

    A mean over pixels counts each that has data as much as without the others, which add 0.
    """
    if VALID not in real:
        return fakes
    valid = real[VALID] > 0
    shared = {name: fake for name, fake in fakes.items() if name in real}
    return fakes | {
        name: torch.where(valid, fake, real[name].to(fake.dtype)) for name, fake in shared.items()
    }


class Fakes:
    """Fakes for one batch of a step.

    `keep_graph` keeps the graph of the first pass for a live phase that is due. The graphs of
    several batches would not fit into memory together: there each live use has a pass of its own.
    """

    def __init__(
        self,
        generate: Callable[[], Images],  # runs the generators on the batch
        query_pools: QueryPools,
        keep_graph: bool,
    ) -> None:
        self._generate, self._query_pools, self._keep_graph = generate, query_pools, keep_graph
        self._live: Images = {}  # with their graph
        self._pooled: Images = {}  # detached, after the pools
        self.first: Images = {}  # detached, of the first pass; empty where no phase has used any

    def live(self) -> Images:
        """Return fakes of the generators as they are now, with their graph, for one backward."""
        fakes, self._live = self._live, {}
        return fakes or self._forward(graph=True)

    def detached(self) -> Images:
        """Return fakes without a graph, half of them old where the method keeps a history."""
        if not self._pooled:
            if not self.first:
                fakes = self._forward(self._keep_graph)
                self._live = fakes if self._keep_graph else {}
            self._pooled = self._query_pools(self.first)
        return self._pooled

    def generator_moved(self) -> None:
        """Drop a graph from before an update: its backward would mix old and new weights."""
        self._live = {}

    def _forward(self, graph: bool) -> Images:
        with torch.set_grad_enabled(graph):
            fakes = self._generate()
        if not self.first:
            self.first = {name: fake.detach() for name, fake in fakes.items()}
        return fakes
