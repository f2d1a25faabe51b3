"""The command `i2i`: one file a command, imported when it is asked for."""

import importlib
import sys
from pathlib import Path

import click

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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="i2i", message="i2i %(version)s")
def group() -> None:
    """Image-to-image translation and generation with GANs.

    \b
    i2i demo                                   train and translate without any data, in 3 minutes
    i2i train pix2pix --data facades           pairs
    i2i translate runs/facades photos out      a whole folder

    Exit status: 0 done, 1 some inputs failed, 2 wrong use or settings, 3 stopped by a guard, 130 or 143 by a signal.
    """


def main() -> None:
    """Run the command line. An error that this package raises on purpose is a message, not a traceback."""
    try:
        sys.exit(group.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("i2i: interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            click.echo(f"i2i: {error.filename}: {error.strerror}", err=True)
            sys.exit(2)
        if type(error).__name__ == "OutOfMemoryError":  # torch's: torch is not imported for --help
            click.echo(f"i2i: out of memory on the device: {error}\n{_SMALLER}", err=True)
            sys.exit(2)
        if not type(error).__module__.startswith("i2i."):
            raise
        click.echo(f"i2i: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 2))
