"""CUDA graphs on a CPU: operators noted with their tensors, and done again on the same memory, without the program."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2i.training.capture import CaptureError

T = TypeVar("T")

aten = torch.ops.aten
SYNCS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
}


def tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


class Tape(TorchDispatchMode):
    """One captured piece of work. What it writes to tensors from before is taken back, what it makes has no values."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.made: dict[int, Tensor] = {}  # by address
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in SYNCS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        for tensor in tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            address = storage.data_ptr()
            if address not in self.made and address not in self.before:
                self.before[address] = (storage, storage.clone())
        result = func(*args, **(kwargs or {}))
        for tensor in tensors(result):
            address = tensor.untyped_storage().data_ptr()
            if address not in self.before:
                self.made[address] = tensor
        self.entries.append((func, args, kwargs or {}, list(tensors(result))))
        return result

    def undo(self) -> None:
        """Nothing has been computed yet."""
        for storage, values in self.before.values():
            storage.copy_(values)
        for tensor in self.made.values():
            tensor.untyped_storage().fill_(0xFF)  # NaN as a float

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.entries:
            again = func(*args, **kwargs)
            fresh = [again] if isinstance(again, Tensor) else tensors(again)
            for old, new in zip(result, fresh, strict=True):
                if old.data_ptr() != new.data_ptr():  # else a view, or written in place
                    old.copy_(new)


class TapeRecorder:
    """Recorder of tapes, which counts what it is asked for."""

    def __init__(self) -> None:
        self.warm_ups = 0
        self.tapes: list[Tape] = []

    @contextmanager
    def warm_up(self) -> Iterator[None]:
        self.warm_ups += 1
        yield

    def capture(self, work: Callable[[], T]) -> tuple[Tape, T]:
        tape, random = Tape(), torch.get_rng_state()
        try:
            with tape, OnDevice():
                result = work()
        finally:
            tape.undo()
            torch.set_rng_state(random)
        self.tapes.append(tape)
        return tape, result


class OnDevice(torch.overrides.TorchFunctionMode):
    """Refuses random numbers without a device, which come from the host's generator where there is a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        draws = (torch.rand, torch.randn, torch.randint, torch.randperm)
        if func in draws and (kwargs or {}).get("device") is None:
            raise CaptureError("random numbers are drawn on the host")
        return func(*args, **(kwargs or {}))
