"""TensorBoard files, written by the thread that asks.

`SummaryWriter` has a thread of its own: a full disk is a traceback there, and an error of whatever
call comes next.
"""

import io
import os
import socket
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from i2i.files import append_whole


class TensorBoardWriter:
    """One file of events in `folder`. Every method raises OSError where the disk is full, and leaves whole events."""

    def __init__(self, folder: Path, position: int) -> None:
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._file = FileIO(str(folder / name), "a")
        events = [Event(wall_time=now, file_version="brain.Event:2")]
        if position:  # TensorBoard forgets what an earlier process wrote from here on
            start = SessionLog(status=SessionLog.START)
            events.append(Event(wall_time=now, step=position + 1, session_log=start))
        self._write(events)

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Add values by name at a position."""
        make: Any = summary.scalar
        self._write([self._event(make(name, value), images) for name, value in values.items()])

    def picture(self, name: str, picture: NDArray[np.uint8], images: int) -> None:
        """Add a picture, [H, W, 3]."""
        make: Any = summary.image
        self._write([self._event(make(name, picture, dataformats="HWC"), images)])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _event(self, content: Any, images: int) -> Event:
        return Event(wall_time=time.time(), step=images, summary=content)

    def _write(self, events: list[Event]) -> None:
        records = io.BytesIO()
        writer = RecordWriter(records)
        for event in events:
            writer.write(event.SerializeToString())
        append_whole(self._file, records.getvalue())
