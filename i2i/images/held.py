"""Whole volumes in memory, the last ones, so that slices in turn do not read them each time."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

from i2i.images.formats import ImageError
from i2i.memory import free_bytes

HELD_BYTES = 2**29  # that a process keeps; always one volume

_volumes: OrderedDict[Hashable, NDArray[Any] | ImageError] = OrderedDict()
_reading = threading.Lock()


def _reset() -> None:
    """Free the lock in a forked process: the thread that holds it is not there."""
    global _reading
    _reading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def held(key: Hashable, size: int, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return the values of a volume, which `load` reads unless they are still there.

    Args:
        key: changes with the files of the volume.
        size: of the values, bytes.

    Raises:
        ImageError: they do not fit into memory, or what `load` raised, now or the last time.
    """
    with _reading:  # threads that want its other slices would read it, too
        if key not in _volumes:
            while _volumes and size + sum(map(_bytes, _volumes.values())) > HELD_BYTES:
                _volumes.popitem(last=False)
            try:
                _check_memory(size)
                _volumes[key] = load()
            except ImageError as error:
                _volumes[key] = error
        _volumes.move_to_end(key)
        outcome = _volumes[key]
    if isinstance(outcome, ImageError):
        raise outcome.with_subject("image")
    return outcome


def _bytes(outcome: NDArray[Any] | ImageError) -> int:
    return 0 if isinstance(outcome, ImageError) else outcome.nbytes


def _check_memory(size: int) -> None:
    if (free := free_bytes()) is not None and size > free:
        numbers = f"{size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        hint = "Save it as .nii, of which slices are read one by one"
        raise ImageError("image", f"reading all of it needs {numbers}", hint)
