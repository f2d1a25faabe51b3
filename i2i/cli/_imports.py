"""Imports of large libraries at the start of a command."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import in the block without looking for garbage, of which imports leave none.

    That search is a quarter of an import of torch, and as much again at the exit of the program.
    Modules stay, so it leaves them out from then on.
    """
    if "torch" in sys.modules:  # what is frozen a second time may be garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
