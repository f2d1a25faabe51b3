"""One writer for a run folder: a lock that vanishes with its process. No torch: asking is quick."""

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
_ATTEMPTS, _PAUSE_SECONDS = 4, 0.1  # a process that only asks holds the lock for less


class InUseError(I2IError, ValueError):
    """Another live process writes to this run."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run `folder`, which exists, for this process.

    It is a record lock of the operating system: that of a dead process is released, and processes
    that load data do not inherit it. There is none where the file system has no locks, or the
    platform no POSIX.

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
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # no locks on this file system
                return
            if attempts_left:
                time.sleep(_PAUSE_SECONDS)
    file.seek(0)
    owner = file.read(200).decode("utf-8", "replace").strip() or "unknown"
    reason = f"another process is using this run ({owner})"
    raise InUseError(folder, reason, "Wait for it, or choose another --out")
