"""Lines for people, and progress on stderr; foreign text is made printable. No torch."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from i2i.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

PLAIN_SECONDS = 30.0  # between progress lines where there is no terminal, such as a cluster's log
REFRESH_SECONDS = 0.1  # between updates of the bar
LONGEST_LINE = 4_000  # characters

_bar: "Bar | None" = None  # the live bar of this process: lines are printed above it


def echo(text: str) -> None:
    """Print a line on stdout: what a command was called for."""
    click.echo(printable(text, LONGEST_LINE))


def log(text: str) -> None:
    """Print a line on stderr, above the progress bar if there is one.

    A closed stderr, a reader that is gone or a full disk stops nothing else.
    """
    line = printable(text, LONGEST_LINE)
    with suppress(OSError):
        if _bar:
            _bar.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
        else:
            click.echo(line, err=True)


class Progress:
    """Position in a long job (see `progress`); also the callback that library functions take."""

    def __init__(self, description: str, total: int, unit: str, start: int) -> None:
        self.description, self.total, self.unit = description, total, unit
        self._start, self._began = start, time.monotonic()
        self._last_output = self._began
        self._task: TaskID | None = None  # of the bar; None: plain lines

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` units are complete."""
        self.total = total
        self.update(done)

    def update(self, done: int, text: str = "") -> None:
        """Show that `done` units are complete, with `text` after the numbers.

        At most 10 times a second on a terminal, every 30 s elsewhere.
        """
        now = time.monotonic()
        if now - self._last_output < (PLAIN_SECONDS if self._task is None else REFRESH_SECONDS):
            return
        self._last_output = now
        text = f"{self._pace(done)}  {printable(text)}".rstrip()
        if self._task is None:
            share = 100 * done / max(self.total, 1)
            log(f"{self.description}: {done}/{self.total} {self.unit} ({share:.1f} %)  {text}")
        elif _bar:
            with suppress(OSError):
                _bar.update(self._task, completed=done, total=self.total, text=text, refresh=True)

    def rate(self, done: int) -> float:
        """Return units per second since this process began."""
        return (done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _pace(self, done: int) -> str:
        """Return the rate and the time left, as "12.3/s  00:01:20 left"."""
        rate = self.rate(done)
        if rate <= 0:
            return "-/s"
        seconds = max(0.0, (self.total - done) / rate)
        if seconds < 86_400:
            return f"{rate:.1f}/s  {time.strftime('%H:%M:%S', time.gmtime(seconds))} left"
        return f"{rate:.1f}/s  {seconds / 86_400:.1f} d left"


@contextmanager
def progress(
    description: str, total: int = 0, unit: str = "images", start: int = 0
) -> Iterator[Progress]:
    """Show the progress of a long job inside the block: a bar on a terminal, plain lines elsewhere.

    Args:
        description: what is being done, such as "translating".
        total: units of the complete job; 0: not known yet.
        unit: plural noun that is counted.
        start: units that were complete before this process began.
    """
    global _bar
    job = Progress(description, total, unit, start)
    if _bar or not sys.stderr.isatty():  # a terminal has room for one bar
        yield job
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TextColumn("{task.fields[text]}", markup=False),
    )
    # no refreshing thread: loader workers are forked while the bar is shown
    _bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    job._task = _bar.add_task(description, total=total, completed=start, text="")
    try:
        with suppress(OSError):  # of a terminal that has hung up
            _bar.start()
        yield job
    finally:
        with suppress(OSError):
            _bar.stop()
        _bar = None
