"""Ctrl-C, SIGTERM and the hang-up of the terminal (SIGHUP). No torch.

Two policies: `raise_on_stop` raises an exception, for commands that can end anywhere; `StopRequest`
sets a flag, for training, which ends with a checkpoint at the next step.
"""

import math
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP"):
    STOP_SIGNALS.append(signal.SIGHUP)
_CAN_WAIT = hasattr(signal, "setitimer")
_RETRY_SECONDS = 0.05
_ECHO_SECONDS = 1.0  # `timeout` and job schedulers send a signal to the process and to its group

Handler = Callable[[int, FrameType | None], None]


class Stopped(BaseException):
    """A signal asked the command to stop. A BaseException: nothing but `main` handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


@contextmanager
def raise_on_stop() -> Iterator[None]:
    """Raise Stopped where a signal arrives in the block, so that every `finally` cleans up.

    An echo of the signal does not interrupt that; a second signal after a second does. Once Stopped
    has left the block, signals are ignored: only the shutdown of the interpreter remains.
    """
    block = sys._getframe(2)  # below this function and contextlib's
    _echo.since = -math.inf
    heard = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if not _echo.hears():
            heard = number
            _raise(number, frame, block)

    with _handling(stop), _unswallowed(block):
        try:
            yield
        except Exception as error:
            if heard:  # a library has made another error of Stopped
                raise Stopped(heard) from error
            raise


class StopRequest:
    """A flag that signals set and a loop reads after every step.

    With `alone`, a second Ctrl-C stops at once, unless it is an echo of the first. Among several
    processes it must not: torchrun forwards the Ctrl-C of the terminal to processes that have
    received it already.
    """

    def __init__(self, alone: bool = True) -> None:
        self.signal = 0
        self.alone = alone
        self._waiting: FrameType | None = None  # the block to interrupt

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Handle the signals inside the block."""
        with _handling(self._record):
            _echo.since = -math.inf
            if number := _cancel_raise():  # of the block around, which waits for an import to end
                self._record(number, None)
            yield self

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise Stopped where a signal arrives in the block: a wait that a flag would not end."""
        self._waiting = sys._getframe(2)
        try:
            if self.signal:
                raise Stopped(self.signal)
            yield
        finally:
            self._waiting = None
            _cancel_raise()

    def _record(self, number: int, frame: FrameType | None) -> None:
        if _echo.hears():
            return
        if self.signal and number == signal.SIGINT and self.alone:
            raise KeyboardInterrupt
        first, self.signal = not self.signal, number
        if first:
            again = "; once more stops without" if self.alone else ""
            if number not in (signal.SIGINT, signal.SIGTERM):
                _detach_terminal()
            text = f"stopping after this step, with a checkpoint{again}\n"
            with suppress(OSError):  # of a pipe without a reader
                os.write(2, text.encode())  # print could interrupt a print half-way
        if self._waiting:
            _raise(number, frame, self._waiting)


class _Echo:
    """Signals within a second of one that was acted on are its echo."""

    since = -math.inf

    def hears(self) -> bool:
        now = time.monotonic()
        is_echo = now - self.since < _ECHO_SECONDS
        if not is_echo:
            self.since = now
        return is_echo


_echo = _Echo()
_waiting_for_import: list[int] = []  # the number of a signal that is to raise Stopped


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    """Install `handler` for the stop signals; an ignored signal, as under nohup, stays ignored."""
    if threading.current_thread() is not threading.main_thread():  # others cannot install handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handled = [number for number in STOP_SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, handler)
    stopped = False
    try:
        yield
    except Stopped:
        stopped = True
        raise
    finally:
        _cancel_raise()
        for number in handled:
            signal.signal(number, signal.SIG_IGN if stopped else before[number])


def _raise(number: int, frame: FrameType | None, block: FrameType) -> None:
    """Raise Stopped in `block`, or as soon as the import that `frame` is in has ended.

    An import that an exception ends leaves half a module, and libraries that import when needed
    take the exception for a missing module.
    """
    _cancel_raise()
    while frame and frame is not block:
        if frame.f_code.co_filename.startswith("<frozen importlib") and _CAN_WAIT:
            _raise_later(number, block)
            return
        frame = frame.f_back
    raise Stopped(number)


def _raise_later(number: int, block: FrameType) -> None:
    _waiting_for_import.append(number)
    signal.signal(signal.SIGALRM, lambda _, frame: _raise(number, frame, block))
    signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS)


def _cancel_raise() -> int:
    """Return the signal that waits for an import to end, which no longer raises; 0 if none does."""
    if not _waiting_for_import:
        return 0
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    number = _waiting_for_import[-1]
    _waiting_for_import.clear()
    return number


@contextmanager
def _unswallowed(block: FrameType) -> Iterator[None]:
    """Raise Stopped again where it was raised in a destructor, whose exceptions are dropped."""
    before = sys.unraisablehook

    def report(dropped: "sys.UnraisableHookArgs") -> None:
        if isinstance(dropped.exc_value, Stopped) and _CAN_WAIT:
            _raise_later(dropped.exc_value.number, block)
        else:
            before(dropped)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def blocked() -> Iterator[None]:
    """Hold the stop signals back inside the block, in which a process is forked.

    The child would answer them as its parent does until it has installed its own handlers.
    """
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        yield


def ignore() -> None:
    """Ignore the stop signals in a child that its parent stops, forked in a `blocked` block."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _detach_terminal() -> None:
    """Discard output to a terminal that has hung up: every line would raise an error."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for handle in (1, 2):
        if stat.S_ISCHR(os.fstat(handle).st_mode):
            os.dup2(sink, handle)
    os.close(sink)
