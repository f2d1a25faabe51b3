"""`i2i list`: methods, networks and recipes."""

from typing import get_args

import click

from i2i import registry
from i2i.console import echo

_CATEGORIES: tuple[registry.Category, ...] = get_args(registry.Category)


@click.command("list")
@click.argument("what", type=click.Choice([*_CATEGORIES, "recipes"]), required=False)
def command(what: str | None) -> None:
    """List methods, generators, discriminators or recipes; all of them without an argument."""
    for category in _CATEGORIES:
        if what in (None, category):
            echo(f"{category}:")
            for name in registry.names(category):
                echo(f"  {name:<16}{registry.summary(category, name)}")
    if what in (None, "recipes"):
        from i2i.recipes import recipe_files, title

        echo("recipes (for --config):")
        for name, path in recipe_files().items():
            echo(f"  {name:<24}{title(path)}")
