"""`i2i show`: every setting of a method, or what a model file says of itself."""

import click

from i2i import registry


@click.command()
@click.argument("what", metavar="METHOD|MODEL")
def command(what: str) -> None:
    """Print the settings of a METHOD with their defaults, or the description of a MODEL."""
    if what in registry.names("methods"):
        from i2i.config import Layer
        from i2i.run.build import resolve

        settings = resolve(what, [Layer("show", {"data": {"root": "PATH"}})])
        click.echo(
            f"# {registry.summary('methods', what)}\n# Set any of these with --set section.key=value."
        )
        click.echo(settings.to_yaml(), nl=False)
        return
    from pathlib import Path

    from i2i.model_file import read_info

    if not Path(what).exists():
        known = ", ".join(registry.names("methods"))
        raise click.UsageError(f"{what}: no method and no model of this name. Methods: {known}.")
    click.echo(read_info(what).to_yaml(), nl=False)
