"""The command `i2i`: one file a command, imported when it is asked for."""

import importlib
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from i2i.console import log
from i2i.errors import I2IError
from i2i.signals import Stopped, raise_on_stop

_SMALLER = "Try a smaller train.batch with train.accumulate, data.crop_size, or --precision bf16."
_FILES = {"import": "import_", "list": "list_"}  # names that Python keeps for itself


class _Commands(click.Group):
    """Commands by the names of the files in this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(path.stem.rstrip("_") for path in Path(__file__).parent.glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"i2i.cli.{_FILES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="i2i", message="i2i %(version)s")
def group() -> None:
    """Image-to-image translation and generation with GANs.

    \b
    i2i demo                                   train and translate without any data, in 3 minutes
    i2i train pix2pix --data facades           pairs
    i2i translate runs/facades photos out      a whole folder

    \b
    Exit status: 0 done; 1 some inputs failed or faults were found; 2 wrong use or settings, or a
        full disk;
    3 stopped by a guard; 4 another process of the training ended; 129, 130 or 143 stopped by a
    closed terminal, Ctrl-C or SIGTERM, with no file half-written.
    """


def main() -> None:
    """Run the command line. Errors that this package raises on purpose, and the system's, are messages."""
    _open_standard_streams()
    try:
        with raise_on_stop():
            status = group.main(standalone_mode=False) or 0
    except click.exceptions.Exit as error:
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except Stopped as stop:
        _print_error(f"stopped by {stop.name}; no file is half-written")
        status = 128 + stop.number
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        status = 2
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        _print_error(message)
        status = getattr(error, "exit_code", 2)
    _exit(status)


def _exit(status: int) -> NoReturn:
    """End the program; one of several processes without the interpreter's own end.

    There, threads that a process group leaves behind aborted about one process in 25 ("terminate
    called without an active exception", torch 2.14 over gloo), when all its work was done.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _message(error: Exception) -> str | None:
    """What to say about an error; None where it is a fault of the program."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if type(error).__name__ == "OutOfMemoryError":  # torch's: torch is not imported for --help
        return f"out of memory on the device: {error}\n{_SMALLER}"
    return str(error) if isinstance(error, I2IError) else None


def _print_error(message: str) -> None:
    log(f"i2i: {message}")  # where it cannot be said, the exit status still tells


def _open_standard_streams() -> None:
    """Give closed standard streams a place: the next file would get their number, and what libraries print."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
