"""Decode images of every orientation, depth and color mode: checks first, then pixels.

The content of a file decides its format, whatever its suffix says; of an animation or a multi-page
file the first picture is read. Color profiles are not applied.
"""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import IO, NamedTuple

from PIL import Image, ImageFile, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from i2i.images import (
    jpeg,
    jpeg2000,
    npy,
    pnm,
    profiles,
    sanity,
    slices,
    tiff,
    tiff_opening,
    tiff_tags,
    volumes,
)
from i2i.images.budget import reserve
from i2i.images.decoding import (
    color16,
    cost_of,
    kind_of,
    load,
    orientation,
    scale_transparency,
    to_array,
    turn,
    unmultiply,
)
from i2i.images.formats import (
    MAX_PIXELS,
    Alpha,
    Array,
    Format,
    Header,
    ImageError,
    Source,
    installed,
    not_supported,
    sniff,
    unknown_kind,
)
from i2i.images.metadata import Metadata, resolution, upright_exif
from i2i.images.pixels import UNIT, ValueRange, apply_alpha
from i2i.images.silence import silence
from i2i.images.sources import errors_about, opened_source
from i2i.images.tiff_pages import Picture as Picture

silence()

# Called directly: Image.open() has one pixel limit for the whole process.
_READERS: dict[Format, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG2000": Jpeg2KImageFile,
    "TGA": TgaImageFile,
}
try:
    from PIL.AvifImagePlugin import AvifImageFile

    _READERS["AVIF"] = AvifImageFile
except ImportError:  # before Pillow 11.3
    pass
_CODECS: dict[Format, str] = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
START_BYTES = 32  # of a file, which tell its format


def read_header(source: Source, max_pixels: int = MAX_PIXELS, name: str = "") -> Header:
    """Return the header of an image file without decoding its pixels.

    `source` is a path, or a seekable binary stream, which is read from its start and left open.
    Errors are about `name`, by default the path, or "image" for a stream.

    Raises:
        ImageError: missing, empty, not an image, of an unsupported kind, truncated (JPEG, PNG,
            NPY), or larger than `max_pixels`.
    """
    with _picture(source, name, max_pixels, complete=False) as picture:
        return picture.header


def decode(
    source: Source,
    alpha: Alpha = "drop",
    max_pixels: int = MAX_PIXELS,
    value_range: ValueRange = UNIT,
    name: str = "",
) -> Array:
    """Return the picture [H, W, C]: uint8, uint16, or float32 in [0, 1] (float TIFF and NPY).

    C is 1 (gray) or 3 (RGB), and with `alpha="keep"` one more where the file has alpha; an array
    has 1 to 16 and no alpha. `composite` blends the picture over white, `drop` takes the colors as
    they are. 9 to 15 bits are scaled to 16. Floats in the file are in `value_range`, (low, high),
    which becomes [0, 1]. `source` and `name` as in `read_header`.

    Raises:
        ImageError: as `read_header`; corrupt data; float values outside `value_range`.
    """
    pixels, header = read(source, max_pixels, value_range, name)
    return apply_alpha(pixels, alpha) if header.alpha else pixels


def read(
    source: Source, max_pixels: int = MAX_PIXELS, value_range: ValueRange = UNIT, name: str = ""
) -> tuple[Array, Header]:
    """Return the picture as `decode` does, its alpha kept, and the header of the file."""
    with decoded(source, max_pixels, value_range, name) as picture:
        return picture


@contextmanager
def decoded(
    source: Source, max_pixels: int = MAX_PIXELS, value_range: ValueRange = UNIT, name: str = ""
) -> Iterator[tuple[Array, Header]]:
    """Hold what `read` returns, and its part of the memory budget, until the end of the block.

    Meanwhile other threads wait with pictures for which there is no room: a thread that holds one
    must not ask for a second. Errors are those of `decode`.
    """
    with ExitStack() as reservation:
        with _picture(source, name, max_pixels, complete=True) as picture:
            reservation.enter_context(reserve(picture.cost))
            loaded, header = picture.load(value_range), picture.header
            pixels, missing = loaded if isinstance(loaded, tuple) else (loaded, None)
            header = header if missing is None else replace(header, missing=missing)
            del picture, loaded  # Pillow's own copy
        yield pixels, header


def from_pil(
    image: Image.Image,
    alpha: Alpha = "drop",
    value_range: ValueRange = UNIT,
    max_pixels: int = MAX_PIXELS,
    name: str = "image",
) -> Array:
    """Return a PIL image as `decode` returns a file, within the same limits.

    The file of an image that was opened but not loaded is checked before it is decoded.

    Raises:
        ImageError: larger than `max_pixels`, a mode without a known range, or corrupt data.
    """
    with errors_about(name):
        sanity.check_size(*image.size, max_pixels)
        checked = _check_unloaded(image, max_pixels)
        with reserve(cost_of(image, pixel_bytes=4, copied=True) + 2 * checked.file_bytes):
            load(image)
            if checked.scans:
                jpeg.check_pixels(image, checked.scans)
            return apply_alpha(turn(to_array(image, value_range), orientation(image)), alpha)


@contextmanager
def _picture(source: Source, name: str, max_pixels: int, complete: bool) -> Iterator["Picture"]:
    """Hold the picture of a file, or of a slice, open to be loaded within the block."""
    if part := slices.parse(source):
        with errors_about(name or source):
            header, volume = volumes.slice_header(part, max_pixels)
            cost = header.width * header.height * header.channels * 24 + volume.extra_bytes
            yield Picture(header, cost, partial(volumes.read_slice, volume, part))
        return
    if isinstance(source, str | os.PathLike) and slices.is_volume(source):
        with errors_about(name or source):
            names = volumes.open_volume(source, max_pixels).names("acquisition")
            raise ImageError("image", f"a volume of {len(names)} slices", f"One is {names[0]}")
    with opened_source(source, name) as file:
        yield open_picture(file, max_pixels, complete)


def open_volume(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> volumes.Volume:
    """Return a volume, of which no value has been read.

    Raises:
        ImageError: it cannot be read, or a slice has more than `max_pixels`.
    """
    with errors_about(path):
        return volumes.open_volume(path, max_pixels)


def open_picture(file: IO[bytes], max_pixels: int, complete: bool) -> Picture:
    """Read the header; with `complete`, which loading needs, check the rest of the file, too."""
    start, format = _start(file)
    if not start:
        raise ImageError("image", "an empty file", sanity.REPLACE)
    if format is None:
        raise unknown_kind(start)
    file_bytes = file.seek(0, os.SEEK_END)
    if format == "NPY":
        info = npy.read_info(file, max_pixels)
        return Picture(info.header, 2 * file_bytes, partial(npy.read_pixels, file, info))
    if format == "PNM":
        mapped = pnm.read_info(file, max_pixels)
        cost = 3 * file_bytes + mapped.header.width * mapped.header.height * 24
        return Picture(mapped.header, cost, lambda _: pnm.read_pixels(file, mapped))
    if format == "TIFF":
        by_pillow = partial(_open_by_pillow, file, start, format, max_pixels, complete)
        return tiff_opening.open_tiff(file, max_pixels, by_pillow)
    return _open_by_pillow(file, start, format, max_pixels, complete)


def _open_by_pillow(
    file: IO[bytes],
    start: bytes,
    format: Format,
    max_pixels: int,
    complete: bool,
    layout: tiff.Layout | None = None,
) -> Picture:
    file_bytes = file.seek(0, os.SEEK_END)
    checked = _check_file(file, format, start, max_pixels, complete)
    if layout:
        checked = checked._replace(stream=tiff.to_stream(file, layout, complete))
    image = _opened_by_pillow(checked.stream, format)
    width, height = image.size
    sanity.check_size(width, height, max_pixels)
    sanity.check_data_size(image, start, checked.data_bytes)
    scale_transparency(image, start[24] if format == "PNG" else 8, checked.stream)
    channels, depth, alpha = layout[:3] if layout else kind_of(image, format, start)
    # Pillow itself applies the orientation of TIFF, and only of TIFF.
    turned = 1 if format == "TIFF" else orientation(image)
    if turned in (5, 6, 7, 8):
        width, height = height, width
    profile = checked.icc_profile or image.info.get("icc_profile", b"")
    metadata = Metadata(
        profiles.fitting(profile, channels),
        resolution(image, turned),
        upright_exif(image) if complete else b"",
    )
    if layout and installed("TIFF"):
        metadata = tiff_tags.with_tags(metadata, file, channels)
    header = Header(width, height, channels, depth, format, alpha, metadata=metadata)
    cost = cost_of(image, channels * depth // 8, copied=turned != 1 or alpha) + 2 * file_bytes
    return Picture(header, cost, partial(_load, image, checked, header, turned, layout), turned)


def _opened_by_pillow(stream: IO[bytes], format: Format) -> ImageFile.ImageFile:
    stream.seek(0)
    if format not in _READERS or (format in _CODECS and not features.check(_CODECS[format])):
        raise not_supported(f"{format}, which the installed Pillow cannot read", "Update Pillow")
    try:
        return _READERS[format](stream)
    except SyntaxError as error:
        if format == "TIFF" and "unknown" in str(error):  # its tags were read before
            raise not_supported(f"a TIFF of a rare kind ({error})") from error
        raise


def _start(file: IO[bytes]) -> tuple[bytes, Format | None]:
    file.seek(0)
    start = file.read(START_BYTES)
    return start, sniff(start)


class _Checked(NamedTuple):
    """A file whose structure was checked."""

    stream: IO[bytes]  # to decode
    file_bytes: int
    data_bytes: int  # of pixels, as far as they are known apart
    scans: jpeg.Scans | None = None
    icc_profile: bytes = b""


def _check_file(
    file: IO[bytes], format: Format, start: bytes, max_pixels: int, complete: bool
) -> _Checked:
    size = file.seek(0, os.SEEK_END)
    checked = _Checked(file, size, size)
    if format == "PNG":
        width, height = int.from_bytes(start[16:20]), int.from_bytes(start[20:24])
        sanity.check_size(width, height, max_pixels)
        stream, data_bytes, profile = sanity.strip_png(file, complete)
        checked = _Checked(stream, size, data_bytes, icc_profile=profile)
    elif format == "JPEG" and complete:
        checked = checked._replace(scans=jpeg.read_scans(file))
    elif format == "JPEG":
        jpeg.check_end(file)
    elif format == "WEBP":
        sanity.check_size(*sanity.webp_size(start), max_pixels)  # its reader allocates at once
        sanity.check_webp_frame(file)
    elif format == "GIF":
        sanity.check_size(*sanity.gif_size(start), max_pixels)
    elif format == "TGA":
        sanity.check_tga(start)
    elif format == "JPEG2000":
        jpeg2000.check(file, max_pixels)
    return checked


def _check_unloaded(image: Image.Image, max_pixels: int) -> _Checked:
    """Check the file from which a PIL image is still to be loaded; without one, nothing."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None:
        return _Checked(io.BytesIO(), 0, 0)
    position = file.tell()
    start, format = _start(file)
    checked = _Checked(file, file.seek(0, os.SEEK_END), 0)
    if format is not None:  # of others only the size of the picture is known
        checked = _check_file(file, format, start, max_pixels, complete=True)
        sanity.check_data_size(image, start, checked.data_bytes)
        scale_transparency(image, start[24] if format == "PNG" else 8, checked.stream)
    if format == "TIFF":
        tiff.check_frame(file, image.tell())
    file.seek(position)
    return checked


def _load(
    image: ImageFile.ImageFile,
    checked: _Checked,
    header: Header,
    turned: int,
    layout: tiff.Layout | None,
    value_range: ValueRange,
) -> Array:
    if header.depth == 16 and not image.mode.startswith("I;16"):  # Pillow cuts 16-bit color to 8
        pixels = color16(lambda: _opened_by_pillow(checked.stream, header.format), header.channels)
    else:
        load(image)
        if checked.scans:
            jpeg.check_pixels(image, checked.scans)
        pixels = to_array(image, value_range)
    return turn(unmultiply(pixels) if layout and layout.associated else pixels, turned)
