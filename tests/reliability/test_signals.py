"""SIGTERM and Ctrl-C, whatever a run is doing: saved at one step, the documented exit status, and resumed exactly."""

import functools
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
from processes import hear_signals, wait_for
from runs import draw_scenes, final_state, finish, rows, start_ranks, train_words
from states import equal

from i2i.checkpoint import CHECKPOINTS, steps
from i2i.signals import STOP_SIGNALS, Stopped, StopRequest, raise_on_stop
from i2i.training import loop
from i2i.training.trainer import Trainer

WORDS = [
    "--images",
    "24",
    "--set",
    "train.checkpoint_every_images=12",
    "--set",
    "log.sample_every_images=8",
]
SECONDS = 10  # in which a run saves and stops
CASES = list(product(("training", "sampling", "saving"), (signal.SIGTERM, signal.SIGINT), (1, 2)))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def unbroken(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Unbroken runs of one and of two processes."""
    root = tmp_path_factory.mktemp("unbroken")
    for world in (1, 2):
        words = train_words("pix2pix", scenes, root / str(world), *WORDS)
        assert finish(start_ranks(world, words, root / "log")) == [0] * world, (
            root / "log"
        ).read_text()
    return {world: root / str(world) for world in (1, 2)}


def interrupt(moment: str, number: int, pids: Path, index: int) -> None:
    """Make the first process signal all of them, once, in the midst of what `moment` says."""

    def send() -> None:
        wait_for(pids.exists, 10, "the numbers of the processes")
        for pid in map(int, pids.read_text().split()):
            os.kill(pid, number)

    if index:
        return
    sent = []

    def once(due: bool) -> None:
        if due and not sent:
            sent.append(True)
            send()

    if moment == "training":
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, object]]) -> None:
            once(trainer.updates == 3)
            step(trainer, batches)  # type: ignore[arg-type]

        Trainer.step = stepping  # type: ignore[method-assign, assignment]
    elif moment == "sampling":
        encode = loop.images.encode

        def encoding(*arguments: object, **options: object) -> None:
            once("00000008" in str(arguments[1]))
            encode(*arguments, **options)  # type: ignore[arg-type]

        loop.images.encode = encoding  # type: ignore[attr-defined]
    else:
        fsync, calls = os.fsync, []

        def flushing(handle: int) -> None:
            calls.append(handle)
            fsync(handle)
            once("step-00000012.tmp" in str(Path(f"/proc/self/fd/{handle}").readlink()))

        os.fsync = flushing


@pytest.mark.parametrize(
    ("moment", "number", "world"),
    [
        pytest.param(
            *case,
            marks=[] if n in (0, 3, 5, 10) else [pytest.mark.slow],
            id="-".join(map(str, case)),
        )
        for n, case in enumerate(CASES)
    ],
)
def test_signal_saves_at_one_step_and_the_resumed_run_ends_like_an_unbroken_one(
    moment: str,
    number: int,
    world: int,
    scenes: dict[str, Path],
    unbroken: dict[int, Path],
    tmp_path: Path,
) -> None:
    run, log, pids = tmp_path / "run", tmp_path / "log", tmp_path / "pids"
    words = train_words("pix2pix", scenes, run, *WORDS)
    processes = start_ranks(world, words, log, functools.partial(interrupt, moment, number, pids))
    (tmp_path / "new").write_text(" ".join(str(process.pid) for process in processes))
    (tmp_path / "new").rename(pids)
    wait_for(
        lambda: log.exists() and "stopping after this step" in log.read_text(), 60, "the signal"
    )
    assert finish(processes, SECONDS) == [128 + number] * world, log.read_text()
    saved = steps(run / CHECKPOINTS)[-1][0]
    assert {"training": 6, "sampling": 8, "saving": 12}[moment] <= saved <= 16
    assert len(final_state(run)["ranks"]) == world
    assert f"after {saved} images; continue with i2i resume {run}" in log.read_text()
    resumed = ["train", "pix2pix", "--resume", str(run), "--device", "cpu"]
    assert finish(start_ranks(world, resumed, log)) == [0] * world, log.read_text()
    assert equal(final_state(run), final_state(unbroken[world]))
    assert rows(run) == rows(unbroken[world])


def test_second_interrupt_of_a_lone_process_stops_at_once_and_loses_no_checkpoint(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"

    def impatient(_: int) -> None:
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, object]]) -> None:
            if trainer.updates == 3:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1.1)  # sooner, it would be an echo
                os.kill(os.getpid(), signal.SIGINT)
            step(trainer, batches)  # type: ignore[arg-type]

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    words = train_words("pix2pix", scenes, run, *WORDS, "--set", "train.checkpoint_every_images=4")
    assert finish(start_ranks(1, words, log, impatient)) == [130]
    assert [images for images, _ in steps(run / CHECKPOINTS)] == [0, 4]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_echo_of_an_interrupt_is_the_same_request(pause: float) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest().listening() as stop:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                time.sleep(pause)
            assert stop.signal == signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def heard() -> Iterator[None]:
    """Hear all stop signals, also where tests run with some ignored; restore the handlers after."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in STOP_SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("heard")
def test_signal_during_an_import_stops_after_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_part.py").write_text(
        f"import signal\nsignal.raise_signal({int(number)})\ncomplete = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        import_module("lazy_part")
        time.sleep(10)

    with pytest.raises(Stopped), raise_on_stop():
        work()
    assert sys.modules.pop("lazy_part").complete


@pytest.mark.usefixtures("heard")
def test_signal_in_a_destructor_is_not_lost() -> None:
    class Leaving:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work() -> None:
        Leaving()
        time.sleep(10)

    with pytest.raises(Stopped), raise_on_stop():
        work()


@pytest.mark.usefixtures("heard")
def test_signal_that_a_library_turns_into_another_error_still_stops() -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise ValueError("cannot be read") from error

    with pytest.raises(Stopped), raise_on_stop():
        work()


def program(words: list[str], output: int) -> subprocess.Popen[bytes]:
    """Start a program as a user does, whatever signals the tests themselves ignore."""
    return subprocess.Popen(
        words, stdout=output, stderr=output, start_new_session=True, preexec_fn=hear_signals
    )


def test_run_whose_terminal_is_gone_saves_and_stops(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = train_words(
        "pix2pix", scenes, run, *WORDS, "--set", "data.workers=1", "--images", "1000000"
    )
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "i2i", *words]
    process = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=hear_signals,
    )
    os.close(terminal)
    reader = threading.Thread(
        target=lambda: log.write_bytes(b"".join(iter(lambda: read(main), b""))), daemon=True
    )
    reader.start()
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(rows(run)) > 1, 120, "the first rows")
    os.killpg(process.pid, signal.SIGHUP)
    os.close(main)
    assert process.wait(30) == 128 + signal.SIGHUP
    assert steps(run / CHECKPOINTS)[-1][0] > 0


def test_interrupt_that_the_reader_of_the_log_has_had_too_loses_nothing(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = train_words("pix2pix", scenes, run, *WORDS, "--images", "1000000")
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "i2i", *words], stdout=writer, stderr=writer, preexec_fn=hear_signals
    )
    os.close(writer)
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(rows(run)) > 1, 120, "the first rows")
    os.close(reader)  # as `| tee log` does on Ctrl-C
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT
    assert steps(run / CHECKPOINTS)[-1][0] > 0


def read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_torchrun_passes_a_signal_on_and_both_processes_save(
    number: int, scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *WORDS, "--images", "1000000")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "i2i",
    ]
    with log.open("w") as output:
        agent = subprocess.Popen(
            [*launcher, *words],
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=hear_signals,
        )
    try:
        wait_for(
            lambda: (run / "metrics.jsonl").exists() and len(rows(run)) > 1, 120, "the first rows"
        )
        if number == signal.SIGINT:
            os.killpg(
                agent.pid, number
            )  # as a terminal does: the processes get it, and once more from torchrun
        else:
            agent.send_signal(number)
        agent.wait(30)
    finally:
        agent.kill()
    saved = steps(run / CHECKPOINTS)[-1][0]
    assert saved > 0
    assert f"after {saved} images; continue with i2i resume {run}" in log.read_text()
    resumed = [
        "train",
        "pix2pix",
        "--resume",
        str(run),
        "--device",
        "cpu",
        "--images",
        str(saved + 8),
    ]
    assert finish(start_ranks(2, resumed, log)) == [0, 0], log.read_text()
