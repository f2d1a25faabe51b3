"""What the pixels of a file say about it: its identity, its dhash (a 64-bit difference hash), and whether it is flat."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.images import Array, Header, ImageError, ValueRange

_BANDS = (
    0x3FFFFF,
    0x1FFFFF << 22,
    0x1FFFFF << 43,
)  # 64 bits in three: hashes two bits apart agree in one of them
_DISTANCE = 2  # bits in which the hashes of near duplicates may differ
_DIFFERENCE = 6.0  # gray levels of 255 by which their thumbnails may differ on average
_ENOUGH = 2**20  # pixels that tell the dhash of a picture
_BLOCK = 1024  # files handed to the threads at once
_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)


class Content(NamedTuple):
    """A decoded file, without its pixels."""

    header: Header
    digest: bytes  # of size, depth and pixels: equal pictures in two formats have one digest
    dhash: int  # difference hash, 64 bits
    thumbnail: NDArray[np.uint8]  # [8, 9] gray
    flat: bool  # every pixel has one value


def read_contents(
    files: Sequence[str],
    threads: int = 8,
    value_range: ValueRange = images.UNIT,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Content | str]:
    """Decode every file in full: path -> content, or why it cannot be decoded. Floats are in `value_range`."""
    found: dict[str, Content | str] = {}
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), _BLOCK):
            block = files[start : start + _BLOCK]
            contents = pool.map(partial(_read, value_range=value_range), block)
            for path, content in zip(block, contents, strict=True):
                found[path] = content
                if progress:
                    progress(len(found), len(files))
    return found


def _read(path: str, value_range: ValueRange) -> Content | str:
    try:
        with images.decoded(path, value_range=value_range) as (pixels, header):
            return _content(header, pixels)
    except ImageError as error:
        return str(error)


def _content(header: Header, pixels: Array) -> Content:
    name = f"{pixels.shape} {pixels.dtype}".encode()
    digest = blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=name).digest()
    colors = pixels[..., :-1] if header.alpha else pixels
    thumbnail = _thumbnail(colors)
    dhash = int.from_bytes(np.packbits(thumbnail[:, 1:] > thumbnail[:, :-1]).tobytes(), "big")
    return Content(header, digest, dhash, thumbnail, is_flat(colors))


def is_flat(pixels: Array) -> bool:
    """Whether every pixel of [H, W, C] has one value; of most pictures the first row says no."""
    return all(bool((row == pixels[0, 0]).all()) for row in pixels)


def _thumbnail(colors: Array) -> NDArray[np.uint8]:
    step = max(
        1, math.isqrt(colors.shape[0] * colors.shape[1] // _ENOUGH)
    )  # resizing takes memory of its own
    small = images.resize(colors[::step, ::step], (8, 9))
    gray = (
        images.match_channels(small, 1)
        if small.shape[2] in (1, 3)
        else images.to_unit(small).mean(axis=2)
    )
    return np.round(images.to_unit(gray).reshape(8, 9) * 255).astype(np.uint8)


def near_duplicate(one: Content, other: Content) -> bool:
    """Whether two pictures are equal, or look so: dhashes at most two bits apart, thumbnails a few gray levels."""
    near = (one.dhash ^ other.dhash).bit_count() <= _DISTANCE
    return one.digest == other.digest or (
        near and _apart(one.thumbnail, other.thumbnail) <= _DIFFERENCE
    )


def near_duplicate_pairs(contents: Sequence[Content]) -> list[tuple[int, int]]:
    """Return the pairs of places whose pictures are `near_duplicate`, the smaller place first; flat pictures have no dhash.

    Only pictures whose dhashes agree in one of three bands are compared, so time grows with what is
    found.
    """
    dhashes = np.array([content.dhash for content in contents], np.uint64)
    places = np.flatnonzero([not content.flat for content in contents])
    found: set[tuple[int, int]] = set()
    for band in _BANDS:
        part = dhashes[places] & np.uint64(band)
        order = np.argsort(part, kind="stable")
        for group in np.split(places[order], np.flatnonzero(np.diff(part[order])) + 1):
            for at, first in enumerate(group[:-1].tolist()):
                rest = group[at + 1 :]
                bits = _ONES[(dhashes[rest] ^ dhashes[first]).view(np.uint8).reshape(-1, 8)].sum(
                    axis=1
                )
                for second in rest[bits <= _DISTANCE].tolist():
                    if near_duplicate(contents[first], contents[second]):
                        found.add((min(first, second), max(first, second)))
    return sorted(found)


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
