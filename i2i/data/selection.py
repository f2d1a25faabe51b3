"""Rows of a listing that are used: a random sample, and a share held out for validation."""

import os
from pathlib import Path
from typing import NamedTuple

from i2i.data.pairing import Listing
from i2i.data.walk import DataError
from i2i.images.slices import volume_of
from i2i.seeds import key

_LEAST = 2  # images that are held out, and that remain: a set of one has no spread


class HeldOut(NamedTuple):
    """A share of a split that training does not see."""

    share: float  # of its images (paired: pairs), of every domain
    wanted: bool  # True: the images that are held out; False: the others


def sampled(listing: Listing, count: int | None, seed: int) -> tuple[Listing, tuple[str, ...]]:
    """Return at most `count` rows (None: all) and a note if some are left out.

    They are spread evenly over all in their order: one at random out of each of as many parts.
    """
    total = len(listing.files[0])
    if count is None or count >= total:
        return listing, ()
    rows = []
    for part in range(count):
        start, end = part * total // count, (part + 1) * total // count
        rows.append(start + key(seed, "sample", part) % (end - start))
    note = f"a random sample of {count} of {total} {_kind(listing)} is used: data.max_images."
    return _rows(listing, rows), (note,)


def without_held_out(listing: Listing, part: HeldOut | None) -> tuple[Listing, tuple[str, ...]]:
    """Return the rows that `part` wants (None: all), and a note of their number.

    Names decide, by a hash: the choice is the same for every seed of a run, so that their scores
    compare, and stays nearly the same where files are added. Rows that begin with the same file are
    held out together: an image that has several targets; so are the slices of a volume.

    Raises:
        DataError: too few images are held out, or remain.
    """
    if part is None:
        return listing, ()
    owners = [volume_of(file) for file in listing.files[0]]
    firsts = list(dict.fromkeys(owners))
    total = len(firsts)
    count = max(_LEAST, round(part.share * total))
    if total - count < _LEAST:
        reason = f"of {total} {_kind(listing)}, {count} are held out: {total - count} would remain"
        raise DataError("validate.share", reason, "Lower it, or add a folder val to the data")
    held = set(sorted(firsts, key=_rank)[:count])
    rows = [row for row, owner in enumerate(owners) if (owner in held) == part.wanted]
    kind = _kind(listing) if total == len({*listing.files[0]}) else "volumes"
    note = f"{count} of {total} {kind} are held out of training: validate.share."
    return _rows(listing, rows), (note,)


def _rank(file: str) -> int:
    return key("validation", os.fsencode(Path(file).name).hex())


def _rows(listing: Listing, rows: list[int]) -> Listing:
    return listing._replace(files=[[paths[row] for row in rows] for paths in listing.files])


def _kind(listing: Listing) -> str:
    if listing.layout != "folders" or len(listing.files) > 1:
        return "pairs"
    (domain,) = listing.domains
    return f"files of {'this domain' if domain == 'image' else f'domain {domain}'}"
