"""Rows, events and TensorBoard files stay complete, and a full disk is reported once and stops nothing."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i.config import Layer
from i2i.files import JsonlWriter, read_rows
from i2i.run.settings import resolve
from i2i.training.metrics_logger import MetricsLogger


@contextmanager
def room(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_row_without_room_leaves_nothing_behind_and_is_written_later(tmp_path: Path) -> None:
    lines = JsonlWriter(tmp_path / "rows.jsonl", 0)
    lines.add({"images": 1})
    before = lines.path.read_bytes()
    with room(len(before) + 5):
        for images in (2, 3):
            with pytest.raises(OSError, match="too large"):
                lines.add({"images": images})
        assert lines.path.read_bytes() == before
    lines.add({"images": 4})
    lines.close()
    assert [row["images"] for row in read_rows(lines.path)] == [1, 2, 3, 4]


def test_reopened_file_continues_after_the_position_and_forgets_a_half_written_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"images": 1}\n{"images": 2}\n{"images": 3}\n{"ima')
    lines = JsonlWriter(path, 2)
    lines.add({"images": 3, "new": 1})
    lines.close()
    assert read_rows(path) == [{"images": 1}, {"images": 2}, {"images": 3, "new": 1}]


def logger(folder: Path, position: int = 0) -> MetricsLogger:
    config = resolve("pix2pix", [Layer("", {"data": {"root": "data"}})])
    return MetricsLogger(folder, 100, position, config)


def test_full_disk_is_reported_once_for_each_file_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logger(tmp_path)
    log.log(1, 0.1, {"G/gan": 1.0}, {}, {})
    with room(10):
        for images in range(2, 6):
            log.log(images, 0.1, {"G/gan": 1.0}, {}, {})
            log.log_images(images, np.zeros((8, 8, 3), np.uint8))
            log.event(images, "health", "D wins")
    output = capsys.readouterr().err
    assert "Traceback" not in output
    for name in (
        "metrics.jsonl: not written",
        "events.jsonl: not written",
        "TensorBoard: not written",
        "D wins",
    ):
        assert output.count(name) == 1, name
    log.close()
    assert [row["images"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    assert sorted(event["kind"] for event in read_rows(tmp_path / "events.jsonl")) == [
        "disk"
    ] * 3 + ["health"]


def test_disk_that_is_full_from_the_beginning_to_the_end_is_survived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with room(0):
        log = logger(tmp_path)
        log.log(1, 0.1, {"G/gan": 1.0}, {}, {})
        log.close()
    output = capsys.readouterr().err
    assert "Traceback" not in output
    assert "metrics.jsonl: its last rows are lost" in output


def test_event_is_kept_once_also_by_a_resumed_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = logger(tmp_path)
    for images in (10, 20):
        first.event(images, "health", "D wins")
    first.event(30, "health", "G stuck")
    first.close()
    second = logger(tmp_path, 20)
    second.event(25, "health", "D wins")
    second.event(30, "health", "G stuck")
    second.close()
    events = [(event["images"], event["text"]) for event in read_rows(tmp_path / "events.jsonl")]
    assert events == [(10, "D wins"), (30, "G stuck")]
    assert capfd.readouterr().err.count("D wins") == 1


def test_tensorboard_reads_scalars_and_images_and_forgets_what_a_resumed_run_writes_again(
    tmp_path: Path,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = logger(tmp_path)
    for images in (10, 20, 30):
        first.log(images, 0.1, {"G/gan": 1.0}, {"G": 0.5}, {})
    first.log_images(30, np.full((8, 8, 3), 7, np.uint8))
    first.close()
    second = logger(tmp_path, 20)
    second.log(30, 0.1, {"G/gan": 2.0}, {"G": 0.5}, {})
    second.log_images(30, np.full((8, 8, 3), 9, np.uint8))
    second.close()
    board: Any = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("G/gan")] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
    ]
    assert len(board.Images("samples")) == 1
    assert {"lr/G", "epoch"} <= set(board.Tags()["scalars"])
