"""Devices and number formats: what `auto` means, and what a machine can do."""

import os
from contextlib import AbstractContextManager

import torch

from i2i.errors import I2IError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DeviceError(I2IError, ValueError):
    """A device or precision that this machine does not have."""


def pick_device(name: str) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps. Under torchrun, auto is the local rank's GPU.

    Raises:
        DeviceError: it is not there.
    """
    if name == "auto":
        name = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"--device {name}: write auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available on this machine")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"--device {name}: write auto, cpu, cuda, cuda:N or mps")
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """Return fp32, bf16 or fp16 for `name`; auto is bf16 on GPUs that compute in it, and fp32 elsewhere.

    Raises:
        DeviceError: fp16 on a CPU, whose convolutions are slower in it and overflow.
    """
    if name == "auto":
        return (
            "bf16"
            if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            else "fp32"
        )
    if name == "fp16" and device.type == "cpu":
        raise DeviceError(
            "--precision fp16: not on a CPU; use fp32, or bf16 where the processor has it"
        )
    return name


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context in which networks run."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")
