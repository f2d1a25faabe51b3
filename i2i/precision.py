"""Devices and number formats: the meaning of `auto`, and what this machine has."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from i2i.errors import I2IError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DeviceError(I2IError, ValueError):
    """A device or precision that this machine does not have."""


_owner = os.getpid()  # of the threads that torch computes with: a forked process has none of them


def after_fork(device: torch.device) -> None:
    """Make a process compute that was forked from one with a network: alone, or it would hang.

    Raises:
        DeviceError: on a GPU, which a forked process cannot use.
    """
    global _owner
    if _owner == os.getpid():
        return
    if device.type != "cpu":
        hint = "Load the model there, or start processes by spawn"
        raise DeviceError(f"device {device}", "not usable in a forked process", hint)
    torch.set_num_threads(1)
    _owner = os.getpid()


def pick_device(name: str) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps.

    Under torchrun, auto and cuda are the GPU of the local rank.

    Raises:
        DeviceError: this machine does not have it.
    """
    flag = f"--device {name}"
    unknown = DeviceError(flag, "no such device", "Choose auto, cpu, cuda, cuda:N or mps")
    if name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else name
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise unknown
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(flag, f"this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(flag, "not available on this machine")
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """Return fp32, bf16 or fp16; auto, without a test of speed, is bf16 on GPUs that compute in it.

    Raises:
        DeviceError: another name; fp16 on a CPU, whose convolutions are slower in it and overflow.
    """
    if name == "auto":
        return "bf16" if device.type == "cuda" and computes_in_bf16(device) else "fp32"
    if name not in DTYPES:
        choices = ", ".join(("auto", *DTYPES))
        raise DeviceError("--precision", f"must be one of {choices}, got {name!r}")
    if name == "fp16" and device.type == "cpu":
        hint = "Choose fp32, or bf16 where the processor has it"
        raise DeviceError("--precision fp16", "not on a CPU", hint)
    return name


def computes_in_bf16(device: torch.device) -> bool:
    """Return True if the hardware computes in bfloat16: elsewhere it is emulated, and slow.

    On CPUs that takes AVX512-BF16 or AMX, and convolutions of oneDNN that use them.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    flags = torch.cpu.get_capabilities()
    has_instructions = flags.get("avx512_bf16") or flags.get("amx_bf16")
    return bool(has_instructions and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def machine_name(device: torch.device) -> str:
    """Return the name of what computes, with the instructions of a CPU that networks use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    flags = torch.cpu.get_capabilities()
    names = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "sve")
    model = str(flags.get("cpu_name") or platform.machine())
    return " ".join([model, *(name for name in names if flags.get(name))])


@contextmanager
def float32_networks() -> Iterator[None]:
    """Build networks in float32 inside the block, whatever torch's default was changed to."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


if hasattr(os, "register_at_fork"):  # a forked child has no threads; to wait for them is to hang
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
