"""Contenders in processes of their own that take turns: A B A B …

So all of them meet the same load of the machine, and a ratio is taken within a round. Peaks of
memory do not mix.
"""

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

import torch

from i2i import signals
from i2i.bench import machine
from i2i.console import progress
from i2i.errors import I2IError

START = "spawn"  # of processes: CUDA cannot be used in forked ones
_END_SECONDS = 2.0  # that a process has to end by itself


class BenchError(I2IError, ValueError):
    """A measurement that cannot be made."""


class Turn(NamedTuple):
    """One repetition of a piece of work."""

    units: int  # steps, images or samples that were done
    seconds: float
    cpu_seconds: float  # of all threads of the process, not of its children


class Work(Protocol):
    """A piece of work, built in the process that measures it."""

    device: torch.device
    weights: int  # bytes of the networks

    def warm_up(self) -> None:
        """Do the work untimed: kernels are chosen, caches filled."""

    def repeat(self) -> Turn:
        """Do it once, timed."""

    def facts(self) -> dict[str, Any]:
        """Return what else is known about it (see `report.row`), after the last turn."""

    def close(self) -> None:
        """Leave nothing behind."""


Build = Callable[[], Work]


def timed(units: int, work: Callable[[], object], device: torch.device) -> Turn:
    """Call `work`, and wait until all that it started on the device has ended."""
    machine.synchronize(device)
    start, cpu = time.perf_counter(), time.process_time()
    work()
    machine.synchronize(device)
    return Turn(units, time.perf_counter() - start, time.process_time() - cpu)


class Contender:
    """A piece of work under a name, in one process or in a group of them that work together.

    Args:
        builds: of the work of each process, picklable.
    """

    def __init__(self, name: str, builds: Sequence[Build]) -> None:
        self.name, self._builds = name, builds
        self.turns: list[Turn] = []
        self.facts: dict[str, Any] = {}  # of the first process
        self._processes: list[tuple[BaseProcess, Connection]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the processes, whose work is warm when the block begins; end them after it."""
        context = multiprocessing.get_context(START)
        try:
            for build in self._builds:
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, build))  # type: ignore[attr-defined]
                with signals.blocked():
                    process.start()
                self._processes.append((process, ours))
                theirs.close()
            self._answers()  # of warming up
            yield
        finally:
            for _, pipe in self._processes:
                with suppress(OSError):
                    pipe.send("end")
                pipe.close()
            for process, _ in self._processes:
                process.join(_END_SECONDS)
                process.kill()

    def turn(self) -> None:
        """Do the work once; a group's time is that of its slowest process."""
        turns = self._ask("turn")
        self.turns.append(max(turns, key=lambda turn: turn.seconds))

    def finish(self) -> None:
        """Fetch the facts, peak memory among them."""
        self.facts = self._ask("facts")[0]

    def _ask(self, what: str) -> list[Any]:
        for _, pipe in self._processes:
            pipe.send(what)
        return self._answers()

    def _answers(self) -> list[Any]:
        answers: dict[Connection, Any] = {}
        pending = {pipe: process for process, pipe in self._processes}
        while pending:
            for pipe in wait(list(pending)):  # the first error counts: others may wait for that one
                assert isinstance(pipe, Connection)
                process = pending.pop(pipe)
                try:
                    answers[pipe] = pipe.recv()
                except (EOFError, ConnectionError):
                    process.join(_END_SECONDS)
                    reason = f"its process died (exit status {process.exitcode})"
                    hint = "If memory ran out, measure less at once"
                    raise BenchError(self.name, reason, hint) from None
                if isinstance(answers[pipe], Exception):
                    raise answers[pipe]
        return [answers[pipe] for _, pipe in self._processes]


def take_turns(contenders: Sequence[Contender], repeats: int) -> None:
    """Let every contender do its work once in each of `repeats` rounds, and fetch its facts.

    Raises:
        I2IError: of the work of one.
    """
    with ExitStack() as processes:
        for contender in contenders:  # one by one: they may measure while they warm up
            processes.enter_context(contender.running())
        with progress("measuring", repeats, unit="rounds") as show:
            for number in range(repeats):
                for contender in contenders:
                    contender.turn()
                show.update(number + 1)
        for contender in contenders:
            contender.finish()


def _serve(pipe: Connection, build: Build) -> None:
    """Do what the parent asks for, until it says end or is gone."""
    signals.ignore()  # a terminal's reach the whole group; the parent answers them
    try:
        before = machine.resident()  # with the libraries
        work = build()
        work.warm_up()
        _reset_peak(work.device)
        pipe.send(None)
        while (wanted := pipe.recv()) != "end":
            if wanted == "turn":
                pipe.send(work.repeat())
            else:
                pipe.send({"peak_bytes": _peak(work, before)} | work.facts())
        work.close()
    except (EOFError, ConnectionError):  # the parent was killed
        return
    except I2IError as error:
        pipe.send(error)
    except Exception:  # whose class the parent need not have
        pipe.send(RuntimeError(traceback.format_exc()))


def _reset_peak(device: torch.device) -> None:
    machine.reset_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(work: Work, before: int | None) -> int | None:
    """Return the `peak_bytes` of `report.row`; `before`: resident bytes without the work."""
    if work.device.type == "cuda":
        return torch.cuda.max_memory_allocated(work.device)
    peak = machine.peak_resident() if work.device.type == "cpu" else None
    if peak is None or before is None:
        return None
    return max(0, peak - before - work.weights)


def weight_bytes(network: torch.nn.Module) -> int:
    """Return the bytes of the parameters and buffers of `network`."""
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
