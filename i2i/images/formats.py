"""Image file formats: suffixes, signatures, and the channels and depths that each can hold."""

import importlib.util
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from numpy.typing import NDArray

from i2i.errors import I2IError
from i2i.images.metadata import NO_METADATA, Metadata

Array = NDArray[Any]  # [H, W, C] uint8, uint16, or float32 in [0, 1]
Source = str | os.PathLike[str] | IO[bytes]  # a path, or a seekable stream, read from its start
Alpha = Literal["drop", "composite", "keep"]
Format = Literal[
    "PNG",
    "JPEG",
    "WEBP",
    "TIFF",
    "BMP",
    "NPY",
    "GIF",
    "PNM",
    "JPEG2000",
    "AVIF",
    "TGA",
    "NIFTI",
    "DICOM",
]

MAX_CHANNELS = 1024  # of arrays and TIFF: spectra of satellites have hundreds
MAX_PIXELS = 100_000_000  # 300 MB of 8-bit RGB; a PNG of 27 KB can ask for more than twice that
_REFUSAL = "not supported: "
WAY_OUT = "Convert it to PNG, or save its values as .npy"
CHANNEL_NAMES = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGB with alpha"}


class _FormatInfo(NamedTuple):
    suffixes: tuple[str, ...]
    signature: bytes  # regular expression for the first bytes of a file
    channels: dict[str, tuple[int, ...]]  # written: NumPy type of values -> numbers of channels


VOLUME_SUFFIXES = (".nii", ".nii.gz")
_SLICE = re.compile(r"::(?:[a-z]+:)?[0-9]{4,9}$")  # of a volume, see `slices.py`
SAMPLES = {8: "uint8", 16: "uint16", 32: "float32"}  # depth in bits -> usual type of its values
_COLOR, _ANY = (1, 2, 3, 4), tuple(range(1, MAX_CHANNELS + 1))
_INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
NUMBERS = (*_INTEGERS, "float16", "float32", "float64")  # NumPy types of values in files
_FORMATS: dict[Format, _FormatInfo] = {
    "PNG": _FormatInfo((".png",), rb"\x89PNG\r\n\x1a\n", {"uint8": _COLOR, "uint16": _COLOR}),
    "JPEG": _FormatInfo((".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff", {"uint8": (1, 3)}),
    "WEBP": _FormatInfo((".webp",), rb"(?s)RIFF.{4}WEBP", {"uint8": _COLOR}),
    "TIFF": _FormatInfo(  # +: BigTIFF
        (".tif", ".tiff"),
        rb"II[*+]\0|MM\0[*+]",
        {"uint8": _COLOR, "uint16": _COLOR, "float32": (1,)},
    ),
    "BMP": _FormatInfo((".bmp",), rb"BM", {"uint8": (1, 3)}),
    "NPY": _FormatInfo((".npy",), rb"\x93NUMPY", dict.fromkeys(NUMBERS, _ANY)),
    "GIF": _FormatInfo((".gif",), rb"GIF8[79]a", {}),
    "PNM": _FormatInfo((".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6][\s#]", {}),
    "JPEG2000": _FormatInfo(
        (".jp2", ".j2k", ".jpf", ".jpx"), rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", {}
    ),
    "AVIF": _FormatInfo((".avif",), rb"(?s).{4}ftyp(avi[fs]|mi[fa]1.{4,16}avif)", {}),
    # Without a signature: kind, a palette or zeros, sizes, bits of a pixel, order of rows
    "TGA": _FormatInfo(
        (".tga",),
        rb"(?s).(\0[\x02\x03\n\v]\0{5}|\x01[\x01\t]\0\0..[\x18\x20]).{4}(?!\0\0)..(?!\0\0).."
        rb"[\x08\x10\x18\x20][\x00\x08\x10\x18\x20\x28\x30\x38]",
        {},
    ),
    # Volumes, which are known by their names (`slices.py`); a folder of DICOM files has no suffix.
    "NIFTI": _FormatInfo(VOLUME_SUFFIXES, rb"(?!)", dict.fromkeys(NUMBERS[1:], _ANY)),
    "DICOM": _FormatInfo((), rb"(?!)", dict.fromkeys(NUMBERS[1:], (1,))),
}
_FOREIGN = {  # files of other programs -> its first bytes, a regular expression
    "a HEIC picture": rb"(?s).{4}ftyp(hei|hev|mif1|msf1)",
    "a JPEG XL picture": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a Photoshop file": rb"8BPS",
    "an OpenEXR picture": rb"v/1\x01",
    "a PDF file": rb"%PDF",
    "a ZIP archive, as .npz is": rb"PK\x03\x04",
    "a floating-point map (PFM)": rb"P[Ff]\s",
    "a PAM file": rb"P7\s",
}
# formats that hold all NUMBERS with any channels where an extra is installed -> extra, libraries
_EXTRAS: dict[Format, tuple[str, tuple[str, ...]]] = {"TIFF": ("tiff", ("tifffile", "imagecodecs"))}
_BY_SUFFIX = {suffix: format for format, info in _FORMATS.items() for suffix in info.suffixes}
EXTENSIONS = frozenset(_BY_SUFFIX)
PICTURE_SUFFIXES = tuple(EXTENSIONS - {*VOLUME_SUFFIXES})
WRITABLE = frozenset(suffix for suffix, format in _BY_SUFFIX.items() if _FORMATS[format].channels)


class ImageError(I2IError, ValueError):
    """An image that cannot be read, converted or written; the subject is its path, or "image"."""


class TooLargeError(ImageError):
    """An image of more pixels than the limit, or than fit into memory."""


def not_supported(what: str, hint: str = WAY_OUT) -> ImageError:
    """Return the error about a healthy file of a kind that is not read."""
    return ImageError("image", f"{_REFUSAL}{what}", hint)


def is_refusal(error: ImageError) -> bool:
    """Return True if `error` is about a healthy file of a kind that is not read."""
    return error.reason.startswith(_REFUSAL)


@dataclass(frozen=True)
class Header:
    """Kind of a picture, and its size in pixels, as displayed. Alpha counts as a channel."""

    width: int
    height: int
    channels: int  # 1 to 4; of arrays and TIFF up to MAX_CHANNELS
    depth: int  # 8 or 16 bits of an unsigned integer, or 32 of any other number
    format: Format
    alpha: bool  # the last channel is alpha; never that of an array
    sample: str = ""  # NumPy type of the values in the file, where the depth does not say it
    metadata: Metadata = field(default=NO_METADATA, repr=False, compare=False)
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)  # for people
    nodata: bool = field(default=False, compare=False)  # there may be pixels without data
    # [H, W, C], True for those; None for none, and of files that were not decoded
    missing: Array | None = field(default=None, repr=False, compare=False)


def format_of(path: str | os.PathLike[str]) -> Format:
    """Return the format that the suffix of `path` stands for.

    Raises:
        ImageError: a suffix that is not in EXTENSIONS.
    """
    suffix = suffix_of(path)
    if suffix not in _BY_SUFFIX:
        reason = f"{suffix or 'no suffix'} is not an image format"
        raise ImageError(path, reason, f"Use {', '.join(sorted(EXTENSIONS))}")
    return _BY_SUFFIX[suffix]


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the suffix of a path in lower case, also of a slice; .nii.gz is one."""
    name = _SLICE.sub("", Path(path).name.lower())
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem_of(path: str) -> str:
    """Return a path without the suffix of its format; that of a slice tells which it is."""
    if path.lower().endswith(PICTURE_SUFFIXES):
        return path.rpartition(".")[0]
    volume = _SLICE.sub("", path)
    suffix = suffix_of(volume)
    stem = volume[: len(volume) - len(suffix)] if suffix in EXTENSIONS else volume
    return stem + path[len(volume) :]


def sniff(start: bytes) -> Format | None:
    """Return the format of a file by its first 32 bytes; None if it is none of these."""
    matches = (format for format, info in _FORMATS.items() if re.match(info.signature, start))
    return next(matches, None)


def unknown_kind(start: bytes) -> ImageError:
    """Return the error about a file that has none of the signatures."""
    for what, signature in _FOREIGN.items():
        if re.match(signature, start):
            return not_supported(what)
    formats = ", ".join(_FORMATS)
    return ImageError("image", f"not an image of a known format ({formats})", WAY_OUT)


def supports(
    format: Format, channels: int, depth: int, sample: str = "", extras: bool = True
) -> bool:
    """Return True if a file of `format` can hold that many channels of a depth, or of a `sample`.

    `sample` is the NumPy type of the values, where the depth does not say it. With `extras` those
    that are installed count.
    """
    sample = sample or SAMPLES[depth]
    if channels in _FORMATS[format].channels.get(sample, ()):
        return True
    single = sample == "bool" and channels > 1
    return extras and sample in NUMBERS and channels in _ANY and not single and installed(format)


def installed(format: Format) -> bool:
    """Return True if the extra with which `format` holds any numbers is installed."""
    return format in _EXTRAS and has_libraries(*_EXTRAS[format][1])


def has_libraries(*modules: str) -> bool:
    """Return True if all of the modules are installed."""
    return all(map(importlib.util.find_spec, modules))


def extra_hint(format: Format) -> str:
    """Return how `format` would hold more kinds of pictures; "" if it would not."""
    if format not in _EXTRAS or installed(format):
        return ""
    return f"Run: pip install 'i2i[{_EXTRAS[format][0]}]'"


def describe_channels(channels: int) -> str:
    """Return "3 channels (RGB)" and the like."""
    name = f" ({CHANNEL_NAMES[channels]})" if channels in CHANNEL_NAMES else ""
    return f"{channels} channel{'s' * (channels != 1)}{name}"
