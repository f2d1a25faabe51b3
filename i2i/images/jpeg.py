"""Completeness of JPEG files: libjpeg shows what a cut file lacks as gray. ITU-T T.81."""

import io
import os
import re
from typing import IO, NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from i2i.images.decoding import bands
from i2i.images.formats import ImageError
from i2i.images.sanity import REPLACE

MAX_SCANS = 100  # of a progressive file. Encoders write ten; each decodes all pixels again
SMALL = 2**14  # pixels: decoding again costs little, and a block is a large part
_END, _SCAN, _PROGRESSIVE = 0xD9, 0xDA, (b"\xc2", b"\xc6")
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_NOISE = bytes(np.random.default_rng(0).integers(1, 255, 64, np.uint8))  # no 0xff: no marker
_TAIL = b"".join(_NOISE + bytes([0xFF, restart]) for restart in range(0xD0, 0xD8)) + _NOISE


class Scans(NamedTuple):
    """The structure of a file, read to its end."""

    content: bytes  # up to the end of the last scan
    several: bool
    arithmetic: bool


def check_end(file: IO[bytes]) -> None:
    """Raise ImageError if the end of the picture is missing; phones put films behind it."""
    file.seek(-2, os.SEEK_END)
    if file.read() != b"\xff\xd9":
        read_scans(file)


def read_scans(file: IO[bytes]) -> Scans:
    """Return the structure of the file.

    Raises:
        ImageError: its end or scans are missing, or it has more than MAX_SCANS.
    """
    file.seek(0)
    content = file.read()
    position, frame, scans = 2, b"", list[bytes]()
    while marker := (_SCAN_END if scans else _MARKER).search(content, position):
        kind, position = marker[1][0], marker.end()
        if kind == _END:
            _check_scans(frame, scans)
            arithmetic = frame[:1] > b"\xc8"
            return Scans(content[: marker.start()], len(scans) > 1, arithmetic)
        if kind not in _ALONE:
            segment = content[
                position : position + int.from_bytes(content[position : position + 2])
            ]
            position += len(segment)
            if kind in _FRAMES and not frame:
                frame = bytes([kind]) + segment
            elif kind == _SCAN:
                scans.append(segment)
                if frame[:1] not in _PROGRESSIVE and segment[2:3] == frame[8:9]:  # the only scan
                    position = max(position, content.find(b"\xff\xd9", position))
    raise ImageError("image", "truncated: its end is missing", REPLACE)


def frame_size(content: bytes) -> tuple[int, int]:
    """Return the (width, height) of the first frame; (0, 0) for none."""
    position = 2
    while marker := _MARKER.search(content, position):
        kind, position = marker[1][0], marker.end()
        if kind in _FRAMES:
            start = content[position + 3 : position + 7]
            return int.from_bytes(start[2:]), int.from_bytes(start[:2])
        if kind not in _ALONE:
            position += int.from_bytes(content[position : position + 2])
    return 0, 0


def _check_scans(frame: bytes, scans: list[bytes]) -> None:
    if len(scans) > MAX_SCANS:
        reason = f"too many progressive scans: {len(scans)}, the limit is {MAX_SCANS}"
        raise ImageError("image", reason, "Re-encode the file")
    missing = {component: np.full(64, True) for component in frame[9::3]}  # of each coefficient
    for scan in scans:
        count = scan[2] if len(scan) > 2 else 0
        first, last, bits = (*scan[3 + 2 * count :], 0, 0, 0)[:3]
        for component in scan[3 : 3 + 2 * count : 2]:
            if component in missing and frame[:1] in _PROGRESSIVE:
                missing[component][first : last + 1] = bits & 15 > 0  # bits to be sent later
            else:
                missing.pop(component, None)
    if any(part.any() for part in missing.values()):
        raise ImageError("image", "truncated: scans of it are missing", REPLACE)


def check_pixels(image: Image.Image, scans: Scans) -> None:
    """Raise ImageError if the last scan of a loaded picture is cut off.

    If so, what is appended to it appears in the picture. It is decoded again only where that may
    be: of a single scan, pixels that are missing are of medium gray.
    """
    corner = np.array(image.getpixel((image.width - 1, image.height - 1)))
    gray = bool((abs(corner - 127.5) < 1).all())
    if scans.arithmetic or not (gray or scans.several or image.width * image.height <= SMALL):
        return
    with JpegImageFile(io.BytesIO(scans.content + _TAIL + b"\xff\xd9")) as other:
        other.load()
        same_kind = (other.mode, other.size) == (image.mode, image.size)  # not after draft()
        for box in bands(image) if same_kind else ():
            if image.crop(box).tobytes() != other.crop(box).tobytes():
                raise ImageError("image", "truncated: its last scan is cut off", REPLACE)
