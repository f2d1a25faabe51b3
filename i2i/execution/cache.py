"""Results of earlier tests, one small file for each machine and network."""

import json
from contextlib import suppress

from i2i.errors import I2IError
from i2i.execution import Execution
from i2i.files import cache_folder, write_atomically


class Cache:
    """The result under `key`, in the user's cache folder. Without one that can be written: none."""

    def __init__(self, key: str) -> None:
        self._path = cache_folder() / f"execution-{key}.json"

    def load(self) -> Execution | None:
        """Return the result of an earlier test; None without one that can be read."""
        with suppress(I2IError):
            return Execution.read(self._path) if self._path.is_file() else None
        return None

    def save(self, execution: Execution) -> None:
        """Keep a result for later runs."""
        with suppress(OSError, I2IError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(execution.to_dict()).encode())
