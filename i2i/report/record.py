"""Files of a run folder as a page needs them; whatever is missing or damaged is left out."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2i.config import ConfigError, merge, read_yaml
from i2i.errors import I2IError
from i2i.evaluation.metric import Interval
from i2i.files import EVENTS, METRICS, SAMPLES, VALIDATIONS, read_own, read_rows

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"  # machine, duration and end of a run
SCORES = "scores.csv"  # of every image, in a folder of pictures
MAX_SCORES = 20_000  # images whose scores are read

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Validation:
    """Scores of the networks after `images` images of training."""

    images: int
    scores: Mapping[str, Mapping[str, Interval]]  # by direction and metric
    metric: str  # that chooses the best
    protocol: Json
    protocol_hash: str
    best: bool


@dataclass(frozen=True)
class Record:
    """All that the files of a run say."""

    folder: Path
    name: str
    settings: Mapping[str, Mapping[str, Any]]  # by section; {} where config.yaml cannot be read
    rows: list[dict[str, Any]]
    events: list[dict[str, Any]]
    validations: list[Validation]
    environment: Json
    problems: list[str] = field(default_factory=list)

    def setting(self, key: str) -> str:
        """The text of a setting, "section.key"; "" where it is none."""
        section, _, name = key.partition(".")
        value = self.settings.get(section, {}).get(name)
        return value if isinstance(value, str) else ""

    @property
    def images(self) -> int:
        """Images seen, as far as rows were written."""
        return max((row["images"] for row in [*self.rows, *self.events]), default=0)

    @property
    def headline(self) -> Validation | None:
        """The best validation, or the newest where none is marked; None without any."""
        best = [each for each in self.validations if each.best] or self.validations
        return best[-1] if best else None

    @property
    def total(self) -> int:
        """Length of the training in images; 0: not known."""
        total = self.settings.get("train", {}).get("total_images")
        return total if isinstance(total, int) else 0

    @property
    def minutes(self) -> float:
        """Duration of training; NaN: not known. Without a record that of the last start."""
        seconds = number(self.environment.get("seconds"))
        if math.isnan(seconds) and self.rows:
            rate = number(self.rows[-1].get("images_per_second"))
            seconds = self.images / rate if rate > 0 else math.nan
        return seconds / 60

    @property
    def speed(self) -> float:
        """Images per second of training; NaN: not known."""
        return self.images / self.minutes / 60 if self.minutes > 0 else math.nan


def read_record(folder: Path) -> Record:
    """Read a run; settings that cannot be read are named in `problems`.

    Raises:
        I2IError: `folder` holds no run.
    """
    if not any((folder / name).is_file() for name in (CONFIG, METRICS)):
        raise I2IError(folder, f"holds no run (there is no {CONFIG})", "Give the folder of a run")
    problems: list[str] = []
    settings: dict[str, Any] = {}
    try:
        values = merge([read_yaml(folder / CONFIG)])
        settings = {key: value for key, value in values.items() if isinstance(value, dict)}
    except ConfigError as error:
        problems.append(str(error.with_subject(CONFIG)))
    return Record(
        folder,
        folder.resolve().name,
        settings,
        read_rows(folder / METRICS),
        read_rows(folder / EVENTS),
        list(map(_validation, read_rows(folder / VALIDATIONS))),
        read_environment(folder),
        problems,
    )


def read_environment(folder: Path) -> dict[str, Any]:
    """Return what is recorded of the machine and the duration of a run; {} without a record."""
    path = folder / ENVIRONMENT
    try:
        value = json.loads(read_own(path)) if path.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def number(value: object) -> float:
    """Return a number of JSON or CSV; NaN for anything else."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def sheets(folder: Path) -> list[tuple[int, Path]]:
    """Return (images seen, path) of the sample sheets of a run, oldest first."""
    numbered = (path for path in (folder / SAMPLES).glob("*.png") if path.stem.isdecimal())
    return sorted((int(path.stem), path) for path in numbered)


@dataclass(frozen=True)
class ImageScore:
    """Scores of one validation image by metric."""

    direction: str
    name: str
    values: Mapping[str, float]


def image_scores(folder: Path, metric: str) -> list[ImageScore]:
    """Return the rows of `scores.csv` in a folder of validation pictures, worst first.

    Values are in the order of the columns, but `metric` comes first.
    """
    path = folder / SCORES
    if not path.is_file():
        return []
    rows = csv.DictReader(read_own(path).decode("utf-8", "replace").splitlines())
    scores = []
    names = [name for name in rows.fieldnames or () if name not in ("direction", "name")]
    names.sort(key=lambda name: name != metric)
    for row in rows:
        values = {name: number(row[name]) for name in names}
        scores.append(ImageScore(row.get("direction") or "", row.get("name") or "", values))
        if len(scores) == MAX_SCORES:
            break
    return scores


def _validation(row: Json) -> Validation:
    scores: dict[str, dict[str, Interval]] = {}
    for direction, metrics in row["scores"].items():
        for name, interval in metrics.items():
            values = (interval[key] for key in Interval._fields)
            scores.setdefault(direction, {})[name] = Interval(*values)
    parts = (row["metric"], row["protocol"], row["protocol_hash"], row["best"])
    return Validation(row["images"], scores, *parts)
