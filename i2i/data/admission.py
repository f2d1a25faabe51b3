"""Files of a listing that training takes, and value ranges that are fitted to them."""

from collections.abc import Iterator

import numpy as np

from i2i.config import DataConfig
from i2i.data.folders import DataError, Listing, preview
from i2i.data.inspect import Reading, Samples, inspect
from i2i.data.parts import takes_crops
from i2i.data.ranges import fit_ranges
from i2i.data.rules import check_faults, describe_files, describe_notes, find_faults
from i2i.data.selection import HeldOut, sampled, without_held_out
from i2i.images import Histogram
from i2i.images.histogram import EXACT


def nothing_left(config: DataConfig) -> DataError:
    """Return the error about a data set without an image that can be used."""
    reason = f"no image of {config.root} can be used"
    return DataError("data.root", reason, "List the faults with i2i data check")


def unused_classes(domain: str, classes: int, histogram: Histogram) -> Iterator[str]:
    """Yield a note on the class numbers of a domain that no file holds."""
    unused = np.setdiff1d(np.arange(classes), histogram.levels()).tolist()
    if unused and classes <= EXACT:  # of larger numbers some are counted together
        yield f"classes of domain {domain} that no file holds: {preview(map(str, unused))}."


def read_listing(
    config: DataConfig, listing: Listing, seed: int, part: HeldOut | None
) -> tuple[DataConfig, Samples, tuple[str, ...]]:
    """Read the files of a listing; return `config` with fitted ranges, its samples, and notes.

    Raises:
        DataError: samples break a rule, and are not to be skipped.
        ImageError: a file cannot be read to fit a value range.
    """
    notes = [*listing.ignored(), *listing.remarks()]
    listing, note = sampled(listing, config.max_images, seed)
    listing, share = without_held_out(listing, part)
    config, fitted = fit_ranges(config, listing)
    notes += [*note, *share, *fitted]
    reading: Reading = "header"
    if len(listing.files[0]) <= config.decode_check_limit:
        reading = "pixels"
    limit, crops = config.max_pixels, takes_crops(config) and listing.layout == "folders"
    classes, histograms = getattr(config, "classes", {}), list[Histogram]()
    if classes and reading == "pixels":
        histograms = [Histogram() for _ in listing.files]
    samples = inspect(
        listing, reading, config.range_rule, limit, crops=crops, histograms=histograms
    )
    for domain, histogram in zip(listing.domains, histograms, strict=False):
        notes += unused_classes(domain, classes.get(domain, 0), histogram)
    faults = find_faults(samples, config)
    notes += describe_notes(samples, faults, config)
    good = np.ones(len(samples), np.bool_)
    for rule, mask in faults.items():
        if rule.drop and (rule.note or config.on_bad_file == "skip"):
            good &= ~mask.any(axis=1)
            details = describe_files(samples, mask, rule.values)
            notes += [f"skipped, {rule.name}: {detail}" for _, detail in details]
    if not good.any():
        raise nothing_left(config)
    if not good.all():
        samples = samples.keep(good)
    check_faults(samples, {rule: mask[good] for rule, mask in faults.items()}, config)
    return config, samples, tuple(notes)
