"""Pixels of opened Pillow images, at their full depth: by one decoder, in bands, turned upright."""

import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from i2i.images.formats import Array, Format, ImageError, not_supported
from i2i.images.pixels import MAX_VALUE, ValueRange, depth_of, from_value_range

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
BAND_PIXELS = 2**20  # converted at once
_PNG_START = 1024  # bytes: its header, and a palette at most, are before its transparent color
_OTHER_HALF = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_HIGH, _LOW = (1, 0) if sys.byteorder == "little" else (0, 1)  # bytes of a value in memory


def plain_mode(image: Image.Image) -> str:
    """Return the mode of 8-bit pixels that `to_array` returns: L, LA, RGB or RGBA."""
    gray = image.mode in ("1", "L", "LA", "La")
    if image.format == "GIF" and image.mode == "P":  # which has palettes only
        palette = image.getpalette("RGB") or []
        gray = palette[::3] == palette[1::3] == palette[2::3]
    return ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")


def to_array(image: Image.Image, value_range: ValueRange) -> Array:
    """Return the pixels [H, W, C] of a loaded image: 8 bits, or 16 bits or floats of gray."""
    if image.mode == "F":
        return from_value_range(_array(image, image.mode)[..., None], value_range)
    if image.mode.startswith("I;16"):
        return _apply_trns(_gray16(image)[..., None], image)
    if image.mode == "I":
        hint = "Save it with 8 or 16 bits"
        raise ImageError("image", "32-bit integers have no known range", hint)
    mode = plain_mode(image)
    return _array(image, mode).reshape(image.height, image.width, len(mode))


def bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes that together are the picture."""
    width, height = image.size
    step = max(1, BAND_PIXELS // min(width, height))
    for start in range(0, max(width, height), step):
        end = min(start + step, max(width, height))
        yield (0, start, width, end) if height >= width else (start, 0, end, height)


def _array(image: Image.Image, mode: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return [H, W] or [H, W, C] in `mode`, by bands: Pillow copies repeatedly what it converts."""
    for box in bands(image):
        part = image if box == (0, 0, *image.size) else image.crop(box)
        band = np.asarray(part if part.mode == mode else part.convert(mode))
        if out is None:
            out = np.empty((image.height, image.width, *band.shape[2:]), band.dtype)
        out[box[1] : box[3], box[0] : box[2]] = band
    assert out is not None, "an image has pixels"
    return out


def _gray16(image: Image.Image) -> Array:
    values, top = _array(image, image.mode).astype(np.uint16, copy=False), MAX_VALUE[16]
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(258, (16,))[0]
        if bits < 16:
            values = (values.astype(np.uint32) * top // (2**bits - 1)).astype(np.uint16)
        if image.tag_v2.get(262) == 0:  # white is zero: Pillow inverts 8 bits, but not 16
            values = top - values
    return values


def color16(open_image: Callable[[], ImageFile.ImageFile], channels: int) -> Array:
    """Return 16-bit color, of which Pillow keeps 8 bits: it decodes the high bytes, then the low.

    A second decoder could show other pixels, or what memory held before, and nobody would know.
    """
    image = open_image()
    if channels == 2:  # of PNG only. The four bytes of gray and alpha are read as RGBA
        _load_as(image, "RGBA")
        return _array(image, "RGBA").view(">u2").astype(np.uint16)
    high, pixels = _raw_mode(image), np.empty((0, 0, 0, 2), np.uint8)
    for part, raw_mode in ((_HIGH, high), (_LOW, high[:-1] + _OTHER_HALF[high[-1]])):
        _load_as(image, raw_mode)
        if part == _HIGH:  # the size is known once a TIFF has been turned
            pixels = np.empty((image.height, image.width, len(image.mode), 2), np.uint8)
        _array(image, image.mode, pixels[..., part])
        image = open_image()  # releases the pixels of the other
    return _apply_trns(pixels.view(np.uint16)[..., 0], image)


def load(image: Image.Image) -> None:
    """Load an image; floats from libtiff have the byte order of the machine, not of the file."""
    if isinstance(image, TiffImageFile) and image.mode == "F" and image.tile:
        _load_as(image, "F;32NF" if image.tile[0].codec_name == "libtiff" else _raw_mode(image))
    else:
        image.load()


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args
    return args if isinstance(args, str) else str((args or [""])[0])


def _load_as(image: ImageFile.ImageFile, raw_mode: str) -> None:
    """Load an image whose file has values as in `raw_mode`, a name of Pillow's unpackers."""
    for index, tile in enumerate(image.tile):
        args = raw_mode if isinstance(tile.args, str) else (raw_mode, *(tile.args or ())[1:])
        image.tile[index] = tile._replace(args=args)
    image.load()


def _apply_trns(pixels: Array, image: Image.Image) -> Array:
    """Append alpha where a PNG declares one color transparent: 0 for pixels of that color."""
    if "transparency" not in image.info:
        return pixels
    opaque = (pixels != np.array(image.info["transparency"])).any(axis=2, keepdims=True)
    alpha = np.where(opaque, MAX_VALUE[16], 0).astype(np.uint16)
    return np.concatenate([pixels, alpha], axis=2)


def scale_transparency(image: Image.Image, bits: int, stream: IO[bytes]) -> None:
    """Scale the transparent gray of a PNG of 1, 2 or 4 bits, whose pixels Pillow scales to 8.

    Of its 16 bits those above the depth have no meaning. `stream`: the PNG, without texts.
    """
    if image.mode not in ("1", "L") or bits > 4 or "transparency" not in image.info:
        return
    gray, top = image.info["transparency"], 2**bits - 1
    if bits == 1:  # of which Pillow keeps only if any of the 16 is set
        position = stream.tell()
        stream.seek(0)
        gray = stream.read(_PNG_START).partition(b"tRNS")[2][1]
        stream.seek(position)
    image.info["transparency"] = (gray & top) * 255 // top


def unmultiply(pixels: Array) -> Array:
    """Return [H, W, C] with its colors, which were multiplied by the last channel, restored."""
    top = MAX_VALUE[depth_of(pixels)]
    color, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
    restored = np.minimum((color * top + alpha // 2) // np.maximum(alpha, 1), top)
    return np.concatenate([restored.astype(pixels.dtype), pixels[..., -1:]], axis=2)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 for none, and for corrupt EXIF, as viewers do."""
    try:  # PngImageFile's own getexif would decode the pixels first
        return int(Image.Image.getexif(image).get(0x0112, 1))
    except Exception:
        return 1


def turn(pixels: Array, orientation: int) -> Array:
    """Apply an EXIF orientation, 1 to 8; other values change nothing. CIPA DC-008, tag 0x0112."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def kind_of(image: Image.Image, format: Format, start: bytes) -> tuple[int, int, bool]:
    """Return channels, depth, and if the last channel is alpha."""
    if image.mode.startswith("I;16"):
        alpha = "transparency" in image.info
        return 1 + alpha, 16, alpha
    if image.mode not in _MODES:
        hint = "Save it as unsigned 8- or 16-bit gray or RGB"
        raise not_supported(f"{format} pixels of mode {image.mode}", hint)
    mode = plain_mode(image)
    if format == "PNG" and start[24] == 16:  # Pillow expands gray with alpha
        return 2 if start[25] == 4 else len(mode), 16, mode.endswith("A")
    return len(mode), 8, mode.endswith("A")


def cost_of(image: Image.Image, pixel_bytes: int, copied: bool) -> int:
    """Return the bytes that decoding takes at its peak, as far as the header tells.

    `pixel_bytes` of the array; `copied`: it is turned, reordered, or freed from alpha.
    """
    own = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    decoder = 6 + own if "progressive" in image.info else 0  # coefficients; decoded twice
    if image.format in ("WEBP", "AVIF", "JPEG2000"):
        decoder = 16 if image.format == "JPEG2000" else 8  # 32 bits a value; two frames
    return image.width * image.height * (own + pixel_bytes * (1 + copied) + decoder)
