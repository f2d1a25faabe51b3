"""Lines and progress for people, on stderr. No torch."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PLAIN_SECONDS = 30.0  # between progress lines where there is no terminal, such as a cluster's log
_REFRESH_SECONDS = 0.1

_bar: "Bar | None" = None  # the live bar of this process: lines are printed above it


def log(text: str) -> None:
    """Print a line, above the progress bar if there is one.

    Where stderr is closed, its reader gone or its disk full, nothing else stops for it.
    """
    with suppress(OSError):
        if _bar:
            _bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)


class Progress:
    """Position in a long job. See `progress`."""

    def __init__(self, description: str, total: int, unit: str, start: int) -> None:
        self.description, self.total, self.unit = description, total, unit
        self._start, self._began = start, time.monotonic()
        self._last_output = self._began
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done: the callback that library functions take."""
        self.total = total
        self.update(done)

    def update(self, done: int, text: str = "") -> None:
        """Show that `done` of the total are done, with `text` behind the numbers.

        At most 10 times a second on a terminal, every 30 s elsewhere.
        """
        now = time.monotonic()
        if now - self._last_output < (_REFRESH_SECONDS if _bar else PLAIN_SECONDS):
            return
        self._last_output = now
        if _bar and self._task is not None:
            with suppress(OSError):
                _bar.update(
                    self._task,
                    completed=done,
                    total=self.total,
                    text=f"{self._rates(done)}  {text}",
                )
                _bar.refresh()
        else:
            share = 100 * done / max(self.total, 1)
            counts = f"{done}/{self.total} {self.unit} ({share:.1f} %)"
            log(f"{self.description}: {counts}  {self._rates(done)}  {text}".rstrip())

    def rate(self, done: int) -> float:
        """Return units per second since this process began."""
        return (done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _rates(self, done: int) -> str:
        rate = self.rate(done)
        seconds = (self.total - done) / rate if rate else 0.0
        left = f"{seconds / 86_400:.1f} d"
        if seconds < 86_400:
            left = time.strftime("%H:%M:%S", time.gmtime(seconds))
        return f"{rate:.1f}/s  {left} left"


@contextmanager
def progress(
    description: str, total: int = 0, unit: str = "images", start: int = 0
) -> Iterator[Progress]:
    """Show the progress of a long job inside the block: a bar on a terminal, plain lines elsewhere.

    Args:
        description: what is being done.
        total: units of the complete job, of which `start` were done before this process; 0: not
            known yet.
        unit: plural noun that is counted.
    """
    global _bar
    job = Progress(description, total, unit, start)
    if _bar or not sys.stderr.isatty():
        yield job
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        unit,
        TextColumn("{task.fields[text]}"),
    )
    # no refreshing thread: loader workers are forked while the bar is shown
    _bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    job._task = _bar.add_task(description, total=total, completed=start, text="")
    try:
        with _bar:
            yield job
    finally:
        _bar = None
