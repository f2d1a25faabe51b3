"""Fingerprints of image sets: which pictures made a number, and what was done to them before.

A hash of the pixels tells that two sets differ. A few pictures, chosen by the hashes of their names
and so the same in every copy, keep statistics that tell why.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from i2i.errors import printable
from i2i.images import Array, match_channels, stem_of, suffix_of, to_unit

_SAMPLES = 16  # pictures whose statistics are kept
_THUMB = 4  # cells in each direction
_SIDE = 1024  # pixels of the part from which statistics are taken
_LEVEL = 255  # statistics are in 8-bit levels, whatever the depth
_ANGLES = np.pi * np.outer(np.arange(8), 2 * np.arange(8) + 1) / 16
_DCT = np.cos(_ANGLES) * np.where(np.arange(8) == 0, math.sqrt(1 / 8), 0.5)[:, None]
_HIGH = np.add.outer(np.arange(8), np.arange(8)) >= 6  # frequencies that JPEG quantizes coarsely
_FLIPS = {  # rows and columns of a thumbnail
    "mirrored": (slice(None), slice(None, None, -1)),
    "upside down": (slice(None, None, -1), slice(None)),
    "turned by 180 degrees": (slice(None, None, -1), slice(None, None, -1)),
}


class Sample(NamedTuple):
    """Statistics of one picture, of its luma or first channel."""

    content: str  # hash of its pixels
    thumb: str  # means of 4 x 4 cells, hex of 8 bits each
    detail: float  # mean difference of neighbors relative to that of pixels 4 apart
    jpeg: float  # share of zeros among high DCT coefficients, above that of a shifted grid


class Fingerprint(NamedTuple):
    """A set of pictures as they were decoded, before any resizing."""

    images: int
    content: str  # hash of the pixels of all; names do not count
    names: str  # hash of the stems
    formats: Mapping[str, int]  # suffix of files -> how many
    sizes: Mapping[str, int]  # WxH -> how many
    samples: Mapping[str, Sample]  # stem -> statistics

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `_asdict` gave to a JSON file."""
        samples = {name: Sample(*values) for name, values in content["samples"].items()}
        return cls(**{**content, "samples": samples})


class Collector:
    """Takes the pictures of a set one by one and returns its fingerprint."""

    def __init__(self, names: Iterable[str]) -> None:
        stems = [_stem(name) for name in names]
        self._chosen = set(sorted(stems, key=_rank)[:_SAMPLES])
        self._stems: list[str] = []
        self._contents: list[str] = []
        self._formats: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._samples: dict[str, Sample] = {}

    def add(self, name: str, pixels: Array) -> str:
        """Take a picture [H, W, C] of the file `name`, and return the hash of its pixels."""
        stem, (height, width) = _stem(name), pixels.shape[:2]
        digest = hashlib.sha256(f"{pixels.dtype} {pixels.shape}".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        content = digest.hexdigest()[:16]
        self._stems.append(stem)
        self._contents.append(content)
        self._formats[suffix_of(name).lstrip(".") or "memory"] += 1
        self._sizes[f"{width}x{height}"] += 1
        if stem in self._chosen and stem not in self._samples:
            self._samples[stem] = _sample(content, pixels)
        return content

    def result(self, order: Sequence[str] = ()) -> Fingerprint:
        """Return the fingerprint; pictures count in the order of their own hashes, or of `order`.

        `order`: a hash for each picture, that of its target, so that other partners are seen.
        """
        keys = order or self._contents
        ordered = [content for _, content in sorted(zip(keys, self._contents, strict=True))]
        return Fingerprint(
            len(ordered),
            _hash(ordered),
            _hash(sorted(self._stems)),
            dict(sorted(self._formats.items())),
            dict(self._sizes.most_common(4)),
            dict(sorted(self._samples.items())),
        )


def _stem(name: str) -> str:
    return stem_of(Path(name).name)


def differences(one: Fingerprint, other: Fingerprint) -> Iterator[str]:
    """Yield what differs between two sets, "" content alike; `one` is the set that is described."""
    if one.content == other.content:
        return
    if one.images != other.images:
        yield f"{one.images} images, {other.images} in the other"
    for title, mine, theirs in (
        ("files", one.formats, other.formats),
        ("sizes of files", one.sizes, other.sizes),
    ):
        if mine.keys() != theirs.keys():
            yield f"{title}: {', '.join(mine)}; {', '.join(theirs)} in the other"
    common = sorted(one.samples.keys() & other.samples.keys())
    if one.names != other.names:
        yield _relation(one, other, len(common))
    changed = [n for n in common if one.samples[n].content != other.samples[n].content]
    if changed:
        pairs = [(one.samples[name], other.samples[name]) for name in changed]
        names = f"{len(changed)} of {len(common)} compared, first: {printable(changed[0], 60)}"
        yield f"{_change(pairs)} ({names})"
    elif one.images == other.images and one.names == other.names:
        yield "the pixels of some images differ, or they have other partners"


def _relation(one: Fingerprint, other: Fingerprint, common: int) -> str:
    """Return how the names of two sets relate, as far as the samples tell."""
    inside = [_covered(a, b) for a, b in ((one, other), (other, one))]
    if inside[0] and one.images < other.images:
        return "a part of the images of the other"
    if inside[1] and one.images > other.images:
        return "all images of the other, and more"
    contents = {sample.content for sample in other.samples.values()}
    if not common:
        same = any(sample.content in contents for sample in one.samples.values())
        return "other names" if same else "none of the images of the other: another split or set"
    return "only some images in common"


def _covered(one: Fingerprint, other: Fingerprint) -> bool:
    """Return True if all samples of `one` that `other` would have chosen are among its own."""
    ranks = [_rank(name) for name in other.samples]
    limit = max(ranks, default="") if other.images > len(ranks) else "g"  # above any hex digit
    expected = [name for name in one.samples if _rank(name) <= limit]
    return bool(expected) and all(name in other.samples for name in expected)


def _change(pairs: Sequence[tuple[Sample, Sample]]) -> str:
    """Return what was done to the pictures of `one`, from statistics of (one, other)."""
    mine, theirs = (np.stack([_levels(pair[n]) for pair in pairs]) for n in (0, 1))
    if np.median(_error(mine, theirs)) < 1:  # level: coarse structure is the same
        return _fine_change(pairs)
    for title, (rows, columns) in _FLIPS.items():
        if np.median(_error(mine, theirs[:, rows, columns])) < 1:
            return f"pictures are {title}"
    slope, offset = np.polyfit(theirs.ravel(), mine.ravel(), 1) if np.ptp(theirs) else (0.0, 0.0)
    if np.median(_error(mine, slope * theirs + offset)) < 2:
        return (
            f"values are scaled by {slope:.3g} and shifted by {offset / _LEVEL:+.3g} of the range: "
            "another value range, depth or brightness"
        )
    if max(_correlation(mine, part) for part in _parts(theirs)) > 0.8:
        return "pictures are parts of those of the other: cropped, or shifted"
    if max(_correlation(part, theirs) for part in _parts(mine)) > 0.8:
        return "pictures hold those of the other, and more: that one is cropped"
    if abs(_correlation(mine, theirs)) > 0.6:
        return "pictures are changed in tone or moved"
    return "other pictures have the same names"


def _fine_change(pairs: Sequence[tuple[Sample, Sample]]) -> str:
    blocks = float(np.median([mine.jpeg - theirs.jpeg for mine, theirs in pairs]))
    detail = float(np.median([mine.detail / max(theirs.detail, 1e-6) for mine, theirs in pairs]))
    if abs(blocks) > 0.15 and not (blocks < 0 and detail < 0.95):
        where = "pictures" if blocks > 0 else "those of the other"
        return f"{where} were compressed as JPEG in between (blocks of 8 x 8)"
    if detail < 0.97:
        return f"pictures are smoother ({detail:.0%} of the detail): resized twice, or blurred"
    if detail > 1.03:
        share = f"{1 / detail:.0%} of the detail"
        return f"those of the other are smoother ({share}): resized twice, or blurred"
    return "pixels differ a little: converted, compressed or resampled in between"


def _sample(content: str, pixels: Array) -> Sample:
    channels = 3 if pixels.shape[2] >= 3 else 1
    luma = match_channels(to_unit(pixels[..., :channels]), 1)[..., 0] * np.float64(_LEVEL)
    height, width = luma.shape
    rows = np.array_split(np.arange(height), min(_THUMB, height))
    columns = np.array_split(np.arange(width), min(_THUMB, width))
    cells = [luma[np.ix_(*cell)].mean() for cell in product(rows, columns)]
    thumb = bytes(round(min(max(cell, 0), _LEVEL)) for cell in cells).ljust(_THUMB**2, b"\0")
    part = luma[:_SIDE, :_SIDE]
    return Sample(content, thumb.hex(), _detail(part), _blocks(part) - _blocks(part[4:, 4:]))


def _detail(luma: NDArray[np.float64]) -> float:
    near = sum(np.abs(np.diff(luma, axis=axis)).sum() for axis in (0, 1))
    far = np.abs(luma[4:] - luma[:-4]).sum() + np.abs(luma[:, 4:] - luma[:, :-4]).sum()
    return round(float(near / far), 4) if far else 0.0


def _blocks(luma: NDArray[np.float64]) -> float:
    """Return the share of zeros among the high coefficients of 8 x 8 blocks, 0 without a block."""
    height, width = (side // 8 for side in luma.shape)
    if not height or not width:
        return 0.0
    blocks = luma[: 8 * height, : 8 * width].reshape(height, 8, width, 8).swapaxes(1, 2)
    high = (_DCT @ blocks @ _DCT.T)[..., _HIGH]
    return round(float((np.abs(high) < 0.75).mean()), 4)


def _levels(sample: Sample) -> NDArray[np.float64]:
    levels = np.frombuffer(bytes.fromhex(sample.thumb), np.uint8).astype(np.float64)
    return levels.reshape(_THUMB, _THUMB)


def _error(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean absolute difference of thumbnails [N, 4, 4] -> [N]."""
    error: NDArray[np.float64] = np.abs(one - other).mean(axis=(1, 2))
    return error


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    flat = np.ptp(one) == 0 or np.ptp(other) == 0
    return 0.0 if flat else float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _parts(thumbs: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield thumbnails [N, 4, 4] of parts of pictures, at their corners, edges and centers."""
    centers = np.arange(_THUMB) + 0.5
    for share in (0.95, 0.9, 0.85, 0.75, 0.6):
        for top, left in product((0.0, 0.5, 1.0), repeat=2):
            rows, columns = (
                _interpolation((1 - share) * start * _THUMB + share * centers - 0.5)
                for start in (top, left)
            )
            yield rows @ thumbs @ columns.T


def _interpolation(positions: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the matrix [4, 4] that interpolates cells linearly at positions in cells."""
    distances = np.abs(positions.clip(0, _THUMB - 1)[:, None] - np.arange(_THUMB))
    matrix: NDArray[np.float64] = (1 - distances).clip(0)
    return matrix


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _hash(texts: Iterable[str]) -> str:
    return _rank("\n".join(texts))[:16]
