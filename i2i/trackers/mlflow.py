"""MLflow: files in RUN/trackers/mlruns, unless MLFLOW_TRACKING_URI names another store."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.files import TRACKERS, own_folder
from i2i.trackers import flat, save_id, saved_id

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report its use
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the store that needs no database
from mlflow import MlflowClient
from mlflow.entities import Metric, Param


class Tracker:
    """A run of MLflow, in the experiment MLFLOW_EXPERIMENT_NAME or i2i."""

    _client: MlflowClient
    _run: str

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begin, or continue the run whose identifier the run folder keeps."""
        own = own_folder(folder / TRACKERS).resolve() / "mlruns"
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or own.as_uri())
        run = saved_id(folder, "mlflow")
        if run is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "i2i")
            existing = self._client.get_experiment_by_name(name)
            experiment = (
                self._client.create_experiment(name) if existing is None else existing.experiment_id
            )
            run = self._client.create_run(experiment, run_name=folder.resolve().name).info.run_id
            save_id(folder, "mlflow", run)
            params = [Param(key, str(value)) for key, value in flat(config).items()]
            self._client.log_batch(run, params=params)  # never changed: MLflow refuses that
        self._run = run
        self._client.update_run(run, status="RUNNING")
        self._client.log_dict(run, dict(config), "config.json")

    def log(self, images: int, metrics: Mapping[str, float]) -> None:
        """Log a row."""
        now = round(1000 * time.time())
        row = [Metric(name, value, now, images) for name, value in metrics.items()]
        self._client.log_batch(self._run, row)

    def image(self, images: int, name: str, array: NDArray[np.uint8]) -> None:
        """Log a picture as a file of the run."""
        self._client.log_image(self._run, array, f"{name}/{images:08d}.png")

    def finish(self, metrics: Mapping[str, float]) -> None:
        """End the run; its last values are in its rows."""
        self._client.set_terminated(self._run)
