"""Memory of a computation, counted by running it on tensors of no content."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Net = TypeVar("Net", bound=nn.Module)

_MARGIN = 1.25  # measured: 1.0 to 1.4 of what is counted, by network and state of the heap


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that live at once, and of the copies that kernels make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._peak = 0
        self._live = WeakKeyDictionary[torch.UntypedStorage, int]()

    @property
    def bytes(self) -> int:
        """The predicted size of the process at its peak, less what it has without tensors."""
        return int(_MARGIN * self._peak)

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count `tensors` too, which were made before."""
        for tensor in tensors:
            self._live[tensor.untyped_storage()] = tensor.untyped_storage().nbytes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
        self.hold(tensors)
        copies = 0
        if "convolution" in func.__name__:  # reorders its input and output into blocks
            copies = sum(t.numel() * t.element_size() for t in (args[0], *tensors))
        self._peak = max(self._peak, sum(self._live.values()) + copies)
        return result


def without_content(network: Net, device: str) -> Net:
    """Return a copy of `network` whose tensors are empty ones on `device`."""
    memo: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        trained = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if trained else empty
    return copy.deepcopy(network, memo)
