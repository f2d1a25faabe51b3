"""Attributes that every generator and every discriminator has, for those who build or call them."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from i2i.errors import I2IError


class InputError(I2IError, ValueError):
    """A tensor of a shape that the network does not take."""


class ContractError(I2IError, TypeError):
    """A network class that lacks what its kind must have."""


@runtime_checkable
class Generator(Protocol):
    """A module constructed as `Name(in_channels, out_channels, *, OPTION=…)`.

    Images [N, in_channels, H, W] or latents [N, in_channels, 1, 1] -> images [N, out_channels, …]
    in [-1, 1].
    """

    size_divisor: int  # both sides of the input are multiples of it
    min_size: int  # smallest side of the input, pixels
    size: tuple[int, int] | None  # fixed (height, width) of the output; None: that of the input

    def __call__(self, x: Tensor, /) -> Tensor: ...


@runtime_checkable
class Encoder(Generator, Protocol):
    """A generator whose encoder can be read."""

    def features(self, x: Tensor) -> list[Tensor]:
        """Return activations of increasing depth, each [N, C, H, W]; nothing deeper is computed."""


@runtime_checkable
class Local(Generator, Protocol):
    """A generator that sees a part of the image, statistics of norms aside: it can be tiled."""

    halo: int  # pixels around a square of size_divisor (on a grid of such) that its output sees


@runtime_checkable
class Discriminator(Protocol):
    """A module constructed as `Name(in_channels, *, OPTION=…)`.

    Images [N, in_channels, H, W] -> raw logits [N, 1, h, w], or a list of `scales` such maps.
    """

    scales: int  # logit maps that it returns
    receptive_field: int  # pixels a side that one logit sees, of the coarsest map
    min_size: int  # smallest side of the input, pixels
    size: tuple[int, int] | None  # (height, width) of the input where no other is taken

    def __call__(self, x: Tensor, /) -> Tensor | list[Tensor]: ...

    def features(self, x: Tensor) -> list[Tensor]:
        """Return activations of the hidden layers, then the `scales` logit maps of `forward`."""


def check_contract(net: object, contract: type[Generator] | type[Discriminator]) -> None:
    """Check that `net` has the attributes of `contract`.

    Raises:
        ContractError: it lacks one.
    """
    if not isinstance(net, contract):
        reason = f"lacks attributes of a {contract.__name__.lower()}"
        raise ContractError(type(net).__name__, reason, f"See {contract.__module__}")
