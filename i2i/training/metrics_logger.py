"""What a run tells while it goes: a live line or plain lines on the screen, JSON lines and TensorBoard files."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.files import EVENTS, METRICS, JsonlWriter, read_rows

_PLAIN_SECONDS = 30.0  # between lines where there is no terminal, such as a cluster's log
_QUIET = (
    "grad_norm",
    "drift",
    "diversity",
    "saturation",
    "saturation_real",
    "correlation",
)  # not in the progress line


class MetricsLogger:
    """Writes rows of terms and events to `folder`, and progress to the screen. A full disk stops none of it."""

    def __init__(self, folder: Path, total: int, position: int, tensorboard: bool) -> None:
        self.total, self._start, self._begun = total, position, time.monotonic()
        self._waited = 0.0
        self._spoken = self._begun
        self._terms = ""
        self._rows, self._events = (
            JsonlWriter(folder / METRICS, position),
            JsonlWriter(folder / EVENTS, position),
        )
        self._known = {(event["kind"], event["text"]) for event in read_rows(self._events.path)}
        self._full: set[Path] = set()  # files that have been said to be incomplete
        self._live: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._board: Any = None
        if tensorboard:
            from i2i.training.tensorboard import TensorBoardWriter  # slow to import

            try:
                self._board = TensorBoardWriter(folder, position)
            except OSError as error:
                self._drop_board(error, position)

    def add_data_time(self, seconds: float) -> None:
        """Count time that was spent waiting for data."""
        self._waited += seconds

    def progress(self, images: int) -> None:
        """Show the position: at most 10 times a second on a terminal, every 30 s elsewhere."""
        now = time.monotonic()
        if now - self._spoken < (0.1 if self._live else _PLAIN_SECONDS):
            return
        self._spoken = now
        self._say(self.line(images), live=True)

    def line(self, images: int) -> str:
        """Return the progress line at `images`."""
        speed, wait = self.speed(images), self.wait_share()
        left = (self.total - images) / speed if speed else 0.0
        share = 100 * images / max(self.total, 1)
        eta = (
            time.strftime("%H:%M:%S", time.gmtime(left))
            if left < 86_400
            else f"{left / 86_400:.1f} d"
        )
        return f"{images}/{self.total} images ({share:.1f} %)  {speed:.1f}/s  left {eta}  data {wait:.0%}  {self._terms}"

    def speed(self, images: int) -> float:
        """Return images per second since this process began."""
        return (images - self._start) / max(time.monotonic() - self._begun, 1e-9)

    def wait_share(self) -> float:
        """Return the share of time spent waiting for data."""
        return self._waited / max(time.monotonic() - self._begun, 1e-9)

    def log(
        self, images: int, epoch: float, terms: Mapping[str, float], rates: Mapping[str, float]
    ) -> None:
        """Write the means of the terms since the last row."""
        self._terms = "  ".join(
            f"{name} {value:.3g}" for name, value in terms.items() if _told(name)
        )
        row = {"images": images, "epoch": round(epoch, 4)} | dict(terms)
        row |= {f"lr/{name}": rate for name, rate in rates.items()}
        timing = {
            "images_per_second": round(self.speed(images), 3),
            "data_wait": round(self.wait_share(), 4),
        }
        self._try(self._rows, lambda: self._rows.add(row | timing), images)
        self._on_board(
            lambda board: board.scalars(
                {k: v for k, v in (row | timing).items() if k != "images"}, images
            ),
            images,
        )

    def log_images(self, images: int, picture: NDArray[np.uint8]) -> None:
        """Add a sample sheet, [H, W, 3], to TensorBoard."""
        self._on_board(lambda board: board.picture("samples", picture, images), images)

    def event(self, images: int, kind: str, text: str) -> None:
        """Print a line that stays, and note it for the report; once for the same words, also across resumed runs."""
        if (kind, text) not in self._known:
            self._say(f"{kind}, after {images} images: {text}", live=False)
            self.note(images, kind, text)

    def note(self, images: int, kind: str, text: str) -> None:
        """Note for the report what has been printed elsewhere; see `event`."""
        if (kind, text) not in self._known:
            self._known.add((kind, text))
            event = {"images": images, "kind": kind, "text": text}
            self._try(self._events, lambda: self._events.add(event), images)

    def _try(self, lines: JsonlWriter, write: Callable[[], None], images: int) -> None:
        try:
            write()
        except OSError as error:
            if lines.path not in self._full:
                self._full.add(lines.path)
                waits = "What is missing is written when there is room. Training goes on."
                self.event(images, "disk", f"{lines.path}: not written ({error.strerror}). {waits}")

    def _on_board(self, write: Callable[[Any], None], images: int) -> None:
        if self._board:
            try:
                write(self._board)
            except OSError as error:
                self._drop_board(error, images)

    def _drop_board(self, error: OSError, images: int) -> None:
        if self._board:
            self._board.close()
            self._board = None
        self.event(
            images,
            "disk",
            f"TensorBoard: not written ({error.strerror}), and given up. Training goes on.",
        )

    def _say(self, text: str, live: bool) -> None:
        if self._live and live:
            from rich.text import Text

            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            with suppress(OSError):  # of a log file on a full disk
                print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the live line and close the files."""
        if self._live:
            self._live.stop()
            self._live = None
        for lines in (self._rows, self._events):
            try:
                lines.close()
            except OSError as error:
                self._say(f"{lines.path}: its last lines are lost ({error.strerror}).", live=False)
        if self._board:
            self._board.close()


def _told(name: str) -> bool:
    return name.split("/")[-1] not in _QUIET
