"""Runs beside each other: scores under each protocol, what they cost, and settings that differ."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from i2i.errors import I2IError
from i2i.evaluation.metric import METRICS
from i2i.evaluation.protocol import Protocol, explain, warning
from i2i.report.curves import charts, estimate_text, metric_title
from i2i.report.record import Record, Validation, read_record
from i2i.report.render import finite, setting_text, write_page
from i2i.report.run import broken, facts
from i2i.run.settings import saved

_MISSING = "–"
_OF_COST = ("parameters", "peak_memory_bytes", "device", "ended")  # in the record of a run


class Table(NamedTuple):
    """Rows of text, a header first."""

    title: str
    rows: list[list[str]]
    notes: Sequence[str] = ()


@dataclass
class Comparison:
    """Runs by their labels: the names of their folders, or their paths where names are equal."""

    records: dict[str, Record] = field(default_factory=dict)
    settings: dict[str, dict[str, object]] = field(default_factory=dict)  # by "section.key"
    problems: list[str] = field(default_factory=list)

    @property
    def differences(self) -> dict[str, dict[str, object]]:
        """Settings that differ, by run; a run whose method or network lacks one is left out."""
        keys = dict.fromkeys(chain.from_iterable(self.settings.values()))
        sections = [*dict.fromkeys(key.partition(".")[0] for key in keys)]
        result = {}
        for key in sorted(keys, key=lambda key: sections.index(key.partition(".")[0])):
            values = {run: own[key] for run, own in self.settings.items() if key in own}
            if len(values) < len(self.settings) or len({*map(setting_text, values.values())}) > 1:
                result[key] = values
        return result


def compare(folders: Sequence[Path]) -> Comparison:
    """Read runs; settings that cannot be read in full are named in `problems`.

    Raises:
        I2IError: a folder holds no run, or is given twice.
        OSError: a file of a run cannot be read.
    """
    result, resolved = Comparison(), [folder.resolve() for folder in folders]
    names = Counter(path.name for path in resolved)
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise I2IError(folder, "this run is given more than once", "Give each run once")
        record, run = read_record(folder), path.name if names[path.name] == 1 else str(folder)
        sections = record.settings
        try:
            sections = {k: v for k, v in saved(folder).to_dict().items() if isinstance(v, dict)}
        except I2IError as error:
            result.problems.append(f"{run}: not all settings are known: {error.explanation}")
        result.records[run] = record
        settings = result.settings[run] = {}
        for section, own in sections.items():
            settings |= {f"{section}.{key}": value for key, value in own.items()}
    return result


def score_tables(comparison: Comparison) -> list[Table]:
    """Return a table for each protocol, the best run first; all show runs without validation."""
    groups: dict[str, dict[str, Validation]] = {}
    for run, record in comparison.records.items():
        if own := record.headline:
            groups.setdefault(own.protocol_hash or f"not known, of {run}", {})[run] = own
    missing = [run for run, record in comparison.records.items() if not record.headline]
    leaders = [next(iter(group.values())) for group in groups.values()]
    tables = []
    for (code, group), leader in zip(groups.items(), leaders, strict=True):
        title, notes = _protocol_texts(code, leader, leaders[0])
        rows = _score_rows(group, leader.metric)
        rows += [[run] + [_MISSING] * (len(rows[0]) - 1) for run in missing]
        tables.append(Table(title, rows, notes))
    return tables


def _score_rows(group: Mapping[str, Validation], metric: str) -> list[list[str]]:
    several = any(len(each.scores) > 1 for each in group.values())
    columns: dict[tuple[str, str], None] = {}
    for direction, own in chain.from_iterable(each.scores.items() for each in group.values()):
        columns |= dict.fromkeys(product([direction], own))
    ordered = sorted(columns, key=lambda column: column[1] != metric)
    titles = [metric_title(name) + (f" ({way})" if several else "") for way, name in ordered]
    rows = [["", *titles, "weights after"]]
    for run, each in sorted(group.items(), key=lambda item: _rank(item[1], metric)):
        cells = []
        for direction, name in ordered:
            estimate = each.scores.get(direction, {}).get(name)
            mean, interval = estimate_text(name, estimate) if estimate else (_MISSING, "")
            cells.append(f"{mean} [{interval.replace(' – ', ', ')}]" if interval else mean)
        title = METRICS[each.metric].title if each.metric in METRICS else each.metric
        kind = f"best {title}" if each.best else "newest"
        rows.append([run, *cells, f"{each.images:,} images, {kind}"])
    return rows


def _rank(validation: Validation, metric: str) -> tuple[bool, float]:
    """Return what orders runs: the mean over directions, best first, and last what is not known."""
    values = [own[metric].mean for own in validation.scores.values() if metric in own]
    value = fmean(values) if values else math.nan
    higher = metric not in METRICS or METRICS[metric].higher_is_better
    return not math.isfinite(value), -value if higher else value


def _protocol_texts(code: str, own: Validation, first: Validation) -> tuple[str, list[str]]:
    """Return a protocol in one line, and what differs from that of `first`."""
    try:
        shared = ({**each.protocol, "checkpoint": "", "precision": ""} for each in (own, first))
        protocol, other = map(Protocol.from_json, shared)
        lines = [] if own is first else explain(protocol, other)
        title = f"protocol {code}: {str(protocol).partition(': ')[2]}"
    except (ValueError, TypeError, KeyError, AttributeError):  # written by another version
        return f"protocol {code}", []
    return title, [f"unlike protocol {first.protocol_hash}, {line}" for line in lines]


def cost_table(comparison: Comparison) -> Table:
    """Return what each run cost, as far as it is known."""
    costs = {}
    for run, record in comparison.records.items():
        device = record.environment.get("device")
        costs[run] = facts(record) | ({"device": str(device)} if device else {})
    columns = list(dict.fromkeys(chain.from_iterable(costs.values())))
    rows = [["", *columns]]
    for run, own in costs.items():
        rows.append([run, *(own.get(name, _MISSING) for name in columns)])
    return Table("cost", rows)


def settings_table(comparison: Comparison) -> Table:
    """Return a row for each setting that is not the same in all runs."""
    rows = [["", *comparison.records]]
    for key, values in comparison.differences.items():
        own = (setting_text(values[r]) if r in values else _MISSING for r in comparison.records)
        rows.append([key, *own])
    return Table("settings that differ", rows)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return what `i2i compare --json` prints; what is not known is null."""
    runs, hashes = {}, dict[str, str]()
    for run, record in comparison.records.items():
        best = record.headline
        runs[run] = {
            "folder": str(record.folder),
            "images": record.images,
            "minutes": record.minutes,
            "images_per_second": record.speed,
            **{key: record.environment.get(key) for key in _OF_COST},
            "validation": asdict(best) if best else None,
        }
        hashes |= {run: best.protocol_hash} if best else {}
    said, settings = warning(hashes), comparison.differences
    content = {"runs": runs, "warning": said, "settings": settings, "notes": comparison.problems}
    return dict(finite(content))


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page of a comparison.

    Raises:
        WriteError: the page cannot be written.
    """
    curves = charts(list(comparison.records.values()))
    write_page(
        path,
        "compare.html",
        {"runs": list(comparison.records), "charts": curves},
        title=f"{len(comparison.records)} runs",
        runs=list(comparison.records),
        scores=score_tables(comparison),
        cost=cost_table(comparison),
        settings=settings_table(comparison),
        problems=comparison.problems,
        groups=list(dict.fromkeys(chart["group"] for chart in curves)),
        broken=broken(curves),
    )
