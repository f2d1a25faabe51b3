"""Ctrl-C, SIGTERM and the hang-up of the terminal (SIGHUP). No torch.

Two policies: `raise_on_stop` raises an exception, for commands that can end anywhere; `StopRequest`
sets a flag, for training, which ends with a checkpoint at the next step.
"""

import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGHUP"):
    STOP_SIGNALS.append(signal.SIGHUP)
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
    last = -_ECHO_SECONDS

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _ECHO_SECONDS:
            last = now
            raise Stopped(number)

    with _handling(stop):
        yield


class StopRequest:
    """A flag that signals set and a loop reads after every step.

    With `alone`, a second Ctrl-C stops at once. Among several processes it must not: torchrun
    forwards the Ctrl-C of the terminal to processes that have received it already.
    """

    def __init__(self, alone: bool = True) -> None:
        self.signal = 0
        self.alone = alone

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Handle the signals inside the block."""
        with _handling(self._record):
            yield self

    def _record(self, number: int, _frame: FrameType | None) -> None:
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
        for number in handled:
            signal.signal(number, signal.SIG_IGN if stopped else before[number])


def _detach_terminal() -> None:
    """Discard output to a terminal that has hung up: every line would raise an error."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for handle in (1, 2):
        if stat.S_ISCHR(os.fstat(handle).st_mode):
            os.dup2(sink, handle)
    os.close(sink)
