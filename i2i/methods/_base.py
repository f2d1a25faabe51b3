"""The contract of a method: networks, fakes, and the phases of one step. The trainer runs them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from i2i.networks.latent import LatentSpec

Net = TypeVar("Net", bound=nn.Module)
Images = dict[str, Tensor]  # domain -> [N, C, H, W] in [-1, 1]
Terms = dict[str, Tensor]  # name -> weighted 0-d term: their sum is the loss, and they are the log

# of the bins of a histogram: 0.01 apart at 0, by a tenth of the value far from it; the first and
# the last bin hold what is beyond
HISTOGRAM_EDGES = tuple(math.sinh(0.1 * step) / 8 for step in range(-96, 97))

MakeGenerator = Callable[[int, int], nn.Module]  # (in_channels, out_channels)


@dataclass(frozen=True)
class Schedule:
    """Steps in which a phase runs: `length` of every `period`, from step `start` on."""

    period: int = 1
    length: int = 1
    start: int = 0

    def is_due(self, step: int) -> bool:
        """Return True if the phase runs in `step`, counted from 0."""
        return (step - self.start) % self.period < self.length


@dataclass(frozen=True)
class Phase:
    """One optimizer update: minimize the sum of `loss(real, fake)` over the parameters of `nets`.

    `loss` is a function of its arguments and of what `state_dict` saves; it fetches nothing from
    the device. It returns its terms, or yields them in parts that share no graph but that of the
    fakes: where memory is short, the graph of one part is freed before the next is computed.
    `live` fakes carry the generators' graph; others are detached, and go through the history pools.
    """

    name: str
    nets: tuple[nn.Module, ...]
    loss: Callable[[Images, Images], Terms | Iterable[Terms]]
    live: bool = False
    schedule: Schedule = Schedule()  # every step

    def parts(self, real: Images, fake: Images) -> Iterator[Terms]:
        """Yield the terms of `loss` part by part, each computed when it is asked for."""
        terms = self.loss(real, fake)
        yield from filter(None, [terms] if isinstance(terms, dict) else terms)

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that the phase updates: those that are not frozen."""
        parameters = [parameter for net in self.nets for parameter in net.parameters()]
        return [parameter for parameter in parameters if parameter.requires_grad]


class Peers(Protocol):
    """The processes that train together, of which this is one."""

    @property
    def world_size(self) -> int: ...
    def mean(self, values: Tensor) -> Tensor: ...


class MetricsModule(nn.Module):
    """A module that keeps, besides the terms it returns, what is worth logging."""

    peers: Peers | None = None  # given by the trainer: what steers training is averaged over them
    _edges: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.metrics: Terms = {}  # of the last call, 0-d; nothing of the training depends on it
        self.histograms: Terms = {}  # of the last call, as `histogram` counts
        self.calls = 0  # counted by the program, or by a CUDA graph's replay in its place
        self.uncapturable = ""  # why more than `decisions` differs between calls
        # a buffer, since moving it with the network is the one copy that no step waits for
        self.register_buffer("_edges", torch.tensor(HISTOGRAM_EDGES), persistent=False)

    def histogram(self, maps: Iterable[Tensor]) -> Tensor:
        """Return how many values lie in each bin of `HISTOGRAM_EDGES`, int64. No host sync.

        Bins hold their lower edge. There is one more of them than there are edges.
        """
        values = torch.cat([x.detach().flatten().to(self._edges.dtype) for x in maps])
        bins = torch.bucketize(values, self._edges, right=True)
        counts = bins.new_zeros(len(self._edges) + 1)
        return counts.scatter_add_(0, bins, torch.ones_like(bins))

    def decisions(self, calls: int) -> tuple[bool, ...]:
        """Return what the program will decide by counting in its next `calls`."""
        return ()


class Method(nn.Module, ABC):
    """Base of every method. A subclass is constructed with factories of networks, never a config.

    Its constructor takes `make_generator`, `make_discriminator`, and by name what it needs of
    `channels` (domain -> channels) and `direction`. Keyword-only parameters are its options
    (`method.NAME` in a config).
    """

    kind: ClassVar[Literal["paired", "unpaired", "unconditional"]]  # of data
    domains: ClassVar[tuple[str, ...]] = ("a", "b")  # of the data, names of the reals
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]  # published settings that differ from ours
    history: int = 0  # size of the pools of old fakes that detached phases see; 0: none
    latent: LatentSpec | None = None  # what generators make images from; None: from images
    notes: tuple[str, ...] = ()  # for the user, about this combination of options and data

    def __init__(self) -> None:
        super().__init__()
        self._frozen: list[nn.Module] = []

    @abstractmethod
    def fakes(self, real: Images) -> Images:
        """Return what the generators make of `real`, under the name of the domain it imitates.

        Further entries, of any shape, carry what the losses must know of how they were made.
        """

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """Return the updates of one step, in order."""

    @abstractmethod
    def translators(self) -> dict[str, nn.Module]:
        """Return the generators to keep, by direction: a2b, b2a, or generate (from latents)."""

    def freeze(self, net: Net) -> Net:
        """Return `net`, to be owned by this method and trained by no phase, such as a teacher.

        Gradients flow through it, not into it; it is always in evaluation mode, and it is part of
        the method's state.
        """
        self._frozen.append(net.requires_grad_(False).eval())
        return net

    def train(self, mode: bool = True) -> Self:
        """Set the mode of every network that is not frozen."""
        super().train(mode)
        for net in self._frozen:
            net.eval()
        return self

    def pop_metrics(self) -> Terms:
        """Return NETWORK/METRIC of the last calls and forget them; they are averaged and logged.

        Counts of histograms are summed instead.

        The terms of a phase sum to its loss, so D's accuracy cannot be one of them. A second return
        value would pass through every method, though none has anything to add to what its
        discriminators know. So they keep it, and the trainer asks here after each phase.
        """
        metrics: Terms = {}
        for name, net in self.named_children():
            if isinstance(net, MetricsModule):
                kept = (net.metrics | net.histograms).items()
                metrics |= {f"{name}/{metric}": value for metric, value in kept}
                net.metrics, net.histograms = {}, {}
        return metrics
