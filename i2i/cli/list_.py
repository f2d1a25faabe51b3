"""`i2i list`: what there is to choose from."""

import click

from i2i import registry

_ROOMS: tuple[registry.Category, ...] = ("methods", "generators", "discriminators")


@click.command("list")
@click.argument("what", type=click.Choice([*_ROOMS, "recipes"]), required=False)
def command(what: str | None) -> None:
    """List methods, generators, discriminators or recipes; all of them without an argument."""
    for room in _ROOMS:
        if what in (None, room):
            click.echo(f"{room}:")
            for name in registry.names(room):
                click.echo(f"  {name:<16}{registry.summary(room, name)}")
    if what in (None, "recipes"):
        from i2i.recipes import recipe_files, title

        click.echo("recipes (for --config):")
        for name, path in recipe_files().items():
            click.echo(f"  {name:<24}{title(path)}")
