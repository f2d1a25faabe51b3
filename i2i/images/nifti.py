"""NIfTI volumes (NIfTI-1 and NIfTI-2, Cox et al. 2004) through nibabel; slices by offset."""

import gzip
import io
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i.files import replace, temporary_path
from i2i.images.extras import require
from i2i.images.formats import ImageError
from i2i.images.held import held
from i2i.images.sanity import DEFLATE_RATIO, RAISE_LIMIT, REPLACE
from i2i.images.volumes import Volume, check_shape, rescaled, value_type

_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
_MAX_EXTENSIONS = 2**20  # bytes that outputs take over
_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI counts to right, front and head
_PIXEL_BYTES = 8  # of a compressed volume, for each pixel that an image may have
_LEVEL = 1  # of compression, as nibabel's: a third of the time of 4
_OTHER_TYPES = {"bool": "uint8", "float16": "float32"}  # where NIfTI lacks one
_MAGIC = {348: b"n+1\0", 540: b"n+2\0"}


class Origin(NamedTuple):
    """All that an output takes over from its input."""

    header: Any  # of nibabel


class _Data(NamedTuple):
    """Place and type of the values in a file."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # as stored, first axis fastest
    offset: int

    @property
    def size(self) -> int:
        """Bytes of all values; shapes of headers can exceed 64 bits."""
        size = int(self.dtype.itemsize)
        for side in self.shape:
            size *= side
        return size


def open_volume(path: str, max_pixels: int) -> Volume:
    """Return a volume from its header.

    Raises:
        ImageError: not NIfTI, corrupt, truncated, or of a kind that is not read.
        OSError: it cannot be read.
    """
    nibabel = require("nibabel", "medical", "a NIfTI volume")
    file_bytes = Path(path).stat().st_size
    with _stream(path) as file:
        header, start = _header(file, nibabel)
        offset = int(header.get_data_offset())
        length = int(header["sizeof_hdr"])
        if length < offset <= _MAX_EXTENSIONS:
            content = io.BytesIO((start + file.read(max(0, offset - len(start))))[:offset])
            header = type(header).from_fileobj(content, check=False)
    data = _Data(path, header.get_data_dtype(), tuple(map(int, header.get_data_shape())), offset)
    shape, channels = check_shape(data.shape, max_pixels)
    data = data._replace(shape=(*shape, channels))
    packed = _packed(path)
    if offset < length:
        raise ImageError("image", f"its values begin at byte {offset}, in its header", REPLACE)
    if offset + data.size > file_bytes * (DEFLATE_RATIO if packed else 1):
        reason = (
            f"its header announces {data.size:,} bytes at {offset}, the file has {file_bytes:,}"
        )
        raise ImageError("image", f"truncated: {reason}", REPLACE)
    if packed and data.size > _PIXEL_BYTES * max_pixels:  # all of it, for any of its slices
        reason = f"{data.size:,} bytes of values, the limit is {_PIXEL_BYTES} x {max_pixels:,}"
        hint = f"Save it as .nii, of which slices are read one by one. {RAISE_LIMIT}"
        raise ImageError("image", reason, hint)
    slope, intercept = (
        default if value is None else float(value)
        for value, default in zip(header.get_slope_inter(), (1.0, 0.0), strict=True)
    )
    info = np.iinfo(data.dtype) if data.dtype.kind in "iu" else None
    limits = (info.min, info.max) if info else (0, 0)
    sample = value_type(data.dtype, slope, intercept, limits)

    def plane(axis: int, index: int) -> NDArray[Any]:
        chosen = tuple(index if one == axis else slice(None) for one in range(4))
        if packed:
            stored = _unpacked(data)[chosen]
        else:
            with open(path, "rb") as file:
                fileslice = nibabel.fileslice.fileslice
                stored = fileslice(file, chosen, data.shape, data.dtype, offset, order="F")
        return rescaled(stored, slope, intercept, sample)

    axes = _TO_LPS @ header.get_best_affine()[:3, :3]
    extra = data.size if packed else 0
    kind = ("NIFTI", shape, channels, sample, axes)
    return Volume(path, *kind, plane, extra, Origin(header))  # type: ignore[arg-type]


def _packed(path: str) -> bool:
    return path.lower().endswith(".gz")


def _stream(path: str) -> IO[bytes]:
    return gzip.open(path, "rb") if _packed(path) else open(path, "rb")  # type: ignore[return-value]


def _header(file: IO[bytes], nibabel: Any) -> tuple[Any, bytes]:
    """Return the header at the start of a file, and the bytes that were read."""
    start = file.read(_HEADER_BYTES)
    for order in ("<", ">"):
        length = int(np.frombuffer(start[:4].ljust(4, b"\0"), f"{order}i4")[0])
        magic = start[344:348] if length == 348 else start[4:8]
        if magic == _MAGIC.get(length):
            if len(start) < length:
                break
            kind = nibabel.Nifti1Header if length == 348 else nibabel.Nifti2Header
            return kind(start[:length], endianness=order, check=False), start
    reason = "not a NIfTI volume in one file" if len(start) >= 348 else "truncated in its header"
    raise ImageError("image", reason, REPLACE)


# -- compressed volumes ----------------------------------------------------------------------------


def _unpacked(data: _Data) -> NDArray[Any]:
    """Return the stored values of a compressed volume, [n0, n1, n2, C]; the last ones are kept."""
    status = Path(data.path).stat()
    key = (data, status.st_size, status.st_mtime_ns, status.st_ino)
    return held(key, data.size, lambda: _decompress(data))


def _decompress(data: _Data) -> NDArray[Any]:
    values = np.empty(data.size, np.uint8)
    try:
        with gzip.open(data.path, "rb") as file:
            file.seek(data.offset)
            view, position = values.data, 0
            while position < data.size:
                count = file.readinto(view[position : position + 2**24])
                if not count:
                    raise ImageError("image", "truncated: its values end early", REPLACE)
                position += count
            file.read(1)  # at its end the checksum is compared
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError("image", f"corrupt or truncated: {error}", REPLACE) from error
    return values.view(data.dtype).reshape(data.shape, order="F")


# -- writing ---------------------------------------------------------------------------------------


def write(path: Path, values: NDArray[Any], origin: Origin) -> None:
    """Write [n0, n1, n2, C] with geometry, units and description of an input, atomically.

    Raises:
        ImageError: a type of numbers that NIfTI does not have.
        OSError: it cannot be written.
    """
    sample = _OTHER_TYPES.get(values.dtype.name, values.dtype.name)
    header = origin.header.copy()
    dtype = np.dtype(sample).newbyteorder(header.endianness)
    header.set_data_dtype(dtype)
    header.set_data_shape(values.shape[: 3 + (values.shape[3] > 1)])
    header.set_slope_inter(1, 0)
    header.set_intent("none", allow_unknown=True)  # of the input, as labels
    header["cal_min"] = header["cal_max"] = header["vox_offset"] = 0  # the last: set as written
    temporary = temporary_path(path)
    try:
        temporary.unlink(missing_ok=True)
        with ExitStack() as stack:
            file: Any = stack.enter_context(open(temporary, "wb"))
            if _packed(path.name):  # without name and time: equal volumes are equal files
                file = stack.enter_context(gzip.GzipFile("", "wb", _LEVEL, file, mtime=0))
            content = io.BytesIO()
            header.write_to(content)
            file.write(content.getvalue().ljust(header.get_data_offset(), b"\0"))
            for channel in range(values.shape[3]):
                for index in range(values.shape[2]):
                    file.write(values[:, :, index, channel].astype(dtype).tobytes("F"))
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
