"""The log of a run: rows of metrics and events as JSON lines, TensorBoard files, and progress."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.console import log, progress
from i2i.files import EVENTS, METRICS, VALIDATIONS, JsonlWriter, read_rows

# not in the progress line
_QUIET = ("grad_norm", "drift", "diversity", "saturation", "saturation_real", "correlation")


class MetricsLogger:
    """Writes rows and events to `folder`, and progress to the screen. A full disk stops nothing."""

    def __init__(
        self,
        folder: Path,
        total: int,
        position: int,
        tensorboard: bool,
        validates: bool = False,
    ) -> None:
        self._began, self._data_seconds = time.monotonic(), 0.0
        self._rows = JsonlWriter(folder / METRICS, position)
        self._events = JsonlWriter(folder / EVENTS, position)
        self._files = [self._rows, self._events]
        if validates or (folder / VALIDATIONS).exists():
            self._files.append(JsonlWriter(folder / VALIDATIONS, position))
        for file in self._files:
            if file.damaged:
                log(f"note: {file.path}: {file.damaged} damaged lines were removed")
        self._logged = {(event["kind"], event["text"]) for event in read_rows(self._events.path)}
        self._incomplete: set[object] = set()  # what was reported to lack rows
        self._summary = self._validated = ""  # of the last rows
        self._board: Any = None
        if tensorboard:
            from i2i.training.tensorboard import TensorBoardWriter  # slow to import

            with self._survive_full_disk("TensorBoard", position):
                self._board = TensorBoardWriter(folder, position)
        self._stack = ExitStack()
        self._progress = self._stack.enter_context(progress("training", total, start=position))

    def add_data_time(self, seconds: float) -> None:
        """Count time that was spent waiting for data."""
        self._data_seconds += seconds

    def show_progress(self, images: int, trouble: str = "") -> None:
        """Show the position, the share of time spent waiting for data, and the last terms."""
        text = f"{trouble}  data {self._data_share():.0%}  {self._summary}{self._validated}"
        self._progress.update(images, text.lstrip())

    def log(
        self, images: int, epoch: float, metrics: Mapping[str, float], lrs: Mapping[str, float]
    ) -> None:
        """Write a row: the means of the metrics since the last one."""
        row = {"images": images, "epoch": round(epoch, 4), **metrics}
        row |= {f"lr/{name}": lr for name, lr in lrs.items()}
        row["images_per_second"] = round(self._progress.rate(images), 3)
        row["data_wait"] = round(self._data_share(), 4)
        self._append(self._rows, row)
        if self._board:
            with self._survive_full_disk("TensorBoard", images):
                self._board.scalars({k: v for k, v in row.items() if k != "images"}, images)
        terms = [name for name in metrics if name.split("/")[-1] not in _QUIET]
        self._summary = "  ".join(f"{name} {metrics[name]:.3g}" for name in terms)

    def log_validation(self, row: Mapping[str, Any]) -> None:
        """Write a row of scores, {direction: {metric: {"mean", "low", "high"}}} and more."""
        self._append(self._files[-1], row)
        images, scores = row["images"], row["scores"]
        if self._board:
            several = len(scores) > 1
            values = {
                f"val/{metric}{f'/{direction}' * several}": interval["mean"]
                for direction, metrics in scores.items()
                for metric, interval in metrics.items()
            }
            with self._survive_full_disk("TensorBoard", images):
                self._board.scalars(values, images)
        best = ", the best so far" if row["best"] else ""
        text = f"{row['metric']} {row['value']:.4g}"
        self._validated = f"  val {text}"
        log(f"validation, after {images} images: {text}{best}")

    def log_images(self, images: int, sheet: NDArray[np.uint8]) -> None:
        """Add a sample sheet, [H, W, 3], to TensorBoard."""
        if self._board:
            with self._survive_full_disk("TensorBoard", images):
                self._board.image("samples", sheet, images)

    def event(self, images: int, kind: str, text: str, quiet: bool = False) -> None:
        """Note an event for the report, and print it unless `quiet`.

        Once for the same words, also across resumed runs.
        """
        if (kind, text) in self._logged:
            return
        self._logged.add((kind, text))
        if not quiet:
            log(f"{kind}, after {images} images: {text}")
        self._append(self._events, {"images": images, "kind": kind, "text": text})

    def _append(self, file: JsonlWriter, row: Mapping[str, Any]) -> None:
        with self._survive_full_disk(file.path, row["images"], "Rows wait until there is room. "):
            file.add(row)

    @contextmanager
    def _survive_full_disk(self, name: object, images: int, hint: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if name not in self._incomplete:
                self._incomplete.add(name)
                text = f"{name}: not written ({error.strerror}). {hint}Training continues."
                self.event(images, "disk", text)

    def _data_share(self) -> float:
        return self._data_seconds / max(time.monotonic() - self._began, 1e-9)

    def close(self) -> None:
        """End the progress bar and close the files."""
        self._stack.close()
        for file in self._files:
            try:
                file.close()
            except OSError as error:
                log(f"{file.path}: its last rows are lost ({error.strerror})")
        if self._board:
            self._board.close()
