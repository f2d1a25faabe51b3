"""Volumes in data sets: a row of a listing for each slice, in order."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from i2i.data.pairing import Listing
from i2i.data.walk import DataError
from i2i.images import PICTURE_SUFFIXES, ImageError, open_volume
from i2i.images.held import HELD_BYTES
from i2i.images.slices import SliceAxis
from i2i.images.volumes import NO_LIMIT, Volume

_SAME = 0.995  # cosine of the angle between equal directions, at least: 6 degrees


def expand(listing: Listing, axis: SliceAxis = "acquisition") -> Listing:
    """Return a listing with a row for each slice of its volumes.

    A row with a volume that cannot be read stays, for whoever reads it to say why.

    Raises:
        DataError: volumes of a row differ in shape or orientation, or one file is a picture.
    """
    rows: list[tuple[str, ...]] = []
    packed = count = 0
    for row in zip(*listing.files, strict=True):
        pictures = [file.lower().endswith(PICTURE_SUFFIXES) for file in row]
        if all(pictures):
            rows.append(row)
            continue
        if any(pictures):
            reason = f"pairs a volume with a picture: {' and '.join(row)}"
            raise DataError("data.root", reason, "Use files of one kind")
        outcomes = [_opened(file) for file in row]
        volumes = [one for one in outcomes if isinstance(one, Volume)]
        count += len(row)
        packed += sum(one.extra_bytes for one in volumes)
        if len(volumes) < len(row):
            names = (one.names(axis)[0] if isinstance(one, Volume) else one for one in outcomes)
            rows.append(tuple(names))
            continue
        for one, other in pairwise(volumes):
            _check_alike(one, other)
        rows += zip(*(volume.names(axis) for volume in volumes), strict=True)
    if not count:
        return listing
    notes = [f"{count} volumes: each of their slices is an image."]
    if packed > HELD_BYTES:
        size = f"{packed / 1e9:.1f} GB"
        notes.append(f"slices of .nii.gz ({size} in all) take long to read: .nii would be faster.")
    files = [list(column) for column in zip(*rows, strict=True)]
    return listing._replace(files=files, notes=(*listing.notes, *notes))


def slices_of(files: Iterable[str], axis: SliceAxis = "acquisition") -> list[str]:
    """Return images, with the slices of volumes in their place."""
    return list(expand_files(list(files), axis).files[0])


def expand_files(files: Sequence[str], axis: SliceAxis = "acquisition") -> Listing:
    """Return images of no domain as a listing, with the slices of volumes in their place."""
    return expand(Listing(("",), [files]), axis)


def _opened(file: str) -> Volume | str:
    try:
        return open_volume(file, NO_LIMIT)
    except ImageError:  # reading it again says which
        return file


def _check_alike(one: Volume, other: Volume) -> None:
    """Raise DataError if slices of two volumes do not show the same part of the patient."""
    both = f"{one.path} and {other.path}"
    if one.shape != other.shape:
        shapes = " and ".join(" x ".join(map(str, each.shape)) for each in (one, other))
        hint = "Resample one to the grid of the other"
        raise DataError("data.root", f"{both} differ in shape: {shapes}", hint)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = (each.axes / np.linalg.norm(each.axes, axis=0) for each in (one, other))
    if ((first * second).sum(axis=0) < _SAME).any():
        hint = "Resample one to the grid of the other, or correct its affine"
        raise DataError("data.root", f"{both} differ in orientation", hint)
