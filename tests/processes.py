"""Processes that tests start and kill: forked, so that libraries are imported once."""

import importlib
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

_FORK = multiprocessing.get_context("fork")

# what commands import only when they need it, for seconds: here once for all forked processes
for _name in (
    "kornia",  # by the first images that are augmented
    "torch._dynamo",  # by the first optimizer
    "i2i.data.check",
    "i2i.evaluation.evaluate",
    "i2i.run.train",
    "i2i.scenes",
    "i2i.training.tensorboard",
    "i2i.translation.sampling",
):
    importlib.import_module(_name)


def hear_signals() -> None:
    """Restore the default handlers of stop signals, which are ignored when tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Run `function` in a forked process, and return it at once."""
    process = _FORK.Process(target=function, args=arguments)
    process.start()
    return process


def kill_after(process: BaseProcess, seconds: float) -> bool:
    """Kill `process` with SIGKILL after `seconds`; False if it had ended by itself before."""
    process.join(seconds)
    running = process.exitcode is None
    process.kill()
    process.join()
    return running


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `condition` holds.

    Raises:
        AssertionError: it does not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s still waiting for {what}"
        time.sleep(0.02)
