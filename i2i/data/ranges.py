"""Value ranges that are percentiles of the training data, fitted before anything is decoded."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np

from i2i import images
from i2i.config import DataConfig
from i2i.data.folders import DataError, Listing
from i2i.data.parts import takes_crops
from i2i.images import UNIT, Array, Header, Histogram, ImageError, WatchedRange
from i2i.images.spec import ImageSpec
from i2i.images.windows import open_windows, read_large_header

_FILES = 1000  # of a domain, at most
_THREADS = 8
_WINDOWS, _SIDE = 8, 256  # along each axis of a file that is not loaded; pixels a side


def evenly(count: int, total: int) -> list[int]:
    """Return `count` of `total` rows, or all, spread evenly: whatever the seed."""
    count = min(count, total)
    return [index * total // count for index in range(count)]


def fit_ranges(config: DataConfig, listing: Listing) -> tuple[DataConfig, tuple[str, ...]]:
    """Return `config` with numbers for the percentiles of the domains of `listing`, and notes.

    Values are those of all its files, or of an even sample of 1,000 for each domain, in memory
    that does not depend on them. Of files of which crops are trained on they are those of 64
    windows. Of integers the deepest count; alpha and pixels without data do not.

    Raises:
        DataError: the percentiles of a domain are one value.
        ImageError: a file cannot be read; with `on_bad_file: skip` it is left out.
    """
    ranges, notes = dict(config.value_range), []
    crops = takes_crops(config) and listing.layout == "folders"
    for domain, setting in config.value_range.items():
        rule = config.range_rule(domain)
        columns = [paths for its, paths in zip(*listing[:2], strict=True) if its == domain]
        if listing.layout != "folders":  # both domains are in one file
            columns = list(listing.files)
        if rule.limits or rule.percentiles is None or not columns:
            continue
        rows = evenly(_FILES, len(columns[0]))
        histogram = _values([paths[row] for paths in columns for row in rows], config, crops)
        low, high = histogram.percentiles(rule.percentiles)
        total = len(columns) * len(columns[0])
        some = f"{len(columns) * len(rows):,} of {total:,} files, an even sample"
        files = f"all {total:,} files" if len(rows) == len(columns[0]) else some
        if not low < high:
            reason = f"{setting} of {files} are both {low:g}"
            raise DataError(f"data.value_range.{domain}", reason, "Name two numbers")
        ranges[domain] = rule._replace(limits=(low, high)).text
        text = f"value range of {domain}: {low:g} to {high:g}, {setting} of the values of {files}."
        notes.append(text)
    return config.model_copy(update={"value_range": ranges}), tuple(notes)


def check_effect(config: DataConfig, specs: Iterable[ImageSpec]) -> None:
    """Raise DataError if `data.outside_range` is set, and no domain has a value range."""
    if config.outside_range and not any(spec.in_units(spec.depth or 8) for spec in specs):
        reason = "has no effect: files hold integers, and no domain has a value range"
        raise DataError("data.outside_range", reason, "Set data.value_range, or leave it out")


def _values(files: Sequence[str], config: DataConfig, crops: bool) -> Histogram:
    """Return the values of the deepest files; `crops`: parts of those that are not loaded count."""
    histograms = {depth: Histogram() for depth in (8, 16, 32)}

    def add(file: str) -> ImageError | None:
        watched = WatchedRange(UNIT, clips=True, histogram=histograms[32])
        try:
            for pixels, header in _pictures(file, config.max_pixels, crops, watched):
                if header.depth < 32:  # floats go through the range
                    colors = pixels[..., :-1] if header.alpha else pixels
                    if header.missing is not None:
                        colors = colors[~header.missing.any(axis=2)]
                    if colors.size:
                        histograms[header.depth].add(colors)
        except ImageError as error:
            return error
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        for error in pool.map(add, files):
            if error and config.on_bad_file == "fail":
                raise error
    used = [depth for depth, histogram in histograms.items() if histogram.total]
    if not used:
        raise DataError("data.root", "no file can be read to fit a value range", "Check the files")
    return histograms[max(used)]


def _pictures(
    file: str, max_pixels: int, crops: bool, watched: WatchedRange
) -> Iterator[tuple[Array, Header]]:
    """Yield a file, or windows from all over one that is not loaded."""
    if not crops or not (header := read_large_header(file, max_pixels)):
        with images.decoded(file, max_pixels, watched) as picture:
            yield picture
        return
    height, width = min(_SIDE, header.height), min(_SIDE, header.width)
    tops = np.linspace(0, header.height - height, _WINDOWS, dtype=int).tolist()
    lefts = np.linspace(0, header.width - width, _WINDOWS, dtype=int).tolist()
    with open_windows(file, 0, watched) as opened:
        for top, left in product(tops, lefts):
            yield opened.read(top, left, height, width)
