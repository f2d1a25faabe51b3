"""Rules for the slices of volumes among the images of a data set."""

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.config import DataConfig, PairedData
from i2i.data.inspect import FORMATS, Facts, Samples
from i2i.data.walk import DataError
from i2i.images.slices import volume_of
from i2i.images.spec import ImageSpec

_VOLUMES = tuple(FORMATS.index(format) for format in ("NIFTI", "DICOM"))


def is_slice(samples: Samples) -> NDArray[np.bool_]:
    """Return the files that are slices, [rows, columns]."""
    return np.isin(samples.facts["format"], _VOLUMES) & samples.readable


def empty(samples: Samples, config: DataConfig) -> NDArray[np.bool_]:
    """Return the slices of one value, such as air, that are no labels."""
    labels = np.isin(samples.domains, list(config.labels))
    return np.asarray(samples.facts["constant"] & ~labels & is_slice(samples))


def slicing(domain: str, config: DataConfig) -> dict[str, Any]:
    """Return the fields of an `ImageSpec` that settings of slices decide."""
    source = isinstance(config, PairedData) and domain == config.direction.source
    neighbors = config.neighbors if isinstance(config, PairedData) and source else 0
    return {"slice_axis": config.slice_axis, "neighbors": neighbors}


def check_slices(domain: str, spec: ImageSpec, facts: Facts) -> str:
    """Return how many slices are stacked, for messages, or "".

    Raises:
        DataError: settings of slices for pictures, which have no slices.
    """
    used = {"slice_axis": spec.slice_axis != "acquisition", "neighbors": spec.neighbors > 0}
    for name in used:
        if used[name] and not np.isin(facts["format"], _VOLUMES).all():
            reason = f"files of domain {domain} are pictures, not slices of volumes"
            raise DataError(f"data.{name}", reason, "Leave it out")
    if spec.neighbors and spec.classes:
        reason = f"domain {domain} holds class numbers, which are not stacked"
        raise DataError("data.neighbors", reason, "Leave it out")
    return f", stacked from {2 * spec.neighbors + 1} slices" if spec.neighbors else ""


def blank(samples: Samples) -> NDArray[np.bool_]:
    """Return the rows with a slice of one value, such as air: such slices are alike everywhere."""
    return np.asarray((is_slice(samples) & samples.facts["constant"]).any(axis=1))


def are_slices(one: str, other: str) -> bool:
    """Return True for slices of one volume."""
    return volume_of(one) == volume_of(other) != other


def clean_files(parts: Iterable[Samples], dropped: Collection[str]) -> list[str]:
    """Return the files, or volumes, of all rows of which nothing is dropped, in order."""
    bad = set(map(volume_of, dropped))
    rows = chain.from_iterable(zip(*part.files, strict=True) for part in parts)
    volumes = {tuple(map(volume_of, row)) for row in rows}
    return sorted({file for row in volumes if not bad.intersection(row) for file in row})
