"""`i2i demo`: train, translate and score without any data."""

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports


@click.command()
@_options.choice("--mode", "pix2pix|cyclegan|cut|dcgan", default="pix2pix", help="Method to train.")
@click.option("--out", type=_options.path, default="i2i-demo", metavar="DIR", help="New folder.")
@click.option(
    "--images", type=click.IntRange(1, 1_000_000), metavar="N", help="Training length, images."
)
@_options.device
def command(mode: str, out: str, images: int | None, device: str) -> None:
    """Draw scenes, train a small model on them for at most 3 minutes, and write a report.

    The model translates and scores held-out scenes. Nothing is downloaded. Look at DIR/sheet.png
    and DIR/report.html.
    """
    from pathlib import Path

    from i2i.console import echo
    from i2i.lock import new_folder

    with quick_imports():
        from i2i.run.demo import run_demo

    with new_folder(Path(out)):
        run_demo(mode, Path(out), images, device, echo)
