"""Ctrl-C and SIGTERM at any moment of any command but train: the documented status, and nothing half-written."""

import functools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import Command, Ended, i2i
from models import outputs, temporaries, write_model, write_pictures
from processes import hear_signals, wait_for

from i2i import images
from i2i.cli import main
from i2i.run import demo
from i2i.scenes import write_dataset
from i2i.signals import Stopped, raise_on_stop
from i2i.training.loop import Outcome

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Work(NamedTuple):
    """A long command."""

    arguments: Callable[[Path], list[object]]  # from the folder of its output
    complete: Callable[[Path], bool]  # True if an output is complete or missing


def empty_or_complete(files: int) -> Callable[[Path], bool]:
    return lambda out: len(outputs(out)) in (0, files)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Work]:
    root = tmp_path_factory.mktemp("works")
    model, faces = write_model(root / "model", "unet"), write_model(root / "faces", "dcgan")
    photos = write_pictures(root / "photos", 120)
    write_dataset("facades", root / "pairs", 60, 32, seed=0)
    return {
        "translate": Work(lambda out: ["translate", model, photos, out], lambda _: True),
        "generate": Work(lambda out: ["generate", faces, out, "--count", 200], lambda _: True),
        "evaluate": Work(
            lambda out: ["evaluate", model, root / "pairs", "--sheet", out / "sheet.png"],
            empty_or_complete(1),
        ),
        "check": Work(
            lambda out: ["data", "check", photos, "--kind", "unconditional", "--fix", out],
            lambda _: True,
        ),
        "synth": Work(
            lambda out: ["data", "synth", "portraits", out, "--count", 40, "--size", 32],
            empty_or_complete(40),
        ),
    }


@pytest.fixture(scope="module")
def complete(
    works: dict[str, Work], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[float, dict[str, bytes]]]:
    """Seconds and outputs of a command that nothing stops."""

    @functools.cache
    def run(name: str) -> tuple[float, dict[str, bytes]]:
        folder, began = tmp_path_factory.mktemp("complete"), time.monotonic()
        out = folder / "out"
        out.mkdir()
        assert i2i(folder / "streams", *works[name].arguments(out)).status in (0, 1)
        return time.monotonic() - began, outputs(out)

    return run


def stopped(folder: Path, arguments: list[object], number: signal.Signals, seconds: float) -> Ended:
    """Run a command and send it a signal `seconds` after it has begun."""
    command = Command(folder, *arguments)
    command.begun()
    time.sleep(seconds)
    command.send(number)
    return command.ended()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["translate", "generate", "evaluate", "check", "synth"])
def test_signal_ends_a_command_with_its_status_and_nothing_half_written(
    name: str,
    number: signal.Signals,
    works: dict[str, Work],
    complete: Callable[[str], tuple[float, dict[str, bytes]]],
    tmp_path: Path,
    thorough: bool,
) -> None:
    work, chance = works[name], random.Random(f"{name} {number}")
    longest, expected = complete(name)
    hits = 0
    for attempt in range(1_000):
        out = tmp_path / f"{attempt}"
        out.mkdir()
        status, _, err = stopped(
            tmp_path / "streams", work.arguments(out), number, chance.uniform(0, longest)
        )
        if status in (0, 1):  # it was faster than the signal
            longest *= 0.8
            continue
        assert (status, err) == (
            128 + number,
            f"i2i: stopped by {number.name}; no file is half-written\n",
        )
        assert temporaries(out) == []
        assert outputs(out).items() <= expected.items()
        assert work.complete(out)
        if name == "translate":
            assert i2i(tmp_path / "streams", *work.arguments(out)).status == 0
            assert outputs(out) == expected
        hits += 1
        if hits == (10 if thorough else 1):
            return
    raise AssertionError(f"only {hits} signals found the command at work")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_echo_of_a_signal_does_not_interrupt_the_cleanup(number: signal.Signals) -> None:
    before = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    cleaned = []

    def work() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            cleaned.append(number)

    try:
        with pytest.raises(Stopped, match=str(int(number))), raise_on_stop():
            work()
        signal.raise_signal(number)  # only the end of the process remains
        assert cleaned == [number]
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),  # by default, in forked processes
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
    ids=lambda number: number.name,
)
def test_program_as_a_user_starts_it_stops_and_continues(
    number: signal.Signals, works: dict[str, Work], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "i2i", *map(str, works["translate"].arguments(out))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals)
    wait_for(lambda: bool(outputs(out)), 60, "the first output")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        128 + number,
        f"i2i: stopped by {number.name}; no file is half-written\n",
    )
    assert temporaries(out) == []
    for name in outputs(out):
        images.decode(out / name)
    assert i2i(tmp_path / "streams", *works["translate"].arguments(out)).status == 0


def test_signal_that_stops_the_training_of_the_demo_is_the_status_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "write_dataset", lambda *_, **__: None)
    monkeypatch.setattr(demo, "train", lambda _: Outcome(5, False, signal.SIGTERM))
    assert (
        i2i(tmp_path / "streams", "demo", "--out", tmp_path / "demo").status == 128 + signal.SIGTERM
    )


def test_ignored_signals_stay_ignored_and_handlers_are_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        handlers = []
        monkeypatch.setattr(
            "i2i.cli.group.main", lambda **_: handlers.append(signal.getsignal(signal.SIGINT))
        )
        with pytest.raises(SystemExit):
            main()
        assert handlers == [signal.SIG_IGN]
        assert signal.getsignal(signal.SIGTERM) is before[1]
    finally:
        signal.signal(signal.SIGINT, before[0])


def test_command_line_works_outside_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["i2i", "list", "methods"])
    ended: list[object] = []

    def run() -> None:
        try:
            main()
        except SystemExit as end:
            ended.append(end.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [0]
