"""Passes of a step as CUDA graphs: captured once for each kind of step, then replayed.

A replay repeats kernels on the memory they were captured with, and nothing of the program around
them. So the forward and backward passes of a step are captured; copies of batches, pools of old
fakes, the mean over ranks, optimizers, averages and logs stay outside. Every kind of step, by its
phases, its shapes and what the program decides by counting, has graphs of its own.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from i2i.config import TrainConfig
from i2i.execution import Execution
from i2i.methods._base import Images, Method, MetricsModule, Phase, Terms
from i2i.training.capture import CaptureError, Graph, Recorder, Signature
from i2i.training.distributed import Rank

_WARM_UP = 3  # steps of a kind before it is captured: libraries choose kernels and take memory
_MOST_KINDS = 8  # each keeps its images and gradients in memory of its own

MakeImages = Callable[[Images], Images]  # reals -> fakes
Measure = Callable[[Images, Images], tuple[Terms, Terms]]  # reals, fakes -> terms, metrics


class Passes:
    """Forward and backward passes of one step, done as they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def context(self) -> AbstractContextManager[None]:
        """Return the context of the whole step."""
        return nullcontext()

    def load(self, batches: Sequence[Images]) -> list[Images]:
        """Return the reals on the device."""
        device = self._device
        return [{n: x.to(device, non_blocking=True) for n, x in b.items()} for b in batches]

    def images(self, make: MakeImages, real: Images) -> Images:
        """Return fakes, valid within the step."""
        return make(real)

    def terms(self, measure: Measure, real: Images, fake: Images) -> tuple[Terms, Terms]:
        """Return terms and metrics, and leave gradients in the parameters."""
        return measure(real, fake)

    def keep_gradients(self, phase: str, parameters: Sequence[nn.Parameter]) -> None:
        """Take note that all passes of `phase` are done."""


Rehearse = Callable[[Passes, Sequence[Images]], None]


class _WarmUp(Passes):
    """Passes done where they will be captured, and what they computed."""

    def __init__(self, device: torch.device, recorder: Recorder) -> None:
        super().__init__(device)
        self._recorder, self.signature = recorder, Signature()

    def context(self) -> AbstractContextManager[None]:
        return self._recorder.warm_up()

    def images(self, make: MakeImages, real: Images) -> Images:
        with self.signature:
            return make(real)

    def terms(self, measure: Measure, real: Images, fake: Images) -> tuple[Terms, Terms]:
        with self.signature:
            return measure(real, fake)


class Recording(Passes):
    """Captures passes the first time, in the order of a step; from `load` on replays them."""

    def __init__(
        self,
        device: torch.device,
        recorder: Recorder,
        counting: Sequence[MetricsModule],
        batches: Sequence[Images],
    ) -> None:
        super().__init__(device)
        self._recorder, self._counting = recorder, counting
        self.real = [{n: torch.empty_like(x, device=device) for n, x in b.items()} for b in batches]
        self._passes: list[tuple[Graph, list[Images], list[int], list[Images]]] = []
        self._gradients: dict[str, list[Tensor | None]] = {}
        self._next: int | None = None  # None: capturing

    def load(self, batches: Sequence[Images]) -> list[Images]:
        for static, batch in zip(self.real, batches, strict=True):
            _copy(static, batch)
        self._next = 0
        return self.real

    def images(self, make: MakeImages, real: Images) -> Images:
        if self._next is None:
            return self._capture(lambda: (make(real),), [real])[0]
        return self._replay([real])[0]

    def terms(self, measure: Measure, real: Images, fake: Images) -> tuple[Terms, Terms]:
        if self._next is None:
            self._capture(lambda: measure(real, fake), [real, fake])
            return {}, {}
        static = self._replay([real, fake])
        values = [value for group in static for value in group.values()]
        scalars = iter(torch.stack([value for value in values if value.ndim == 0]).unbind())
        # copies, since the next replay overwrites `values`
        fresh = iter([value.clone() if value.ndim else next(scalars) for value in values])
        terms, metrics = (dict(zip(group, fresh, strict=False)) for group in static)
        return terms, metrics

    def keep_gradients(self, phase: str, parameters: Sequence[nn.Parameter]) -> None:
        if self._next is None:
            self._gradients[phase] = [parameter.grad for parameter in parameters]
        for parameter, gradient in zip(parameters, self._gradients[phase], strict=True):
            parameter.grad = gradient

    def _capture(
        self, work: Callable[[], tuple[Images, ...]], inputs: list[Images]
    ) -> tuple[Images, ...]:
        before = [module.calls for module in self._counting]
        graph, outputs = self._recorder.capture(work)
        calls = [module.calls - n for module, n in zip(self._counting, before, strict=True)]
        self._passes.append((graph, _detached(inputs), calls, _detached(outputs)))
        return outputs

    def _replay(self, inputs: list[Images]) -> list[Images]:
        assert self._next is not None
        graph, static_inputs, calls, outputs = self._passes[self._next]
        self._next += 1
        for static, given in zip(static_inputs, inputs, strict=True):
            _copy(static, given)
        graph.replay()
        for module, count in zip(self._counting, calls, strict=True):
            module.calls += count
        return outputs


def _copy(static: Images, given: Images) -> None:
    assert static.keys() == given.keys()
    for name, x in given.items():
        if x.data_ptr() != static[name].data_ptr():
            static[name].copy_(x, non_blocking=True)


def _detached(groups: Sequence[Images]) -> list[Images]:
    return [{name: x.detach() for name, x in group.items()} for group in groups]


# -- the kinds of steps ----------------------------------------------------------------------------


class StepGraphs:
    """Chooses how the passes of each step are done; whatever is not captured is done eagerly.

    Nothing is captured without a `recorder`, or with a `reason` not to, see `why_eager`.
    """

    def __init__(
        self, device: torch.device, method: Method, recorder: Recorder | None, reason: str = ""
    ) -> None:
        self._device, self._recorder = device, None if reason else recorder
        self._counting = [m for m in method.modules() if isinstance(m, MetricsModule)]
        self._warm: dict[Hashable, list[_WarmUp]] = {}
        self._recordings: dict[Hashable, Recording] = {}
        self._notices = [f"not used: {reason}"] if recorder and reason else []
        self._noticed: set[str] = set()

    def choose(
        self, phases: Sequence[Phase], batches: Sequence[Images], rehearse: Rehearse
    ) -> Passes:
        """Return the passes for a step of `phases` on `batches`.

        Args:
            rehearse: asks for all passes of such a step in their order, with reals on the device,
                and does nothing else.
        """
        if not (recorder := self._recorder):
            return Passes(self._device)
        kind = self._kind(phases, batches)
        if kind in self._recordings:
            return self._recordings[kind]
        warm = self._warm.setdefault(kind, [])
        if len(warm) < _WARM_UP:
            warm.append(_WarmUp(self._device, recorder))
            return warm[-1]
        if len(self._recordings) == _MOST_KINDS:
            self._notice(f"used for the {_MOST_KINDS} kinds of steps seen first, no others")
            return Passes(self._device)
        try:
            warm[-1].signature.check_equal(warm[-2].signature)
            recording = Recording(self._device, recorder, self._counting, batches)
            self._record(recording, len(batches), rehearse)
        except RuntimeError as error:
            self._recorder = None
            self._recordings.clear()
            cause = str(error.__context__ or error) or type(error).__name__
            self._notice(f"not used from here on: {cause.splitlines()[0]}")
            return Passes(self._device)
        self._notice("steps are replayed from here on, all but the first of each kind")
        self._recordings[kind] = recording
        del self._warm[kind]
        return recording

    def pop_notices(self) -> list[str]:
        """Return what to tell the user since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def _notice(self, text: str) -> None:
        if text not in self._noticed:
            self._notices.append(text)
            self._noticed.add(text)

    def _kind(self, phases: Sequence[Phase], batches: Sequence[Images]) -> Hashable:
        """Return all that the program decides on; equal kinds compute the same."""
        shapes = [[(name, x.shape, x.dtype) for name, x in batch.items()] for batch in batches]
        calls = 0 if all(phase.live for phase in phases) else len(batches)
        decisions = [module.decisions(calls) for module in self._counting]
        return (*(phase.name for phase in phases), *map(tuple, shapes), *decisions)

    def _record(self, recording: Recording, batches: int, rehearse: Rehearse) -> None:
        before = [module.calls for module in self._counting]
        try:
            rehearse(recording, recording.real)
            calls = [module.calls - n for module, n in zip(self._counting, before, strict=True)]
        finally:
            for module, count in zip(self._counting, before, strict=True):
                module.calls, module.metrics, module.histograms = count, {}, {}
        if max(calls, default=0) > batches:
            raise CaptureError("a discriminator is asked more than once about a batch")


def why_eager(method: Method, train: TrainConfig, execution: Execution, rank: Rank) -> str:
    """Return the reason why steps of `method` cannot be captured; "" if none is known."""
    reasons = {
        "several processes train together": rank.world_size > 1,
        "the gradient scaler of fp16 waits for the device": execution.precision == "fp16",
        "train.compile is on": train.compile,
        "train.activation_checkpointing is on": train.activation_checkpointing,
    }
    for name, module in method.named_modules():
        if isinstance(module, MetricsModule):
            reasons |= {module.uncapturable: bool(module.uncapturable)}
        elif type(module).get_extra_state is not nn.Module.get_extra_state:
            reasons |= {f"{name or 'the method'} has state besides tensors": True}
    return next((reason for reason, holds in reasons.items() if holds), "")
