"""`report.html` of a run: its result in one glance, curves, pictures, diagnostics, settings."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from i2i.evaluation.metric import METRICS
from i2i.report.curves import charts, estimate_text, metric_decimals, metric_title
from i2i.report.pictures import SHEET_SIDE, Gallery, Role, Samples, data_uri, gallery, load
from i2i.report.pictures import samples_over_time as samples_of
from i2i.report.record import Record, Validation, number
from i2i.report.render import write_page

REPORT = "report.html"  # in the folder of a run


class Difference(NamedTuple):
    """A setting that is not the published one."""

    key: str
    here: object
    published: object
    description: str = ""


@dataclass(frozen=True)
class Remarks:
    """Facts of a run that its files alone do not say."""

    differences: Sequence[Difference] = ()  # to the published settings of the method
    diagnosed: bool = True  # the run is long enough for the rules of the diagnostics
    title: str = ""  # "": the name of the folder
    scores: Sequence[Sequence[str]] = ()  # a table of results, a header row first
    sheets: Mapping[str, Path] = field(default_factory=dict)  # pictures to show, by caption
    problems: Sequence[str] = ()


class Failure(NamedTuple):
    """A failure that the diagnostics named, with what to try."""

    images: int
    name: str
    evidence: str
    advice: list[str]


class Hero(NamedTuple):
    """Pictures that stand for the run."""

    pictures: list[tuple[str, str]]  # (label, URI); two of them are compared by a slider
    caption: str
    small: bool


def write_run_page(
    path: Path, record: Record, remarks: Remarks | None = None, others: Sequence[Record] = ()
) -> None:
    """Write the page of a run to `path`; curves of `others` are drawn over its own.

    Raises:
        OSError: a file of the run cannot be read.
        WriteError: the page cannot be written.
    """
    remarks, records = remarks or Remarks(), [record, *others]
    samples, images = samples_of(record), gallery(record)
    curves = charts(records)
    data: dict[str, Any] = {
        "runs": [each.name for each in records],
        "charts": curves,
        "samples": {"steps": samples.steps, "cells": samples.cells, "uris": samples.uris},
        "gallery": _gallery_data(images),
    }
    extra = {
        caption: data_uri(picture, SHEET_SIDE)
        for caption, file in remarks.sheets.items()
        if (picture := load(file)) is not None
    }
    write_page(
        path,
        "run.html",
        data,
        title=remarks.title or record.name,
        kind=" · ".join(map(record.setting, ("method.name", "generator.name"))),
        root=record.setting("data.root"),
        record=record,
        remarks=remarks,
        sheets=extra,
        headline=headline(record),
        more=list(_more_scores(record)),
        hero=_hero(samples, images),
        failures=failures(record.events),
        events=[event for event in record.events if event["kind"] != "health"],
        facts=facts(record),
        environment=_environment(record),
        samples=samples,
        gallery=images,
        metric_titles={name: metric_title(name) for name in images.metrics},
        metric_texts=_metric_texts(images),
        groups=list(dict.fromkeys(chart["group"] for chart in curves)),
        broken=broken(curves),
    )


class Headline(NamedTuple):
    """A metric in large letters."""

    title: str
    unit: str
    value: str
    interval: str
    direction: str
    validation: Validation


def headline(record: Record) -> Headline | None:
    """Return the metric that chooses the best weights, after the images that had it."""
    validation = record.headline
    if validation is None:
        return None
    for direction, metrics in validation.scores.items():
        name = validation.metric if validation.metric in metrics else next(iter(metrics), "")
        if name:
            value, interval = estimate_text(name, metrics[name])
            metric = METRICS.get(name)
            title, unit = (metric.title, metric.unit) if metric else (name, "")
            return Headline(title, unit, value, interval, direction, validation)
    return None


def _more_scores(record: Record) -> Iterator[tuple[str, str, str]]:
    """Yield title, value and interval of every score of the headline's validation."""
    validation = record.headline
    for direction, metrics in validation.scores.items() if validation else ():
        for name, estimate in metrics.items():
            suffix = f" ({direction})" if validation and len(validation.scores) > 1 else ""
            yield metric_title(name) + suffix, *estimate_text(name, estimate)


def failures(events: Sequence[Mapping[str, Any]]) -> list[Failure]:
    """Return the failures among events; their text is "NAME: EVIDENCE. To try: A; B, or C."."""
    listed = []
    for event in events:
        if event["kind"] == "health":
            name, _, rest = event["text"].partition(": ")
            evidence, _, advice = rest.partition(" To try: ")
            steps = [step for step in advice.rstrip(".").split("; ") if step]
            listed.append(Failure(event["images"], name, evidence, steps))
    return listed


def _hero(samples: Samples, images: Gallery) -> Hero | None:
    """Return the median validation image, or else the first sample as it is now."""
    card = images.median
    if card:
        roles: list[Role] = ["input", "output"] if "input" in card.uris else ["output"]
        rank = f"image {card.rank + 1:,} of {len(images.scores):,} from worst to best"
        return Hero([(role, card.uris[role]) for role in roles], f"The median: {rank}", card.small)
    if not samples.steps or samples.sheet:
        return None
    caption = f"Sample after {samples.steps[-1]:,} images"
    small = True
    if len(samples.labels) == 1:
        return Hero([("sample", samples.newest(0, 0))], caption, small)
    pictures = [("input", samples.newest(0, 0)), ("output", samples.newest(0, 1))]
    return Hero(pictures, caption, small)


def facts(record: Record) -> dict[str, str]:
    """Return what the top of the page says in small letters."""
    images, total = record.images, record.total
    facts = {"images seen": f"{images:,} of {total:,}" if total else f"{images:,}"}
    if math.isfinite(record.minutes):
        facts["training time"] = duration(record.minutes)
        if math.isfinite(record.speed):
            facts["speed"] = f"{record.speed:.1f} images/s"
    parameters = record.environment.get("parameters")
    if isinstance(parameters, dict):
        counts = [value for value in parameters.values() if isinstance(value, int)]
        facts["parameters"] = f"{sum(counts) / 1e6:.1f} million"
    memory = number(record.environment.get("peak_memory_bytes"))
    if math.isfinite(memory):
        facts["peak memory"] = f"{memory / 2**30:.1f} GiB"
    ended = record.environment.get("ended")
    if isinstance(ended, str) and ended:
        facts["ended"] = ended
    elif total:
        facts["ended"] = "finished" if images >= total else "not finished"
    return facts


def duration(minutes: float) -> str:
    """Return a time in the two units that suit its length."""
    if minutes < 1:
        return f"{60 * minutes:.0f} s"
    if minutes < 60:
        return f"{minutes:.0f} min"
    return f"{minutes // 60:.0f} h {minutes % 60:.0f} min"


def _environment(record: Record) -> dict[str, str]:
    hidden = ("ended", "seconds", "parameters", "peak_memory_bytes")
    present = {k: v for k, v in record.environment.items() if k not in hidden and v}
    return {key: str(value) for key, value in present.items()}


def _gallery_data(images: Gallery) -> dict[str, Any]:
    names, scores = images.metrics, []
    for score in images.scores:
        values = (score.values.get(name) for name in names)
        scores.append([images.directions.index(score.direction), *values])
    return {
        "directions": images.directions,
        "metrics": [
            {
                "title": metric_title(name),
                "higher": METRICS[name].higher_is_better if name in METRICS else True,
                "decimals": metric_decimals(name),
            }
            for name in names
        ],
        "scores": scores,
    }


def _metric_texts(images: Gallery) -> dict[int, str]:
    """Return the first metric of each card as text."""
    texts = {}
    for card in images.cards:
        name, value = next(iter(card.score.values.items()), ("", math.nan))
        texts[card.rank] = f"{value:.{metric_decimals(name)}f}" if math.isfinite(value) else "–"
    return texts


def broken(curves: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many values of each curve are not finite, without those that have none."""
    counts: Counter[str] = Counter()
    for chart in curves:
        counts[chart["title"]] += sum(series["broken"] for series in chart["series"])
    return dict(+counts)
