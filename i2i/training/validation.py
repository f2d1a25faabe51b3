"""Validations of a run: their scores, the best one as a part of the state, and its weights."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from torch import nn

from i2i.checkpoint import CHECKPOINTS, WEIGHTS, step_name
from i2i.files import BEST, check_no_link, own_folder, read_own, write_atomically

_DESCRIPTION = "best.json"

Nets = Mapping[str, nn.Module]  # by direction


@dataclass(frozen=True)
class Validated:
    """Scores of one validation."""

    scores: Mapping[str, Mapping[str, tuple[float, float, float]]]  # direction -> metric -> value
    protocol: Mapping[str, Any]  # all that makes the numbers
    protocol_hash: str
    metric: str  # that chooses the best
    value: float  # its mean over directions
    higher_is_better: bool
    trouble: str  # why pictures were not written; "": they were

    def row(self, images: int, epoch: float, best: bool) -> dict[str, Any]:
        """Return the row of the log at a position."""
        names = ("mean", "low", "high")
        scores = {
            direction: {name: dict(zip(names, each, strict=True)) for name, each in own.items()}
            for direction, own in self.scores.items()
        }
        row = {"images": images, "epoch": round(epoch, 4), "scores": scores}
        row |= {"protocol": self.protocol, "protocol_hash": self.protocol_hash}
        return row | {"metric": self.metric, "value": self.value, "best": best}


class Validation(Protocol):
    """Scores networks on images that are not trained on."""

    def score(self, nets: Nets, position: int, busy: Callable[[], None]) -> Validated: ...
    def prune(self, *keep: int) -> None: ...


@dataclass(frozen=True)
class Record:
    """Validations so far. Positions are images seen; values are compared within one protocol."""

    metric: str = ""  # that chooses the best; "": nothing was validated
    protocol_hash: str = ""
    value: float = 0.0  # of the best
    images: int = 0  # at the best
    validated: int = 0  # images at the last validation
    since: int = 0  # validations after the best

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Self:
        """Return the record that `asdict` was called with; {}: an empty one.

        Raises:
            TypeError: a field is missing, unknown, or of another type.
        """
        record = cls(**state)
        kinds = {name: type(value) for name, value in asdict(cls()).items()}
        for name, value in asdict(record).items():
            if type(value) is not kinds[name]:
                raise TypeError(f"validation.{name} must be {kinds[name].__name__}")
        return record

    def comparable(self, metric: str, protocol_hash: str) -> bool:
        """Return True if a value of this metric and protocol can be better than the best."""
        return (metric, protocol_hash) == (self.metric, self.protocol_hash)

    def after(
        self, images: int, metric: str, protocol_hash: str, value: float, higher_is_better: bool
    ) -> Self:
        """Return the record after one more validation; equal values are no improvement."""
        better = value > self.value if higher_is_better else value < self.value
        if better or not self.comparable(metric, protocol_hash):
            return type(self)(metric, protocol_hash, value, images, images)
        return replace(self, validated=images, since=self.since + 1)

    def write_best(self, run: Path, weights: bytes) -> None:
        """Write `best/` of the folder `run`.

        Raises:
            WriteError: it could not be written.
        """
        folder = own_folder(run / BEST)
        fields = ("images", "metric", "value", "protocol_hash")
        description = {name: getattr(self, name) for name in fields}
        write_atomically(folder / WEIGHTS, weights)
        write_atomically(folder / _DESCRIPTION, json.dumps(description).encode())

    def repair_best(self, run: Path) -> str:
        """Make `best/` of a run that is resumed the one of this record; return a note, or "".

        The process may have been killed between a checkpoint and `best/`, or the run may go back
        to before what is there.
        """
        folder = run / BEST
        check_no_link(folder)
        written = best_images(run)
        if written is None and not self.metric:
            return ""
        if written == self.images and (folder / WEIGHTS).is_file():
            return ""
        saved = run / CHECKPOINTS / step_name(self.images) / WEIGHTS
        if self.metric and saved.is_file():
            self.write_best(run, read_own(saved))
            return ""
        with suppress(OSError):
            for name in (WEIGHTS, _DESCRIPTION):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
        lost = f"the best weights, after {self.images} images, are lost until others are better"
        return lost if self.metric else ""


def best_images(run: Path) -> int | None:
    """Return the position of the weights in `best/`; None where that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        images = json.loads(read_own(run / BEST / _DESCRIPTION))["images"]
        return images if type(images) is int else None
    return None
