"""Options that several commands share."""

import re
from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class CommandGroup(click.Group):
    """A group whose help lists the first line of each command in full, not cut off."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command and command.help:
            command.short_help = command.help.partition("\n")[0]
        return command


def numbers(pattern: str, form: str) -> Callable[..., tuple[int, ...] | None]:
    """Return a callback that converts whole numbers in a fixed form, such as 4x8, to a tuple."""

    def convert(_ctx: Any, _parameter: Any, value: str | None) -> tuple[int, ...] | None:
        match = re.fullmatch(pattern, value or "")
        if value and not match:
            raise click.BadParameter(f"{value!r} is not {form}.")
        return tuple(map(int, match.groups())) if match else None

    return convert


def choice(flag: str, values: str, **attributes: Any) -> Decorator:
    """Return an option that takes one of `values`, such as "a2b|b2a"."""
    return click.option(flag, type=click.Choice(values.split("|")), **attributes)


def precision(default: str | None) -> Decorator:
    """Return the --precision option; None leaves the choice to the config."""
    text = "Number format. auto: bf16 on GPUs that support it, fp32 elsewhere."
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
    "--pairs", metavar="CSV", help="File of pairs: columns of paths below the data."
)
max_pixels: Decorator = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=100_000_000,
    metavar="N",
    show_default=True,
    help="Largest number of pixels of an image file.",
)
