"""Training in several processes: measured on this machine, predicted for more.

The prediction is for a step that reduces its gradients after its last backward pass, by a ring:
each of n processes sends and receives 2 (n - 1) / n of the G bytes of gradients over its link of B
bytes a second, while it computes nothing (Patarasuk and Yuan, JPDC 2009, Eqn. (1)):

    seconds(n) = seconds(1) + 2 (n - 1) / n * G / B
    efficiency(n) = seconds(1) / seconds(n)

Latency, stragglers and reading data are not in it; communication that overlaps with computation
makes it a lower bound of the efficiency.
"""

import os
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from i2i.bench import machine, report, train
from i2i.bench.turns import Contender, take_turns
from i2i.console import echo
from i2i.precision import pick_device
from i2i.training.distributed import process_group

PREDICTED = (8, 64)  # processes
_REDUCTIONS = 5  # of which the best counts


@dataclass(frozen=True)
class Job:
    """Training steps in 1, 2, 4, … processes of this machine."""

    steps: train.Job  # of one method
    processes: int = 2  # at most
    link: float | None = None  # Gbit/s of each process; None: as measured here


class RankSteps(train.Steps):
    """Training steps of one process of a group, each with a batch of its own."""

    def __init__(self, job: Job, rank: int, group: int, port: int) -> None:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": group, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in names.items()}
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        # as many for every group, or one process would have the cores of all
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.processes))
        self._group = ExitStack()
        joined = self._group.enter_context(process_group(pick_device(job.steps.device)))
        super().__init__(job.steps, job.steps.methods[0], "default", joined)

    def facts(self) -> dict[str, Any]:
        optimizers = set(self.trainer.optimizers.values())
        count = sum(parameter.numel() for each in optimizers for parameter in each.parameters)
        facts: dict[str, Any] = {
            "execution": str(self.trainer.execution),
            "gradient_bytes": 4 * count,
        }
        if self.trainer.rank.world_size > 1:
            facts["link"] = self._bandwidth(count)
        return facts

    def _bandwidth(self, count: int) -> float:
        """Return the bytes a second that each process sends in an all-reduce of `count` floats."""
        size, flat = self.trainer.rank.world_size, torch.zeros(count, device=self.device)
        times = []
        for _ in range(_REDUCTIONS):
            machine.synchronize(self.device)
            start = time.perf_counter()
            dist.all_reduce(flat)
            machine.synchronize(self.device)
            times.append(time.perf_counter() - start)
        return ring_bytes(size, flat.nbytes) / min(times)

    def close(self) -> None:
        self._group.close()


def ring_bytes(processes: int, gradient_bytes: int) -> float:
    """Return the bytes that each process sends, and receives, in an all-reduce by a ring."""
    return 2 * (processes - 1) / processes * gradient_bytes


def predict(
    seconds: float, images: int, gradient_bytes: int, link: float, processes: Sequence[int]
) -> list[dict[str, float]]:
    """Return the step of each number of processes, by the formula of this file.

    Args:
        seconds: of the step of one process.
        images: of the step of one process.
        link: bytes a second of each process.

    Returns:
        processes, seconds, images_per_second (of all), efficiency.
    """
    rows = []
    for count in processes:
        total = seconds + ring_bytes(count, gradient_bytes) / link
        rows.append(
            {
                "processes": count,
                "seconds": total,
                "images_per_second": count * images / total,
                "efficiency": seconds / total,
            }
        )
    return rows


def bench(job: Job) -> dict[str, Any]:
    """Measure, print and return the numbers: see `i2i.bench`.

    Raises:
        BenchError, ConfigError, DeviceError, UnknownComponentError: it cannot be measured.
    """
    (name,) = job.steps.methods
    settings = job.steps.settings(name)
    facts = machine.facts(pick_device(job.steps.device))
    machine.print_facts(facts)
    groups = [2**power for power in range(job.processes.bit_length()) if 2**power <= job.processes]
    contenders = []
    for group in groups:
        port = _free_port()
        builds = [partial(RankSteps, job, rank, group, port) for rank in range(group)]
        contenders.append(Contender(f"{name}, {group} process{'es' * (group > 1)}", builds))
    take_turns(contenders, job.steps.repeats)
    batch = settings.train.batch
    rows = [report.row(each, group * batch) for each, group in zip(contenders, groups, strict=True)]
    ratios = [report.ratio(row, rows[0]) for row in rows[1:]]
    report.print_rows(rows, "step")
    report.print_ratios(ratios, "time")
    result = report.numbers("scale", facts, job, rows, ratios)
    return result | {"prediction": _prediction(job, rows, batch)}


def _prediction(job: Job, rows: Sequence[report.Row], batch: int) -> dict[str, Any]:
    """Print and return what more processes would reach."""
    gradients: int = rows[0]["gradient_bytes"]
    measured: float = rows[-1]["link"]
    link = job.link * 1e9 / 8 if job.link else measured
    steps = predict(rows[0]["seconds"]["median"], batch, gradients, link, PREDICTED)
    echo(f"all-reduce on this machine: {8 * measured / 1e9:.3g} Gbit/s of each process")
    echo(f"predicted for {gradients / 1e6:.1f} MB of gradients over {8 * link / 1e9:.3g} Gbit/s:")
    for step in steps:
        echo(
            f"{step['processes']:>4} processes: {1e3 * step['seconds']:.4g} ms, "
            f"{step['images_per_second']:.4g} images/s, efficiency {step['efficiency']:.1%}"
        )
    return {"link": link, "measured_link": measured, "gradient_bytes": gradients, "steps": steps}


def _free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
