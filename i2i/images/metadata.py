"""Metadata of image files: read, and carried to outputs."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:  # formats are known to commands that open no image
    from PIL import Image

_ORIENTATION = 0x0112  # EXIF tag; CIPA DC-008
_MAX_EXIF = 65_000  # bytes; a segment of a JPEG holds 65,535
_MAX_DPI = 1e7  # pixels an inch: a microscope has 100,000


class Native(Protocol):
    """Metadata that only files of one format hold."""

    def resized(self, vertical: float, horizontal: float) -> "Native": ...
    def cut(self, left: int) -> "Native": ...


@dataclass(frozen=True)
class Metadata:
    """Metadata of an image file."""

    icc_profile: bytes = b""  # what its colors mean
    resolution: tuple[float, float] | None = None  # pixels an inch, horizontally and vertically
    exif: bytes = b""  # its orientation is 1, and it has no thumbnail, which would show the input
    family: str = ""  # the one format that can hold `native`
    native: Any = field(default=None, compare=False)  # what only files of that format hold: Native
    native_names: tuple[str, ...] = ()  # what that is, for people

    def resized(self, vertical: float, horizontal: float) -> Self:
        """Return the metadata of an image that has so many times the pixels along its sides."""
        if vertical == horizontal == 1:
            return self
        native = self.native and self.native.resized(vertical, horizontal)
        x, y = self.resolution or (0, 0)
        resolution = (x * horizontal, y * vertical) if self.resolution else None
        return replace(self, resolution=resolution, native=native)

    def cut(self, left: int) -> Self:
        """Return the metadata of an image without its `left` columns."""
        return replace(self, native=self.native.cut(left)) if self.native and left else self

    def missing(self, other: Self) -> Iterator[str]:
        """Yield what this has and `other` has not, for people."""
        names = ("color profiles", "icc_profile"), ("resolutions", "resolution"), ("EXIF", "exif")
        yield from (name for name, key in names if getattr(self, key) and not getattr(other, key))
        if self.native is not None and other.native is None:
            yield from self.native_names


NO_METADATA = Metadata()


def resolution(image: "Image.Image", orientation: int = 1) -> tuple[float, float] | None:
    """Return the pixels an inch that the file of a Pillow image names; None for none.

    `orientation` is the one of EXIF that will be applied.
    """
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not (0 < x < _MAX_DPI and 0 < y < _MAX_DPI):
        return None
    return (y, x) if orientation in (5, 6, 7, 8) else (x, y)


def upright_exif(image: "Image.Image") -> bytes:
    """Return the EXIF of a Pillow image once its orientation is applied; b"" for none or corrupt.

    Without its thumbnail, which would show the input.
    """
    from PIL import Image

    try:  # of PNG, its own method would decode the pixels first
        exif = Image.Image.getexif(image)
        if not exif or image.format == "TIFF":  # of which these are the tags of the pixels
            return b""
        if _ORIENTATION in exif:
            exif[_ORIENTATION] = 1
        content = exif.tobytes()
    except Exception:  # untrusted, and parsed with struct
        return b""
    return content if len(content) <= _MAX_EXIF else b""
