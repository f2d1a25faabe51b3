"""Volumes and their headers in memory, the last ones, so that slices in turn share them."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from i2i.images.formats import ImageError
from i2i.memory import free_bytes

T = TypeVar("T")

HELD_BYTES = 2**29  # of volumes that a process keeps; always one


class Held(Generic[T]):
    """Outcomes of reading, the last ones: values, or the error that there are none.

    Threads that want what another one reads wait for it.

    Args:
        limit: of the sizes of all values together; one is always kept. An error counts as 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._outcomes: OrderedDict[Hashable, tuple[T | ImageError, int]] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._free)

    def _free(self) -> None:
        """Free the lock in a forked process: the thread that holds it is not there."""
        self._lock = threading.Lock()

    def get(self, key: Hashable, size: int, load: Callable[[], T]) -> T:
        """Return what `load` returns, or returned the last time.

        Args:
            key: changes with the files that are read.

        Raises:
            ImageError: what `load` raised, now or the last time.
        """
        with self._lock:
            if key not in self._outcomes:
                while self._outcomes and size + self._total() > self._limit:
                    self._outcomes.popitem(last=False)
                try:
                    self._outcomes[key] = load(), size
                except ImageError as error:
                    self._outcomes[key] = error, 1
            self._outcomes.move_to_end(key)
            outcome, _ = self._outcomes[key]
        if isinstance(outcome, ImageError):
            raise outcome.with_subject("image")
        return outcome

    def _total(self) -> int:
        return sum(size for _, size in self._outcomes.values())


_volumes = Held[NDArray[Any]](HELD_BYTES)


def held(key: Hashable, size: int, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return the values of a volume, which `load` reads unless they are still there.

    Args:
        key: changes with the files of the volume.
        size: of the values, bytes.

    Raises:
        ImageError: they do not fit into memory, or what `load` raised, now or the last time.
    """

    def loaded() -> NDArray[Any]:
        _check_memory(size)
        return load()

    return _volumes.get(key, size, loaded)


def _check_memory(size: int) -> None:
    if (free := free_bytes()) is not None and size > free:
        numbers = f"{size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        hint = "Save it as .nii, of which slices are read one by one"
        raise ImageError("image", f"reading all of it needs {numbers}", hint)
