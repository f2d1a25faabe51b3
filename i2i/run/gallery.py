"""Pictures and scores of one validation: a folder that appears when it is complete."""

import csv
import io
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.errors import I2IError
from i2i.files import own_folder, replace, temporary_path, write_atomically, write_error

Row = tuple[str, str, Mapping[str, float]]  # direction, name, metric -> value
_LONGER_SIDE = 256  # of pictures, in pixels
_LONGEST_NAME = 80  # characters
_POSITION = re.compile(r"\d{8,}")


class Gallery:
    """One folder of `folder`, named by a position. A full disk stops nothing: see `trouble`."""

    def __init__(self, folder: Path, position: int) -> None:
        self._final = folder / f"{position:08d}"
        self._temporary = temporary_path(self._final, hidden=False)
        self.trouble = ""  # the first reason why it is not written
        self._attempt(self._begin)

    def _begin(self) -> None:
        own_folder(self._final.parent)
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()

    def add(self, direction: str, name: str, parts: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write DIRECTION/NAME.PART.png for each part, RGB [H, W, 3], not larger than needed."""

        def write() -> None:
            folder = own_folder(self._temporary / direction)
            for part, picture in parts.items():
                small = images.shrink(picture, _LONGER_SIDE)
                images.encode(small, folder / f"{name}.{part}.png", "PNG")

        self._attempt(write)

    def publish(self, rows: Sequence[Row]) -> None:
        """Write scores.csv with `rows` in their order, and give the folder its name."""

        def write() -> None:
            metrics = list(rows[0][2]) if rows else []
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["direction", "name", *metrics])
            for direction, name, values in rows:
                table.writerow([direction, name, *(f"{values[each]:.6g}" for each in metrics)])
            write_atomically(self._temporary / "scores.csv", text.getvalue().encode())
            shutil.rmtree(self._final, ignore_errors=True)
            replace(self._temporary, self._final)

        self._attempt(write)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _attempt(self, write: Callable[[], None]) -> None:
        if self.trouble:
            return
        try:
            write()
        except OSError as error:
            self.trouble = str(write_error(self._final, error))
        except I2IError as error:
            self.trouble = str(error)


def prune(folder: Path, keep: Collection[int]) -> None:
    """Remove the validations of all positions in `folder` but those of `keep`."""
    for path in folder.iterdir() if folder.is_dir() else ():
        is_own = _POSITION.fullmatch(path.name) and not path.is_symlink()
        if is_own and int(path.name) not in keep:
            with suppress(OSError):
                shutil.rmtree(path)


def picture_name(file: str, taken: Collection[str]) -> str:
    """Return the stem of a file as a name that every file system holds, unlike those `taken`."""
    stem = Path(file).stem.encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:_LONGEST_NAME].strip("_") or "image"
    names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken)
