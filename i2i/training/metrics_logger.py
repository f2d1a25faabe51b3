"""The log of a run: metrics and events as JSON lines, TensorBoard, trackers, and progress."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i import trackers
from i2i.config import Config
from i2i.console import log, progress
from i2i.errors import LONGEST_REASON, printable
from i2i.files import EVENTS, METRICS, VALIDATIONS, JsonlWriter, read_rows
from i2i.trackers import Tracker

# not in the progress line
_QUIET = ("grad_norm", "drift", "diversity", "saturation", "saturation_real", "grid", "correlation")


class MetricsLogger:
    """Writes rows and events to `folder`, and progress to the screen.

    Neither a full disk nor a tracker that fails stops anything.
    """

    def __init__(self, folder: Path, total: int, position: int, config: Config) -> None:
        self._began, self._data_seconds = time.monotonic(), 0.0
        self._total, self._position = total, position
        self._last: dict[str, float] = {}  # values of the last row
        self._rows = JsonlWriter(folder / METRICS, position)
        self._events = JsonlWriter(folder / EVENTS, position)
        self._files = [self._rows, self._events]
        if config.validate.every_images or (folder / VALIDATIONS).exists():
            self._files.append(JsonlWriter(folder / VALIDATIONS, position))
        for file in self._files:
            if file.damaged:
                log(f"note: {file.path}: {file.damaged} damaged lines were removed")
        self._logged = {(event["kind"], event["text"]) for event in read_rows(self._events.path)}
        self._incomplete: set[object] = set()  # what was reported to lack rows
        self._summary = self._validated = ""  # of the last rows
        self._board: Any = None
        if config.log.tensorboard:
            from i2i.training.tensorboard import TensorBoardWriter  # slow to import

            with self._survive_full_disk("TensorBoard", position):
                self._board = TensorBoardWriter(folder, position, config)
        self._trackers = trackers.load(config.log.trackers)
        settings = config.to_dict()
        self._track(lambda tracker: tracker.start(folder, settings))
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
        self,
        images: int,
        epoch: float,
        metrics: Mapping[str, float],
        lrs: Mapping[str, float],
        histograms: Mapping[str, Sequence[int]],
    ) -> None:
        """Write a row: the means of the metrics since the last one, and histograms as counts."""
        row = {"images": images, "epoch": round(epoch, 4), **metrics}
        row |= {f"lr/{name}": lr for name, lr in lrs.items()}
        row["images_per_second"] = round(self._progress.rate(images), 3)
        row["data_wait"] = round(self._data_share(), 4)
        self._append(self._rows, row)
        self._position = images
        self._last = last = {name: value for name, value in row.items() if name != "images"}
        if self._board:
            with self._survive_full_disk("TensorBoard", images):
                self._board.scalars(last, images)
                self._board.histograms(histograms, images)
        self._track(lambda tracker: tracker.log(images, last))
        terms = [name for name in metrics if name.split("/")[-1] not in _QUIET]
        self._summary = "  ".join(f"{name} {metrics[name]:.3g}" for name in terms)

    def log_validation(self, row: Mapping[str, Any]) -> None:
        """Write a row of scores, {direction: {metric: {"mean", "low", "high"}}} and more."""
        self._append(self._files[-1], row)
        images, scores = row["images"], row["scores"]
        several = len(scores) > 1
        values: dict[str, float] = {}
        for direction, metrics in scores.items():
            suffix = f"/{direction}" if several else ""
            values |= {f"val/{name}{suffix}": score["mean"] for name, score in metrics.items()}
        if self._board:
            with self._survive_full_disk("TensorBoard", images):
                self._board.scalars(values, images)
        self._track(lambda tracker: tracker.log(images, values))
        best = ", the best so far" if row["best"] else ""
        text = f"{row['metric']} {row['value']:.4g}"
        self._validated = f"  val {text}"
        log(f"validation, after {images} images: {text}{best}")

    def log_images(self, images: int, sheet: NDArray[np.uint8]) -> None:
        """Add a sample sheet, [H, W, 3], to TensorBoard and the trackers."""
        if self._board:
            with self._survive_full_disk("TensorBoard", images):
                self._board.image("samples", sheet, images)
        self._track(lambda tracker: tracker.image(images, "samples", sheet))

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

    def _track(self, call: Callable[[Tracker], None]) -> None:
        """Call each tracker; one that fails is not called again, since it may have waited long."""
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:  # of any library
                del self._trackers[name]
                reason = f"{name}: {type(error).__name__}: {error}"
                text = f"{printable(reason, LONGEST_REASON)}. Training continues without it."
                log(text)  # each time that a run is resumed, while the event is kept once
                self.event(self._position, "tracker", text, quiet=True)

    def _data_share(self) -> float:
        return self._data_seconds / max(time.monotonic() - self._began, 1e-9)

    def close(self) -> None:
        """End the progress bar, and close the files and the trackers."""
        self._stack.close()
        self._track(lambda tracker: tracker.finish(self._last))
        if self._board and self._position >= self._total:
            with self._survive_full_disk("TensorBoard", self._position):
                self._board.finish(self._position)
        for file in self._files:
            try:
                file.close()
            except OSError as error:
                log(f"{file.path}: its last rows are lost ({error.strerror})")
        if self._board:
            self._board.close()
