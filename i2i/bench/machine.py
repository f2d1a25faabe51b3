"""The machine that numbers were measured on: its name, and the rates that it reaches at best."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from i2i.console import echo
from i2i.precision import DTYPES

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that decide which kernels there are
_SIDES = {"cuda": 8192, "cpu": 2048}  # of matrices: large enough for the best rate
_COPIED = {"cuda": 2**28, "cpu": 2**26}  # floats: more than any cache holds
_RATE_RUNS, _RATE_SECONDS = 5, 2.0  # of a rate, whose best counts


def facts(device: torch.device) -> dict[str, Any]:
    """Return what a reader of the numbers must know: processor, versions, date (UTC)."""
    model, flags = processor()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": model,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def print_facts(facts: dict[str, Any]) -> None:
    """Print `facts`: the first lines of every measurement."""
    flags = ", ".join(facts["flags"]) or "none of " + ", ".join(_FLAGS)
    threads = f"{facts['threads']} threads of {facts['cores']} cores"
    echo(f"{facts['processor']} ({flags}), {threads}; device: {facts['device']}")
    echo(f"torch {facts['torch']}, Python {facts['python']}, {facts['date']}")


def processor(path: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """Return the name of the processor and its instruction sets, as far as the system says."""
    rows: dict[str, str] = {}
    if path.exists():
        for line in path.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            rows.setdefault(name.strip(), value.strip())  # all cores are alike
    model = rows.get("model name") or platform.processor() or platform.machine()
    return model, set(rows.get("flags", "").split())


# -- rates -----------------------------------------------------------------------------------------


def matmul_rate(device: torch.device, precision: str) -> float:
    """Return the FLOP/s of multiplying square matrices, a multiplication and an addition each one.

    In fp32 on CUDA with the number format that convolutions use there (TF32 unless switched off).
    """
    side = _SIDES["cuda" if device.type == "cuda" else "cpu"]
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in "ab")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        return 2 * side**3 / _best_seconds(lambda: a @ b, device)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def copy_rate(device: torch.device) -> float:
    """Return the bytes a second of copying within the device's memory, read and written ones."""
    source = torch.ones(_COPIED["cuda" if device.type == "cuda" else "cpu"], device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    times: list[float] = []
    work()
    while len(times) < _RATE_RUNS and sum(times) < _RATE_SECONDS:
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# -- work ------------------------------------------------------------------------------------------


def count_flops(work: Callable[[], object]) -> int:
    """Return the FLOPs of convolutions and matrix products in `work`, as torch counts them.

    To be called with plain networks: faster algorithms do the same work with fewer.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    total: int = counter.get_total_flops()
    return total


def layer_bytes(network: nn.Module, work: Callable[[], object]) -> int:
    """Return the bytes that the layers of `network` read and write in `work`, one by one.

    Inputs, outputs and weights of every module without children, called eagerly.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        tensors = [x for x in (*inputs, output, *module.parameters()) if isinstance(x, Tensor)]
        total += sum(tensor.nbytes for tensor in tensors)

    leaves = [module for module in network.modules() if not any(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        work()
    finally:
        for hook in hooks:
            hook.remove()
    return total


# -- memory ----------------------------------------------------------------------------------------


def resident() -> int | None:
    """Return the resident size of this process in bytes; None where the system does not say."""
    return _status("VmRSS")


def peak_resident() -> int | None:
    """Return its largest resident size since `reset_peak`, in bytes; None as in `resident`."""
    return _status("VmHWM")


def reset_peak() -> None:
    """Forget what was resident before: a self-test of networks may have taken more than they do."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def _status(name: str) -> int | None:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return None
