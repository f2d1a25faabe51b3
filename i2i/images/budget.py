"""How much memory decoding may take at once, over all threads of a process: large pictures wait for each other."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = (
    3 * 2**27
)  # bytes: four photographs of 12 megapixels at once, or one picture of any size alone


class _Budget:
    def __init__(self) -> None:
        self.taken = 0
        self.changed = threading.Condition()


_budget = _Budget()


@contextmanager
def reserved(size: int) -> Iterator[None]:
    """Wait until `size` bytes are left of LIMIT, and hold them. What is larger waits until it is alone."""
    budget, size = _budget, min(size, LIMIT)
    with budget.changed:
        budget.changed.wait_for(lambda: budget.taken + size <= LIMIT)
        budget.taken += size
    try:
        yield
    finally:
        with budget.changed:
            budget.taken -= size
            budget.changed.notify_all()


def _renew() -> None:
    """Begin anew in a forked process: the threads that hold a part of the budget, or its lock, do not exist there."""
    global _budget
    _budget = _Budget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
