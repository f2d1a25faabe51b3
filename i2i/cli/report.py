"""`i2i report`: the page of a run."""

from pathlib import Path

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports
from i2i.console import echo


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_options.path, metavar="RUN...")
@click.option(
    "--out",
    type=_options.path,
    metavar="FILE.html",
    help="Page to write; for several runs a new file.  [default: RUN/report.html]",
)
def command(runs: tuple[str, ...], out: str | None) -> None:
    """Write the page of a run: scores, pictures, curves, diagnostics, settings, in one HTML file.

    The page is made from the files in the folder RUN, needs no network, and is the one that
    training writes. Of further runs the curves are drawn over those of the first.
    """
    if len(runs) > 1 and out is None:
        raise click.UsageError("--out FILE.html is needed for the page of several runs.")
    with quick_imports():
        from i2i.files import check_new_file
        from i2i.report.run import REPORT
        from i2i.run.report import write_report

    first, *others = map(Path, runs)
    page = Path(out) if out else first / REPORT
    if out:
        check_new_file(page, {".html"})
    write_report(first, page, others)
    echo(str(page))
