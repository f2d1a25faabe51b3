"""Specs of domains, by the files that are used and the settings."""

import numpy as np

from i2i.config import AlphaUse, DataConfig, PairedData
from i2i.data.folders import DataError
from i2i.data.inspect import SAMPLES, Facts, Samples
from i2i.data.slice_rules import check_slices, slicing
from i2i.images import MAX_VALUE, UNIT
from i2i.images.classes import class_depth
from i2i.images.spec import ChannelSpec, ImageSpec


def channel_spec(
    domain: str, samples: Samples, column: int, alpha: AlphaUse, name: str = ""
) -> tuple[ChannelSpec, tuple[str, ...]]:
    """Return the channels that all images of a column are converted to, and notes if they differ.

    Of gray and color, color is taken; where `alpha` is kept, images without any become opaque.
    """
    facts = samples.facts[:, column]
    kept = facts["alpha"] & (alpha == "keep")
    color = facts["channels"] - facts["alpha"]
    spec = ChannelSpec(int(color.max()) + int(kept.any()), bool(kept.any()), name)
    kinds, counts = np.unique(color + kept, return_counts=True)
    if len(kinds) == 1:
        return spec, ()
    mixed = ", ".join(f"{count} with {kind}" for count, kind in zip(counts, kinds, strict=True))
    differ = f"images of domain {domain} differ in channels ({mixed})"
    return spec, (f"{differ}: all are converted to {spec.channels}.",)


def image_spec(
    domain: str,
    inputs: tuple[ChannelSpec, ...],
    samples: Samples,
    columns: list[int],
    config: DataConfig,
) -> ImageSpec:
    """Return what a weights file says of the files of a domain, which are in `columns`."""
    depth = samples.facts["depth"][:, columns].max().item()
    kinds = np.unique(samples.facts["sample"][:, columns])
    sizes = samples.sizes[:, columns].reshape(-1, 2).astype(np.int64)
    first, rule = sizes[0], config.range_rule(domain)
    ranged = depth < 32 and domain in config.value_range
    classes = getattr(config, "classes", {}).get(domain, 0)
    if classes:
        depth = class_depth(classes)
    similar = (sizes[:, 0] * first[1] == sizes[:, 1] * first[0]).all()
    return ImageSpec(
        inputs,
        rule.limits or UNIT,
        depth,
        ranged_integers=ranged,
        clips=rule.clips and (ranged or depth == 32),
        sample=SAMPLES[kinds[0]] if len(kinds) == 1 and not classes else "",
        mask=domain in config.labels,
        classes=classes,
        edges=isinstance(config, PairedData)
        and config.class_edges
        and domain == config.direction.source,
        size=tuple(first.tolist()) if similar else None,
        **slicing(domain, config),
    )


def check_domain(
    domain: str, spec: ImageSpec, facts: Facts, config: DataConfig, jitter: bool
) -> None:
    """Raise DataError if settings do not fit a domain; `jitter`: its color will change."""
    have = f"images of domain {domain} have {spec.channels} channels"
    stacked = f", stacked from {len(spec.inputs)} folders" if len(spec.inputs) > 1 else ""
    stacked += check_slices(domain, spec, facts)
    colored = spec.channels - spec.alpha in (1, 3) and not stacked
    if config.color_jitter and jitter and not colored:
        reason = f"defined for gray and RGB, {have}{stacked}"
        raise DataError("data.color_jitter", reason, "Set data.color_jitter=0")
    check_range(domain, spec)
    if config.alpha == "carry" and spec.channels not in (1, 3):
        reason = f"carry puts alpha back onto gray or RGB, {have}"
        raise DataError("data.alpha", reason, "Set data.alpha=drop")


def check_range(domain: str, spec: ImageSpec) -> None:
    """Raise DataError if integers of a domain cannot have its value range."""
    low, high = spec.value_range
    top = MAX_VALUE[spec.depth or 8]
    if spec.ranged_integers and not 0 <= low < high <= top:
        reason = f"files of domain {domain} hold integers from 0 to {top}"
        raise DataError(f"data.value_range.{domain}", reason, "Choose a range within")
    if spec.ranged_integers and spec.alpha:
        reason = "a value range is for files of which no channel is alpha"
        raise DataError(f"data.value_range.{domain}", reason, "Set data.alpha=drop")
