"""Work that is captured once and repeated without the program around it: CUDA graphs."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")


class CaptureError(RuntimeError):
    """A computation that a graph would not repeat as the program does it."""


class Graph(Protocol):
    """Captured work."""

    def replay(self) -> None:
        """Do it again, on the same memory."""


class Recorder(Protocol):
    """Place where work is captured."""

    def warm_up(self) -> AbstractContextManager[None]:
        """Return a context to work in as it will be captured."""

    def capture(self, work: Callable[[], T]) -> tuple[Graph, T]:
        """Return the work of a call, which is not done yet, and what it returns, still without
        values. Raises RuntimeError where it cannot be captured; nothing has changed then.
        """


class CudaRecorder:
    """Captures on a stream of its own, all graphs in one pool of memory.

    Graphs may share a pool because no two steps overlap: nothing in it is read after the step that
    wrote it. Not run on a GPU yet.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def warm_up(self) -> Iterator[None]:
        """Work on the stream that captures, after and before what the current one does."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def capture(self, work: Callable[[], T]) -> tuple[Graph, T]:
        """Return the work of a call, and what it returns; see `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        host_random = torch.get_rng_state()
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        generator = torch.cuda.default_generators[index]
        device_random = generator.clone_state()
        try:
            # the outer context: torch's own leaves its stream current where a capture fails
            with (
                torch.cuda.stream(torch.cuda.current_stream(self._device)),
                torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",  # another thread pins batches meanwhile
                ),
            ):
                result = work()
            if not torch.equal(host_random, torch.get_rng_state()):
                raise CaptureError("random numbers are drawn on the host")
        except BaseException:
            torch.set_rng_state(host_random)
            generator.graphsafe_set_state(device_random)  # the other one waits for a capture to end
            raise
        return graph, result


class Signature(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what is computed: operators, numbers and shapes, without the values of tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[tuple[str, Hashable]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.operators.append((str(func), _outline((args, kwargs or {}))))
        return func(*args, **(kwargs or {}))

    def check_equal(self, other: "Signature") -> None:
        """Raise CaptureError if something else was computed under `other`."""
        one, two = self.operators, other.operators
        for ours, theirs in zip(one, two, strict=False):
            if ours != theirs:
                raise CaptureError(f"steps of one kind differ ({ours[0]}, {theirs[0]})")
        if len(one) != len(two):
            raise CaptureError(f"steps of one kind differ ({len(one)}, {len(two)} operators)")


def _outline(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape)
    if isinstance(value, list | tuple):
        return tuple(map(_outline, value))
    if isinstance(value, dict):
        return tuple((name, _outline(item)) for name, item in value.items())
    return repr(value) if isinstance(value, int | float | str | torch.dtype) else None
