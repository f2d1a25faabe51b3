"""Metrics by name: titles, units, and which direction is better."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["paired", "set"]


@dataclass(frozen=True)
class Metric:
    """Description of a metric; its name is that of settings, JSON and CSV."""

    name: str
    title: str
    unit: str  # "" for a ratio
    decimals: int  # of a printed value
    higher_is_better: bool
    kind: Kind  # paired: one value per output and target; set: all outputs against all reals


_ALL = (
    Metric("psnr", "PSNR", "dB", 2, True, "paired"),
    Metric("ssim", "SSIM", "", 3, True, "paired"),
    Metric("l1", "L1", "", 4, False, "paired"),
    Metric("l1_units", "L1 in units of the files", "", 4, False, "paired"),
    Metric("swd", "SWD", "×10⁻³", 1, False, "set"),
)
METRICS = {metric.name: metric for metric in _ALL}
