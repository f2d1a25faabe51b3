"""What every test shares: small and repeatable."""

import ctypes
import gc
import os
from pathlib import Path

import pytest
import torch

from i2i.images import formats

# small networks: threads cost more than they save, and sums are rounded by their number
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for programs that tests start

# What a test frees goes back to the system: in the holes of a heap that glibc lets grow, the peaks of memory of the processes
# that tests fork (peaks.py) would depend on the tests before.
M_MMAP_THRESHOLD = -3  # malloc.h
ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)

# The first backward pass of a process starts autograd's threads, of all devices that torch then knows: after a first one on
# tensors without content, forked processes could not train.
torch.autograd.backward(torch.ones((), requires_grad=True).exp())


def pytest_collection_finish() -> None:
    """Keep what is imported out of garbage collections, in which each forked process would copy it, 0.5 s long."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def real_data() -> Path:
    """The folder of real images, from I2I_DATA."""
    return _folder("I2I_DATA", "real images")


@pytest.fixture
def golden() -> Path:
    """The folder of reference vectors, from I2I_GOLDEN."""
    return _folder("I2I_GOLDEN", "reference vectors")


@pytest.fixture
def without_tiff_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """TIFF as it is read and written where tifffile and imagecodecs are not installed."""
    monkeypatch.setitem(formats._EXTRAS, "TIFF", ("tiff", ("a_library_that_is_missing",)))


def _folder(variable: str, what: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set: it names the folder of {what}")
    return Path(os.environ[variable]).resolve()
