"""`report.html` of a run: its end, its events, its curves and its newest samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from i2i.files import EVENTS, METRICS, SAMPLES, read_own, read_rows
from i2i.report.page import html_report

REPORT = "report.html"  # in the folder of a run


def run_report(
    path: Path,
    run: Path,
    title: str,
    facts: Mapping[str, object],
    table: Sequence[Sequence[str]],
    pictures: Mapping[str, bytes],
) -> None:
    """Write a page to `path` with events and curves of the folder `run`; the rest as `html_report`.

    Raises:
        OSError: the rows of the run cannot be read.
        WriteError: the page cannot be written.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read_rows(run / METRICS):
        for name, value in row.items():
            if "/" in name and not name.startswith("lr/"):
                curves.setdefault(name, []).append((row["images"], value))
    events = [(event["images"], event["kind"], event["text"]) for event in read_rows(run / EVENTS)]
    html_report(path, title, facts, table, events, pictures, curves)


def newest_sheet(run: Path) -> dict[str, bytes]:
    """Return the newest sample sheet of a run as a PNG by caption; {} without any."""
    sheets = sorted(path for path in (run / SAMPLES).glob("*.png") if path.stem.isdecimal())
    if not sheets:
        return {}
    return {f"Samples after {int(sheets[-1].stem):,} images": read_own(sheets[-1])}
