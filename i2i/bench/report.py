"""From turns to numbers, as lines for people and as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Literal

from i2i.bench.turns import Contender
from i2i.console import echo
from i2i.files import check_new_file, write_atomically

MIB = 2**20
Row = dict[str, Any]
_COLUMNS = (
    f"{'ms':>12}{'min..max':>20}{'images/s':>10}{'CPU s':>9}{'MiB':>8}{'matmul':>8}{'copy':>7}"
)


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return median, extremes and all of `values`, one of each round."""
    numbers = list(values)
    return {"median": median(numbers), "min": min(numbers), "max": max(numbers), "values": numbers}


def row(contender: Contender, images: int = 1, flops: int | None = None) -> Row:
    """Return what was measured of a contender, whose facts may say more.

    Keys:
        name
        seconds, cpu_seconds: spreads of one unit: step, image or sample. Processor time is that of
            all threads of the process; null where others work for it.
        images_per_second: at the median.
        peak_bytes: during the turns. On a CPU the largest resident size of the process, without
            what its libraries and weights take; on CUDA all that torch had allocated at the worst
            moment, weights counted; null where the system does not say.
        execution: number format and algorithms.
        matmul_rate, copy_rate: FLOP/s and bytes/s that this process reaches at best, where they
            are of use.
        flops, bytes: of one unit: those of plain networks, and those that must be moved.
        matmul_share, copy_share: of both rates, at the median time.

    Args:
        images: in one unit.
        flops: of one unit, where another contender has counted them.
    """
    turns, facts = contender.turns, dict(contender.facts)
    seconds = spread(turn.seconds / turn.units for turn in turns)
    cpu = spread(turn.cpu_seconds / turn.units for turn in turns)
    if flops is not None:
        facts["flops"] = flops
    result = {
        "name": contender.name,
        "seconds": seconds,
        "cpu_seconds": None if facts.pop("helpers", 0) else cpu,
        "images_per_second": images / seconds["median"],
        **facts,
    }
    for work, rate in (("flops", "matmul"), ("bytes", "copy")):
        if facts.get(work) and facts.get(f"{rate}_rate"):
            share = facts[work] / seconds["median"] / facts[f"{rate}_rate"]
            result[f"{rate}_share"] = share
    return result


def ratio(one: Row, other: Row) -> dict[str, Any]:
    """Return how `one` compares with `other`.

    Keys:
        of, to: names of the two rows.
        time, cpu_time: spreads of the ratios within each round: below 1, `one` is faster.
        speed, cpu_speed: the same the other way round.
        memory: ratio of the peaks.

    What is not known of both is null.
    """
    result: dict[str, Any] = {"of": one["name"], "to": other["name"], "memory": None}
    for prefix, key in (("", "seconds"), ("cpu_", "cpu_seconds")):
        for name, above, below in (("time", one, other), ("speed", other, one)):
            result[prefix + name] = None
            if above[key] and below[key]:
                pairs = zip(above[key]["values"], below[key]["values"], strict=True)
                result[prefix + name] = spread(a / max(b, 1e-9) for a, b in pairs)
    if one.get("peak_bytes") and other.get("peak_bytes"):
        result["memory"] = one["peak_bytes"] / other["peak_bytes"]
    return result


def print_rows(rows: Sequence[Row], unit: str) -> None:
    """Print a table: times of one `unit`, such as "step"."""
    width = max(len(row["name"]) for row in rows) + 2
    echo(f"{'one ' + unit:<{width}}{_COLUMNS}")
    for row in rows:
        seconds, cpu = row["seconds"], row["cpu_seconds"]
        processor = f"{cpu['median']:.3g}" if cpu else "-"
        limits = f"{_ms(seconds['min'])}..{_ms(seconds['max'])}"
        echo(
            f"{row['name']:<{width}}{_ms(seconds['median']):>12}{limits:>20}"
            f"{row['images_per_second']:>10.4g}{processor:>9}"
            f"{_mib(row.get('peak_bytes')):>8}{_percent(row.get('matmul_share')):>8}"
            f"{_percent(row.get('copy_share')):>7}"
        )


def print_ratios(
    ratios: Sequence[Mapping[str, Any]], key: Literal["speed", "time"] = "speed"
) -> None:
    """Print each ratio as a sentence."""
    for ratio in ratios:
        text = f"{ratio['of']}: {_spread(ratio[key])} the {key} of {ratio['to']}"
        if processor := ratio[f"cpu_{key}"]:
            text += f", by processor time {_spread(processor)}"
        if ratio["memory"]:
            text += f", {ratio['memory']:.2f}x its memory"
        echo(text)


def numbers(
    command: str, machine: Mapping[str, Any], job: Any, rows: list[Row], ratios: list[Row]
) -> dict[str, Any]:
    """Return all that is written with `--json` (see `i2i.bench`); `job` is a dataclass."""
    settings = asdict(job)
    return {"command": command, "machine": machine, "settings": settings} | {
        "rows": rows,
        "ratios": ratios,
    }


def check(path: str | None) -> None:
    """Raise WriteError if the numbers could not be written to `path`, before they are measured."""
    if path:
        check_new_file(Path(path), {".json"})


def write(path: str | None, result: Mapping[str, Any]) -> None:
    """Write all numbers, if there is a path.

    Raises:
        WriteError, DiskFullError: they cannot be written.
    """
    if path:
        write_atomically(Path(path), (json.dumps(result, indent=1) + "\n").encode())


def _spread(values: Mapping[str, Any]) -> str:
    return f"{values['median']:.2f}x ({values['min']:.2f}..{values['max']:.2f})"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}" if seconds < 10 else f"{1e3 * seconds:.0f}"


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / MIB:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
