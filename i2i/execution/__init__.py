"""Executions of one network: number formats and orders of memory, which change speed alone."""

import json
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import nn

from i2i.errors import I2IError
from i2i.precision import DTYPES

Net = TypeVar("Net", bound=nn.Module)

_ATTEMPTS, _PAUSE = 10, 0.1  # to read a file that is being written; seconds


class ExecutionError(I2IError, ValueError):
    """A recorded execution that this version does not know."""


@dataclass(frozen=True)
class Execution:
    """Choices that change speed, memory and rounding, and nothing else.

    With the defaults, and the precision that was asked for, numbers are those of any other program:
    what an explicit `--precision` gives.
    """

    precision: str = "fp32"  # of activations; weights are float32
    channels_last: bool = False  # [N, H, W, C] in memory
    split: bool = False  # independent losses of a phase propagate back one after the other
    reason: str = field(default="", compare=False)  # why it was chosen, for people
    is_measured: bool = field(default=False, compare=False)  # by a test of speed

    def __str__(self) -> str:
        options = {"channels last": self.channels_last, "losses one by one": self.split}
        return ", ".join([self.precision, *(name for name, on in options.items() if on)])

    def context(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which networks run."""
        enabled = self.precision != "fp32"
        return torch.autocast(device.type, DTYPES[self.precision], enabled=enabled)

    def prepare(self, net: Net) -> Net:
        """Convert the weights of `net` to the order of memory, in place, and return it."""
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        return net.to(memory_format=order)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` accepts."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, source: object) -> Self:
        """Return the execution that `source` records.

        Raises:
            ExecutionError: it has other names or values.
        """
        types: dict[str, type] = {one.name: type(one.default) for one in fields(cls)}
        fits = isinstance(values, dict) and values.get("precision") in DTYPES
        if not fits or any(type(value) is not types.get(name) for name, value in values.items()):
            reason = f"records no execution that this version knows: {values}"
            raise ExecutionError(source, reason, "Name one with --precision")
        return cls(**values)

    def write_new(self, path: Path) -> None:
        """Write a file that `read` reads; FileExistsError where there is one."""
        with open(path, "x", encoding="utf-8") as file:
            file.write(json.dumps(self.to_dict()) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the execution in a file, which another process may be writing.

        Raises:
            ExecutionError: it holds none, or cannot be read.
        """
        try:
            for _ in range(_ATTEMPTS):
                if text := path.read_text("utf-8"):
                    return cls.from_dict(json.loads(text), path)
                time.sleep(_PAUSE)
            reason = "empty"
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, RecursionError):
            reason = "corrupt"
        raise ExecutionError(path, reason, "Remove it, and name a --precision")
