"""TensorBoard files, written by the calling thread.

`SummaryWriter` has a thread of its own, where a full disk is a traceback and fails the next call.
"""

import io
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from i2i.config import Config
from i2i.files import append_whole, open_own
from i2i.methods._base import HISTOGRAM_EDGES
from i2i.trackers import flat


class TensorBoardWriter:
    """One file of events in `folder`, which begins with the settings.

    Every method raises OSError where the disk is full, and leaves complete events.
    """

    def __init__(self, folder: Path, position: int, config: Config) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._file = open_own(folder / name)
        events = [Event(wall_time=time.time(), file_version="brain.Event:2")]
        if position:  # TensorBoard forgets what an earlier process wrote from here on
            start = SessionLog(status=SessionLog.START)
            events.append(Event(wall_time=time.time(), step=position + 1, session_log=start))
        text, hparams = vars(summary)["text"], vars(summary)["hparams"]  # both without types
        code = "".join(f"    {line}\n" for line in config.to_yaml().splitlines())  # of Markdown
        # without its first part, TensorBoard takes the last values of all scalars for the metrics
        _, begin, self._end = hparams(flat(config.to_dict()), {})
        events += [_event(content, position) for content in (text("config", code), begin)]
        self._write(events)

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Add values by name at a position."""
        scalar: Any = summary.scalar
        self._write([_event(scalar(name, value), images) for name, value in values.items()])

    def histograms(self, counts: Mapping[str, Sequence[int]], images: int) -> None:
        """Add counts in the bins of `HISTOGRAM_EDGES` by name at a position."""
        histograms = ((name, _histogram(bins)) for name, bins in counts.items() if any(bins))
        contents = [Summary(value=[Summary.Value(tag=name, histo=x)]) for name, x in histograms]
        self._write([_event(content, images) for content in contents])

    def image(self, name: str, image: NDArray[np.uint8], images: int) -> None:
        """Add an image, [H, W, 3], at a position."""
        encode: Any = summary.image
        self._write([_event(encode(name, image, dataformats="HWC"), images)])

    def finish(self, images: int) -> None:
        """Note that training has seen all its images."""
        self._write([_event(self._end, images)])

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


def _histogram(counts: Sequence[int]) -> HistogramProto:
    """Return counts from the first bin that holds any to the last, as if all lay in the middle."""
    edges = np.array([HISTOGRAM_EDGES[0], *HISTOGRAM_EDGES, HISTOGRAM_EDGES[-1]])
    filled = np.flatnonzero(counts)
    used = slice(filled[0], filled[-1] + 1)
    middles = ((edges[:-1] + edges[1:]) / 2)[used]
    bins, upper = np.asarray(counts, float)[used], [*HISTOGRAM_EDGES, sys.float_info.max][used]
    return HistogramProto(
        min=edges[:-1][used][0],
        max=edges[1:][used][-1],
        num=bins.sum(),
        sum=bins @ middles,
        sum_squares=bins @ middles**2,
        bucket_limit=upper,
        bucket=bins,
    )
