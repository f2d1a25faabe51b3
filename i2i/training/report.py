"""What a run tells while it goes: a live line or plain lines on the screen, JSON lines and TensorBoard files."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.checkpoint import write_atomically

_PLAIN_SECONDS = 30.0  # between lines where there is no terminal, such as a cluster's log


class Reporter:
    """Writes rows of terms to `folder` and progress to the screen."""

    def __init__(self, folder: Path, total: int, position: int, tensorboard: bool) -> None:
        self.total, self._start, self._begun = total, position, time.monotonic()
        self._waited = 0.0
        self._spoken = self._begun
        self._terms = ""
        self.path = folder / "metrics.jsonl"
        truncate_rows(self.path, position)
        self._file = self.path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._board = SummaryWriter(str(folder), purge_step=position + 1 if position else None)
        self._live: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()

    def waited(self, seconds: float) -> None:
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
        eta = time.strftime("%H:%M:%S", time.gmtime(left)) if left < 86_400 else f"{left / 86_400:.1f} d"
        return (
            f"{images}/{self.total} images ({share:.1f} %)  {speed:.1f}/s  left {eta}  data {wait:.0%}  {self._terms}"
        )

    def speed(self, images: int) -> float:
        """Return images per second since this process began."""
        return (images - self._start) / max(time.monotonic() - self._begun, 1e-9)

    def wait_share(self) -> float:
        """Return the share of time spent waiting for data."""
        return self._waited / max(time.monotonic() - self._begun, 1e-9)

    def row(self, images: int, epoch: float, terms: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Write the means of the terms since the last row."""
        if not terms:
            return
        self._terms = "  ".join(f"{name} {value:.3g}" for name, value in terms.items() if "grad_norm" not in name)
        row = {"images": images, "epoch": round(epoch, 4)} | dict(terms)
        row |= {f"lr/{name}": rate for name, rate in rates.items()}
        timing = {"images_per_second": round(self.speed(images), 3), "data_wait": round(self.wait_share(), 4)}
        try:
            self._file.write(json.dumps(row | timing) + "\n")
            self._file.flush()
        except OSError as error:
            self.say(f"{self.path}: a row was not written ({error.strerror}). Training goes on.")
        if self._board:
            for name, value in (row | timing).items():
                if name != "images":
                    self._board.add_scalar(name, value, images)

    def sheet(self, images: int, picture: NDArray[np.uint8]) -> None:
        """Add a sample sheet, [H, W, 3], to TensorBoard."""
        if self._board:
            self._board.add_image("samples", picture, images, dataformats="HWC")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._say(text, live=False)

    def _say(self, text: str, live: bool) -> None:
        if self._live and live:
            from rich.text import Text

            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the live line and close the files."""
        if self._live:
            self._live.stop()
            self._live = None
        self._file.close()
        if self._board:
            self._board.close()


def truncate_rows(path: Path, position: int) -> None:
    """Drop rows after `position`, and a half-written last one: a resumed run writes them again."""
    if not path.exists():
        return
    rows = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            if json.loads(line)["images"] <= position:
                rows.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_atomically(path, "".join(rows).encode())


def read_rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `metrics.jsonl`."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
