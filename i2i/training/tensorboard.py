"""TensorBoard files, written by the calling thread.

`SummaryWriter` has a thread of its own, where a full disk is a traceback and fails the next call.
"""

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from i2i.files import append_whole, open_own


class TensorBoardWriter:
    """One file of events in `folder`.

    Every method raises OSError where the disk is full, and leaves complete events.
    """

    def __init__(self, folder: Path, position: int) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._file = open_own(folder / name)
        events = [Event(wall_time=time.time(), file_version="brain.Event:2")]
        if position:  # TensorBoard forgets what an earlier process wrote from here on
            start = SessionLog(status=SessionLog.START)
            events.append(Event(wall_time=time.time(), step=position + 1, session_log=start))
        self._write(events)

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Add values by name at a position."""
        scalar: Any = summary.scalar
        self._write([_event(scalar(name, value), images) for name, value in values.items()])

    def image(self, name: str, image: NDArray[np.uint8], images: int) -> None:
        """Add an image, [H, W, 3], at a position."""
        encode: Any = summary.image
        self._write([_event(encode(name, image, dataformats="HWC"), images)])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, events: list[Event]) -> None:
        records = io.BytesIO()
        writer = RecordWriter(records)
        for event in events:
            writer.write(event.SerializeToString())
        append_whole(self._file, records.getvalue())


def _event(content: Any, images: int) -> Event:
    return Event(wall_time=time.time(), step=images, summary=content)
