"""Options that several commands share."""

import math
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from i2i.errors import I2IError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class CommandGroup(click.Group):
    """A group whose help lists the first line of each command in full, not cut off."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any("\0" in text for text in args):  # no system call takes it
            raise click.UsageError("an argument holds the character NUL.", ctx)
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command and command.help:
            command.short_help = command.help.partition("\n")[0]
        return command


class PathError(I2IError):
    """A path that no command can use."""


class _Path(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5
    """A path of a file or folder, or of none yet; reading a pipe or a device would never end."""

    name = "path"

    def convert(self, value: Any, _parameter: Any, _ctx: Any) -> str:
        if not value.strip():
            raise PathError("", "a path is empty", "Write . for this folder")
        try:
            Path(value).expanduser()
        except RuntimeError:
            raise PathError(value, "there is no such home folder", "Write the path out") from None
        try:
            mode = Path(value).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return str(value)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise PathError(value, "a pipe or a device", "Give a file or a folder")
        return str(value)


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, parameter: Any, ctx: Any) -> float:
        number: float = super().convert(value, parameter, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not finite.", parameter, ctx)
        return number


path = _Path()
MAX_SEED = 2**63 - 1


def numbers(form: str, description: str) -> Callable[..., tuple[int, ...] | None]:
    """Return a callback that converts numbers of at most 10 digits, such as NxN, to a tuple."""
    pattern = re.escape(form).replace("N", "([0-9]{1,10})")

    def convert(_ctx: Any, _parameter: Any, value: str | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        match = re.fullmatch(pattern, value)
        if not match:
            raise click.BadParameter(f"{value!r} is not {description}.")
        return tuple(map(int, match.groups()))

    return convert


def choice(flag: str, values: str, **attributes: Any) -> Decorator:
    """Return an option that takes one of `values`, such as "a2b|b2a"."""
    return click.option(flag, type=click.Choice(values.split("|")), **attributes)


def precision(default: str | None) -> Decorator:
    """Return the --precision option; None leaves the choice to the config."""
    text = "Number format. auto: the fastest here, by a test; fp32: exact."
    return choice("--precision", "auto|fp32|bf16|fp16", default=default, help=text)


depth: Decorator = click.option(
    "--depth",
    type=click.Choice(["8", "16", "32"]),
    callback=lambda _context, _parameter, value: int(value) if value else None,
    help="Bits of outputs; 32: floats.  [default: those of the target's files in training]",
)
device: Decorator = click.option(
    "--device", default="auto", metavar="auto|cpu|cuda[:i]|mps", help="Device of the networks."
)
direction: Decorator = choice(
    "--direction", "a2b|b2a", help="Direction, for bidirectional models.  [default: the model's]"
)
size: Decorator = click.option(
    "--size",
    default="keep",
    metavar="keep|PIXELS|WxH",
    help="Size that inputs are resized to first; one number is the shorter side.",
)
pair_pattern: Decorator = click.option(
    "--pair-pattern",
    multiple=True,
    metavar="PATTERN",
    help="Names of partners, such as {id}_A and {id}_B: one for each folder, in order.",
)
pairs: Decorator = click.option(
    "--pairs", type=path, metavar="CSV", help="File of pairs: columns of paths below the data."
)
max_pixels: Decorator = click.option(
    "--max-pixels",
    type=click.IntRange(1, 2**40),
    metavar="N",
    help="Largest image that is read.  [default: 100 million]",
)
