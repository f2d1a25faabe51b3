"""One writer for a folder: locks that vanish with their process. No torch: asking is quick."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

from i2i.errors import I2IError
from i2i.files import check_empty, check_new_folder, open_own, own_folder, write_error

LOCK = ".lock"  # of runs; it names the process
_ATTEMPTS, _PAUSE_SECONDS = 4, 0.1  # a process that only asks holds the lock for less

_folders: set[int] = set()  # handles of locked folders


class InUseError(I2IError, ValueError):
    """Another live process writes to this folder."""


class Lock:
    """A folder that this process holds; see `exclusive`."""

    def __init__(self, folder: Path, marked: bool, shared: bool, stack: ExitStack) -> None:
        self._folder, self._marked, self._stack = folder, marked, stack
        self._handle = _lock_folder(folder, stack, shared)
        self._file: FileIO | None = None
        self.check()

    def check(self) -> None:
        """Look whether what is locked still is at its path; a lock file that is gone is made again.

        Raises:
            InUseError: the folder was replaced, or another process holds the file that is there.
            WriteError: a link is in the way.
        """
        if self._handle is not None and not _is_at(self._handle, self._folder):
            reason = "the folder was moved, removed or replaced while it was written"
            raise InUseError(self._folder, reason, "Nothing was written into what is there now")
        path = self._folder / LOCK
        if self._marked and not (self._file and _is_at(self._file.fileno(), path)):
            try:
                self._file = self._stack.enter_context(open_own(path, "a+"))
                _lock(self._file.fileno(), self._folder, record=True)
                self._file.truncate(0)
                self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            except OSError as error:
                raise write_error(path, error) from None


@contextmanager
def exclusive(folder: Path, marked: bool = True, shared: bool = False) -> Iterator[Lock]:
    """Hold `folder`, which exists, for this process, or for all that ask for it as `shared`.

    The lock is on the folder itself, so that no file can be removed to get around it. Runs are
    `marked`: a file says who holds them, and is locked too, for file systems that cannot lock
    folders. Dead processes hold nothing, and processes that load data inherit nothing. There is no
    lock where the file system has none, or the platform no POSIX.

    Raises:
        InUseError: another process holds it.
        WriteError: a link is in the way.
    """
    with ExitStack() as stack:
        yield Lock(folder, marked, shared, stack)


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Create `folder`, or take an empty one, and hold it; where nothing was written, remove it.

    Raises:
        InUseError: another process holds it.
        WriteError: it is a link, is not empty, or cannot be created.
    """
    check_new_folder(folder)
    created = not folder.exists()
    with exclusive(own_folder(folder), marked=False):
        check_empty(folder)
        try:
            yield
        except BaseException:
            if created:
                with suppress(OSError):
                    folder.rmdir()
            raise


def exclusive_file(file: FileIO, folder: Path) -> None:
    """Hold an open file in `folder` until it is closed.

    Raises:
        InUseError: another process holds it.
    """
    _lock(file.fileno(), folder, record=True)


def check_held(folder: Path) -> None:
    """Raise InUseError if a process holds `folder`. Nothing is created."""
    if folder.is_dir():
        with ExitStack() as stack:
            _lock_folder(folder, stack)
            if (folder / LOCK).exists():
                _lock(stack.enter_context(open_own(folder / LOCK, "r+")).fileno(), folder, True)


def _is_at(handle: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _lock_folder(folder: Path, stack: ExitStack, shared: bool = False) -> int | None:
    """Lock the folder itself until `stack` is closed; None where folders cannot be opened."""
    if os.name != "posix":
        return None
    handle = os.open(folder, os.O_RDONLY)
    stack.callback(_release, handle)
    _folders.add(handle)
    _lock(handle, folder, record=False, shared=shared)
    return handle


def _release(handle: int) -> None:
    if handle in _folders:  # not in a forked child
        _folders.discard(handle)
        os.close(handle)


def _forget_in_child() -> None:
    """Close inherited handles: a child would keep the lock of a parent that was killed."""
    while _folders:
        os.close(_folders.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _lock(handle: int, folder: Path, record: bool, shared: bool = False) -> None:
    """Lock an open file, as a record of POSIX or, for folders, as BSD does."""
    try:
        import fcntl
    except ImportError:
        return
    lock = fcntl.lockf if record else fcntl.flock
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            lock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # no locks on this file system
                return
            if attempts_left:
                time.sleep(_PAUSE_SECONDS)
    kind = "run" if (folder / LOCK).exists() else "folder"
    reason = f"another process is using this {kind}{_owner(folder)}"
    raise InUseError(folder, reason, "Wait for it, or choose another output")


def _owner(folder: Path) -> str:
    """Return what the lock file says, in brackets."""
    with suppress(OSError, I2IError), open_own(folder / LOCK, "r") as file:
        text = file.read(200).decode("utf-8", "replace").strip()
        return f" ({text})" if text.isprintable() and text else ""
    return ""


def process_alive(pid: int) -> bool:
    """Return True if a process of this machine has the id `pid`."""
    if os.name != "posix":  # there, signal 0 would be a Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
