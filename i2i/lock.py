"""One writer for a run folder: a lock that vanishes with the process that holds it. No torch, so asking is quick."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from i2i.errors import I2IError

_NAME = ".lock"
_TRIES, _PAUSE = 4, 0.1  # seconds between tries: somebody who only asks holds the lock for less


class InUseError(I2IError, ValueError):
    """Another live process writes to this run."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run `folder`, which exists, for this process.

    It is a record lock of the operating system: the lock of a dead process is free by itself, and
        processes that
    load data do not inherit it. Where the file system has no locks (or the platform no POSIX),
    there is none.

    Raises:
        InUseError: another process holds it.
    """
    with open(folder / _NAME, "a+b") as file:
        _lock(file, folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        file.flush()
        yield


def check_held(folder: Path) -> None:
    """Raise InUseError if a process holds the run `folder`. Nothing is created."""
    if (folder / _NAME).exists():
        with open(folder / _NAME, "r+b") as file:
            _lock(file, folder)


def _lock(file: BinaryIO, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    for left in reversed(range(_TRIES)):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # no locks on this file system
                return
            if left:
                time.sleep(_PAUSE)
    file.seek(0)
    owner = file.read(200).decode("utf-8", "replace").strip() or "unknown"
    raise InUseError(
        f"{folder}: another process is using this run ({owner}). Wait for it, or choose another --out."
    )
