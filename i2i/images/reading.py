"""Image files into arrays: size before pixels, every orientation, depth and color mode, and damage by name.

The content of a file decides its format, whatever its suffix says; of an animation or a multi-page
file the first picture is taken. Color profiles are not applied.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from i2i.images import npy
from i2i.images.budget import reserved
from i2i.images.formats import Alpha, Array, Format, Header, ImageError, check_size
from i2i.images.pixels import UNIT, ValueRange, apply_alpha, from_value_range
from i2i.images.sanity import check_holds, check_jpeg_end, check_webp_frame, strip_png, webp_size
from i2i.images.silence import quiet_opencv

MAX_PIXELS = 100_000_000  # 300 MB of 8-bit RGB; a PNG of 27 KB can ask for more than twice that

# The classes are called directly: Image.open() has a pixel limit of its own, one for the whole
# process.
_READERS: dict[Format, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
}
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_CONVERTED = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "RGBa",
    "CMYK",
    "YCbCr",
)  # to L or RGB, by Pillow
_BAND = 2**20  # pixels that are converted at once


def read_header(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Header:
    """Return the header of an image file without decoding its pixels.

    Raises:
        ImageError: missing, empty, not an image, of an unsupported kind, cut off (JPEG, PNG, NPY),
            or larger than `max_pixels`.
    """
    with _reading(path) as file:
        if npy.is_npy(file):
            return npy.read_layout(file, path, max_pixels).header
        return _open(file, path, max_pixels, whole=False).header


def decode(
    path: str | os.PathLike[str],
    alpha: Alpha = "drop",
    max_pixels: int = MAX_PIXELS,
    value_range: ValueRange = UNIT,
) -> Array:
    """Return the picture [H, W, C]: uint8, uint16, or float32 in [0, 1] (float TIFF and NPY).

    C is 1 (gray) or 3 (RGB), and with `alpha="keep"` one more where the file has alpha; an array
    has 1 to 16 and no alpha. `composite` lays the picture over white, `drop` takes the colors as
    they are. 9 to 15 bits are scaled to 16. Floats in the file are in `value_range`, (low, high),
    which becomes [0, 1].

    Raises:
        ImageError: as `read_header`; damaged data; float values outside `value_range`.
    """
    pixels, header = read(path, max_pixels, value_range)
    return apply_alpha(pixels, alpha) if header.alpha else pixels


def read(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, value_range: ValueRange = UNIT
) -> tuple[Array, Header]:
    """Return the picture as `decode` does, its alpha kept, and the header of the file."""
    with decoded(path, max_pixels, value_range) as found:
        return found


@contextmanager
def decoded(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, value_range: ValueRange = UNIT
) -> Iterator[tuple[Array, Header]]:
    """Hold what `read` returns, and its part of the memory budget: until the end of the block other threads wait with
    pictures for which there is no room. A thread that holds one must not ask for a second.

    Raises:
        ImageError: as `decode`.
    """
    with ExitStack() as held:
        with _reading(path) as file:
            if npy.is_npy(file):
                layout = npy.read_layout(file, path, max_pixels)
                held.enter_context(reserved(2 * os.fstat(file.fileno()).st_size))
                pixels, header = npy.read_pixels(file, path, layout, value_range), layout.header
            else:
                image, source, header, orientation = _open(file, path, max_pixels, whole=True)
                held.enter_context(
                    reserved(_cost(image, header, orientation) + os.fstat(file.fileno()).st_size)
                )
                image.load()
                narrow = header.depth == 16 and not image.mode.startswith(
                    "I;16"
                )  # Pillow cut 16-bit color to 8
                pixels = (
                    _color16(source, image, header, path)
                    if narrow
                    else _pixels(image, path, value_range)
                )
                del image
                pixels = _apply_orientation(pixels, orientation)
        yield pixels, header


def from_pil(image: Image.Image, alpha: Alpha = "drop", value_range: ValueRange = UNIT) -> Array:
    """Return a PIL image as `decode` returns a file.

    Raises:
        ImageError: a mode without a known range, or damaged data.
    """
    try:
        image.load()
    except Exception as error:
        raise ImageError(f"image: cannot be decoded ({error})") from error
    return apply_alpha(
        _apply_orientation(_pixels(image, "image", value_range), _orientation(image)), alpha
    )


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for its writer
            raise ImageError(f"{path}: not a file")
        with open(path, "rb") as file:
            yield file
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except MemoryError:
        raise ImageError(f"{path}: there is not enough memory to decode it") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit, for tiles and for WebP
        raise ImageError(
            f"{path}: {error} (raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file)"
        ) from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror}" if error.strerror else _damaged(error)
        raise ImageError(f"{path}: {reason}") from error
    except (
        Exception
    ) as error:  # decoders meet damage with struct, zlib, key, index, syntax and many other errors
        raise ImageError(f"{path}: {_damaged(error)}") from error


def _damaged(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"damaged or cut off: {reason} (replace or remove the file)"


class _Opened(NamedTuple):
    image: ImageFile.ImageFile  # its pixels not yet decoded
    source: BinaryIO  # what it reads
    header: Header
    orientation: int  # of EXIF, that is left to undo


def _open(file: BinaryIO, path: object, max_pixels: int, whole: bool) -> _Opened:
    """Look at the header, and with `whole` at the whole file, without which the pixels cannot be decoded."""
    start = file.read(32)
    if not start:
        raise ImageError(f"{path}: an empty file (replace or remove it)")
    kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        kind = "WEBP"
        check_size(*webp_size(start), max_pixels, path)  # its reader allocates the picture at once
    if kind is None:
        raise ImageError(
            f"{path}: not a PNG, JPEG, WebP, TIFF, BMP or NPY image (convert it to one of these)"
        )
    source, data = file, os.fstat(file.fileno()).st_size
    if kind == "PNG":
        check_size(
            int.from_bytes(start[16:20], "big"),
            int.from_bytes(start[20:24], "big"),
            max_pixels,
            path,
        )
        source, data = strip_png(file, path, whole)
    elif kind == "JPEG":
        check_jpeg_end(file, path, scans=whole)
    elif kind == "WEBP":
        check_webp_frame(file, path)
    source.seek(0)
    image = _READERS[kind](source)
    width, height = image.size
    check_size(width, height, max_pixels, path)
    check_holds(image, start, data, path)
    channels, depth = _layout(image, kind, start, path)
    orientation = (
        1 if kind == "TIFF" else _orientation(image)
    )  # Pillow turns TIFF, and only TIFF, itself
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return _Opened(
        image, source, Header(width, height, channels, depth, kind, channels in (2, 4)), orientation
    )


def _cost(image: ImageFile.ImageFile, header: Header, orientation: int) -> int:
    """Return the bytes that decoding takes at its peak, as far as the header tells."""
    held = (
        1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    )  # Pillow's own picture
    again = (
        orientation != 1 or header.alpha or header.depth == 16
    )  # turned, without alpha, reordered
    arrays = header.channels * header.depth // 8 * (1 + again)
    decoder = (
        8 if header.format == "WEBP" else 6 if "progressive" in image.info else 0
    )  # two frames; coefficients
    return header.width * header.height * (held + arrays + decoder)


def _layout(
    image: ImageFile.ImageFile, kind: Format, start: bytes, path: object
) -> tuple[int, int]:
    """Return channels and depth of the picture."""
    if image.mode == "F":
        return 1, 32
    bits = 8
    if not image.mode.startswith("I") and image.mode not in _CONVERTED:
        raise ImageError(
            f"{path}: pixels of mode {image.mode} are not supported (save it as gray or RGB)"
        )
    if kind == "PNG":
        bits = start[24]
    elif isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(258, (1,)))
    if image.mode.startswith("I;16"):
        return 1 + ("transparency" in image.info), 16
    if (
        image.mode == "I"
        or bits > 16
        or (bits > 8 and image.mode not in ("RGB", "RGBA", "RGBX", "LA"))
    ):
        kind_of_pixels = f"{bits}-bit pixels of mode {image.mode}"
        raise ImageError(
            f"{path}: {kind_of_pixels} are not supported (save it as unsigned 8- or 16-bit gray or RGB)"
        )
    if kind == "PNG" and bits == 16 and start[25] == 4:  # gray with alpha, which Pillow expands
        return 2, 16
    return len(_plain_mode(image)), 16 if bits > 8 else 8


def _plain_mode(image: Image.Image) -> str:
    gray = image.mode in ("1", "L", "LA", "La")
    return ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")


def _orientation(image: Image.Image) -> int:
    try:
        return int(
            Image.Image.getexif(image).get(0x0112, 1)
        )  # PngImageFile's own would decode the pixels first
    except Exception:  # damaged EXIF: viewers show the picture as it is, too
        return 1


def _pixels(image: Image.Image, path: object, value_range: ValueRange) -> Array:
    if image.mode == "F":
        return from_value_range(_array(image, image.mode)[..., None], value_range, path)
    if image.mode.startswith("I;16"):
        return _apply_trns(_gray16(image)[..., None], image)
    if image.mode == "I":
        raise ImageError(f"{path}: 32-bit integers have no known range (save it with 8 or 16 bits)")
    mode = _plain_mode(image)
    return _array(image, mode).reshape(image.height, image.width, len(mode))


def _array(image: Image.Image, mode: str) -> Array:
    """Return [H, W] or [H, W, C] in `mode`; a band at a time, since Pillow copies several times what it converts."""
    width, height = image.size
    pixels = np.empty(0)
    long = max(width, height)
    step = max(1, _BAND // min(width, height))
    for start in range(0, long, step):
        end = min(start + step, long)
        box = (0, start, width, end) if height == long else (start, 0, end, height)
        band = np.asarray((image if step >= long else image.crop(box)).convert(mode))
        if not start:
            pixels = np.empty((height, width, *band.shape[2:]), band.dtype)
        pixels[box[1] : box[3], box[0] : box[2]] = band
    return pixels


def _gray16(image: Image.Image) -> Array:
    values = _array(image, image.mode).astype(np.uint16, copy=False)
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(258, (16,))[0]
        if bits < 16:
            values = (values.astype(np.uint32) * 65535 // (2**bits - 1)).astype(np.uint16)
        if image.tag_v2.get(262) == 0:  # white is zero: Pillow inverts 8 bits, but not 16
            values = 65535 - values
    return values


def _color16(file: BinaryIO, image: Image.Image, header: Header, path: object) -> Array:
    """Decode 16-bit color, after Pillow has decoded the same data without an error (OpenCV shows damage as pixels)."""
    import cv2

    quiet_opencv()
    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if (
        pixels is None
        or pixels.dtype != np.uint16
        or pixels.ndim != 3
        or pixels.shape[1::-1] != image.size
    ):
        raise ImageError(
            f"{path}: a kind of 16-bit color that is not supported (save it as 16-bit RGB)"
        )
    if header.channels == 2:
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
    return np.concatenate([pixels, np.where(opaque, 65535, 0).astype(np.uint16)], axis=2)


def _apply_orientation(pixels: Array, orientation: int) -> Array:
    """Undo an EXIF orientation, 1 to 8 (any other value: nothing to undo). CIPA DC-008, tag 0x0112."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
