"""`i2i compare`: runs beside each other."""

import json
from functools import partial
from pathlib import Path

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports
from i2i.console import echo, log


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_options.path, metavar="RUN RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print the tables in Markdown.")
@click.option(
    "--out", type=_options.path, metavar="FILE.html", help="Page to write, with all curves."
)
def command(runs: tuple[str, ...], as_json: bool, markdown: bool, out: str | None) -> None:
    """Compare runs: scores with 95 % intervals, what training cost, and settings that differ.

    \b
    i2i compare runs/one runs/other --out runs.html

    Scores are those of the best validation of each run, the best run first. Only numbers of one
    protocol are comparable: each protocol has a table of its own. Intervals are over images; how
    much trainings differ by chance only further seeds tell.
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    if len(runs) < 2:
        raise click.UsageError("two or more runs are needed; `i2i report RUN` shows one.")
    with quick_imports():
        from i2i.errors import printable
        from i2i.evaluation import tables
        from i2i.files import check_new_file
        from i2i.run import compare

    if out:
        check_new_file(Path(out), {".html"})
    comparison = compare.compare([Path(run) for run in runs])
    if out:
        compare.write_comparison(Path(out), comparison)
        log(f"page: {out}")
    if as_json:
        click.echo(json.dumps(compare.as_json(comparison), indent=1))
        return
    scores, visible = compare.score_tables(comparison), partial(printable, limit=60)
    for table in (*scores, compare.cost_table(comparison), compare.settings_table(comparison)):
        rows = [list(map(visible, row)) for row in table.rows]
        if len(rows) > 1:
            text = tables.markdown(rows) if markdown else tables.aligned(rows)
            for line in (table.title, *[""] * markdown, *text.split("\n"), *table.notes, ""):
                echo(line.rstrip())
    for note in comparison.problems:
        echo(f"note: {note}")
    if len(scores) > 1:
        echo(f"note: {len(scores)} protocols, whose numbers are not comparable")
