"""Memory budget for decoding, shared by all threads: large pictures wait for each other."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from i2i.images.formats import TooLargeError
from i2i.memory import free_bytes

MAX_BYTES = 384 * 2**20  # four photographs of 12 megapixels at once, or one picture of any size


class _Budget:
    def __init__(self) -> None:
        self.reserved = 0  # bytes
        self.changed = threading.Condition()


_budget = _Budget()


@contextmanager
def reserve(size: int) -> Iterator[None]:
    """Wait until `size` bytes of MAX_BYTES are free, and hold them; a larger picture gets all.

    Raises:
        TooLargeError: the machine, or what limits this process, has less than it needs.
    """
    if size > MAX_BYTES and (free := free_bytes()) is not None and size > free:
        numbers = f"about {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise TooLargeError("image", f"decoding it needs {numbers}", "Make it smaller")
    budget, size = _budget, min(size, MAX_BYTES)
    with budget.changed:
        budget.changed.wait_for(lambda: budget.reserved + size <= MAX_BYTES)
        budget.reserved += size
    try:
        yield
    finally:
        with budget.changed:
            budget.reserved -= size
            budget.changed.notify_all()


def _reset() -> None:
    """Free the budget of a forked process: threads that hold a part, or its lock, are not there."""
    global _budget
    _budget = _Budget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
