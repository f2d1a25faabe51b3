"""Metrics by name: titles, units, and which direction is better."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["paired", "set"]
Network = Literal["effnet", "inception", "alexnet"]


class Interval(NamedTuple):
    """A value and its 95 % interval; NaN where a file does not say it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """Description of a metric; its name is that of settings, JSON and CSV."""

    name: str
    title: str
    unit: str  # "" for a ratio
    decimals: int  # of a printed value
    higher_is_better: bool
    kind: Kind  # paired: one value per output and target; set: all outputs against all reals
    network: Network | None = None  # whose features are compared
    of_classes: bool = False  # compares class numbers; all others compare shades

    @property
    def heading(self) -> str:
        """Title and unit, as over a column."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


_ALL = (
    Metric("psnr", "PSNR", "dB", 2, True, "paired"),
    Metric("ssim", "SSIM", "", 3, True, "paired"),
    Metric("ms_ssim", "MS-SSIM", "", 3, True, "paired"),
    Metric("l1", "L1", "", 4, False, "paired"),
    Metric("l1_units", "L1 in units of the files", "", 4, False, "paired"),
    Metric("lpips", "LPIPS", "", 4, False, "paired", "alexnet"),
    Metric("pixel_accuracy", "Pixel accuracy", "", 4, True, "paired", of_classes=True),
    Metric("miou", "Mean IoU", "", 4, True, "paired", of_classes=True),
    Metric("swd", "SWD", "×10⁻³", 1, False, "set"),
    Metric("grid", "Grid", "dB", 2, False, "set"),
    Metric("kid_effnet", "KID on EfficientNet", "", 4, False, "set", "effnet"),
    Metric("fd_effnet", "FD on EfficientNet", "", 2, False, "set", "effnet"),
    Metric("precision_effnet", "Precision on EfficientNet", "", 3, True, "set", "effnet"),
    Metric("recall_effnet", "Recall on EfficientNet", "", 3, True, "set", "effnet"),
    Metric("density_effnet", "Density on EfficientNet", "", 3, True, "set", "effnet"),
    Metric("coverage_effnet", "Coverage on EfficientNet", "", 3, True, "set", "effnet"),
    Metric("fid", "FID", "", 2, False, "set", "inception"),
    Metric("kid", "KID", "", 4, False, "set", "inception"),
    Metric("precision", "Precision", "", 3, True, "set", "inception"),
    Metric("recall", "Recall", "", 3, True, "set", "inception"),
    Metric("density", "Density", "", 3, True, "set", "inception"),
    Metric("coverage", "Coverage", "", 3, True, "set", "inception"),
)
METRICS = {metric.name: metric for metric in _ALL}
