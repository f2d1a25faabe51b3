"""Memory that a network needs for an image, predicted from its layers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from i2i.memory import free_bytes, is_out_of_memory
from i2i.networks.inference import without_content
from i2i.translation import TranslationError

_LARGE = 4096  # bytes a pixel of a network that nobody has yet; where that is free, all is well
_HELD = 32  # bytes a pixel of an image that waits: as floats, before and after
_MARGIN = 1.25  # measured: 1.0 to 1.4 of what is counted, by network and state of the heap


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
        free = free_bytes() if self._device.type == "cpu" and area >= 2**16 else None
        if free is None or area * (_LARGE + count * _HELD) < free:
            return 0.0
        need = self.bytes(height, width)
        return (need + (count - 1) * area * _HELD) / max(free, 1) if need else 0.5

    @contextmanager
    def guarded(self, height: int, width: int, count: int = 1) -> Iterator[None]:
        """Refuse to translate `count` images in the block if they do not fit into memory.

        Raises:
            NotEnoughMemoryError: they do not, or memory ended within the block.
        """
        if self.share(height, width, count) > 1:
            raise self._error(height, width)
        try:
            yield
        except (RuntimeError, MemoryError) as error:  # torch's, of the CPU too, is a RuntimeError
            if not is_out_of_memory(error):
                raise
            raise self._error(height, width) from None

    def _error(self, height: int, width: int) -> NotEnoughMemoryError:
        size, hint = f"{width}x{height} pixels", "Try a smaller --size"
        need, free = self.bytes(height, width), self._free()
        reason = f"not enough memory for {size}"
        if free is not None and need > free:
            numbers = f"need about {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
            reason = f"{size} {numbers}"
        return NotEnoughMemoryError("image", reason, hint)

    def _free(self) -> int | None:
        if self._device.type != "cuda":
            return free_bytes()
        cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(
            self._device
        )
        return torch.cuda.mem_get_info(self._device)[0] + cached


# -- need ------------------------------------------------------------------------------------------


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that live at once, and of the copies that kernels make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0  # bytes
        self._live = WeakKeyDictionary[torch.UntypedStorage, int]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
        for tensor in tensors:
            self._live[tensor.untyped_storage()] = tensor.untyped_storage().nbytes()
        copies = 0
        if "convolution" in func.__name__:  # reorders its input and output into blocks
            copies = sum(t.numel() * t.element_size() for t in (args[0], *tensors))
        self.peak = max(self.peak, sum(self._live.values()) + copies)
        return result


def _trace(network: nn.Module, channels: int, height: int, width: int) -> int:
    """Return the bytes at the peak of one image, by running the network on tensors of no content.

    A network that cannot run so has 0, and one that refuses the size will say so itself.
    """
    try:
        twin = without_content(network)
        with torch.no_grad(), _Peak() as count:
            twin(torch.empty(1, channels, height, width, device="meta"))
    except Exception:  # of components of others, too
        return 0
    return int(_MARGIN * count.peak)
