"""Whether a file can hold the picture that its header claims: read off its structure, before memory is taken."""

import os
import zlib
from typing import BinaryIO, NamedTuple

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
_SCANS = 100  # of a progressive JPEG. Encoders write ten; each is a pass over the whole picture
_PIECE = 2**20
_MEND = "(replace or remove the file)"


class PngChunks(NamedTuple):
    """What lies in a PNG."""

    data: int  # bytes of compressed pixels
    late_exif: bool  # behind the pixels


def read_png_chunks(file: BinaryIO, path: object, checksums: bool) -> PngChunks:
    """Walk through all chunks. `checksums` are worth comparing before the pixels are decoded: Pillow does not, and
    shows damage in the last rows as a picture.

    Raises:
        ImageError: no IEND within the file; a wrong checksum.
    """
    end = file.seek(0, os.SEEK_END)
    place, data, late_exif = 8, 0, False
    while place + 12 <= end:
        file.seek(place)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        place += 12 + length
        if place > end:
            break
        if checksums and not _sound(file, name, length):
            raise ImageError(f"{path}: damaged: a checksum is wrong {_MEND}")
        if name == b"IEND":
            return PngChunks(data, late_exif)
        data += length if name == b"IDAT" else 0
        late_exif |= name == b"eXIf" and data > 0
    raise ImageError(f"{path}: cut off, its end is missing {_MEND}")


def _sound(file: BinaryIO, name: bytes, length: int) -> bool:
    checksum = zlib.crc32(name)
    while length:
        piece = file.read(min(length, _PIECE))
        checksum, length = zlib.crc32(piece, checksum), length - len(piece)
    return file.read(4) == checksum.to_bytes(4, "big")


def bare_png(content: bytes) -> bytes:
    """Return a sound PNG with nothing but its size and its pixels: for decoders that stumble over the rest."""
    place, parts = 8, [content[:8]]
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] in (b"IHDR", b"IDAT", b"IEND"):
            parts.append(content[place:end])
        place = end
    return b"".join(parts)


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
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] not in (b"\xda", b""):
        fill = content[place + 1 : place + 2] == b"\xff"  # any number of these may stand before a mark
        place += 1 if fill else 2 + int.from_bytes(content[place + 2 : place + 4], "big")  # may hold a whole thumbnail
    if not ended and content.find(b"\xff\xd9", place) < 0:
        raise ImageError(f"{path}: cut off, its end is missing {_MEND}")
    if (count := content.count(b"\xff\xda", place)) > _SCANS:
        raise ImageError(f"{path}: {count} scans, made to take long: the limit is {_SCANS} (save it anew)")


def webp_size(start: bytes) -> tuple[int, int]:
    """Return (width, height) from the first 30 bytes. RFC 9649."""
    if start[12:16] == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    if start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF


def check_holds(image: ImageFile.ImageFile, start: bytes, data: int, path: object) -> None:
    """Refuse a picture for which `data`, its compressed bytes (PNG) or all bytes of its file, cannot be enough.

    `start` are the first 32 bytes. WebP is not judged: a picture of one color takes next to nothing there.

    Raises:
        ImageError: it would be mostly missing.
    """
    needed = _needed(image, start)
    if needed > data:
        width, height = image.size
        raise ImageError(f"{path}: cut off: {data} bytes cannot hold {width}x{height} pixels {_MEND}")


def _needed(image: ImageFile.ImageFile, start: bytes) -> int:
    width, height = image.size
    if isinstance(image, JpegImageFile):  # a bit for each block of 8 x 8, with the codes that everybody uses
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
