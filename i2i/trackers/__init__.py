"""Services that follow a run beside its own files, by entry point of the group `i2i.trackers`."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from i2i.config import ConfigError
from i2i.files import TRACKERS, own_folder, read_own, write_atomically

GROUP = "i2i.trackers"
# as pyproject.toml registers them; those of a checkout that is not installed, too
_OWN = [EntryPoint(name, f"{GROUP}.{name}:Tracker", GROUP) for name in ("mlflow", "wandb")]


class Tracker(Protocol):
    """A program that follows a run, constructed without arguments; its errors stop no training."""

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begin to follow the run in `folder`, or continue to; `config` is {section: {key: value}}.

        Files belong into `folder / TRACKERS`.
        """

    def log(self, images: int, metrics: Mapping[str, float]) -> None:
        """Take the values of a row by name, after so many images."""

    def image(self, images: int, name: str, array: NDArray[np.uint8]) -> None:
        """Take a picture, [H, W, 3]."""

    def finish(self, metrics: Mapping[str, float]) -> None:
        """End, with the last values; a resumed run starts again."""


def load(names: Sequence[str]) -> dict[str, Tracker]:
    """Return the trackers called `names`, not yet started.

    Raises:
        ConfigError: there is none of a name, or it cannot be imported.
    """
    if not names:
        return {}  # listing what is installed takes 10 ms
    entries = {entry.name: entry for entry in (*_OWN, *entry_points(group=GROUP))}
    trackers: dict[str, Tracker] = {}
    for name in names:
        if name not in entries:
            close = get_close_matches(name, entries, 1)
            suggestion = f"Did you mean {close[0]}? " if close else ""
            hint = f"{suggestion}Choose from {', '.join(sorted(entries))}"
            raise ConfigError("log.trackers", f"there is no tracker {name!r}", hint)
        try:
            trackers[name] = entries[name].load()()
        except ModuleNotFoundError as error:
            reason = f"{name} needs the package {error.name}, which is not installed"
            raise ConfigError("log.trackers", reason, f"pip install {error.name}") from None
        except Exception as error:  # of a package of somebody else
            reason = f"{name} cannot be imported ({type(error).__name__}: {error})"
            raise ConfigError("log.trackers", reason, "Correct it, or leave it out") from error
    return trackers


def saved_id(folder: Path, tracker: str) -> str | None:
    """Return the name under which `tracker` knows the run in `folder`; None if it does not yet."""
    path = folder / TRACKERS / f"{tracker}.id"
    return read_own(path).decode().strip() if path.exists() else None


def save_id(folder: Path, tracker: str, run: str) -> None:
    """Keep the name under which `tracker` knows the run, for when it is resumed."""
    write_atomically(own_folder(folder / TRACKERS) / f"{tracker}.id", f"{run}\n".encode())


def flat(config: Mapping[str, Any]) -> dict[str, float | str]:
    """Return settings as SECTION.KEY: numbers and texts as they are, all else as JSON."""
    values: dict[str, float | str] = {}
    for section, content in config.items():
        for key, value in content.items() if isinstance(content, dict) else ():
            plain = isinstance(value, (int, float, str)) and not isinstance(value, bool)
            values[f"{section}.{key}"] = value if plain else json.dumps(value)
    return values
