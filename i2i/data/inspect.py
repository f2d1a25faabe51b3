"""Facts about image files, an array row for each sample: from headers and from decoding."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.config import RangeRule
from i2i.data.folders import Listing
from i2i.images import Array, Format, Histogram, ImageError, WatchedRange
from i2i.images.windows import read_large_header

FORMATS: tuple[Format, ...] = get_args(Format)
SAMPLES = ("", *images.NUMBERS)
_HEADER = [
    ("size", np.int32, 2),  # height and width as shown, pixels; 0 where the file cannot be read
    ("channels", np.uint16),  # alpha counted
    ("alpha", np.bool_),  # the last channel is alpha
    ("depth", np.uint8),  # bits; 32: floats
    ("format", np.uint8),  # index in FORMATS
    ("sample", np.uint8),  # index in SAMPLES
    ("nodata", np.bool_),  # there may be pixels without data, which do not count below
    # of the colors, alpha aside; 0 where they are not decoded
    ("constant", np.bool_),  # every pixel has one value
    ("gray", np.bool_),  # all three are equal
    ("top", np.float32),  # largest value
    ("bottom", np.float32),  # least value
    ("outside", np.float32),  # share of the values that are outside of the range of the domain
    ("values", np.uint16),  # how many different ones in 8-bit gray
]
_FINGERPRINT = [
    ("digest", np.uint64, 2),  # of shape, depth and pixels: equal images in two formats agree
    ("dhash", np.uint64),  # difference hash: a bit for each pair of neighbors in the thumbnail
    ("thumbnail", np.uint8, (8, 9)),  # gray
]
_BLOCK = 4096  # files handed to the threads at once: millions must not become millions of futures
_HASHED_PIXELS = 2**20  # larger images are subsampled to about this before they are hashed

Facts = NDArray[np.void]  # with the fields above
Reading = Literal["header", "pixels", "fingerprint"]  # each includes those before


@dataclass(frozen=True)
class Samples:
    """Files that belong together row by row: a column for each input and one for the target."""

    domains: tuple[str, ...]  # of each column
    files: Sequence[Sequence[str]]  # of each column
    facts: Facts  # [rows, columns]; zeros where a file cannot be read
    errors: Mapping[tuple[int, int], str]  # (row, column) -> why the file cannot be read
    side_by_side: bool = False  # the one column holds a and b, a half of each image
    guessed: bool = False  # side by side is what the folders look like

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.facts)

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(height, width) of every image, or of its halves, [rows, columns, 2]."""
        return np.asarray(self.facts["size"] // np.array([1, 1 + self.side_by_side], np.int32))

    @property
    def readable(self) -> NDArray[np.bool_]:
        """True for every file that can be read, [rows, columns]."""
        return np.asarray(self.facts["size"][..., 0] > 0)

    def keep(self, rows: NDArray[np.bool_]) -> "Samples":
        """Return the rows that `rows`, [N], marks; all of their files are readable."""
        indices = np.flatnonzero(rows).tolist()
        files = [[column[row] for row in indices] for column in self.files]
        return replace(self, files=files, facts=self.facts[rows], errors={})


def inspect(
    listing: Listing,
    reading: Reading = "header",
    range_rule: Callable[[str], RangeRule] = lambda _: RangeRule(images.UNIT),
    max_pixels: int = images.MAX_PIXELS,
    threads: int = 8,
    progress: Callable[[int, int], None] | None = None,
    histograms: Sequence[Histogram] = (),
    crops: bool = False,
) -> Samples:
    """Read the headers of all files, or more.

    Decoded floats outside the range of their domain, `range_rule` of its name, are errors unless it
    clips them, and files of more than `max_pixels`. `progress` is called with files read and their
    total. `histograms`, one for each column, take the values of decoded files. With `crops` larger
    files are taken if parts can be read from them; only their header is.
    """
    fields = [*_HEADER, *_FINGERPRINT] if reading == "fingerprint" else _HEADER
    facts = np.zeros((len(listing.files[0]), len(listing.files)), fields)
    errors: dict[tuple[int, int], str] = {}
    with ThreadPoolExecutor(threads) as pool:
        for column, paths in enumerate(listing.files):
            rule, histogram = range_rule(listing.domains[column]), None
            if histograms:
                histogram = histograms[column]
            watch = partial(WatchedRange, rule.limits or images.UNIT, rule.clips, histogram)
            read = partial(_read, reading=reading, watch=watch, limit=max_pixels, crops=crops)
            for start in range(0, len(paths), _BLOCK):
                for row, result in enumerate(pool.map(read, paths[start : start + _BLOCK]), start):
                    if isinstance(result, str):
                        errors[row, column] = result
                    else:
                        facts[row, column] = result
                    if progress:
                        total = len(listing.files) * len(paths)
                        progress(column * len(paths) + row + 1, total)
    side_by_side = listing.layout != "folders"
    return Samples(listing.domains, listing.files, facts, errors, side_by_side, listing.guessed)


def _read(
    path: str, reading: Reading, watch: Callable[[], WatchedRange], limit: int, crops: bool
) -> tuple[Any, ...] | str:
    content: tuple[Any, ...] = (False, False, 0, 0, 0, 0)
    fingerprint: tuple[Any, ...] = ()
    try:
        header = read_large_header(path, limit) if crops else None
        if header is not None and reading == "fingerprint":
            fingerprint = _no_fingerprint(path)
        elif header is None and reading == "header":
            header = images.read_header(path, limit)
        elif header is None:
            watched = watch()
            with images.decoded(path, limit, watched) as (pixels, header):
                colors = pixels[..., :-1] if header.alpha else pixels
                if header.missing is not None:
                    valid = ~header.missing.any(axis=2)
                    if not valid.any():
                        raise ImageError(path, "none of its pixels has data", "Leave it out")
                    colors = pixels[valid][None, :, : colors.shape[2]]
                if header.depth < 32:
                    watched.watch(colors)
                content = _content(colors, watched)
                if reading == "fingerprint":
                    colored = pixels[..., :-1] if header.alpha else pixels
                    fingerprint = _fingerprint(pixels, colored)
    except ImageError as error:
        return str(error)
    size, kind = (header.height, header.width), FORMATS.index(header.format)
    sample = SAMPLES.index(header.sample)
    fields = size, header.channels, header.alpha, header.depth, kind, sample, header.nodata
    return *fields, *content, *fingerprint


def _content(colors: Array, values: WatchedRange) -> tuple[Any, ...]:
    # the first row of most images is enough
    constant = all(bool((row == colors[0, 0]).all()) for row in colors)
    gray = colors.shape[2] == 3 and all(bool((row == row[:, :1]).all()) for row in colors)
    levels = np.zeros(256, np.bool_)
    if colors.dtype == np.uint8 and colors.shape[2] == 1:
        for row in colors:
            levels[row] = True
    in_units = colors.dtype == np.float32 or values != images.UNIT
    share = values.outside / values.values if in_units else 0.0
    return constant, gray, values.highest, values.lowest, share, int(levels.sum())


def _no_fingerprint(path: str) -> tuple[Any, ...]:
    """Return a fingerprint that no other file has."""
    digest = np.frombuffer(blake2b(path.encode(), digest_size=16).digest(), np.uint64)
    return digest, digest[0], np.zeros((8, 9), np.uint8)


def _fingerprint(pixels: Array, colors: Array) -> tuple[Any, ...]:
    shape = f"{pixels.shape} {pixels.dtype}".encode()
    digest = blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=shape).digest()
    step = max(1, math.isqrt(colors.shape[0] * colors.shape[1] // _HASHED_PIXELS))
    small = images.resize(colors[::step, ::step], (8, 9))
    if small.shape[2] in (1, 3):
        gray = images.to_unit(images.match_channels(small, 1))
    else:
        gray = images.to_unit(small).mean(axis=2)
    thumbnail = np.round(gray.reshape(8, 9) * 255).astype(np.uint8)
    dhash = np.packbits(thumbnail[:, 1:] > thumbnail[:, :-1]).view(">u8")[0]
    return np.frombuffer(digest, np.uint64), dhash, thumbnail
