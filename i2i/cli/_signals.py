"""SIGINT, SIGTERM and the hang-up of a terminal as an exception, so that every `finally` of a command tidies up."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ONCE = 1.0  # seconds: `timeout` and job schedulers send a signal to the process and to its group


class Stopped(BaseException):
    """A signal asked the command to stop. It is no Exception: nothing but `main` handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


class _Stop:
    def __init__(self) -> None:
        self.last = -_ONCE

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self.last >= _ONCE:  # an echo must not interrupt the tidying up; who asks again means it
            self.last = now
            raise Stopped(number)


@contextmanager
def stopping() -> Iterator[None]:
    """Raise Stopped in the block where a signal arrives; a signal that is ignored, as under nohup, stays so.

    After Stopped the signals are ignored: all that is left is the end of the interpreter.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be installed
        yield
        return
    stop, all_ = _Stop(), (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
    before = {number: signal.getsignal(number) for number in all_}
    handled = [number for number in all_ if before[number] not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, stop)
    after: dict[signal.Signals, signal.Handlers] = {}
    try:
        yield
    except Stopped:
        after = dict.fromkeys(handled, signal.SIG_IGN)
        raise
    finally:
        for number in handled:
            signal.signal(number, after.get(number, before[number]))
