"""The page of a run, and the record of the machine and the time that it took."""

import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from i2i import __version__
from i2i.config import SECTIONS, Config, Layer
from i2i.console import log
from i2i.errors import I2IError
from i2i.files import write_atomically
from i2i.report.record import ENVIRONMENT, number, read_environment, read_record
from i2i.report.run import REPORT, Difference, Remarks, write_run_page
from i2i.run.settings import resolve, saved
from i2i.training.health import GRACE_UPDATES, WINDOW_UPDATES

_FOLLOWED = (  # settings that change what others are by default: those are compared with it
    ("data", "crop_size"),
    ("generator", "name"),
    ("discriminator", "name"),
    ("discriminator", "head"),
)
_OF_THE_MACHINE = {  # and not of the method; epochs are saved as total_images
    "data": ["root", "workers", "cache", "decode_check_limit"],
    "train": [
        *("epochs", "max_minutes", "checkpoint_every_images", "keep_checkpoints"),
        "save_retry_seconds",
    ],
}


class RunReport:
    """The page of a run that trains, written again whenever there is something new."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Begin to count the time of training; `facts` are about the machine and the networks."""
        self.folder, self._facts, self._began = folder, facts, time.monotonic()
        seconds = number(read_environment(folder).get("seconds"))
        self._before = seconds if seconds > 0 else 0.0  # of earlier starts

    def write(self, ended: str = "") -> None:
        """Write the record and the page. A failure is only logged: all that matters is on disk.

        Args:
            ended: the reason for which training ended; "": it continues.
        """
        seconds = self._before + time.monotonic() - self._began
        record = {**self._facts, "peak_memory_bytes": _peak(), "seconds": round(seconds, 1)}
        content = json.dumps(record | {"ended": ended}, indent=1).encode()
        try:
            write_atomically(self.folder / ENVIRONMENT, content, flush=False)
            write_report(self.folder)
        except (OSError, I2IError, TemplateError) as error:  # no page is worth a training
            log(f"{self.folder / REPORT}: not written ({error}); everything else is complete")
        else:
            if ended:
                log(f"report: {self.folder / REPORT}")


def write_report(
    folder: Path,
    path: Path | None = None,
    others: Sequence[Path] = (),
    title: str = "",
    scores: Sequence[Sequence[str]] = (),
    sheets: Mapping[str, Path] | None = None,
) -> None:
    """Write the page of a run from the files in its folder.

    Args:
        path: of the page; None: `report.html` of the run.
        others: runs whose curves are drawn over its own.
        title, scores, sheets: as of `Remarks`.

    Raises:
        I2IError: a folder holds no run.
        OSError: a file of a run cannot be read.
        WriteError: the page cannot be written.
    """
    problems, differences, update = [], list[Difference](), 1
    try:
        settings = saved(folder)
        differences = list(unpublished(settings))
        update = settings.train.batch * settings.train.accumulate
    except I2IError as error:
        problems = [f"The settings cannot be compared with published ones: {error.explanation}"]
    record = read_record(folder)
    processes = record.environment.get("processes")
    update *= processes if isinstance(processes, int) else 1
    diagnosed = record.images >= (GRACE_UPDATES + WINDOW_UPDATES) * update
    remarks = Remarks(differences, diagnosed, title, scores, sheets or {}, problems)
    write_run_page(path or folder / REPORT, record, remarks, [read_record(run) for run in others])


def unpublished(settings: Config) -> Iterator[Difference]:
    """Yield the settings of the method that differ from the published ones.

    Options of another network than the published one are compared with that network's own defaults.
    """
    own = settings.to_dict()
    base: dict[str, Any] = {"data": {"root": settings.data.root}}
    published = resolve(settings.method.name, [Layer("", base)]).to_dict()
    followed: dict[str, Any] = {}
    for section, key in _FOLLOWED:
        if key in own[section]:
            followed.setdefault(section, {})[key] = own[section][key]
    defaults = resolve(settings.method.name, [Layer("", base), Layer("", followed)]).to_dict()
    for section in [name for name in SECTIONS if name not in ("log", "validate")]:
        fields = type(getattr(settings, section)).model_fields
        for key, here in own[section].items():
            name = f"{section}.{key}"
            source = published if (section, key) in _FOLLOWED else defaults
            there = source[section].get(key)
            if name == "train.total_images" and there is None:
                there = f"{published['train']['epochs']:g} epochs"
            if here != there and key not in _OF_THE_MACHINE.get(section, ()):
                yield Difference(name, here, there, fields[key].description or "")


def machine(device: torch.device, processes: int) -> dict[str, Any]:
    """Return facts about this machine for the record of a run."""
    name = f"{device}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = f"{device}, {torch.cuda.get_device_name(device)}"
    return {
        "i2i": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": name,
        "processes": processes,
    }


def _peak() -> int | None:
    """Return the most memory, in bytes, that the networks (CUDA) or this process have taken."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
