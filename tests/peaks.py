"""Peaks of memory, measured in a process of its own, whose terminal is kept too."""

import ctypes
import gc
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from processes import start

MEBIBYTE = 2**20


class Measured(NamedTuple):
    """What a function did in its process."""

    answer: Any  # what it returned, through JSON
    growth: int  # bytes by which the peak of its memory is above what the preparation left
    said: str  # on the terminal


def measure(prepare: Callable[[], Any], work: Callable[[Any], Any], folder: Path) -> Measured:
    """Return what `work(prepare())` does in a forked process; `folder` takes two files.

    Raises:
        AssertionError: the process died.
    """
    answer, terminal = folder / "answer.json", folder / "terminal.txt"
    process = start(_child, prepare, work, answer, terminal)
    process.join()
    said = terminal.read_text("utf-8")
    assert process.exitcode == 0, f"exit code {process.exitcode}: {said[-3000:]}"
    found, growth = json.loads(answer.read_text("utf-8"))
    return Measured(found, growth, said)


def _child(
    prepare: Callable[[], Any], work: Callable[[Any], Any], answer: Path, terminal: Path
) -> None:
    with open(terminal, "wb") as file:
        for stream in (1, 2):  # C libraries write there, past sys.stderr
            os.dup2(file.fileno(), stream)
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115 - they live as long as the process
    prepared = prepare()
    before = _memory_from_now()
    found = work(prepared)
    answer.write_text(json.dumps([found, _memory("VmHWM") - before]), "utf-8")


def _memory_from_now() -> int:
    """Return what the process holds, and start its peak anew.

    What earlier tests have left goes back to the system first: work that takes it again would not be counted.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # resets VmHWM: proc_pid_clear_refs(5)
    return _memory("VmRSS")


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text("utf-8")
    kibibytes = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert kibibytes is not None
    return 1024 * int(kibibytes[1])
