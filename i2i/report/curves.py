"""Curves of one run or of several over each other, thinned to what a screen can show."""

import math
from collections.abc import Sequence
from typing import Any

from i2i.evaluation.metric import METRICS, Interval
from i2i.report.record import Record, number

MAX_POINTS = 1_000  # of a curve
_QUIET = ("accuracy", "grad_norm", "drift", "diversity", "saturation", "grid", "correlation")

Point = tuple[float, ...]  # images seen, value, and for an interval its ends


def charts(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return charts in groups; each has a series of every run that logged it.

    Scores under different protocols are in different charts. Points that are not finite are kept as
    gaps, and counted.
    """
    collected: dict[tuple[str, str], dict[int, list[Point]]] = {}
    protocols = {each.protocol_hash for record in records for each in record.validations}
    for index, record in enumerate(records):
        for validation in record.validations:
            for direction, metrics in validation.scores.items():
                several = len(validation.scores) > 1
                for name, estimate in metrics.items():
                    title = metric_title(name) + (f" ({direction})" if several else "")
                    title += f", protocol {validation.protocol_hash}" if len(protocols) > 1 else ""
                    of_runs = collected.setdefault(("Validation", title), {})
                    of_runs.setdefault(index, []).append((validation.images, *estimate))
        for row in record.rows:
            for name, value in row.items():
                if name not in ("images", "epoch"):
                    of_runs = collected.setdefault((_group(name), name), {})
                    of_runs.setdefault(index, []).append((row["images"], number(value)))
    order = ["Validation", "Losses", "Diagnostics", "Schedule and speed"]
    keys = sorted(collected, key=lambda key: order.index(key[0]))
    result = []
    for group, title in keys:
        series = [_series(index, points) for index, points in collected[group, title].items()]
        result.append({"group": group, "title": title, "series": series})
    return result


def metric_title(name: str) -> str:
    """Return a metric's title with its unit; of an unknown metric its name."""
    return METRICS[name].heading if name in METRICS else name


def metric_decimals(name: str) -> int:
    """Return how many decimals a metric is printed with."""
    return METRICS[name].decimals if name in METRICS else 4


def estimate_text(name: str, estimate: Interval) -> tuple[str, str]:
    """Return the mean of a metric and its interval as text, with the metric's decimals."""
    decimals = metric_decimals(name)
    mean, low, high = (
        f"{value:.{decimals}f}" if math.isfinite(value) else "–" for value in estimate
    )
    return mean, f"{low} – {high}"


def _group(name: str) -> str:
    if "/" not in name or name.startswith("lr/"):
        return "Schedule and speed"
    return "Diagnostics" if name.split("/")[-1].startswith(_QUIET) else "Losses"


def _series(run: int, points: Sequence[Point]) -> dict[str, Any]:
    broken = sum(not math.isfinite(point[1]) for point in points)
    columns = [list(map(_short, column)) for column in zip(*thin(points), strict=True)]
    names = ("x", "y", "low", "high")
    return {"run": run, "broken": broken} | dict(zip(names, columns, strict=False))


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Return at most `limit` points: the lowest and the highest of each part, peaks stay."""
    if len(points) <= limit:
        return list(points)
    parts, kept = limit // 2 - 1, {0, len(points) - 1}
    for part in range(parts):
        span = range(part * len(points) // parts, (part + 1) * len(points) // parts)
        finite = [n for n in span if math.isfinite(points[n][1])] or list(span[:1])
        kept |= {min(finite, key=lambda n: points[n][1]), max(finite, key=lambda n: points[n][1])}
    return [points[n] for n in sorted(kept)]


def _short(value: float) -> float:
    """Return a number with 6 digits, which is less to write and more than can be seen."""
    if not math.isfinite(value):
        return value
    rounded = float(f"{value:.6g}")
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else rounded
