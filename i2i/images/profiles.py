"""Color profiles, which say what the numbers of a picture mean: found, and carried. ICC.1."""

import zlib

from i2i.images.formats import Format

MAX_BYTES = 2**22  # of a profile; cameras and printers use a few hundred to a million
_FORMATS: tuple[Format, ...] = ("PNG", "JPEG", "WEBP", "TIFF")  # that can hold one
_SPACES = {1: b"GRAY", 2: b"GRAY", 3: b"RGB ", 4: b"RGB "}  # channels -> color space


def fitting(profile: object, channels: int) -> bytes:
    """Return `profile` if it describes pixels of `channels`, else b"": CMYK has become RGB."""
    if not isinstance(profile, bytes) or not 128 <= len(profile) <= MAX_BYTES:
        return b""
    valid = profile[36:40] == b"acsp" and profile[16:20] == _SPACES.get(channels)
    return profile if valid else b""


def carried(profile: bytes, format: Format, channels: int) -> bytes:
    """Return `profile` if a file of `format` with `channels` can hold it, and b"" otherwise."""
    stored = max(channels, 3) if format == "WEBP" else channels  # it has no gray
    return fitting(profile, stored) if format in _FORMATS else b""


def from_chunk(chunk: bytes) -> bytes:
    """Return the profile of an iCCP chunk, or b"" for one that is corrupt or too long."""
    name, _, content = chunk[8:-4].partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        return decompressor.decompress(content[1:], MAX_BYTES + 1) if len(name) < 80 else b""
    except zlib.error:
        return b""


def to_chunk(profile: bytes) -> bytes:
    """Return an iCCP chunk."""
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)
