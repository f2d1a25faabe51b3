"""The command `i2i` in a forked process: as a user runs it, without the time of its imports."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import hear_signals, start, wait_for

from i2i import cli


class Ended(NamedTuple):
    """Status and output of a command that has ended."""

    status: int  # negative: killed by this signal
    out: str
    err: str


class Command:
    """A running command; its output and the mark of its start are files in `folder`."""

    def __init__(
        self, folder: Path, *arguments: object, before: Callable[[], object] | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        self.process: BaseProcess = start(
            _run, folder, [str(argument) for argument in arguments], before
        )

    def begun(self) -> None:
        """Wait until the command parses its arguments."""
        wait_for((self.folder / "begun").exists, 60, "the command to begin")

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def ended(self) -> Ended:
        """Wait for the end."""
        self.process.join(120)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
            raise AssertionError("the command does not end")
        return Ended(status, *((self.folder / name).read_text("utf-8") for name in ("out", "err")))


def i2i(folder: Path, *arguments: object, before: Callable[[], object] | None = None) -> Ended:
    """Run a command to its end; `before` is called in its process."""
    return Command(folder, *arguments, before=before).ended()


def here(*arguments: object, seconds: float = 60.0) -> Ended:
    """Run a command in this process, for thousands of short ones; what is no error of ours is raised, a hang too."""

    def hang(*_: object) -> None:
        raise AssertionError(f"no answer within {seconds} s")

    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["i2i", *map(str, arguments)])
        before = signal.signal(signal.SIGALRM, hang)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    return Ended(status, out.getvalue(), err.getvalue())


def _run(folder: Path, arguments: list[str], before: Callable[[], object] | None) -> None:
    hear_signals()
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8") for number in (1, 2)
    )
    sys.argv = ["i2i", *arguments]
    main = cli.group.main

    def begin(*given: object, **named: object) -> object:
        (folder / "begun").touch()
        return main(*given, **named)  # type: ignore[arg-type]

    cli.group.main = begin  # type: ignore[method-assign,assignment]
    if before is not None:
        before()
    cli.main()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a file system of `size` on `folder`; yields a function that changes its size.

    Raises:
        PermissionError: this process may not mount.
    """
    import subprocess

    def mount(*words: object) -> None:
        done = subprocess.run(
            ["mount", *map(str, words)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PermissionError(done.stderr.strip())

    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield lambda larger: mount("-o", f"remount,size={larger}", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
