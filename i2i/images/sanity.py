"""Checks that a file can hold the picture its header claims, before memory is taken for it."""

import io
import math
import os
import zlib
from typing import IO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile

from i2i.images import profiles
from i2i.images.formats import ImageError, TooLargeError, not_supported

REPLACE = "Replace or remove the file"  # the hint for what no reader can use
RAISE_LIMIT = "Raise max_pixels (--max-pixels, data.max_pixels) if you trust the file"
CHUNK_BYTES = 2**20  # read at once
MAX_CHUNK = 2**24  # of a PNG, but for its pixels: EXIF with previews and notes of the maker
MIN_BOMB_PIXELS = 2**22  # smaller canvases do no harm
LZW_RATIO = 2800  # a code of 12 bits stands for 4096 values at most
DEFLATE_RATIO = 1032  # bytes out of one: the shortest code, of two bits, repeats 258 bytes
TIFF_RATIOS = {  # compression -> bytes out of one, at most; of the others no limit is known
    "raw": 1,
    "packbits": 64,  # two bytes repeat one 128 times
    "tiff_lzw": 1400,  # codes of 9 to 12 bits stand for 1, 2, … 3838 bytes, then the table is full
    "tiff_deflate": DEFLATE_RATIO,
    "tiff_adobe_deflate": DEFLATE_RATIO,
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # color type -> values of a pixel
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"pHYs", b"eXIf", b"IDAT", b"IEND")  # in this order
_EMPTY_IDAT = b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError for a picture without pixels, or of more than `max_pixels`."""
    pixels = width * height
    if width < 1 or height < 1:
        raise ImageError("image", "its header announces a picture without pixels", REPLACE)
    if pixels > max_pixels:
        size = f"{width}x{height}" if pixels < 10**18 else "its size"  # numbers can have any length
        megapixels, limit = min(pixels, 10**18) / 1e6, max_pixels / 1e6
        reason = f"{size} is {megapixels:.4g} megapixels, the limit is {limit:.4g}"
        raise TooLargeError("image", reason, RAISE_LIMIT)


def strip_png(file: IO[bytes], complete: bool) -> tuple[IO[bytes], int, bytes]:
    """Return a PNG of only the chunks that make the picture, its bytes of pixels, and its profile.

    Texts, color profiles, frames of animations and the like are where decoders stumble, and where
    bombs hide. EXIF comes before the pixels, where Pillow looks for it. Without `complete` the
    pixels are left out. With it all checksums are compared: Pillow does not, and shows corrupt last
    rows as a picture. Raise ImageError for a wrong checksum, or without an IEND.
    """
    end = file.seek(0, os.SEEK_END)
    position, data_bytes, profile = len(_PNG_SIGNATURE), 0, b""
    chunks: dict[bytes, list[bytes]] = {name: [] for name in _PNG_CHUNKS}
    while position + 12 <= end:
        file.seek(position)
        start = file.read(8)
        length, name = int.from_bytes(start[:4], "big"), start[4:]
        if position + 12 + length > end:
            break
        if complete and not _checksum_matches(file, name, length):
            raise ImageError("image", "corrupt (checksum mismatch)", REPLACE)
        data_bytes += length if name == b"IDAT" else 0
        if name == b"iCCP" and length <= MAX_CHUNK:
            file.seek(position)
            profile = profiles.from_chunk(file.read(12 + length))
        if name == b"pHYs" and length != 9:  # which Pillow takes for a corrupt picture
            name = b""
        if name in chunks and (complete or name != b"IDAT"):
            if name != b"IDAT" and length > MAX_CHUNK:  # EXIF without its orientation would mislead
                raise not_supported(f"{length:,} bytes of {name.decode()} in a PNG", "Re-encode it")
            file.seek(position)
            chunks[name].append(file.read(12 + length))
        position += 12 + length
        if name == b"IEND":
            if not complete and data_bytes:
                chunks[b"IDAT"] = [_EMPTY_IDAT]
            content = b"".join(b"".join(parts) for parts in chunks.values())
            return io.BytesIO(_PNG_SIGNATURE + content), data_bytes, profile
    raise ImageError("image", "truncated: its end is missing", REPLACE)


def _checksum_matches(file: IO[bytes], name: bytes, length: int) -> bool:
    checksum = zlib.crc32(name)
    while length:
        content = file.read(min(length, CHUNK_BYTES))
        if not content:  # the file shrinks while it is read
            return False
        checksum, length = zlib.crc32(content, checksum), length - len(content)
    return file.read(4) == checksum.to_bytes(4, "big")


def webp_size(start: bytes) -> tuple[int, int]:
    """Return (width, height) from the first 30 bytes. RFC 9649."""
    kind = start[12:16]
    if kind == b"VP8X":
        return _uint(start, 24, 3) + 1, _uint(start, 27, 3) + 1
    if kind == b"VP8L":
        bits = _uint(start, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return _uint(start, 26, 2) & 0x3FFF, _uint(start, 28, 2) & 0x3FFF


def gif_size(start: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas."""
    return _uint(start, 6, 2), _uint(start, 8, 2)


def check_tga(start: bytes) -> None:
    """Raise ImageError for kinds whose colors or alpha are not known."""
    kind, bits, flags = start[2] & 7, start[16], start[17]
    if bits == 16 and kind != 3:
        raise not_supported("a TGA of 16-bit color")
    if bits in (16, 32) and not flags & 15:
        raise not_supported("a TGA that does not say if its last channel is alpha")


def check_webp_frame(file: IO[bytes]) -> None:
    """Raise ImageError if the first frame of a large animation covers less than 1 % of it."""
    file.seek(0)
    start = file.read(30)
    canvas = math.prod(webp_size(start))
    if start[12:16] != b"VP8X" or not start[20] & 2 or canvas < MIN_BOMB_PIXELS:
        return
    chunk, position = start[12:], 12
    while chunk and chunk[:4] != b"ANMF":
        length = _uint(chunk, 4, 4)
        position += 8 + length + length % 2  # chunks are padded to even lengths
        file.seek(position)
        chunk = file.read(24)
    width, height = _uint(chunk, 14, 3) + 1, _uint(chunk, 17, 3) + 1
    if width * height * 100 < canvas:
        reason = f"its first frame has {width}x{height} pixels of a canvas of {canvas}"
        raise ImageError("image", reason, REPLACE)


def _uint(content: bytes, position: int, size: int) -> int:
    return int.from_bytes(content[position : position + size], "little")


def check_data_size(image: Image.Image, start: bytes, data_bytes: int) -> None:
    """Raise ImageError if compressed pixels (PNG), or a file, are too short for the picture.

    `start` are the first 32 bytes of the file. WebP is not checked: a picture of one color takes
    next to nothing there.
    """
    if _min_bytes(image, start) > data_bytes:
        width, height = image.size
        reason = f"truncated: {data_bytes} bytes cannot hold {width}x{height} pixels"
        raise ImageError("image", reason, REPLACE)


def _min_bytes(image: Image.Image, start: bytes) -> int:
    width, height = image.size
    if isinstance(image, JpegImageFile):  # a bit for each block of 8 x 8, with the usual codes
        return width * height // 512
    if isinstance(image, BmpImageFile):
        if image.info.get("compression") in (1, 2):  # two bytes repeat a pixel 255 times
            return width * height // 128
        bits, ratio = _uint(start, 24 if start[14] == 12 else 28, 2), 1
    elif isinstance(image, TgaImageFile):
        bits, ratio = start[16], 128 if "compression" in image.info else 1
    elif isinstance(image, GifImageFile):
        bits, ratio = 8, LZW_RATIO
    elif isinstance(image, TiffImageFile):
        samples = image.tag_v2.get(258, (1,))
        subsampled = image.tag_v2.get(262) == 6  # YCbCr may have fewer pixels of color
        bits = samples[0] if subsampled else sum(samples)
        ratio = TIFF_RATIOS.get(image.info["compression"], 0)
    elif start.startswith(_PNG_SIGNATURE):
        bits, ratio = start[24] * _PNG_CHANNELS.get(start[25], 1), DEFLATE_RATIO
    else:
        return 0
    return height * ((width * bits + 7) // 8) // ratio if ratio else 0
