"""Encode images: atomically, and never silently into a format that loses depth or alpha."""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
from PIL import Image

from i2i.files import write_atomically
from i2i.images import geotiff_writing, npy, profiles, tiff, tiff_writing
from i2i.images.formats import (
    Array,
    Format,
    ImageError,
    describe_channels,
    extra_hint,
    format_of,
    installed,
    supports,
)
from i2i.images.geotiff import GeoTags
from i2i.images.metadata import NO_METADATA, Metadata
from i2i.images.pixels import UNIT, ValueRange, match_channels, to_depth, to_value_range
from i2i.images.tiff_tags import TiffTags

_OPTIONS: dict[Format, dict[str, Any]] = {
    "PNG": {"compress_level": 2},  # a fifth of the default's time, 12% more bytes
    "JPEG": {"subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},  # exact: keep colors under full transparency
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}
_WITH_RESOLUTION: tuple[Format, ...] = ("PNG", "JPEG", "TIFF", "BMP")
_VOLUMES: tuple[Format, ...] = ("NIFTI", "DICOM")
_WITH_EXIF: tuple[Format, ...] = ("PNG", "JPEG", "WEBP")


def encode(
    array: Array,
    path: str | os.PathLike[str] | IO[bytes],
    format: Format | None = None,
    quality: int = 95,
    value_range: ValueRange = UNIT,
    metadata: Metadata = NO_METADATA,
    alpha: bool = True,
    missing: Array | None = None,
) -> None:
    """Write [H, W, C] to `path`, atomically, or to a binary stream, whose `format` must be given.

    `alpha`: the last of 2 or 4 channels is alpha. `missing`, [H, W, C] or [H, W, 1], is True for
    pixels without data, where the file is one that `marks_missing`.

    `format=None` takes it from the suffix. `quality` (1 to 100) is JPEG's; all other formats are
    written without loss. float32, in [0, 1], is written in `value_range`, (low, high); values of
    other types are those of the file. An array file is [H, W, C] for C = 1, too. Of `metadata` is
    written what `carried` returns.

    Raises:
        ImageError: a format that cannot hold these channels or this depth, or a picture too large
            for it.
        WriteError, DiskFullError: it cannot be written; what was at `path` is intact.
    """
    name = path if isinstance(path, str | os.PathLike) else "image"
    format, sample, channels = format or format_of(name), array.dtype.name, array.shape[2]
    if format in _VOLUMES or not supports(format, channels, 0, sample):
        pictures = [kind for kind in get_args(Format) if kind not in _VOLUMES]
        alternatives = [kind for kind in pictures if supports(kind, channels, 0, sample)]
        bits = {"uint8": "8 bits", "uint16": "16 bits"}.get(sample, sample)
        reason = f"{format} cannot hold {describe_channels(channels)} of {bits}"
        if format in _VOLUMES:
            reason = f"{format} holds volumes, not a picture"
        hint = f"Use {' or '.join(alternatives) or 'fewer channels'}"
        raise ImageError(name, reason, extra_hint(format) or hint)
    values = to_value_range(array, value_range) if array.dtype == np.float32 else array
    try:
        content = _encoded(values, format, quality, metadata, alpha, missing)
    except ImageError as error:
        raise error.with_subject(name) from None
    except Exception as error:
        raise ImageError(name, f"cannot be written as {format}: {error}", "Try PNG") from error
    if isinstance(path, str | os.PathLike):
        write_atomically(Path(path), content, flush=False)
    else:
        path.write(content)


def carried(metadata: Metadata, format: Format, channels: int) -> Metadata:
    """Return what a file of `format` with `channels` can hold of `metadata`."""
    kept = Metadata(
        profiles.carried(metadata.icc_profile, format, channels),
        metadata.resolution if format in _WITH_RESOLUTION else None,
        metadata.exif if format in _WITH_EXIF else b"",
    )
    if metadata.family != format:
        return kept
    if isinstance(metadata.native, TiffTags) and not installed(format):
        return kept
    names = metadata.native_names
    return replace(kept, family=format, native=metadata.native, native_names=names)


def marks_missing(metadata: Metadata) -> bool:
    """Return True if a file with this metadata says which pixels have no data."""
    return isinstance(metadata.native, GeoTags)


def _encoded(
    array: Array,
    format: Format,
    quality: int,
    metadata: Metadata,
    alpha: bool,
    missing: Array | None,
) -> bytes:
    if format == "NPY":
        return npy.to_bytes(array)
    channels, sample = array.shape[2], array.dtype.name
    alpha &= channels in (2, 4)
    plain = channels in (2, 4) and not alpha
    usual = supports(format, channels, 0, sample, extras=False) and not plain
    kept = carried(metadata, format, channels)
    if isinstance(kept.native, GeoTags):
        return geotiff_writing.to_bytes(array, kept, alpha, missing)
    if format == "TIFF" and (kept.native or not usual):
        return tiff_writing.to_bytes(array, kept, alpha)
    if array.dtype == np.uint16 and array.shape[2] > 1:
        import cv2

        pixels = match_channels(array, 4) if array.shape[2] == 2 else array
        bgr = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
        success, content = cv2.imencode(f".{format.lower()}", bgr)
        if not success:
            raise ValueError("OpenCV gave no reason")
        metadata = carried(metadata, format, pixels.shape[2])
        return _with_metadata(bytes(content), format, metadata, alpha=pixels.shape[2] == 4)
    metadata = carried(metadata, format, array.shape[2])
    options = _OPTIONS[format] | ({"quality": quality} if format == "JPEG" else {})
    fields = {"icc_profile": metadata.icc_profile, "dpi": metadata.resolution}
    fields["exif"] = metadata.exif
    options |= {name: value for name, value in fields.items() if value}
    memory = io.BytesIO()
    to_pil(array).save(memory, format, **options)
    return memory.getvalue()


def _with_metadata(content: bytes, format: Format, metadata: Metadata, alpha: bool) -> bytes:
    """Return a file of OpenCV's with what that leaves out: metadata, in TIFF what alpha is."""
    if format == "TIFF":
        return tiff.with_tags(content, alpha, metadata.icc_profile, metadata.resolution)
    header_end = 33  # of a PNG
    return content[:header_end] + png_chunks(metadata) + content[header_end:]


def png_chunks(metadata: Metadata) -> bytes:
    """Return the chunks of metadata that follow the header of a PNG."""
    chunks = profiles.to_chunk(metadata.icc_profile) if metadata.icc_profile else b""
    if metadata.resolution:  # in pixels a meter
        x, y = (round(value / 0.0254).to_bytes(4) for value in metadata.resolution)
        chunks += profiles.chunk(b"pHYs", x + y + b"\1")
    if metadata.exif:
        chunks += profiles.chunk(b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    return chunks


def to_pil(array: Array) -> Image.Image:
    """Return [H, W, C] as a PIL image: L, LA, RGB, RGBA, I;16 or F; deeper color gets 8 bits.

    Raises:
        ImageError: more than four channels.
    """
    if array.shape[2] > 4:
        reason = f"PIL has no images of {array.shape[2]} channels"
        raise ImageError("image", reason, "Pass and take arrays")
    if array.shape[2] > 1:
        array = to_depth(array, 8)
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array))
