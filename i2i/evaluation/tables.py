"""Evaluations as text, Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from i2i.errors import printable
from i2i.evaluation.metric import METRICS
from i2i.evaluation.record import Evaluation
from i2i.files import write_atomically
from i2i.images import MAX_VALUE

_WORST = 5  # images that are listed


def table(result: Evaluation) -> list[list[str]]:
    """Return rows of text: a header, then a row of means with their 95 % intervals per name.

    For targets of 8 bits, which are pictures, L1 is of the range 0 to 1 only.
    """
    plain = result.value_range == (0, MAX_VALUE[8])
    names = dict.fromkeys(name for row in result.scores.values() for name in row)
    metrics = [METRICS[name] for name in names if name != "l1_units" or not plain]
    rows = [["", *(metric.heading for metric in metrics)]]
    for name, intervals in result.scores.items():
        cells = []
        for metric in metrics:
            if metric.name not in intervals:
                cells.append("–")
                continue
            mean, low, high = (f"{v:.{metric.decimals}f}" for v in intervals[metric.name])
            cells.append(f"{mean} [{low}, {high}]")
        rows.append([name, *cells])
    return rows


def aligned(rows: Iterable[list[str]]) -> str:
    """Return rows as lines with columns of equal width."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)) for row in rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the header first, as a table in Markdown."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    ruler = ["---"] + ["---:"] * (len(cells[0]) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], ruler, *cells[1:]))


def remarks(result: Evaluation) -> list[str]:
    """Return lines that belong below the table: worst images, what is missing, the protocol."""
    lines = []
    row, ranked = next(iter(result.images.items()), ("", ()))
    if result.ordered_by and len(ranked) > 1:
        metric = METRICS[result.ordered_by]
        worst = ", ".join(
            f"{printable(Path(name).name, 60)} {values[metric.name]:.{metric.decimals}f}"
            for name, values in ranked[:_WORST]
        )
        lines.append(f"worst of {row} by {metric.title}: {worst}")
    for name, reason in result.not_computed.items():
        lines.append(f"{METRICS[name].title} is not computed: {printable(reason)}")
    lines += [f"note: {printable(note)}" for note in result.notes]
    return [*lines, str(result.protocol)]


def write_csv(path: Path, results: Sequence[Evaluation]) -> None:
    """Write the metrics of each image, a row for each, the worst first, of models before baselines.

    Raises:
        WriteError: the file cannot be written.
    """
    rows: list[dict[str, object]] = []
    for result in results:
        for scored, ranked in result.images.items():
            first = {"direction": result.protocol.direction, "scored": scored}
            rows += [{**first, "name": name, **values} for name, values in ranked]
    columns = dict.fromkeys(key for row in rows for key in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))


def as_json(result: Evaluation) -> dict[str, Any]:
    """Return what `i2i evaluate --json` prints of one direction."""
    scores: dict[str, dict[str, object]] = {}
    for row, intervals in result.scores.items():
        scores[row] = {name: interval._asdict() for name, interval in intervals.items()}
    return {
        "images": result.count,
        "direction": result.protocol.direction,
        "scores": scores,
        "depth": result.depth,
        "value_range": result.value_range,
        "not_computed": dict(result.not_computed),
        "notes": list(result.notes),
        "worst": [name for name, _ in next(iter(result.images.values()), ())[:_WORST]],
        "protocol_hash": result.protocol.hash,
        "protocol": result.protocol.as_json(),
    }
