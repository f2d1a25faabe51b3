"""`i2i resume RUN`: continue a training where it stopped."""

from typing import Any

import click

from i2i.cli import _options
from i2i.cli.train import read_layers, run_options, start


@click.command()
@click.argument("run", type=_options.path, metavar="RUN")
@run_options
def command(run: str, **flags: Any) -> int:
    """Resume a training RUN where it stopped.

    Method and settings are those of the run. Settings given here replace them, as far as a resumed
    run may change them (marked in `i2i show METHOD`); to train longer, raise --epochs or --images.
    """
    return start(None, read_layers(flags), run, True, flags)
