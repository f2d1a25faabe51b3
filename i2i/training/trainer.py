"""Runs the phases of any method: one generator pass a step, then for each phase loss, backward, average, update."""

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from i2i.config import OptimConfig, TrainConfig
from i2i.methods._base import Images, Method, Phase, Terms
from i2i.precision import autocast
from i2i.seeds import key
from i2i.training.distributed import Rank
from i2i.training.ema import Ema
from i2i.training.fakes import Fakes
from i2i.training.image_pool import ImagePool
from i2i.training.image_stats import ImageStats

_COUNTERS = "_extra_state"  # how torch calls what a module keeps besides tensors


class NonFiniteError(ArithmeticError):
    """A loss term or a gradient that is NaN or infinite.

    `update` is the step that had it first, as `Trainer.updates` was when it began. Found within
    that step, nothing of the phase that had it was applied, on any rank.
    """

    def __init__(self, names: Sequence[str], update: int) -> None:
        super().__init__(f"{', '.join(names) or 'a term of another process'} is not finite")
        self.update = update


class Trainer:
    """Networks, optimizers and everything else that a step changes. `images` is the position in training."""

    def __init__(
        self,
        method: Method,
        train: TrainConfig,
        optim: OptimConfig,
        device: torch.device,
        precision: str,
        rank: Rank | None = None,
    ) -> None:
        self.rank = rank or Rank()
        if self.rank.world_size > 1 and device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]  # in place
        self.method = method.to(device).train()
        self.train, self.optim, self.device, self.precision = train, optim, device, precision
        self.phases = method.phases()
        self.total = train.total_images or 0
        self.images = self.updates = 0
        self.check_every_step = (
            device.type == "cpu"
        )  # look at every step's terms: elsewhere that would wait for the device
        self.pools: dict[str, ImagePool] = {}
        self.ema = (
            Ema(method.translators(), train.ema_halflife_images)
            if train.ema_halflife_images
            else None
        )
        self.rank.broadcast(list(method.parameters()) + list(method.buffers()))
        self.optimizers: dict[str, torch.optim.Adam] = {}
        self.scalers: dict[str, torch.amp.GradScaler] = {}
        self._group_phases()
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._broken_at = torch.full(
            (), -1, device=device
        )  # first update with a term that is not finite; -1: none
        self._image_stats = ImageStats(unpaired=method.kind == "unpaired")

    def _group_phases(self) -> None:
        """Phases over the same networks share one optimizer, called after the first of them."""
        owners: dict[tuple[int, ...], str] = {}
        self._owner = {
            p.name: owners.setdefault(tuple(map(id, p.nets)), p.name) for p in self.phases
        }
        for phase in self.phases:
            if self._owner[phase.name] == phase.name:
                rate = (
                    self.optim.lr if phase.live else (self.optim.lr_discriminator or self.optim.lr)
                )
                fused = self.device.type in ("cpu", "cuda")
                self.optimizers[phase.name] = torch.optim.Adam(
                    _parameters(phase), lr=rate, betas=self.optim.betas, fused=fused
                )
                self.optimizers[phase.name].param_groups[0]["base_lr"] = rate
                self.scalers[phase.name] = torch.amp.GradScaler(
                    self.device.type, enabled=self.precision == "fp16"
                )

    # -- one step ----------------------------------------------------------------------------------

    def step(self, batches: Sequence[Images]) -> None:
        """Update every phase that is due once, from the mean gradient over `batches` (on any device).

        Raises:
            NonFiniteError: on a CPU at once; elsewhere when the terms are fetched, see
                `check_terms`.
        """
        reals = [
            {name: x.to(self.device, non_blocking=True) for name, x in batch.items()}
            for batch in batches
        ]
        due = [phase for phase in self.phases if phase.schedule.is_due(self.updates)]
        graph = len(reals) == 1 and any(phase.live for phase in due)
        fakes = Fakes(self._make_fakes, self._show, reals, graph)
        self._set_rates()
        for phase in due:
            self._run(phase, reals, fakes)
        for index, real in enumerate(reals):
            self._image_stats.update(real, fakes.first(index))
        seen = self.count(batches)
        self.images += seen
        self.updates += 1
        if self.ema:
            self.ema.update(seen, self.images)

    def count(self, batches: Sequence[Images]) -> int:
        """Return how many images a step on `batches` is, over all ranks."""
        return sum(next(iter(batch.values())).shape[0] for batch in batches) * self.rank.world_size

    def skip(self, batches: Sequence[Images]) -> None:
        """Move the position past `batches` without learning from them."""
        self.images += self.count(batches)

    def _run(self, phase: Phase, reals: list[Images], fakes: Fakes) -> None:
        owner = self._owner[phase.name]
        optimizer, scaler = self.optimizers[owner], self.scalers[owner]
        optimizer.zero_grad(set_to_none=True)
        means: Terms = {}
        for index, real in enumerate(reals):
            fake = fakes.live(index) if phase.live else fakes.detached(index)
            with self._only(phase):
                with autocast(self.device, self.precision):
                    terms = phase.loss(real, fake)
                self._record(self.method.pop_metrics())
                loss = functools.reduce(torch.add, terms.values())
                torch.autograd.backward(scaler.scale(loss / len(reals)))
            for name, term in terms.items():
                share = term.detach().float() / len(reals)
                means[name] = means[name] + share if name in means else share
        parameters = _parameters(phase)
        broken = self._broken(means) if self.check_every_step else []
        anywhere = self.rank.average_gradients(parameters, bool(broken))
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, self.optim.clip or math.inf)
        if self.check_every_step and (anywhere or not math.isfinite(norm.item())):
            names = broken or self._broken({"grad_norm": norm})
            raise NonFiniteError([f"{phase.name}/{name}" for name in names], self.updates)
        scaler.step(optimizer)
        scaler.update()
        if phase.live:
            fakes.generator_moved()
        self._record(
            {f"{phase.name}/{name}": term for name, term in (means | {"grad_norm": norm}).items()}
        )
        if not self.check_every_step:
            total = functools.reduce(torch.add, means.values())
            finite = torch.isfinite(
                total if self.precision == "fp16" else total + norm
            )  # fp16's scaler skips those
            self._broken_at = torch.where(
                (self._broken_at < 0) & ~finite, self.updates, self._broken_at
            )

    @contextmanager
    def _only(self, phase: Phase) -> Iterator[None]:
        """Freeze all that `phase` does not train: no gradient is computed for it, nor left in it."""
        kept = set(map(id, _parameters(phase)))
        frozen = [p for p in self.method.parameters() if id(p) not in kept and p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    def _make_fakes(self, real: Images) -> Images:
        with autocast(self.device, self.precision):
            return self.method.fakes(real)

    def _show(self, fakes: Images) -> Images:
        size = self.method.history
        return {
            name: self.pools.setdefault(name, ImagePool(size)).query(fake)
            for name, fake in fakes.items()
        }

    def _set_rates(self) -> None:
        factor = decay(self.images, self.total, self.optim.lr_decay_start)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor

    # -- terms -------------------------------------------------------------------------------------

    def _broken(self, terms: Terms) -> list[str]:
        if math.isfinite(sum(term.item() for term in terms.values())):
            return []
        return [name for name, term in terms.items() if not math.isfinite(term.item())] or ["sum"]

    def _record(self, terms: Terms) -> None:
        for name, term in terms.items():
            value = term.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def pop_metrics(self) -> dict[str, float]:
        """Return the means of terms and pop_metrics since the last call, over steps and ranks, and the measures of
        images (see `ImageStats`). The only fetch from the device.

        Raises:
            NonFiniteError: see `check_terms`.
        """
        if not self._sums:
            return {}
        self.check_terms()
        terms = {
            name: total / self._counts[name] for name, total in self._sums.items()
        } | self._image_stats.compute()
        means = dict(
            zip(terms, self.rank.mean(torch.stack(list(terms.values()))).tolist(), strict=True)
        )
        self._sums, self._counts = {}, {}
        self._image_stats.reset()
        return means

    def check_terms(self) -> None:
        """Fetch whether every term of every rank since the last `pop_metrics` is finite.

        Raises:
            NonFiniteError: one is not. Gradient norms may be infinite in fp16: the scaler skips
                those updates.
        """
        first = (
            self.updates - int(self._broken_at)
            if not self.check_every_step and int(self._broken_at) >= 0
            else 0
        )
        first = self.rank.any(
            first
        )  # the largest distance back is the first step, whichever rank it was
        if first:
            bad = [name for name, total in self._sums.items() if not math.isfinite(total.item())]
            raise NonFiniteError(bad, self.updates - first)

    def rates(self) -> dict[str, float]:
        """Return the learning rate of each optimizer at this position."""
        self._set_rates()
        return {
            name: optimizer.param_groups[0]["lr"] for name, optimizer in self.optimizers.items()
        }

    # -- state -------------------------------------------------------------------------------------

    def translators(self) -> dict[str, nn.Module]:
        """Return the networks to keep: averaged ones where the average is on."""
        return self.ema.nets if self.ema else self.method.translators()

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""
        return {
            "images": self.images,
            "updates": self.updates,
            "method": self.method.state_dict(),
            "optimizers": {
                name: optimizer.state_dict() for name, optimizer in self.optimizers.items()
            },
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items()},
            "ema": {name: net.state_dict() for name, net in self.ema.nets.items()}
            if self.ema
            else {},
            "threads": torch.get_num_threads(),
            "ranks": self.rank.gather(self._own_state()),
        }

    def _own_state(self) -> dict[str, Any]:
        """Return what each rank has for itself."""
        return {
            "pools": {name: pool.state() for name, pool in self.pools.items()},
            "counters": {
                name: value
                for name, value in self.method.state_dict().items()
                if name.endswith(_COUNTERS)
            },
            "terms": {"sums": dict(self._sums), "counts": dict(self._counts)},
            "observer": self._image_stats.state(),
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned; the next step is then the one that would have followed."""
        self.images, self.updates = state["images"], state["updates"]
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            chosen = [(group["base_lr"], group["betas"]) for group in optimizer.param_groups]
            optimizer.load_state_dict(state["optimizers"][name])
            for group, (rate, betas) in zip(optimizer.param_groups, chosen, strict=True):
                group |= {
                    "base_lr": rate,
                    "betas": betas,
                }  # of the config: a resumed run may change them
            self.scalers[name].load_state_dict(state["scalers"][name])
        for name, net in (self.ema.nets if self.ema else {}).items():
            net.load_state_dict(state["ema"][name])
        own = state["ranks"][self.rank.rank % len(state["ranks"])]
        terms = (
            own["terms"] if "terms" in own else state["terms"]
        )  # format 1 kept those of the first rank
        self._sums = {name: value.to(self.device) for name, value in terms["sums"].items()}
        self._counts = dict(terms["counts"])
        self._broken_at.fill_(-1)
        self.pools = {}
        for name, images in own["pools"].items():
            self.pools[name] = ImagePool(self.method.history)
            self.pools[name].restore(images, self.device)
        self.method.load_state_dict(own.get("counters", {}), strict=False)
        if "observer" in own:  # format 1 has none
            self._image_stats.restore(own["observer"], self.device)
        if len(state["ranks"]) != self.rank.world_size:  # one random state must not serve two ranks
            torch.manual_seed(key(self.train.seed, self.images, self.rank.rank))
            return
        torch.set_rng_state(own["cpu"])
        if self.device.type == "cuda" and own["cuda"] is not None:
            torch.cuda.set_rng_state(own["cuda"], self.device)


def decay(images: int, total: int, lr_decay_start: float) -> float:
    """Return the factor of the learning rate: 1, then from `lr_decay_start` x total on falling linearly, ending above 0."""
    start = lr_decay_start * total
    return 1.0 if images <= start or start >= total else max(total - images, 1) / (total - start)


def _parameters(phase: Phase) -> list[nn.Parameter]:
    return [parameter for net in phase.nets for parameter in net.parameters()]
