"""Memory that a network needs for an image, predicted from its layers."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from i2i.memory import free_bytes, is_out_of_memory
from i2i.networks.tracing import PeakMemory, without_content
from i2i.translation import TranslationError

_LARGE = 4096  # bytes a pixel of a network that nobody has yet; where that is free, all is well
_HELD = 32  # bytes a pixel of an image that waits: as floats, before and after
_PLENTY = 8.0  # times what is needed, with which what was free a moment ago is not asked again
_MOMENT = 0.1  # seconds; asking takes 3 ms where control groups lie in each other


class NotEnoughMemoryError(TranslationError):
    """An image for which the memory that is free does not suffice."""


class MemoryNeed:
    """The need of one network at any size, traced once for each without computing it.

    Args:
        padded: returns the side that the network is given for a side of an image.
    """

    def __init__(
        self,
        network: nn.Module,
        in_channels: int,
        device: torch.device,
        padded: Callable[[int], int],
    ) -> None:
        self._network, self._channels, self._device = network, in_channels, device
        self._padded = padded
        self._traced: dict[tuple[int, int], int] = {}
        self._last_free = -math.inf, 0  # when memory was asked for, and how much was free

    def bytes(self, height: int, width: int) -> int:
        """Return what one image takes at its peak; 0 for networks that cannot be traced."""
        size = self._padded(height), self._padded(width)
        if size not in self._traced:
            self._traced[size] = _trace(self._network, self._channels, *size)
        return self._traced[size]

    def share(self, height: int, width: int, count: int = 1) -> float:
        """Return the part of the free memory that `count` images take: above 1 they do not fit.

        It is 0 for little, and on a GPU, where trying kills nothing, and a half where nothing
        is known. On a CPU the network takes the images one by one.
        """
        area = self._padded(height) * self._padded(width)
        bound, (moment, free_then) = area * (_LARGE + count * _HELD), self._last_free
        if _PLENTY * bound < free_then and time.monotonic() - moment < _MOMENT:
            return 0.0
        free = free_bytes() if self._device.type == "cpu" and area >= 2**16 else None
        self._last_free = time.monotonic(), free or 0
        if free is None or bound < free:
            return 0.0
        need = self.bytes(height, width)
        return (need + (count - 1) * area * _HELD) / max(free, 1) if need else 0.5

    @contextmanager
    def guarded(
        self, height: int, width: int, count: int = 1, option: str = "--size"
    ) -> Iterator[None]:
        """Refuse to translate `count` images in the block if they do not fit into memory.

        `option` is the one that makes them smaller.

        Raises:
            NotEnoughMemoryError: they do not, or memory ended within the block.
        """
        if self.share(height, width, count) > 1:
            raise self._error(height, width, option)
        try:
            yield
        except (RuntimeError, MemoryError) as error:  # torch's, of the CPU too, is a RuntimeError
            if not is_out_of_memory(error):
                raise
            raise self._error(height, width, option) from None

    def _error(self, height: int, width: int, option: str) -> NotEnoughMemoryError:
        size, hint = f"{width}x{height} pixels", f"Try a smaller {option}"
        need, free = self.bytes(height, width), self.free()
        reason = f"not enough memory for {size}"
        if free is not None and need > free:
            numbers = f"need about {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
            reason = f"{size} {numbers}"
        return NotEnoughMemoryError("image", reason, hint)

    def free(self) -> int | None:
        """Return the bytes that are free on the device; None where the system does not say."""
        if self._device.type != "cuda":
            return free_bytes()
        cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(
            self._device
        )
        return torch.cuda.mem_get_info(self._device)[0] + cached


# -- need ------------------------------------------------------------------------------------------


def _trace(network: nn.Module, channels: int, height: int, width: int) -> int:
    """Return the bytes at the peak of one image, by running the network on tensors of no content.

    A network that cannot run so has 0, and one that refuses the size will say so itself.
    """
    count = PeakMemory()
    try:
        twin = without_content(network, "meta")
        with torch.no_grad(), count:
            twin(torch.empty(1, channels, height, width, device="meta"))
    except Exception:  # of components of others, too
        return 0
    return count.bytes
