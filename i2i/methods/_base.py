"""What a method is: networks, fakes, and the phases of one step. How they are run is the trainer's business."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from i2i.networks.latent import LatentSpec

Images = dict[str, Tensor]  # name -> [N, C, H, W] in [-1, 1]
Terms = dict[
    str, Tensor
]  # loss term -> weighted 0-d tensor: their sum is the loss, and they are the log

MakeGenerator = Callable[[int, int], nn.Module]  # (in_channels, out_channels)


@dataclass(frozen=True)
class Schedule:
    """Which steps a phase runs in: `length` of every `period`, from step `start` on."""

    period: int = 1
    length: int = 1
    start: int = 0

    def is_due(self, step: int) -> bool:
        """Say whether the phase runs in `step`, counted from 0."""
        return (step - self.start) % self.period < self.length


@dataclass(frozen=True)
class Phase:
    """One optimizer update: minimize the sum of `loss(real, fake)` over the parameters of `nets`."""

    name: str
    nets: tuple[nn.Module, ...]
    loss: Callable[[Images, Images], Terms]
    live: bool = (
        False  # True: fakes carry the generators' graph; False: detached, through the history pools
    )
    schedule: Schedule = Schedule()  # every step


class MetricsModule(nn.Module):
    """A network that notes, while it computes its terms, what is worth logging beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: Terms = {}  # of the last call, 0-d; nothing of the training depends on it


class Method(nn.Module):
    """Base of every method. A subclass is constructed with factories of networks and never sees a config.

    Keyword-only parameters of a subclass are its options (`method.NAME` in a config).
    """

    kind: ClassVar[Literal["paired", "unpaired", "unconditional"]]
    defaults: ClassVar[
        Mapping[str, Mapping[str, Any]]
    ]  # the published settings, as a diff against the config's own
    history: int = 0  # size of the pools of old fakes that detached phases see; 0: none
    latent: LatentSpec | None = None  # what its generators make images from; None: from images
    notes: tuple[
        str, ...
    ] = ()  # what the user should know about this combination of options and data

    def fakes(self, real: Images) -> Images:
        """Return what the generators make of `real`, under the name of the domain it imitates."""
        raise TypeError(f"{type(self).__name__} does not define fakes")

    def phases(self) -> tuple[Phase, ...]:
        """Return the updates of one step, in order."""
        raise TypeError(f"{type(self).__name__} does not define phases")

    def translators(self) -> dict[str, nn.Module]:
        """Return the networks that are kept for use, by direction."""
        raise TypeError(f"{type(self).__name__} does not define translators")

    def pop_metrics(self) -> Terms:
        """Return what networks noted since the last call, under NETWORK/NOTE, to be averaged and logged like terms.

        The terms of a phase sum to its loss, so D's accuracy cannot be one of them. A second return
        value would pass through every method, though none has anything to add to what its
        discriminators know. So they keep it, and the trainer asks here after each phase.
        """
        seen: Terms = {}
        for name, net in self.named_children():
            if isinstance(net, MetricsModule):
                seen |= {f"{name}/{note}": value for note, value in net.metrics.items()}
                net.metrics = {}
        return seen
