"""Decode images of every orientation, depth and color mode: checks first, then pixels.

The content of a file decides its format, whatever its suffix says; of an animation or a multi-page
file the first picture is read. Color profiles are not applied.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from i2i.images import npy, sanity
from i2i.images.budget import reserve
from i2i.images.formats import MAX_PIXELS, Alpha, Array, Format, Header, ImageError, Source, sniff
from i2i.images.pixels import MAX_VALUE, UNIT, ValueRange, apply_alpha, from_value_range
from i2i.images.silence import quiet_opencv

# Called directly: Image.open() has one pixel limit for the whole process.
_CLASSES = (PngImageFile, JpegImageFile, WebPImageFile, TiffImageFile, BmpImageFile)
_READERS = {cls.format: cls for cls in _CLASSES}
_MODES_16_BIT = ("RGB", "RGBA", "RGBX", "LA")
_MODES_8_BIT = (*_MODES_16_BIT, "1", "L", "La", "P", "PA", "RGBa", "CMYK", "YCbCr")
BAND_PIXELS = 2**20  # converted at once
START_BYTES = 32  # of a file, which tell its format


def read_header(source: Source, max_pixels: int = MAX_PIXELS, name: str = "") -> Header:
    """Return the header of an image file without decoding its pixels.

    `source` is a path, or a seekable binary stream, which is read from its start and left open.
    Errors are about `name`, by default the path, or "image" for a stream.

    Raises:
        ImageError: missing, empty, not an image, of an unsupported kind, truncated (JPEG, PNG,
            NPY), or larger than `max_pixels`.
    """
    with _opened(source, name) as file:
        return _open(file, max_pixels, complete=False).header


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
        with _opened(source, name) as file:
            picture = _open(file, max_pixels, complete=True)
            reservation.enter_context(reserve(picture.cost))
            pixels, header = picture.load(value_range), picture.header
            del picture  # Pillow's own copy
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
    with _errors_about(name):
        sanity.check_size(*image.size, max_pixels)
        cost = _cost(image, pixel_bytes=4, copied=True) + _check_unloaded(image, max_pixels)
        with reserve(cost):
            image.load()
            pixels = _apply_orientation(_pixels(image, value_range), _orientation(image))
            return apply_alpha(pixels, alpha)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[IO[bytes]]:
    if isinstance(source, str | os.PathLike):
        with _errors_about(name or source):
            if not stat.S_ISREG(Path(source).stat().st_mode):  # a pipe would wait for its writer
                raise ImageError(source, "not a file")
            with open(source, "rb") as file:
                yield file
    else:
        with _errors_about(name or "image"):
            if hasattr(source, "encoding") or not getattr(source, "seekable", bool)():
                hint = "Open files in binary mode, wrap bytes in io.BytesIO"
                raise ImageError("image", "neither a path nor a seekable binary stream", hint)
            yield source


@contextmanager
def _errors_about(subject: object) -> Iterator[None]:
    """Raise everything that goes wrong with an image as an ImageError about `subject`."""
    try:
        yield
    except ImageError as error:
        raise error.with_subject(subject) from error.__cause__
    except FileNotFoundError:
        raise ImageError(subject, "no such file") from None
    except MemoryError:
        raise ImageError(subject, "there is not enough memory to decode it") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit, for tiles and for WebP
        hint = "Raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file"
        raise ImageError(subject, str(error).rstrip("."), hint) from error
    except Exception as error:  # decoders meet corrupt data with struct, zlib, key and other errors
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(subject, f"cannot be read: {error.strerror}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(subject, f"corrupt or truncated: {reason}", sanity.REPLACE) from error


class _Picture(NamedTuple):
    header: Header
    cost: int  # bytes of memory to load it
    load: Callable[[ValueRange], Array]


def _open(file: IO[bytes], max_pixels: int, complete: bool) -> _Picture:
    """Read the header; with `complete`, which loading needs, check the rest of the file, too."""
    start, format = _start(file)
    if not start:
        raise ImageError("image", "an empty file", sanity.REPLACE)
    if format is None:
        hint = "Convert it to one of these"
        raise ImageError("image", "not a PNG, JPEG, WebP, TIFF, BMP or NPY image", hint)
    file_bytes = file.seek(0, os.SEEK_END)
    if format == "NPY":
        info = npy.read_info(file, max_pixels)
        return _Picture(info.header, 2 * file_bytes, partial(npy.read_pixels, file, info))
    stream, data_bytes = _check_file(file, format, start, max_pixels, complete)
    if format == "TIFF" and complete and not isinstance(getattr(file, "raw", None), io.FileIO):
        # libtiff would read the descriptor of a stream, which may be that of an archive.
        stream = io.BytesIO(file.read())
    image = _READERS[format](stream)
    width, height = image.size
    sanity.check_size(width, height, max_pixels)
    sanity.check_data_size(image, start, data_bytes)
    channels, depth = _channels_and_depth(image, format, start)
    # Pillow itself applies the orientation of TIFF, and only of TIFF.
    orientation = 1 if format == "TIFF" else _orientation(image)
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    header = Header(width, height, channels, depth, format, alpha=channels in (2, 4))
    copied = orientation != 1 or header.alpha or depth == 16
    cost = _cost(image, channels * depth // 8, copied) + file_bytes
    return _Picture(header, cost, partial(_load, image, stream, header, orientation))


def _start(file: IO[bytes]) -> tuple[bytes, Format | None]:
    file.seek(0)
    start = file.read(START_BYTES)
    return start, sniff(start)


def _check_file(
    file: IO[bytes], format: Format, start: bytes, max_pixels: int, complete: bool
) -> tuple[IO[bytes], int]:
    """Check the structure of a file; return the stream to decode, and the bytes of its pixels."""
    stream, data_bytes = file, file.seek(0, os.SEEK_END)
    if format == "PNG":
        width, height = int.from_bytes(start[16:20]), int.from_bytes(start[20:24])
        sanity.check_size(width, height, max_pixels)
        stream, data_bytes = sanity.strip_png(file, complete)
    elif format == "JPEG":
        sanity.check_jpeg(file, count_scans=complete)
    elif format == "WEBP":
        sanity.check_size(*sanity.webp_size(start), max_pixels)  # its reader allocates at once
        sanity.check_webp_frame(file)
    stream.seek(0)
    return stream, data_bytes


def _check_unloaded(image: Image.Image, max_pixels: int) -> int:
    """Check the file from which a PIL image is still to be loaded; return its bytes, or 0."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None:
        return 0
    position = file.tell()
    start, format = _start(file)
    if format is not None:  # of others, such as GIF, only the size of the picture is known
        _, data_bytes = _check_file(file, format, start, max_pixels, complete=True)
        sanity.check_data_size(image, start, data_bytes)
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(position)
    return file_bytes


def _channels_and_depth(image: Image.Image, format: Format, start: bytes) -> tuple[int, int]:
    mode, bits = image.mode, 8
    if mode == "F":
        return 1, 32
    if mode.startswith("I;16"):
        return 1 + ("transparency" in image.info), 16
    if format == "PNG":
        bits = start[24]
    elif isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(258, (1,)))
    if mode not in (_MODES_8_BIT if bits <= 8 else _MODES_16_BIT if bits <= 16 else ()):
        reason = f"{bits}-bit pixels of mode {mode} are not supported"
        raise ImageError("image", reason, "Save it as unsigned 8- or 16-bit gray or RGB")
    if format == "PNG" and bits == 16 and start[25] == 4:  # gray with alpha, which Pillow expands
        return 2, 16
    return len(_plain_mode(image)), 16 if bits > 8 else 8


def _cost(image: Image.Image, pixel_bytes: int, copied: bool) -> int:
    """Return the bytes that decoding takes at its peak, as far as the header tells.

    `pixel_bytes` of the array; `copied`: it is turned, reordered, or freed from alpha.
    """
    own = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    decoder = 6 if "progressive" in image.info else 0  # coefficients
    if isinstance(image, WebPImageFile):
        decoder = 8  # two frames
    return image.width * image.height * (own + pixel_bytes * (1 + copied) + decoder)


def _load(
    image: Image.Image, stream: IO[bytes], header: Header, orientation: int, value_range: ValueRange
) -> Array:
    image.load()
    if header.depth == 16 and not image.mode.startswith("I;16"):  # Pillow cut 16-bit color to 8
        pixels = _color16(image, stream, header.channels)
    else:
        pixels = _pixels(image, value_range)
    return _apply_orientation(pixels, orientation)


def _plain_mode(image: Image.Image) -> str:
    gray = image.mode in ("1", "L", "LA", "La")
    return ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")


def _orientation(image: Image.Image) -> int:
    try:  # PngImageFile's own getexif would decode the pixels first
        return int(Image.Image.getexif(image).get(0x0112, 1))
    except Exception:  # corrupt EXIF: viewers show the picture as it is, too
        return 1


def _pixels(image: Image.Image, value_range: ValueRange) -> Array:
    if image.mode == "F":
        return from_value_range(_array(image, image.mode)[..., None], value_range)
    if image.mode.startswith("I;16"):
        return _apply_trns(_gray16(image)[..., None], image)
    if image.mode == "I":
        raise ImageError(
            "image", "32-bit integers have no known range", "Save it with 8 or 16 bits"
        )
    mode = _plain_mode(image)
    return _array(image, mode).reshape(image.height, image.width, len(mode))


def _array(image: Image.Image, mode: str) -> Array:
    """Return [H, W] or [H, W, C] in `mode`, by bands: Pillow copies repeatedly what it converts."""
    width, height = image.size
    pixels = np.empty(0)
    longer = max(width, height)
    step = max(1, BAND_PIXELS // min(width, height))
    for start in range(0, longer, step):
        end = min(start + step, longer)
        box = (0, start, width, end) if height == longer else (start, 0, end, height)
        band = np.asarray((image if step >= longer else image.crop(box)).convert(mode))
        if not start:
            pixels = np.empty((height, width, *band.shape[2:]), band.dtype)
        pixels[box[1] : box[3], box[0] : box[2]] = band
    return pixels


def _gray16(image: Image.Image) -> Array:
    values, top = _array(image, image.mode).astype(np.uint16, copy=False), MAX_VALUE[16]
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(258, (16,))[0]
        if bits < 16:
            values = (values.astype(np.uint32) * top // (2**bits - 1)).astype(np.uint16)
        if image.tag_v2.get(262) == 0:  # white is zero: Pillow inverts 8 bits, but not 16
            values = top - values
    return values


def _color16(image: Image.Image, stream: IO[bytes], channels: int) -> Array:
    """Decode 16-bit color after Pillow found no error: OpenCV shows corrupt data as pixels."""
    import cv2

    quiet_opencv()
    stream.seek(0)
    pixels = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    shape = () if pixels is None or pixels.dtype != np.uint16 else pixels.shape
    if pixels is None or len(shape) != 3 or shape[1::-1] != image.size:
        hint = "Save it as 16-bit RGB"
        raise ImageError("image", "16-bit color of a kind that is not supported", hint)
    if channels == 2:
        return np.ascontiguousarray(pixels[..., [0, 3]])  # B = G = R
    rgb = np.ascontiguousarray(pixels[..., 2::-1])
    if image.mode == "RGBA":
        return np.concatenate([rgb, pixels[..., 3:]], axis=2)
    return _apply_trns(rgb, image)


def _apply_trns(pixels: Array, image: Image.Image) -> Array:
    """Append alpha where a PNG declares one color transparent: 0 for pixels of that color."""
    if "transparency" not in image.info:
        return pixels
    opaque = (pixels != np.array(image.info["transparency"])).any(axis=2, keepdims=True)
    alpha = np.where(opaque, MAX_VALUE[16], 0).astype(np.uint16)
    return np.concatenate([pixels, alpha], axis=2)


def _apply_orientation(pixels: Array, orientation: int) -> Array:
    """Apply an EXIF orientation, 1 to 8; other values change nothing. CIPA DC-008, tag 0x0112."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
