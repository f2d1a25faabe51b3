"""`report.html` of a run: how it ended, what happened on the way, its curves and its newest pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from i2i.files import read_rows
from i2i.report.page import html_report
from i2i.training.metrics_logger import EVENTS, METRICS

REPORT = "report.html"  # in the folder of a run


def run_report(
    path: Path,
    run: Path,
    title: str,
    facts: Mapping[str, object],
    table: Sequence[Sequence[str]],
    pictures: Mapping[str, bytes],
) -> None:
    """Write a page about the run in the folder `run` to `path`: what is given (see `html_report`), events and curves.

    Raises:
        OSError: it could not be written.
    """
    rows = read_rows(run / METRICS)
    names = dict.fromkeys(
        name for row in rows for name in row if "/" in name and not name.startswith("lr/")
    )
    curves = {name: [(row["images"], row[name]) for row in rows if name in row] for name in names}
    events = [(event["images"], event["kind"], event["text"]) for event in read_rows(run / EVENTS)]
    html_report(path, title, facts, table, events, pictures, curves)


def newest_sheet(run: Path) -> dict[str, bytes]:
    """Return the newest sample sheet of a run as a PNG by caption; nothing where there is none."""
    sheets = sorted(path for path in (run / "samples").glob("*.png") if path.stem.isdecimal())
    return (
        {f"Samples after {int(sheets[-1].stem):,} images": sheets[-1].read_bytes()}
        if sheets
        else {}
    )
