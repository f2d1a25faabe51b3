"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

device: Decorator = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:i]|mps",
    help="Where the networks run.",
)


def precision(default: str | None) -> Decorator:
    """Return the --precision option; None leaves the choice to the config."""
    return click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default=default,
        help="Number format. auto: bf16 on GPUs that have it, fp32 elsewhere.",
    )
