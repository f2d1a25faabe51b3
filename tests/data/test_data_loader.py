"""The stream of batches: one order for any number of workers and processes, continued at any position."""

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import hear_signals, kill_after, start, wait_for

from i2i.config import UnconditionalData, UnpairedData
from i2i.data.dataset import UnpairedImages
from i2i.data.folders import DataError
from i2i.data.loader import Batch, LoaderError, batches
from i2i.data.unconditional import UnconditionalImages
from i2i.images import Array, ImageError
from i2i.signals import Stopped, StopRequest


def pixel(number: int, side: int = 1) -> Array:
    """Return pixels of which tensors become `number`."""
    return np.full((side, side, 1), (number + 1) / 2, np.float32)


class Numbers:
    """Ten samples whose only pixel says which they are."""

    def __init__(self, length: int = 10, fault: Callable[[int], None] | None = None) -> None:
        self.warnings: list[str] = []
        self.length, self.fault = length, fault

    def __len__(self) -> int:
        return self.length

    def pixels(self, epoch: int, index: int) -> dict[str, Array]:
        if self.fault:
            self.fault(index)
        return {"image": pixel(epoch * 100 + index)}

    def files(self, epoch: int, index: int) -> list[str]:
        return [f"{index}.png"]


@contextmanager
def stream(dataset: Any, **settings: Any) -> Generator[Generator[Batch, None, None], None, None]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "This DataLoader will create"
        )  # more workers than this machine has cores
        loader = batches(dataset, **{"seed": 1, "batch": 3} | settings)
        try:
            yield loader
        finally:
            loader.close()


def first(count: int, dataset: Any, **settings: Any) -> list[Batch]:
    with stream(dataset, **settings) as loader:
        return list(islice(loader, count))


def keys(taken: list[Batch]) -> list[tuple[int, int]]:
    return [key for batch in taken for key in batch.keys]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return [batch.keys for batch in one] == [batch.keys for batch in other] and all(
        torch.equal(x.images[name], y.images[name])
        for x, y in zip(one, other, strict=True)
        for name in x.images
    )


@pytest.fixture
def folder(write: Any, tmp_path: Path) -> Path:
    for place in range(7):
        write(f"a/{place}.png")
        write(f"b/{place}.jpg")
    return tmp_path


def test_stream_is_the_same_for_0_1_2_and_4_workers(folder: Path) -> None:
    config = UnpairedData(
        root=str(folder),
        load_size=20,
        crop_size=16,
        rotate_degrees=20.0,
        elastic_pixels=2.0,
        color_jitter=0.3,
    )
    dataset = UnpairedImages(config, seed=3)
    expected = first(8, dataset, workers=0)
    assert expected[0].images["a"].shape == (3, 3, 16, 16)
    for workers in (1, 2, 4):
        assert same(first(8, dataset, workers=workers), expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("workers", [0, 1])
def test_batch_is_the_stack_of_its_samples_at_every_depth(
    write: Any, tmp_path: Path, channels: int, workers: int
) -> None:
    random = np.random.default_rng(0)
    write("1.png", channels=channels)
    write("2.png", channels=channels)
    deep = (random.random((20, 20, channels)) * 65535).astype(np.uint16)
    for batch, pixels in ((2, None), (3, deep)):
        if pixels is not None:
            write("3.png", pixels=pixels)
        config = UnconditionalData(root=str(tmp_path), load_size=20, crop_size=16, alpha="keep")
        dataset = UnconditionalImages(config)
        for taken in first(3, dataset, batch=batch, workers=workers):
            samples = [dataset.sample(*key)["image"] for key in taken.keys]
            expected = [2 * dataset.pixels(*key)["image"].astype(np.float64) for key in taken.keys]
            top = [255 if levels.max() > 2 else 1 for levels in expected]
            assert torch.equal(taken.images["image"], torch.stack(samples))
            assert taken.images["image"].is_contiguous()
            for image, levels, most in zip(taken.images["image"], expected, top, strict=True):
                np.testing.assert_allclose(image, levels.transpose(2, 0, 1) / most - 1, atol=1e-6)


def test_every_epoch_has_every_index_once_in_an_order_of_its_own() -> None:
    taken = keys(first(20, Numbers(), batch=5))
    epochs = [taken[start : start + 10] for start in range(0, 100, 10)]
    assert [{epoch for epoch, _ in places} for places in epochs] == [
        {number} for number in range(10)
    ]
    assert all(sorted(index for _, index in places) == list(range(10)) for places in epochs)
    assert len({tuple(index for _, index in places) for places in epochs}) == 10


def test_over_99_percent_of_the_images_drawn_differ_from_one_epoch_to_the_next(
    folder: Path,
) -> None:
    config = UnpairedData(root=str(folder), load_size=20, crop_size=16, rotate_degrees=20.0)
    taken = first(2 * 70, UnpairedImages(config), batch=1, workers=2)
    drawn = Counter(batch.images["a"].numpy().tobytes() for batch in taken)
    assert len(drawn) > 0.99 * len(taken)


def test_batches_go_on_across_the_end_of_an_epoch() -> None:
    taken = first(7, Numbers(), batch=3)
    assert [len(batch.keys) for batch in taken] == [3] * 7
    assert [epoch for epoch, _ in taken[3].keys] == [0, 1, 1]
    assert [batch.position for batch in taken] == [3, 6, 9, 12, 15, 18, 21]
    assert all(
        batch.images["image"].flatten().tolist() == [e * 100 + i for e, i in batch.keys]
        for batch in taken
    )


@pytest.mark.parametrize("position", [0, 1, 9, 10, 11, 30, 12345])
def test_resumed_stream_continues_exactly_where_it_stopped(position: int) -> None:
    whole = keys(first(2, Numbers(), batch=20, start_position=position - position % 10))
    resumed = keys(first(4, Numbers(), batch=3, start_position=position))
    assert resumed == whole[position % 10 : position % 10 + 12]


def test_batch_that_was_read_but_not_taken_is_read_again_after_resuming(folder: Path) -> None:
    dataset = UnconditionalImages(UnconditionalData(root=str(folder), load_size=20, crop_size=16))
    taken = first(5, dataset, workers=2)
    assert same(first(3, dataset, start_position=taken[1].position), taken[2:])


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_together_read_what_one_process_reads(world_size: int) -> None:
    alone = first(6, Numbers(), batch=12)
    ranks = [
        first(6, Numbers(), batch=12 // world_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for step, batch in enumerate(alone):
        assert tuple(key for rank in ranks for key in rank[step].keys) == batch.keys
        assert {rank[step].position for rank in ranks} == {batch.position}


def test_seed_changes_the_order() -> None:
    assert len({tuple(keys(first(1, Numbers(), batch=10, seed=seed))) for seed in range(10)}) == 10


@pytest.mark.parametrize("workers", [0, 2])
def test_global_generator_is_neither_read_nor_changed(workers: int) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    taken = first(3, Numbers(), workers=workers)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert same(taken, first(3, Numbers(), workers=workers))


def test_close_ends_the_workers() -> None:
    with stream(Numbers(), workers=2) as loader:
        next(loader)
        workers = active_children()
        assert len(workers) >= 2
    assert not any(worker.is_alive() for worker in workers)
    with pytest.raises(StopIteration):
        next(loader)


@pytest.mark.parametrize("kind", [ImageError, DataError])
@pytest.mark.parametrize("workers", [0, 2])
def test_file_that_cannot_be_decoded_is_named_without_a_traceback(
    workers: int, kind: type[Exception]
) -> None:
    def fault(index: int) -> None:
        if index == 4:
            raise kind("4.png", "truncated", "Replace it")

    with pytest.raises(kind) as caught:
        first(10, Numbers(fault=fault), workers=workers)
    assert str(caught.value) == "4.png: truncated. Replace it."


@pytest.mark.parametrize("kind", [ZeroDivisionError, RuntimeError])
@pytest.mark.parametrize("workers", [0, 1])
def test_any_other_error_says_which_files_were_read(workers: int, kind: type[Exception]) -> None:
    def fault(index: int) -> None:
        if index == 4:
            raise kind

    with pytest.raises(kind) as caught:
        first(10, Numbers(fault=fault), workers=workers)
    assert not active_children()  # although the exception is still held
    assert "while reading 4.png" in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


def test_worker_that_is_killed_is_an_error_that_names_its_file() -> None:
    def fault(index: int) -> None:
        if index == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(
        LoaderError, match=r"a loader worker died while reading 4.png .* lower data.workers"
    ):
        first(10, Numbers(fault=fault), workers=2)


def test_worker_that_is_killed_between_samples_is_named_by_its_signal_and_none_survives() -> None:
    with stream(Numbers(), workers=2) as loader:
        next(loader)
        victims = active_children()
        os.kill(victims[0].pid or 0, signal.SIGKILL)
        reason = r"a loader worker died .*\(killed by signal 9.* lower data.workers"
        with pytest.raises(LoaderError, match=reason):
            list(islice(loader, 10))
    assert not any(worker.is_alive() for worker in victims)


def test_workers_that_cannot_start_are_an_error_that_leaves_none(monkeypatch: Any) -> None:
    pair, calls = socket.socketpair, []

    def limited() -> Any:
        calls.append(True)
        if len(calls) > 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return pair()

    monkeypatch.setattr(socket, "socketpair", limited)
    reason = r"worker 3 of 4 cannot start \(Too many open files\).*ulimit -n"
    with pytest.raises(LoaderError, match=reason):
        first(1, Numbers(), workers=4)
    assert not active_children()


def test_workers_answer_although_more_than_1024_files_are_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"this process may open {hard} files")
    expected = first(4, Numbers(), workers=0)
    handles: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    try:
        while not handles or handles[-1] <= 1024:
            handles.append(os.open(os.devnull, os.O_RDONLY))
        assert same(first(4, Numbers(), workers=2), expected)
    finally:
        for handle in handles:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_batches_larger_than_shared_memory_of_a_container_arrive(monkeypatch: Any) -> None:
    class Large(Numbers):
        def pixels(self, epoch: int, index: int) -> dict[str, Array]:
            return {"image": np.repeat(pixel(index, side=512), 3, axis=2)}

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("shared memory is used")

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", refuse)
    taken = first(4, Large(), workers=2, batch=8)
    assert [batch.images["image"].shape for batch in taken] == [(8, 3, 512, 512)] * 4
    assert taken[1].images["image"][2, 0, 0, 0] == taken[1].keys[2][1]


def test_worker_whose_parent_was_killed_ends_although_it_waits_for_a_file(tmp_path: Path) -> None:
    pipe, note = tmp_path / "pipe", tmp_path / "worker"
    os.mkfifo(pipe)

    def fault(_: int) -> None:
        (tmp_path / "new").write_text(str(os.getpid()))
        (tmp_path / "new").rename(note)
        pipe.read_bytes()  # for ever

    parent = start(lambda: first(1, Numbers(fault=fault), workers=1))
    wait_for(note.exists, 30, "the worker")
    assert kill_after(parent, 0)
    worker = Path(f"/proc/{note.read_text()}")
    wait_for(lambda: not worker.exists() or ") Z " in (worker / "stat").read_text(), 20, "its end")


@pytest.mark.parametrize("workers", [0, 1])
def test_signal_ends_the_wait_for_a_file_that_stalls(workers: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def fault(_: int) -> None:
        (tmp_path / "pipe").read_bytes()

    def wait() -> None:
        hear_signals()
        with StopRequest().listening() as stop, stream(Numbers(fault=fault), workers=workers) as it:
            (tmp_path / "waiting").touch()
            with suppress(Stopped), stop.interrupting():
                next(it)
            os._exit(stop.signal)

    process = start(wait)
    wait_for((tmp_path / "waiting").exists, 30, "the wait")
    time.sleep(0.3)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(20)
    assert process.exitcode == signal.SIGTERM
    process.kill()


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_files_reach_the_reader_of_the_batch_once(
    write: Any, tmp_path: Path, workers: int
) -> None:
    bad = write("1.png")
    write("2.png")
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 0xFF
    bad.write_bytes(content)
    config = UnconditionalData(
        root=str(tmp_path), load_size=20, crop_size=16, on_bad_file="skip", decode_check_limit=0
    )
    warned = [
        warning
        for batch in first(6, UnconditionalImages(config), workers=workers)
        for warning in batch.warnings
    ]
    assert len(warned) == 1
    assert warned[0].startswith(f"skipped {bad}: corrupt")


def test_nonsense_is_refused_at_once() -> None:
    for settings in (
        {"batch": 0},
        {"rank": 2, "world_size": 2},
        {"start_position": -1},
        {"workers": -1},
    ):
        with pytest.raises(ValueError, match="no stream of 10 samples"):
            batches(Numbers(), **{"seed": 0, "batch": 1} | settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no stream of 0 samples"):
        batches(Numbers(0), seed=0, batch=1)


INTERRUPTED = """
import time
import numpy as np
from i2i.data.folders import DataError
from i2i.data.loader import batches
class Slow:
    warnings = []
    def __len__(self): return 10
    def files(self, epoch, index): return []
    def pixels(self, epoch, index):
        time.sleep(0.01)
        return {"image": np.zeros((1, 1, 1), np.uint8)}
loader = batches(Slow(), seed=0, batch=1, workers=2)
next(loader)
print("running", flush=True)
try:
    while True:
        next(loader)
except KeyboardInterrupt:
    loader.close()
    print("closed", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")
def test_interrupt_reaches_the_reader_and_not_the_workers() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear_signals,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        out, err = process.communicate(timeout=30)
    finally:
        with suppress(ProcessLookupError):  # it has ended, as it should
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out, err) == (0, "closed\n", "")
