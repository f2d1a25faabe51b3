"""Progress of long commands: a bar on a terminal, plain lines elsewhere; lines above the bar; nothing fails with it."""

import errno
import io
import os
import pty
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import Command
from models import write_model, write_pictures

from i2i import console
from i2i.cli import group
from i2i.console import log, progress
from i2i.scenes import write_dataset


class Terminal:
    """A pseudo-terminal in the place of stderr."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()

    def attach(self) -> None:
        sys.stderr = io.TextIOWrapper(io.FileIO(self.slave, "w", closefd=False), "utf-8")
        os.environ |= {"TERM": "xterm", "COLUMNS": "160"}

    def text(self) -> str:
        """Everything that was written so far."""
        os.set_blocking(self.master, False)
        content = b""
        try:
            while piece := os.read(self.master, 65536):
                content += piece
        except OSError:
            return content.decode()
        return content.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(console, "REFRESH_SECONDS", 0.0)
    for name in ("TERM", "COLUMNS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    return Terminal()


def test_terminal_shows_what_is_done_how_much_how_fast_and_the_time_left(
    terminal: Terminal,
) -> None:
    terminal.attach()
    with progress("drawing [1]", 8, unit="scenes", start=2) as job:
        job.update(4, "loss 0.5")
        shown = terminal.text()
        log("a line of [its] own")
        assert "a line of [its] own\r\n" in terminal.text()
    for part in ("drawing [1]", "4/8", "scenes", "/s", "left", "loss 0.5"):
        assert part in shown, part
    assert console._bar is None
    log("afterwards")
    assert terminal.text().endswith("afterwards\r\n")


def test_bar_inside_a_bar_and_a_terminal_that_hangs_up_stop_nothing(terminal: Terminal) -> None:
    terminal.attach()
    with progress("outer", 2) as outer, progress("inner", 2) as inner:
        inner(1, 2)
        os.close(terminal.master)
        outer(1, 2)
        log("nobody reads this")
    assert console._bar is None


def test_progress_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        attempts = 0

        def write(self, text: str) -> int:
            self.attempts += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    stream = Full()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
    with progress("translating") as job:
        job(1, 2)
    assert stream.attempts > 0


def test_plain_lines_appear_every_30_seconds_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with progress("translating", 100) as job:
        for second in range(1, 91):
            clock[0] += 1
            job(second, 100)
    assert capsys.readouterr().err.splitlines() == [
        "translating: 30/100 images (30.0 %)  1.0/s  00:01:10 left",
        "translating: 60/100 images (60.0 %)  1.0/s  00:00:40 left",
        "translating: 90/100 images (90.0 %)  1.0/s  00:00:10 left",
    ]


def test_time_left_is_given_in_days_when_long_and_not_at_all_before_the_first_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with progress("training", 1_000_000, start=10) as job:
        clock[0] = 20.0
        assert job._pace(10) == "-/s"
        assert job._pace(30) == "1.0/s  11.6 d left"
        assert job._pace(1_000_020).endswith("00:00:00 left")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    write_model(root / "model", "resnet")
    write_model(root / "faces", "dcgan")
    write_pictures(root / "photos", 3)
    write_dataset("facades", root / "pairs", 5, 32, seed=0)
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        archive.write(root / "photos/000.png", "000.png")
    return root


LONG: dict[str, tuple[Callable[[Path, Path], list[object]], str]] = {
    "translate": (
        lambda i, o: ["translate", i / "model", i / "photos", o],
        "translating: 3/3 images",
    ),
    "evaluate": (lambda i, o: ["evaluate", i / "model", i / "pairs"], "evaluating: 1/1 images"),
    "generate": (lambda i, o: ["generate", i / "faces", o, "--count", 2], "generating: 2/2 images"),
    "grid": (
        lambda i, o: ["generate", i / "faces", f"{o}.png", "--grid", "1x3"],
        "generating: 3/3",
    ),
    "walk": (
        lambda i, o: ["generate", i / "faces", f"{o}.png", "--interpolate", "1:2:4"],
        "generating: 4/4 images",
    ),
    "check": (
        lambda i, o: ["data", "check", i / "photos", "--kind", "unconditional"],
        "decoding: 3/3 images",
    ),
    "synth": (
        lambda i, o: ["data", "synth", "portraits", o, "--count", 4, "--size", 32],
        "drawing: 4/4 images",
    ),
    "unpack": (lambda i, o: ["data", "unpack", i / "photos.zip", o], "unpacking: 1/1 images"),
}


@pytest.mark.parametrize("name", LONG)
def test_every_long_command_shows_its_progress(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
    words, line = LONG[name]
    arguments = [str(word) for word in words(inputs, tmp_path / "out")]
    result = CliRunner().invoke(group, arguments, standalone_mode=False)
    assert result.exception is None
    assert f"{line}" in result.stderr
    assert line not in result.stdout


def test_command_on_a_terminal_shows_a_bar_and_takes_it_away(inputs: Path, tmp_path: Path) -> None:
    terminal = Terminal()

    def attach() -> None:
        console.REFRESH_SECONDS = 0.0
        terminal.attach()

    words = ["translate", inputs / "model", inputs / "photos", tmp_path / "out"]
    ended = Command(tmp_path / "streams", *words, before=attach).ended()
    assert ended.status == 0
    text = terminal.text()
    assert "translating" in text
    assert "3/3" in text
    assert text.endswith("\x1b[2K")  # the line of the bar is erased
    assert "3 written" in ended.out
