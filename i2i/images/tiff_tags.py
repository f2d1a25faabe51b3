"""Tags of TIFF files besides their pixels, for outputs of the same format. TIFF 6.0, OME-TIFF."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import IO, Any, Self
from xml.etree import ElementTree

from i2i.images.metadata import Metadata
from i2i.images.tiff import Directory, Tag, directories

_MAX_TEXT = 2**16  # characters of a description
_UNIT = "µm"  # of sizes in OME, where it is not named
_LARGEST = 2**32 - 1  # of a number in a fraction


@dataclass(frozen=True)
class Ome:
    """Metadata of OME-TIFF: OME schema 2016-06, elements Pixels and Channel."""

    sizes: tuple[int, int, int]  # channels, planes of depth, times
    physical: tuple[tuple[str, float, str], ...] = ()  # axis, size of a pixel, unit
    names: tuple[str, ...] = ()  # of channels, where all have one


@dataclass(frozen=True)
class TiffTags:
    """Layout and tags of a TIFF; `channels` are those of the picture."""

    channels: int
    photometric: int = 1
    planar: bool = False  # each channel for itself
    pages: bool = False  # a page for each channel
    tile: tuple[int, int] | None = None  # height, width
    compression: int = 1
    predictor: int = 1
    big: bool = False  # BigTIFF
    bits: int = 0  # of a value, where it is no whole number of bytes
    extra: tuple[int, ...] = ()  # meanings of the last channels
    resolution: tuple[Fraction, Fraction] | None = None  # horizontal, vertical
    unit: int = 2  # of the resolution: 1 for none, 2 inch, 3 centimeter
    description: str = ""
    ome: Ome | None = None

    def resized(self, vertical: float, horizontal: float) -> Self:
        """Return the tags of an image that has so many times the pixels along its sides."""
        if vertical == horizontal == 1:
            return self
        scales = {"X": horizontal, "Y": vertical}
        resolution, ome = self.resolution, self.ome
        if resolution:
            x, y = resolution
            resolution = fraction(float(x) * horizontal), fraction(float(y) * vertical)
        if ome:
            sizes = ((axis, size / scales.get(axis, 1), unit) for axis, size, unit in ome.physical)
            ome = replace(ome, physical=tuple(sizes))
        return replace(self, resolution=resolution, ome=ome, description="")

    def turned(self) -> Self:
        """Return the tags of the image with rows and columns exchanged."""
        resolution, ome, swap = self.resolution, self.ome, {"X": "Y", "Y": "X"}
        if ome:
            sizes = ((swap.get(axis, axis), size, unit) for axis, size, unit in ome.physical)
            ome = replace(ome, physical=tuple(sizes))
        return replace(self, resolution=resolution and resolution[::-1], ome=ome)

    def cut(self, left: int) -> Self:
        """Return the tags without the `left` columns."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Kinds of metadata that are kept, for people."""
        kept = {"OME metadata": self.ome, "descriptions": self.description}
        return tuple(name for name, value in kept.items() if value)


def fraction(value: float) -> Fraction:
    """Return what two numbers of 32 bits can hold of a positive value."""
    return Fraction(value).limit_denominator(max(1, int(_LARGEST / (value + 1))))


def read_tags(pages: Sequence[Directory], channels: int) -> TiffTags:
    """Return the tags of a picture that `pages` make."""
    first = pages[0]
    text = description(first)
    ome = parse_ome(text)
    if ome or text.startswith('{"shape"') or len(text) > _MAX_TEXT or not text.isascii():
        text = ""
    samples, bits = first.first(Tag.SAMPLES, 1), first.first(Tag.BITS, 1)
    tile = first.first(Tag.TILE_HEIGHT, 0), first.first(Tag.TILE_WIDTH, 0)
    return TiffTags(
        channels,
        first.first(Tag.PHOTOMETRIC, 1),
        planar=samples > 1 and first.first(Tag.PLANES, 1) == 2,
        pages=len(pages) > 1,
        tile=tile if Tag.TILES in first.values and not (tile[0] % 16 or tile[1] % 16) else None,
        compression=first.first(Tag.COMPRESSION, 1),
        predictor=first.first(Tag.PREDICTOR, 1),
        big=first.big,
        bits=bits if bits % 8 and bits > 8 else 0,
        extra=first.values.get(Tag.EXTRA, ()),
        resolution=_resolution(first),
        unit=first.first(Tag.RESOLUTION_UNIT, 2),
        description=text,
        ome=ome,
    )


def description(page: Directory) -> str:
    """Return the text about a page."""
    text = bytes(page.values.get(Tag.DESCRIPTION, ()))
    return text.rstrip(b"\0").decode("utf-8", "replace")


def with_tags(metadata: Metadata, file: IO[bytes], channels: int) -> Metadata:
    """Return the metadata of a file of one page, with its tags."""
    tags = read_tags([next(directories(file))], channels)
    if tags.ome and tags.ome.sizes[0] != channels:
        tags = replace(tags, ome=replace(tags.ome, names=()))
    return replace(metadata, family="TIFF", native=tags, native_names=tags.names)


def _resolution(page: Directory) -> tuple[Fraction, Fraction] | None:
    x, y = (page.values.get(tag, ()) for tag in (Tag.X_RESOLUTION, Tag.Y_RESOLUTION))
    if len(x) < 2 or len(y) < 2 or 0 in (*x[:2], *y[:2]):
        return None
    nothing = x[0] == x[1] and y[0] == y[1] and page.first(Tag.RESOLUTION_UNIT, 2) == 1
    return None if nothing else (Fraction(*x[:2]), Fraction(*y[:2]))


def parse_ome(text: str) -> Ome | None:
    """Return the metadata of the one image of an OME-XML document; None for what is none."""
    if "<OME" not in text[:2000] or re.search("<!(DOCTYPE|ENTITY)", text):
        return None
    try:
        images = ElementTree.fromstring(text.encode()).findall(".//{*}Image/{*}Pixels")
        if len(images) != 1:
            return None
        (pixels,) = images
        counts = [int(pixels.get(f"Size{axis}", 1)) for axis in "CZT"]
        physical = []
        for axis in "XYZ":
            if size := pixels.get(f"PhysicalSize{axis}"):
                unit = pixels.get(f"PhysicalSize{axis}Unit", _UNIT)
                physical.append((axis, float(size), unit))
    except (ElementTree.ParseError, ValueError):
        return None
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    complete = tuple(name for name in names if name)
    if (
        len(complete) != len(names)
        or min(counts) < 1
        or any(not 0 < s < 1e30 for _, s, _ in physical)
    ):
        complete = ()
    return Ome((counts[0], counts[1], counts[2]), tuple(physical), complete)


def to_ome(ome: Ome, axes: str, count: int) -> dict[str, Any]:
    """Return `ome` as tifffile takes it, for an image of `count` OME channels along `axes`."""
    metadata: dict[str, Any] = {"axes": axes}
    for axis, size, unit in ome.physical:
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    if len(ome.names) == count:
        metadata["Channel"] = {"Name": list(ome.names)}
    return metadata
