"""Functional groups of multi-frame DICOM (NEMA PS3.3, C.7.6.16): what holds for each frame."""

from collections.abc import Iterator, Sequence
from typing import Any

from i2i.images.formats import ImageError
from i2i.images.sanity import REPLACE

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_OF_FILE = (  # elements that all frames share, outside of groups
    *("SeriesInstanceUID", "SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation"),
)
_OF_GROUPS = {  # group -> its elements
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
}
_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
_OF_VALUES = (  # groups that describe the values of the input
    *("PixelValueTransformationSequence", "FrameVOILUTSequence", "RealWorldValueMappingSequence"),
)


class Elements(dict[str, Any]):
    """Elements of a frame by name, as those of a file of one frame."""

    __getattr__ = dict.__getitem__


def frames(name: str, header: Any) -> list[Elements]:
    """Return the elements of each frame of a file called `name`; [] without functional groups.

    Raises:
        ImageError: not as many groups as frames.
    """
    groups = header.get(PER_FRAME)
    if not groups:
        return []
    count = int(header.get("NumberOfFrames") or 1)
    if len(groups) != count:
        reason = f"{count} frames, and functional groups of {len(groups)}"
        raise ImageError("image", f"{name} is corrupt: {reason}", REPLACE)
    common = Elements({key: header.get(key) for key in _OF_FILE if key in header})
    for shared in header.get(SHARED) or ():
        common.update(_elements(shared))
    return [Elements({**common, **dict(_elements(group))}) for group in groups]


def _elements(group: Any) -> Iterator[tuple[str, Any]]:
    for sequence, keys in _OF_GROUPS.items():
        for item in group.get(sequence) or ():
            yield from ((key, item.get(key)) for key in keys if item.get(key) is not None)


def derive(item: Any, values: Any, window: Any) -> None:
    """Make the groups of a file those of a derived one.

    Args:
        values: dataset with the slope and intercept of all frames.
        window: dataset with the window of all frames.
    """
    groups: Sequence[Any] = [*(item.get(SHARED) or ()), *item.get(PER_FRAME)]
    for group in groups:
        for name in _OF_VALUES:
            if name in group:
                delattr(group, name)
        for each in (one for name in _TYPES for one in group.get(name) or ()):
            each.FrameType = ["DERIVED", *list(each.get("FrameType") or [])[1:]]
    if not item.get(SHARED):
        setattr(item, SHARED, [type(values)()])
    shared = getattr(item, SHARED)[0]
    shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [values], [window]
