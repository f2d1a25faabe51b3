"""Whether a file can hold the picture that its header claims: read off its structure, before memory is taken."""

import io
import math
import os
import zlib
from typing import BinaryIO

from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from i2i.images.formats import ImageError

_DEFLATE = 1032  # bytes out of one: the shortest code, of two bits, repeats 258 bytes
_EXPANDS = {  # TIFF compression -> bytes that come out of one byte, at most. Of the others no limit is known.
    "raw": 1,
    "packbits": 64,  # two bytes repeat one 128 times
    "tiff_lzw": 1400,  # codes of 9 to 12 bits stand for 1, 2, … 3838 bytes, then the table is full
    "tiff_deflate": _DEFLATE,
    "tiff_adobe_deflate": _DEFLATE,
}
_PNG_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # color type -> values of a pixel
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_PARTS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")  # in this order
_NO_PIXELS = b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
_SCANS = 100  # of a progressive JPEG. Encoders write ten; each is a pass over the whole picture
_LARGE = 2**22  # pixels; smaller canvases do no harm
_PIECE = 2**20
_MEND = "(replace or remove the file)"


def strip_png(file: BinaryIO, path: object, whole: bool) -> tuple[BinaryIO, int]:
    """Return a PNG with nothing but what a picture is made of, and the bytes of its compressed pixels.

    Texts, color profiles, frames of animations and the like are where decoders stumble, and where
    bombs hide. EXIF comes before the pixels, where Pillow looks for it. Without `whole` the pixels
    are left out. With it all checksums are compared: Pillow does not, and shows damage in the last
    rows as a picture.

    Raises:
        ImageError: no IEND within the file; a wrong checksum.
    """
    end = file.seek(0, os.SEEK_END)
    place, data = 8, 0
    found: dict[bytes, list[bytes]] = {name: [] for name in _PNG_PARTS}
    while place + 12 <= end:
        file.seek(place)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        place += 12 + length
        if place > end:
            break
        if whole and not _sound(file, name, length):
            raise ImageError(f"{path}: damaged: a checksum is wrong {_MEND}")
        data += length if name == b"IDAT" else 0
        if name in found and (whole if name == b"IDAT" else length <= _PIECE):
            file.seek(place - 12 - length)
            found[name].append(file.read(12 + length))
        if name == b"IEND":
            if not whole and data:
                found[b"IDAT"] = [_NO_PIXELS]
            return io.BytesIO(
                _PNG_MAGIC + b"".join(part for parts in found.values() for part in parts)
            ), data
    raise ImageError(f"{path}: cut off, its end is missing {_MEND}")


def _sound(file: BinaryIO, name: bytes, length: int) -> bool:
    checksum = zlib.crc32(name)
    while length:
        piece = file.read(min(length, _PIECE))
        checksum, length = zlib.crc32(piece, checksum), length - len(piece)
    return file.read(4) == checksum.to_bytes(4, "big")


def check_jpeg_end(file: BinaryIO, path: object, scans: bool) -> None:
    """Refuse a file without the end mark of its picture; data behind the mark (phones put films there) is fine.

    With `scans` those are counted too, for which the whole file is read.

    Raises:
        ImageError: cut off, or more scans than an honest encoder writes.
    """
    file.seek(-2, os.SEEK_END)
    ended = file.read() == b"\xff\xd9"
    if ended and not scans:
        return
    file.seek(0)
    content = file.read()
    place = 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] not in (
        b"\xda",
        b"",
    ):
        fill = (
            content[place + 1 : place + 2] == b"\xff"
        )  # any number of these may stand before a mark
        place += (
            1 if fill else 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        )  # may hold a whole thumbnail
    if not ended and content.find(b"\xff\xd9", place) < 0:
        raise ImageError(f"{path}: cut off, its end is missing {_MEND}")
    if (count := content.count(b"\xff\xda", place)) > _SCANS:
        raise ImageError(
            f"{path}: {count} scans, made to take long: the limit is {_SCANS} (save it anew)"
        )


def webp_size(start: bytes) -> tuple[int, int]:
    """Return (width, height) from the first 30 bytes. RFC 9649."""
    if start[12:16] == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(
            start[27:30], "little"
        ) + 1
    if start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(
        start[28:30], "little"
    ) & 0x3FFF


def check_webp_frame(file: BinaryIO, path: object) -> None:
    """Refuse an animation on a large canvas whose first frame covers next to nothing of it: damage, or a bomb.

    Raises:
        ImageError: less than one percent.
    """
    file.seek(0)
    start = file.read(30)
    area = math.prod(webp_size(start))
    if start[12:16] != b"VP8X" or not start[20] & 2 or area < _LARGE:
        return
    head, place = start[12:], 12
    while head and head[:4] != b"ANMF":
        place += (
            8 + (int.from_bytes(head[4:8], "little") + 1) // 2 * 2
        )  # chunks are filled up to even lengths
        file.seek(place)
        head = file.read(24)
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (14, 17))
    if width * height * 100 < area:
        raise ImageError(
            f"{path}: its first frame has {width}x{height} pixels of a canvas of {area} {_MEND}"
        )


def check_holds(image: ImageFile.ImageFile, start: bytes, data: int, path: object) -> None:
    """Refuse a picture for which `data`, its compressed bytes (PNG) or all bytes of its file, cannot be enough.

    `start` are the first 32 bytes. WebP is not judged: a picture of one color takes next to nothing
    there.

    Raises:
        ImageError: it would be mostly missing.
    """
    needed = _needed(image, start)
    if needed > data:
        width, height = image.size
        raise ImageError(
            f"{path}: cut off: {data} bytes cannot hold {width}x{height} pixels {_MEND}"
        )


def _needed(image: ImageFile.ImageFile, start: bytes) -> int:
    width, height = image.size
    if isinstance(
        image, JpegImageFile
    ):  # a bit for each block of 8 x 8, with the codes that everybody uses
        return width * height // 512
    if isinstance(image, BmpImageFile):
        bits = int.from_bytes(start[24:26] if start[14] == 12 else start[28:30], "little")
        run_lengths = image.info.get("compression") in (1, 2)  # two bytes repeat a pixel 255 times
        return width * height // 128 if run_lengths else height * _bytes(width, bits)
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(258, (1,))
        halved = image.tag_v2.get(262) == 6  # YCbCr may have fewer pixels of color
        expands = _EXPANDS.get(image.info["compression"])
        return height * _bytes(width, bits[0] if halved else sum(bits)) // expands if expands else 0
    if start.startswith(b"\x89PNG"):
        return height * _bytes(width, start[24] * _PNG_VALUES.get(start[25], 1)) // _DEFLATE
    return 0


def _bytes(width: int, bits: int) -> int:
    return (width * bits + 7) // 8
