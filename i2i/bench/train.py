"""The training step: default settings against the plain way, and CUT against CycleGAN."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from i2i.bench import machine, report
from i2i.bench.turns import BenchError, Contender, Turn, take_turns, timed, weight_bytes
from i2i.bench.variants import VARIANTS, Variant, make_trainer
from i2i.config import Config, Layer
from i2i.precision import float32_networks, pick_device
from i2i.run import build
from i2i.run.settings import NETWORKS, has_discriminator, resolve
from i2i.training.distributed import Rank

_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "fastcut": ("cut", {"fast": True})
}  # name -> method, its options
_OTHERS = {"cut": "cyclegan", "fastcut": "cyclegan", "regress": "pix2pix"}  # on the same data
_WARM_UP = 2  # steps: the first one allocates, and chooses kernels


@dataclass(frozen=True)
class Job:
    """Training steps on random images, which are on the device before the clock starts."""

    methods: tuple[str, ...]
    size: int | None = None  # pixels a side; None: as published
    width: int | None = None  # of generator and discriminator; None: as published
    batch: int | None = None  # images of one step; None: as published
    steps: int | None = None  # of one repetition; None: as many as take a second
    repeats: int = 5
    device: str = "auto"
    precision: str = "auto"

    def settings(self, name: str) -> Config:
        """Return the settings of a method, or of fastcut. The U-Net fits the size."""
        method, options = _METHODS.get(name, (name, {}))
        wanted: dict[str, dict[str, Any]] = {
            "data": {"root": "random"},
            "method": options,
            "train": {"total_images": 10**9, "precision": self.precision},
        }
        if self.size:
            wanted["data"] |= {"load_size": self.size, "crop_size": self.size}
        if self.size and method in ("pix2pix", "regress"):
            halvings = (self.size & -self.size).bit_length() - 1  # how often the size is even
            wanted["generator"] = {"name": "unet", "depth": min(8, halvings)}
        if self.width:
            for section in NETWORKS if has_discriminator(method) else ("generator",):
                wanted[section] = wanted.get(section, {}) | {"width": self.width}
        if self.batch:
            wanted["train"]["batch"] = self.batch
        return resolve(method, [Layer("the benchmark", wanted)])


class Steps:
    """Training steps of one method in this process."""

    def __init__(self, job: Job, name: str, variant: Variant, rank: Rank | None = None) -> None:
        settings = job.settings(name)
        torch.manual_seed(0)
        with float32_networks():
            method = build.make_method(settings, {"a": 3, "b": 3, "image": 3})
            self.trainer = make_trainer(variant, settings, method, job.device, rank)
        self.device, self.variant, self.steps = self.trainer.device, variant, job.steps
        self.weights = weight_bytes(method)
        crop = settings.data.crop_size
        height, width = (crop, crop) if isinstance(crop, int) else crop
        shape = (settings.train.batch, 3, height, width)
        self.images = {
            domain: torch.rand(shape, device=self.device) * 2 - 1 for domain in method.domains
        }

    def step(self) -> None:
        """Do one step."""
        self.trainer.step([self.images])

    def warm_up(self) -> None:
        for _ in range(_WARM_UP):
            seconds = timed(1, self.step, self.device).seconds
        if self.steps is None:
            self.steps = self.trainer.rank.any(max(1, round(1 / seconds)))

    def repeat(self) -> Turn:
        steps = self.steps or 1
        return timed(steps, partial(_call, steps, self.step), self.device)

    def facts(self) -> dict[str, Any]:
        execution = self.trainer.execution
        rate = machine.matmul_rate(self.device, execution.precision)
        facts: dict[str, Any] = {"execution": str(execution), "matmul_rate": rate}
        if self.variant == "baseline":
            facts["flops"] = machine.count_flops(self.step)
        return facts

    def close(self) -> None:
        pass


def bench(job: Job) -> dict[str, Any]:
    """Measure, print and return the numbers: see `i2i.bench`.

    Raises:
        BenchError, ConfigError, DeviceError, UnknownComponentError: it cannot be measured.
    """
    settings = {name: job.settings(name) for name in job.methods}  # also: they are valid
    if len(settings) < len(job.methods):
        raise BenchError("--method", "names a method twice")
    facts = machine.facts(pick_device(job.device))
    machine.print_facts(facts)
    contenders = [
        Contender(f"{name} {variant}", [partial(Steps, job, name, variant)])
        for name in job.methods
        for variant in VARIANTS
    ]
    take_turns(contenders, job.repeats)
    rows = []
    for chosen, default, plain in zip(
        settings.values(), contenders[::2], contenders[1::2], strict=True
    ):
        flops = plain.facts["flops"]
        rows += [report.row(each, chosen.train.batch, flops) for each in (default, plain)]
    report.print_rows(rows, "step")
    ratios = [report.ratio(*pair) for pair in zip(rows[::2], rows[1::2], strict=True)]
    report.print_ratios(ratios)
    ratios += _against_others(rows)
    return report.numbers("train", facts, job, rows, ratios)


def _against_others(rows: list[report.Row]) -> list[dict[str, Any]]:
    """Print and return what methods need of the time and memory of `_OTHERS`, by default."""
    by_name = {row["name"]: row for row in rows}
    pairs = [(f"{name} default", f"{other} default") for name, other in _OTHERS.items()]
    ratios = [
        report.ratio(by_name[name], by_name[other])
        for name, other in pairs
        if name in by_name and other in by_name
    ]
    report.print_ratios(ratios, "time")
    return ratios


def _call(times: int, work: Callable[[], object]) -> None:
    for _ in range(times):
        work()
