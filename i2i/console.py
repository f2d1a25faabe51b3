"""JsonlWriter for people, on stderr. No torch."""

from contextlib import suppress

import click


def log(text: str, nl: bool = True) -> None:
    """Print a line; where stderr is closed, its reader gone or its disk full, nothing else stops for it."""
    with suppress(OSError):
        click.echo(text, err=True, nl=nl)
