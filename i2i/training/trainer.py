"""One step of any method: a generator pass, then for each phase loss, backward, average, update."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from i2i.checkpoint import MANIFEST, STATE, CheckpointError, step_name
from i2i.config import OptimConfig, TrainConfig
from i2i.execution import Execution
from i2i.methods._base import Images, Method, MetricsModule, Phase, Terms
from i2i.seeds import key
from i2i.training.batch_norm import synchronize_batch_norm
from i2i.training.capture import CudaRecorder
from i2i.training.distributed import Rank
from i2i.training.ema import Ema
from i2i.training.fakes import Fakes, QueryPools, only_data
from i2i.training.graphs import Passes, StepGraphs, why_eager
from i2i.training.image_pool import ImagePool
from i2i.training.image_stats import ImageStats
from i2i.training.meter import Meter, NonFiniteError, add_term, nonfinite
from i2i.training.optim import lr_factor, phase_optimizers
from i2i.training.validation import Record

_STATE_TYPES = {
    "images": int,
    "updates": int,
    "epoch_images": int,
    "validation": dict,
    "method": dict,
    "optimizers": dict,
    "scalers": dict,
    "ema": dict,
    "threads": int,
    "ranks": list,
}
_OPTIONAL = {"epoch_images", "validation"}  # not in old states
OLD_STATE_KEYS = {"observer": "image_stats"}  # in the state of a rank, formats 1 and 2 -> today
_REMOVE = "Remove it to use the one before"
_Pair = tuple[Images, Fakes]  # reals of one batch, and the fakes made with them


class Trainer:
    """Networks, optimizers and all else that a step changes; `images` is the position in training.

    `check_every_step`, on for CPUs, raises NonFiniteError within the step, which waits for the
    device. Without it terms are checked when they are fetched. With `execution.split` the parts
    of a loss propagate back one after the other: the largest graph is in memory, not all of them,
    and gradients are summed in another order.
    """

    def __init__(
        self,
        method: Method,
        train: TrainConfig,
        optim: OptimConfig,
        device: torch.device,
        execution: Execution,
        rank: Rank | None = None,
    ) -> None:
        self.rank = rank or Rank()
        if self.rank.world_size > 1:
            synchronize_batch_norm(method, device)
        for module in method.modules():
            if isinstance(module, MetricsModule):
                module.peers = self.rank
        self.method = execution.prepare(method.to(device)).train()
        self.train, self.optim, self.device, self.execution = train, optim, device, execution
        # a phase whose networks are all frozen has nothing to do
        self.phases = tuple(phase for phase in method.phases() if phase.trainable())
        self.total = train.total_images or 0
        self.images = self.updates = 0
        self.record = Record()
        self.check_every_step = device.type == "cpu"
        self.pools: dict[str, ImagePool] = defaultdict(lambda: ImagePool(method.history))
        half_life = train.ema_halflife_images
        self.ema = Ema(method.translators(), half_life) if half_life else None
        self.rank.broadcast([*method.parameters(), *method.buffers()])
        self.optimizers = phase_optimizers(self.phases, optim, device, execution.precision)
        recorder = CudaRecorder(device) if train.cuda_graphs and device.type == "cuda" else None
        reason = why_eager(method, train, execution, self.rank)
        self.graphs = StepGraphs(device, method, recorder, reason)
        self._meter = Meter(self.rank, device)
        self._image_stats = ImageStats(unpaired=method.kind == "unpaired")

    # -- one step ----------------------------------------------------------------------------------

    def step(self, batches: Sequence[Images]) -> None:
        """Update every phase that is due once, from the mean gradient over `batches`.

        Args:
            batches: `train.accumulate` of them, on any device.

        Raises:
            NonFiniteError: with `check_every_step`.
        """
        assert len(batches) == self.train.accumulate
        due = [phase for phase in self.phases if phase.schedule.is_due(self.updates)]
        passes = self.graphs.choose(due, batches, functools.partial(self._rehearse, due))
        with passes.context():
            pairs = self._pairs(passes, passes.load(batches), due, self._query_pools)
            for phase in due:
                self._update(passes, phase, pairs)
            for real, fakes in pairs:
                self._image_stats.update(real, fakes.first)
            step_images = self.skip(batches)
            self.updates += 1
            if self.ema:
                self.ema.update(step_images, self.images)

    def skip(self, batches: Sequence[Images]) -> int:
        """Move the position past `batches`, and return how far: their images over all ranks."""
        images = sum(len(next(iter(batch.values()))) for batch in batches) * self.rank.world_size
        self.images += images
        return images

    def _rehearse(self, due: Sequence[Phase], passes: Passes, reals: Sequence[Images]) -> None:
        """Ask for the passes of a step in their order."""
        pairs = self._pairs(passes, reals, due, self._like_pools)
        for phase in due:
            self._accumulate(passes, phase, pairs)

    def _pairs(
        self, passes: Passes, reals: Sequence[Images], due: Sequence[Phase], query_pools: QueryPools
    ) -> list[_Pair]:
        keep_graph = len(reals) == 1 and any(phase.live for phase in due)
        pairs = []
        for real in reals:
            generate = functools.partial(passes.images, self._generate, real)
            pairs.append((real, Fakes(generate, query_pools, keep_graph)))
        return pairs

    def _accumulate(self, passes: Passes, phase: Phase, pairs: Sequence[_Pair]) -> Terms:
        """Compute the gradient of `phase` on all batches; return the sums of its terms."""
        optimizer, terms = self.optimizers[phase.name], dict[str, Tensor]()
        optimizer.adam.zero_grad(set_to_none=True)
        measure = functools.partial(self._measure, phase)
        for real, fakes in pairs:
            fake = fakes.live() if phase.live else fakes.detached()
            own, metrics = passes.terms(measure, real, fake)
            for name, term in own.items():
                add_term(terms, name, term)
            self._meter.record(metrics)
        passes.keep_gradients(phase.name, optimizer.parameters)
        for _, fakes in pairs if phase.live else ():
            fakes.generator_moved()
        return terms

    def _update(self, passes: Passes, phase: Phase, pairs: Sequence[_Pair]) -> None:
        optimizer = self.optimizers[phase.name]
        terms = self._accumulate(passes, phase, pairs)
        names = nonfinite(terms) if self.check_every_step else []
        any_rank = self.rank.average_gradients(optimizer.parameters, bool(names))
        norm = optimizer.clip_gradients()
        if self.check_every_step:
            names = names or nonfinite({"grad_norm": norm})
            if any_rank or names:
                subject = ", ".join(f"{phase.name}/{name}" for name in names)
                raise NonFiniteError(subject, update=self.updates)
        else:
            total = functools.reduce(torch.add, terms.values())
            if self.execution.precision != "fp16":  # whose scaler skips infinite gradients
                total = total + norm
            self._meter.flag_nonfinite(total, self.updates)
        optimizer.step(self._lr_factor())
        terms["grad_norm"] = norm
        self._meter.record({f"{phase.name}/{name}": term for name, term in terms.items()})

    def _measure(self, phase: Phase, real: Images, fakes: Images) -> tuple[Terms, Terms]:
        """Return the terms of `forward_backward`, and what networks noted meanwhile."""
        return self.forward_backward(phase, real, fakes), self.method.pop_metrics()

    def forward_backward(self, phase: Phase, real: Images, fakes: Images) -> Terms:
        """Add the gradient of `phase` on one batch to its networks; return its terms, detached.

        Both are divided by the number of accumulated batches. Inputs are static and the host is not
        synced: this is the part of a step to compile, and that graphs capture.
        """
        accumulate, terms = self.train.accumulate, dict[str, Tensor]()
        scaler = self.optimizers[phase.name].scaler
        with self._freeze_others(phase):
            inputs = _leaves(fakes) if self.execution.split else fakes
            parts = phase.parts(real, inputs)
            while part := self._compute(parts):
                loss = functools.reduce(torch.add, part.values()) / accumulate
                if (
                    loss.requires_grad or not self.execution.split
                ):  # a part may be of frozen networks only
                    torch.autograd.backward(scaler.scale(loss))
                terms |= {name: term.detach().float() / accumulate for name, term in part.items()}
            if self.execution.split:
                _backward(fakes, inputs)
        return terms

    def _compute(self, parts: Iterator[Terms]) -> Terms:
        """Return the terms to propagate back together: of the next part with `split`, else all."""
        with self.execution.context(self.device):
            due = itertools.islice(parts, 1 if self.execution.split else None)
            return {name: term for part in due for name, term in part.items()}

    @contextmanager
    def _freeze_others(self, phase: Phase) -> Iterator[None]:
        """Compute no gradient for what `phase` does not train, and leave none in it."""
        trained = set(self.optimizers[phase.name].parameters)
        others = [p for p in self.method.parameters() if p.requires_grad and p not in trained]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def _generate(self, real: Images) -> Images:
        with self.execution.context(self.device):
            return only_data(self.method.fakes(real), real)

    def _query_pools(self, fakes: Images) -> Images:
        return {name: self.pools[name].query(fake) for name, fake in fakes.items()}

    def _like_pools(self, fakes: Images) -> Images:
        """Return what pools would, without content: a tensor of its own for each that has one."""
        return {n: torch.empty_like(x) for n, x in fakes.items()} if self.method.history else fakes

    def _lr_factor(self) -> float:
        return lr_factor(self.images, self.total, self.optim.lr_decay_start)

    # -- metrics -----------------------------------------------------------------------------------

    def pop_metrics(self) -> dict[str, float]:
        """Return what was measured since the last call, in one fetch from the device.

        Means of terms and of what networks noted, over steps and ranks, and `ImageStats`.

        Raises:
            NonFiniteError: a term of any rank is not; gradient norms may be infinite in fp16.
        """
        self._meter.check_finite(self.updates)
        metrics = self._meter.pop(self._image_stats.compute())
        self._image_stats.reset()
        return metrics

    def pop_histograms(self) -> dict[str, list[int]]:
        """Return counts in the bins of `HISTOGRAM_EDGES` since the last call, over all ranks."""
        return self._meter.pop_histograms()

    def lrs(self) -> dict[str, float]:
        """Return the learning rate of each optimizer at this position."""
        factor = self._lr_factor()
        return {each.name: factor * each.base_lr for each in self.optimizers.values()}

    # -- state -------------------------------------------------------------------------------------

    def translators(self) -> dict[str, nn.Module]:
        """Return the networks to keep: averaged ones where the average is on."""
        return self.ema.nets if self.ema else self.method.translators()

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values.

        Raises:
            NonFiniteError: see `pop_metrics`; such a state is never saved.
        """
        self._meter.check_finite(self.updates)
        averages = self.ema.nets if self.ema else {}
        optimizers = self.optimizers.values()
        return {
            "images": self.images,
            "updates": self.updates,
            "validation": asdict(self.record),
            "method": self.method.state_dict(),
            "optimizers": {each.name: each.adam.state_dict() for each in optimizers},
            "scalers": {each.name: each.scaler.state_dict() for each in optimizers},
            "ema": {name: net.state_dict() for name, net in averages.items()},
            "threads": torch.get_num_threads(),
            "ranks": self.rank.gather(self._own_state()),
        }

    def _own_state(self) -> dict[str, Any]:
        """Return what each rank has for itself."""
        extra = self.method.state_dict().items()  # torch's keys for what is kept besides tensors
        return {
            "pools": {name: pool.state() for name, pool in self.pools.items()},
            "counters": {name: value for name, value in extra if name.endswith("_extra_state")},
            "terms": self._meter.state(),
            "image_stats": self._image_stats.state(),
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any], path: Path | None = None) -> None:
        """Load what `state` returned: the next step is the one that would have followed then.

        Args:
            path: of the checkpoint that the state is from.

        Raises:
            CheckpointError: a part is missing, of another type, or of another network.
        """
        reason = _fault(state)
        if not reason and path and path.name != step_name(state["images"]):
            reason = f"images is {state['images']} in {STATE}, unlike in {MANIFEST}"
        if reason:
            raise CheckpointError(path or STATE, reason, _REMOVE)
        with _naming_parts(path or STATE):
            self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        own = state["ranks"][self.rank.rank % len(state["ranks"])]
        own = {OLD_STATE_KEYS.get(name, name): value for name, value in own.items()}
        self.images, self.updates = state["images"], state["updates"]
        self.record = Record.restored(state.get("validation", {}))
        self.method.load_state_dict(state["method"])
        for each in self.optimizers.values():
            each.restore(state["optimizers"][each.name], state["scalers"][each.name])
        for name, net in (self.ema.nets if self.ema else {}).items():
            net.load_state_dict(state["ema"][name])
        self.pools.clear()
        for name, images in own["pools"].items():
            self.pools[name].restore(images, self.device)
        # format 1 kept the terms of the first rank for all, and neither counters nor statistics
        self._meter.restore(own["terms"] if "terms" in own else state["terms"])
        self.method.load_state_dict(own.get("counters", {}), strict=False)
        self._image_stats.restore(own.get("image_stats", ImageStats(False).state()), self.device)
        if len(state["ranks"]) != self.rank.world_size:  # one random state must not serve two ranks
            torch.manual_seed(key(self.train.seed, self.images, self.rank.rank))
            return
        torch.set_rng_state(own["cpu"])
        if self.device.type == "cuda" and own["cuda"] is not None:
            torch.cuda.set_rng_state(own["cuda"], self.device)


def _leaves(fakes: Images) -> Images:
    """Return `fakes` cut off from their graph, to gather the gradients of several parts in them."""
    return {name: x.detach().requires_grad_(x.requires_grad) for name, x in fakes.items()}


def _backward(fakes: Images, leaves: Images) -> None:
    """Propagate what `leaves` have gathered through the graph of `fakes`."""
    reached = [name for name, leaf in leaves.items() if leaf.grad is not None]
    if reached:
        gradients = [leaves[name].grad for name in reached]
        torch.autograd.backward([fakes[name] for name in reached], gradients)


def _fault(state: dict[str, Any]) -> str:
    """Return the reason why `state` cannot be restored, as far as types and signs show; or ""."""
    for name, kind in _STATE_TYPES.items():
        if name in _OPTIONAL and name not in state:
            continue
        value = state.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or value == []:
            actual = type(value).__name__ if name in state else "missing"
            return f"{name} must be {kind.__name__}, is {actual}"
        if isinstance(value, int) and value < 0:
            return f"{name} is {value}"
    return ""


@contextmanager
def _naming_parts(source: Path | str) -> Iterator[None]:
    """Raise CheckpointError where loading a state fails: with the name that torch or a key has."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(source, f"{error} is missing", _REMOVE) from None
    except (TypeError, AttributeError, ValueError, RuntimeError, IndexError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = lines[1] if len(lines) > 1 and "state_dict" in lines[0] else lines[0]
        hint = f"Resume with the settings and data that the run began with. {_REMOVE}"
        raise CheckpointError(source, f"does not fit this run ({detail})", hint) from None
