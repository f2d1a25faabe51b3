"""Files of one domain in one split, counted by what they hold, for `i2i data check`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from i2i.config import DataConfig
from i2i.data.folders import preview
from i2i.data.inspect import FORMATS, Facts, Samples
from i2i.images import MAX_VALUE, UNIT, Histogram

_CENTRAL = (0.5, 99.5)  # percentiles of the values that are called central


@dataclass(frozen=True)
class Values:
    """Values of the files of a domain, and the part of its range that they use."""

    lowest: float
    highest: float
    low: float  # of the range: data.value_range, or all that the files can hold
    high: float
    used: float  # share of the range that the central 99 % of the values cover
    outside: float  # share of the values that are outside of the range

    def __str__(self) -> str:
        text = f"values from {self.lowest:g} to {self.highest:g}, the central 99 % cover "
        text += f"{100 * self.used:.0f} % of {self.low:g} to {self.high:g}"
        return f"{text}, {100 * self.outside:.2g} % outside" if self.outside else text


@dataclass(frozen=True)
class Group:
    """The files of one domain in one split, counted by what their headers say."""

    name: str  # "train a", "test", …
    files: int
    sizes: dict[str, int]  # "widthxheight" -> files
    channels: dict[int, int]  # alpha counted
    depths: dict[int, int]  # bits
    formats: dict[str, int]
    values: Values | None  # of files of one depth that are no label maps

    def __str__(self) -> str:
        if not self.formats:
            return "none can be read"
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        sizes = preview(f"{count} of {size}" for size, count in self.sizes.items())
        channels = ", ".join(f"{count} of {n} channels" for n, count in self.channels.items())
        depths = ", ".join(f"{count} of {bits} bits" for bits, count in self.depths.items())
        text = f"{formats}; {sizes}; {channels}; {depths}"
        return f"{text}; {self.values}" if self.values else text


def groups_of(
    split: str,
    samples: Samples,
    histograms: Sequence[Histogram],
    names: Sequence[str],
    config: DataConfig,
) -> Iterator[Group]:
    """Yield the group of each column of `samples`; `names` of all, if folders are named."""
    for column, domain in enumerate(samples.domains):
        own = column + (domain == "b" and not column)  # unpaired, b has a part of its own
        name = Path(names[own]).name if names else domain
        name = "side by side" if samples.side_by_side else name
        facts = samples.facts[samples.readable[:, column], column]
        sizes = Counter(f"{width}x{height}" for height, width in facts["size"].tolist())
        channels, depths = (Counter(facts[field].tolist()) for field in ("channels", "depth"))
        formats = Counter(FORMATS[number] for number in facts["format"].tolist())
        values = None
        if len(depths) == 1 and domain not in config.labels and histograms[column].total:
            values = _values(domain, facts, histograms[column], config)
        own_name = f"{split} {name}".removesuffix(" image")
        yield Group(
            own_name,
            len(samples),
            dict(sizes.most_common()),
            dict(channels.most_common()),
            dict(depths.most_common()),
            dict(formats.most_common()),
            values,
        )


def _values(domain: str, facts: Facts, histogram: Histogram, config: DataConfig) -> Values:
    depth = int(facts["depth"][0])
    low, high, outside = 0.0, float(MAX_VALUE[depth]), 0.0
    if depth == 32 or domain in config.value_range:
        low, high = config.range_rule(domain).limits or UNIT
        pixels = facts["size"].astype(np.float64).prod(axis=1)
        outside = float((facts["outside"] * pixels).sum() / pixels.sum())
    first, last = histogram.percentiles(_CENTRAL)
    used = max(0.0, min(last, high) - max(first, low)) / (high - low)
    return Values(histogram.lowest, histogram.highest, low, high, used, outside)
