"""`i2i demo`: the whole way, without any data."""

import click

from i2i.cli import _options


@click.command()
@click.option(
    "--mode",
    type=click.Choice(["pix2pix", "cyclegan", "dcgan"]),
    default="pix2pix",
    show_default=True,
)
@click.option(
    "--out", default="i2i-demo", show_default=True, metavar="DIR", help="Folder to write."
)
@click.option("--images", type=click.IntRange(min=1), help="Training length, to try it faster.")
@_options.device
def command(mode: str, out: str, images: int | None, device: str) -> None:
    """Draw scenes, train a small model for at most 3 minutes, translate, score, and write a report.

    Needs no download. Look at DIR/sheet.png and DIR/report.html.
    """
    from pathlib import Path

    from i2i.run.demo import run_demo

    run_demo(mode, Path(out), images, device, click.echo)
