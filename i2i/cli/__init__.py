"""The command `i2i`, one file per command, and its exit codes (a table in the help of `group`).

A command returns 0 or 1, an error carries its own code (`I2IError.exit_code`), and a signal gives
128 plus its number. What is wrong in the words of a command is a `click.UsageError`, what is wrong
with files, models and settings an `I2IError`; both end with 2.
"""

import importlib
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from i2i.cli._options import CommandGroup
from i2i.console import log
from i2i.errors import I2IError, printable
from i2i.memory import is_out_of_memory
from i2i.signals import Stopped, raise_on_stop

_MODULES = {path.stem.rstrip("_"): path.stem for path in Path(__file__).parent.glob("[!_]*.py")}
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}
_SMALLER = "Try a smaller train.batch with train.accumulate, data.crop_size, or --precision bf16"


class _Commands(CommandGroup):
    """Commands by the names of the files in this folder, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if module := _MODULES.get(cmd_name):
            self.add_command(importlib.import_module(f"i2i.cli.{module}").command, cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(package_name="i2i", message="i2i %(version)s")
def group() -> None:
    """Image-to-image translation and generation with GANs.

    \b
    i2i demo                                 train and translate in 3 minutes, without any data
    i2i train pix2pix --data facades         train on pairs
    i2i translate runs/facades photos out    translate a folder

    \b
    Exit status:
      0              success
      1              some inputs failed, or faults were found
      2              wrong usage or settings, an unusable file, a full disk
      3              training stopped by its guard: a loss or gradient is not finite
      4              another process of the same training ended
      129, 130, 143  stopped by a closed terminal, Ctrl-C or SIGTERM; no file is half-written
    """


def main() -> None:
    """Run the command line, print an error as `i2i: SUBJECT: REASON. HINT.`, and exit."""
    status = 2
    try:
        with raise_on_stop():
            _open_standard_streams()
            status = group.main(standalone_mode=False) or 0
    except click.exceptions.Exit as error:
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except Stopped as stop:
        _print_error(f"stopped by {stop.name}; no file is half-written")
        status = 128 + stop.number
    except click.ClickException as error:  # arguments that cannot be parsed
        text = printable(error.format_message())  # which repeats them
        with suppress(OSError):
            click.UsageError(text, getattr(error, "ctx", None)).show()
    except I2IError as error:
        _print_error(str(error))
        status = error.exit_code
    except OSError as error:
        if not error.strerror:
            raise
        _print_error(str(I2IError(error.filename or "", error.strerror)))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _print_error(str(I2IError("device", f"out of memory ({str(error)[:200]})", _SMALLER)))
    _exit(status)


def _exit(status: int) -> NoReturn:
    """End the program; one of several processes, or a stopped one, without Python's own shutdown.

    There, freeing what a stopped command held took up to 15 s, in which no signal was heard, and
    threads that a process group leaves behind aborted about one process in 25 ("terminate called
    without an active exception", torch 2.14 over gloo), after all its work was complete.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" and status < 128:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _print_error(message: str) -> None:
    for line in f"i2i: {message}".split("\n"):  # several only where several settings are wrong
        log(line)


def _open_standard_streams() -> None:
    """Open closed standard streams on the null device.

    The next file would get their number, and with it what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
