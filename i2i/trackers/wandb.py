"""Weights & Biases: offline, unless WANDB_MODE=online. `wandb sync` sends the files later."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.files import TRACKERS, own_folder
from i2i.trackers import save_id, saved_id

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would send reports of its own errors
import wandb


class Tracker:
    """A run of wandb with its files in RUN/trackers/wandb, of the project WANDB_PROJECT or i2i."""

    _run: Any

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begin, or continue under the identifier that the run folder keeps."""
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        quiet: Any = {"console": "off", "silent": True, "disable_git": True}
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "i2i"),
            name=folder.resolve().name,
            dir=own_folder(folder / TRACKERS),
            id=saved_id(folder, "wandb"),
            resume="allow",
            mode=mode,
            config=dict(config),
            settings=wandb.Settings(**quiet),
        )
        save_id(folder, "wandb", self._run.id)
        # not as wandb's own step, which may never go back, as that of a resumed run does
        self._run.define_metric("*", step_metric="images")

    def log(self, images: int, metrics: Mapping[str, float]) -> None:
        """Log a row."""
        self._run.log({"images": images, **metrics})

    def image(self, images: int, name: str, array: NDArray[np.uint8]) -> None:
        """Log a picture."""
        self._run.log({"images": images, name: wandb.Image(array)})

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Put the last values into the summary, and write all that is left."""
        self._run.summary.update(dict(metrics))
        self._run.finish()
