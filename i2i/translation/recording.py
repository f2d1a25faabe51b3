"""Outputs on their way into the record: flushed to the disk in groups, then recorded as done."""

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

from i2i.errors import I2IError
from i2i.files import flush_file, write_error
from i2i.images.slices import members
from i2i.translation.manifest import Manifest, Step

_GROUP, _SECONDS = 64, 2.0  # outputs, and the time, after which a killed job begins again


class Recorder:
    """Records outputs, and waits for the disk in a thread of its own.

    Use as a context manager: at its end, also after an error, all that was added is recorded.
    Errors of writing are raised by a later call, or at the end.
    """

    def __init__(self, manifest: Manifest | None) -> None:
        self._manifest = manifest
        self._group: list[tuple[Path, Step]] = []
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def add(self, target: Path, step: Step) -> None:
        """Record that `target` is written. Safe from several threads."""
        with self._lock:
            self._group.append((target, step))
            late = time.monotonic() - self._since > _SECONDS
            if len(self._group) >= _GROUP or late:
                self._start()

    def _start(self) -> None:
        if self._running:
            self._running.result()  # one group at a time
        group, self._group, self._since = self._group, [], time.monotonic()
        self._running = self._thread.submit(self._record, group)

    def _record(self, group: list[tuple[Path, Step]]) -> None:
        steps = [step for target, step in group if _flush(target)]
        if self._manifest and steps:
            self._manifest.check()
            self._manifest.add("written", steps)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        try:
            with suppress(I2IError) if kind else nullcontext():
                self._start()
                assert self._running
                self._running.result()
        finally:
            self._thread.shutdown()


def _flush(path: Path) -> bool:
    """Wait until the content of a file is on the disk; False if there is no file any more."""
    try:
        no_link = getattr(os, "O_NOFOLLOW", 0)
        for each in members(path):
            with open(
                each, "rb", opener=lambda name, flags: os.open(name, flags | no_link)
            ) as file:
                flush_file(file)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise write_error(path, error) from None
    return True
