"""Rules for the slices of volumes among the images of a data set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i.config import DataConfig, PairedData
from i2i.data.inspect import FORMATS, Facts, Samples
from i2i.data.walk import DataError
from i2i.images.spec import ImageSpec

_VOLUMES = tuple(FORMATS.index(format) for format in ("NIFTI", "DICOM"))


def is_slice(samples: Samples) -> NDArray[np.bool_]:
    """Return the files that are slices, [rows, columns]."""
    return np.isin(samples.facts["format"], _VOLUMES) & samples.readable


def empty(samples: Samples, config: DataConfig) -> NDArray[np.bool_]:
    """Return the slices of one value, such as air, that are no labels."""
    labels = np.isin(samples.domains, getattr(config, "masks", ()))
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
    return f", stacked from {2 * spec.neighbors + 1} slices" if spec.neighbors else ""
