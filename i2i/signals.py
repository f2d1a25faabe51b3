"""Stop signals (SIGINT, SIGTERM, hang-up of the terminal): raised as an exception, or kept as a flag to ask. No torch."""

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
    """A signal asked the command to stop. It is no Exception: nothing but `main` handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


@contextmanager
def raise_on_stop() -> Iterator[None]:
    """Raise Stopped in the block where a signal arrives, so that every `finally` of a command cleans up.

    An echo of the signal must not interrupt that; a second signal after a second does. Once Stopped
    has left the block, signals are ignored: all that is left is the end of the interpreter.
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
    """A flag that signals set and a loop asks at every step boundary.

    `alone`: a second Ctrl-C stops at once. Among several processes it must not: torchrun passes the
        terminal's Ctrl-C
    on to processes that have received it already.
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
            with suppress(
                OSError
            ):  # a pipe's reader may be gone; a print could interrupt another half-way
                os.write(2, f"stopping after this step, with a checkpoint{again}\n".encode())


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    """Install `handler` for the stop signals; a signal that is ignored, as under nohup, stays ignored."""
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only there can handlers be installed
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
    """Discard what would be printed to a terminal that has hung up: there, every line would be an error."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for handle in (1, 2):
        if stat.S_ISCHR(os.fstat(handle).st_mode):
            os.dup2(sink, handle)
    os.close(sink)
