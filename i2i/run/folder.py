"""The folder of a new run: unused, outside of the data, left as it was by what fails at once."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from i2i.checkpoint import CHECKPOINTS, steps
from i2i.config import ConfigError
from i2i.files import EVENTS, METRICS, SAMPLES, VALIDATION, VALIDATIONS
from i2i.lock import LOCK, InUseError
from i2i.model_file import WEIGHTS
from i2i.run.settings import CONFIG


def check_unused(folder: Path) -> None:
    """Refuse a folder whose settings, weights or README a run would replace."""
    if (folder / CONFIG).exists() or steps(folder / CHECKPOINTS):
        hint = f"Continue it with i2i resume {folder} (or --resume), or choose another --out"
        raise ConfigError(folder, "holds a run already", hint)
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ConfigError(folder, "is not empty and holds no run", "Choose another --out")


def check_outside(folder: Path, data: Path) -> None:
    """Refuse a run folder in the data: sample sheets would become training images."""
    if data.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ConfigError(folder, f"lies inside the data, {data}", "Choose another --out")


@contextmanager
def nothing_left_behind(folder: Path, created: bool) -> Iterator[None]:
    """Remove what was written of a new run that ends before its first checkpoint."""
    try:
        yield
    except InUseError:  # it is another's now
        raise
    except BaseException:
        if not steps(folder / CHECKPOINTS):
            for name in (CHECKPOINTS, SAMPLES, VALIDATION):
                shutil.rmtree(folder / name, ignore_errors=True)
            files = (CONFIG, "README.md", METRICS, EVENTS, VALIDATIONS, WEIGHTS, LOCK)
            for path in (*(folder / name for name in files), *folder.glob("events.out.tfevents.*")):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                if created:
                    folder.rmdir()
        raise
