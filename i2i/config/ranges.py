"""Value ranges as settings: two numbers, percentiles of the training data, or windows."""

import re
from typing import NamedTuple

# (level, width) in HU: usual presets, as Radiopaedia's article on windowing gives them for lungs,
# mediastinum, soft tissues and liver of the abdomen, brain, and bone of the spine
WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft_tissue": (50, 400),
    "liver": (30, 150),
    "brain": (40, 80),
    "bone": (400, 1800),
}
_NUMBER = r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*"
_CALL = re.compile(
    rf"\s*(percentile|window)\({_NUMBER},{_NUMBER}\)\s*(?:=\s*\[{_NUMBER},{_NUMBER}\])?"
)


class RangeRule(NamedTuple):
    """Meaning of a setting `data.value_range` of a domain."""

    limits: tuple[float, float] | None  # (low, high); None: of percentiles that are not fitted
    clips: bool = False  # values outside are clipped, unless data.outside_range says otherwise
    percentiles: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """Return the setting of fitted percentiles, from which a resumed run takes the numbers."""
        (first, last), (low, high) = self.percentiles or (0, 100), self.limits or (0, 1)
        return f"percentile({first!r}, {last!r}) = [{low!r}, {high!r}]"


def parse_range(setting: tuple[float, float] | str) -> RangeRule:
    """Return the rule that a setting stands for.

    Raises:
        ValueError: text that is none, or numbers that are out of order.
    """
    if not isinstance(setting, str):
        return RangeRule(setting)
    name = setting.strip()
    if name in WINDOWS:
        return RangeRule(_window(*WINDOWS[name]), clips=True)
    match = _CALL.fullmatch(name)
    if match is None or (match[1] == "window" and match[4]):
        names = ", ".join(WINDOWS)
        raise ValueError(
            f"must be [low, high], percentile(0.5, 99.5), window(level, width) or one of {names}"
        )
    first, second = float(match[2]), float(match[3])
    if match[1] == "window":
        if second <= 0:
            raise ValueError(f"the width of a window must be above 0, got {second:g}")
        return RangeRule(_window(first, second), clips=True)
    if not 0 <= first < second <= 100:
        raise ValueError(f"percentages must rise from 0 to 100, got {first:g} and {second:g}")
    limits = (float(match[4]), float(match[5])) if match[4] else None
    return RangeRule(limits, clips=True, percentiles=(first, second))


def _window(level: float, width: float) -> tuple[float, float]:
    return level - width / 2, level + width / 2
