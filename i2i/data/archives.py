"""Unpack the images of a zip or tar archive. A member that could do harm refuses all of it."""

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Self, cast

from i2i.data.folders import AnyPath, DataError
from i2i.errors import I2IError
from i2i.files import DiskFullError, check_empty, is_disk_full
from i2i.images import (
    EXTENSIONS,
    MAX_PIXELS,
    ImageError,
    open_volume,
    read_header,
    suffix_of,
)
from i2i.images.slices import is_dicom, is_volume

MAX_GB = 100.0  # of all members together: the largest public sets of faces come to 90
_MAX_IMAGE_BYTES = 8 * MAX_PIXELS + 2**20  # 16-bit RGBA without compression
_MAX_FILES = 1_000_000  # and folders; each takes about a kilobyte while they are checked
_MAX_NAME, _MAX_PARTS, _MAX_PART = 1_000, 50, 255  # bytes, folders, bytes of a folder's name
_MAX_RATIO = 200  # images are compressed already; those that are not seldom reach it
_RATIO_FROM_BYTES = 100 * 10**6  # below this no ratio does harm
_MAX_XZ_MEMORY = 2**28  # bytes: four times what the strongest preset of xz takes
_MAX_HEADER_BYTES = 2**16  # of a long name or a list of attributes, which tarfile reads into memory
_MAX_DIGITS, _MAX_GLOBALS = 300, 100  # of such a list; tarfile's time is quadratic in a number's
_MAX_PADDING = 2**26  # bytes after the end of a tar, which is filled up to whole records
_CHUNK = 2**20
Progress = Callable[[int, int], None]  # takes files read, and their total


@dataclass
class Unpacked:
    """Numbers of members of an archive."""

    images: int = 0  # written
    ignored: int = 0  # files that are not images, and hidden ones
    skipped: list[tuple[str, str]] = field(default_factory=list)  # unreadable images: name, reason


class Member(NamedTuple):
    """A file or a folder in an archive."""

    name: str
    size: int  # bytes, unpacked, as its header claims
    kind: str  # "file", "folder", or what it is instead
    open: Callable[[], IO[bytes]]  # before the next member is asked for


def unpack(
    archive: AnyPath,
    out: AnyPath,
    max_gb: float = MAX_GB,
    progress: Progress = lambda *_: None,
) -> Unpacked:
    """Write the images of a zip, tar, tar.gz, tar.bz2 or tar.xz file to `out`, in the same tree.

    All members are checked before the first is written. Images whose header cannot be read, or asks
    for more than MAX_PIXELS, are skipped. The folder appears when it is complete, and not before.

    Raises:
        DataError: a member leads out of the folder, is no plain file, has the name of another, is
            encrypted or too large; damage. Nothing was left behind.
        WriteError: `out` is not empty, or the disk is full. Nothing was left behind.
    """
    source, target = Path(archive), Path(out).resolve()
    check_empty(target, "Choose a new folder")
    with _named_errors(source):
        sizes = [member.size if path else -1 for path, member in _checked(source, max_gb)]
    if all(size < 0 for size in sizes):
        hint = f"Known formats: {', '.join(sorted(EXTENSIONS))}"
        raise DataError(source, f"has no images among {len(sizes)} files", hint)
    temporary = target.with_name(f".{target.name}.unpacking")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except FileExistsError:
        reason = "left by an unpacking that was killed, or another one is running"
        raise DataError(temporary, reason, "If none is running, remove the folder") from None
    try:
        with _named_errors(source):
            unpacked = _write(source, temporary, max_gb, len(sizes), progress)
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and is_disk_full(error):
            needed = sum(size for size in sizes if size > 0) / 1e9
            hint = "Free some space; nothing was left behind"
            raise DiskFullError(out, f"disk full; {needed:.3g} GB are needed", hint) from None
        raise
    return unpacked


def _write(source: Path, folder: Path, max_gb: float, total: int, progress: Progress) -> Unpacked:
    unpacked = Unpacked()
    checked = _checked(source, max_gb)  # again: the file may have changed
    for number, (path, member) in enumerate(checked, 1):
        progress(number, total)
        if path is None:
            unpacked.ignored += 1
            continue
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "xb") as output, member.open() as content:  # which ends where its size does
            shutil.copyfileobj(content, output, _CHUNK)
            if output.tell() != member.size:
                raise _refusal(source, f"its member {member.name!r} is shorter than it claims")
        try:
            if is_volume(file):
                open_volume(file)
            elif not is_dicom(file.name):  # of which a series is checked once it is complete
                read_header(file)
            unpacked.images += 1
        except ImageError as error:
            unpacked.skipped.append((path, error.explanation))
            file.unlink()
    return unpacked


def _checked(source: Path, max_gb: float) -> Iterator[tuple[str | None, Member]]:
    """Yield the files of an archive, with their paths below the folder; None: not an image.

    Raises:
        DataError: the archive is refused.
    """
    files: set[str] = set()  # names as a file system without case has them
    folders: set[str] = set()
    total, limit = 0, max(_RATIO_FROM_BYTES, _MAX_RATIO * source.stat().st_size)
    for member in _members(source):
        parts, is_image = _safe_parts(source, member)
        folded = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        above = {folded[: match.start()] for match in re.finditer("/", folded)}
        is_folder = member.kind == "folder"
        total += abs(member.size)
        size = f"{member.size / 1e9:.3g} GB"
        clash = above & files or folded in (files if is_folder else folders)
        checks = (
            (not is_folder and folded in files, "exists twice, as a file system may see it"),
            (clash, "is both a file and a folder"),
            (total > max_gb * 1e9, f"of {size} exceeds the limit of {max_gb:g} GB (--max-gb)"),
            (total > limit, f"of {size} expands the archive more than {_MAX_RATIO} times"),
            (is_image and member.size > _MAX_IMAGE_BYTES, f"is an image of {size}"),
            (len(files) + len(folders) >= _MAX_FILES, f"exceeds the limit of {_MAX_FILES} names"),
        )
        _require(source, member, checks)
        folders |= above | ({folded} if is_folder else set())
        if not is_folder:
            files.add(folded)
            yield "/".join(parts) if is_image else None, member


def _safe_parts(source: Path, member: Member) -> tuple[list[str], bool]:
    """Return the parts of a member's name, and True for an image.

    Raises:
        DataError: it leads out of the folder, is no name, or the member is no plain file or folder.
    """
    name, is_folder = member.name.replace("\\", "/"), member.kind == "folder"
    if len(name) > _MAX_NAME:
        raise _refusal(source, f"a member has a name of {len(name):,} characters")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    longest = max((len(part.encode("utf-8", "surrogateescape")) for part in parts), default=0)
    checks = (
        (".." in parts or _OUTSIDE.match(name), "leads out of the folder"),
        (_NO_NAME.search(name) or not (parts or is_folder), "is not a valid file name"),
        (len(parts) > _MAX_PARTS + 1, f"is in {len(parts) - 1} folders, more than {_MAX_PARTS}"),
        (longest > _MAX_PART, f"has a name of {longest} bytes"),
        (member.kind not in ("file", "folder"), f"is {member.kind}, not a plain file"),
    )
    _require(source, member, checks)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    image = suffix_of(name) in EXTENSIONS or is_dicom(name.rpartition("/")[2])
    return parts, image and not (is_folder or hidden)


def _require(source: Path, member: Member, checks: Iterable[tuple[object, str]]) -> None:
    """Raise DataError for the first of `checks` that is true."""
    for broken, reason in checks:
        if broken:
            raise _refusal(source, f"its member {member.name!r} {reason}")


def stream_tar(source: Path, content: IO[bytes]) -> Iterator[tuple[bool, Member]]:
    """Yield the files of a tar that is not compressed, and whether each is an image.

    `content` is read once, from its start to its end. A member is read before the next is asked
    for; `source` is the name in errors.

    Raises:
        DataError: damage; a member that leads out of its folder or is no plain file.
    """
    with _named_errors(source):
        for member in _tar_members(content, source, compressed=False):
            _, is_image = _safe_parts(source, member)
            if member.kind == "file":
                yield is_image, member


def read_member(source: Path, member: Member) -> bytes:
    """Return the content of a member from `stream_tar`.

    Raises:
        DataError: the tar is cut off.
    """
    with _named_errors(source):
        return member.open().read()


def _refusal(source: Path, reason: str) -> DataError:
    return DataError(source, f"refused: {reason}", "Nothing was unpacked")


@contextmanager
def _named_errors(source: Path) -> Iterator[None]:
    """Name the archive in every error but that of a full disk."""
    try:
        yield
    except I2IError as error:
        raise error if error.subject else error.with_subject(source) from None
    except Exception as error:  # damage causes tar, zip, zlib, lzma, struct, type and other errors
        if isinstance(error, OSError) and error.errno:  # which gzip and bz2 leave out
            unreadable = DataError(source, f"cannot be read ({error.strerror})")
            raise error if is_disk_full(error) else unreadable from None
        reason = f"not a complete zip or tar archive ({error})"
        raise DataError(source, reason, "Download it again") from error


# -- formats ---------------------------------------------------------------------------------------


def _members(source: Path) -> Iterator[Member]:
    with open(source, "rb") as file:
        start = file.read(33_000)
        file.seek(0)
        for position, mark, name in _UNSUPPORTED:
            if start[position:].startswith(mark):
                hint = "Unpack it with its own program, or repack it as a zip"
                raise DataError(source, f"{name}; not supported", hint)
        if start.startswith(b"PK"):
            yield from _zip_members(file, source)
            return
        opener = next((opener for magic, opener in _COMPRESSIONS if start.startswith(magic)), None)
        content = cast(IO[bytes], opener(file)) if opener else file
        yield from _tar_members(content, source, compressed=opener is not None)


def _zip_members(file: BinaryIO, source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if sum(entry.compress_size for entry in entries) > source.stat().st_size:
            raise _refusal(source, "its members overlap, as in a bomb")
        for entry in entries:
            mode = stat.S_IFMT(entry.external_attr >> 16)
            kind = "folder" if entry.is_dir() else "file"
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "a link" if mode == stat.S_IFLNK else "a device or a pipe"
            elif entry.flag_bits & 1:
                kind = "encrypted"
            elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                kind = "compressed in an unusual way"  # bzip2 and LZMA may ask for all memory
            yield Member(entry.filename, entry.file_size, kind, partial(archive.open, entry))


def _tar_members(content: IO[bytes], source: Path, compressed: bool) -> Iterator[Member]:
    try:
        opened = tarfile.open(fileobj=content, mode="r|", tarinfo=_TarHeader)  # noqa: SIM115
    except tarfile.ReadError as error:
        if not compressed:
            raise
        reason = f"compressed, but no tar archive, or damaged at its start ({error})"
        raise DataError(source, reason, "A file compressed alone is not unpacked here") from None
    padding = 0
    with opened as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # or they pile up in memory
            kind = "folder" if entry.isdir() else "file"
            if not (entry.isdir() or entry.isreg()):
                kind = "a link" if entry.issym() or entry.islnk() else "a device or a pipe"
            opener = cast(Callable[[], IO[bytes]], partial(archive.extractfile, entry))
            yield Member(entry.name, entry.size, kind, opener)
        while chunk := cast(IO[bytes], archive.fileobj).read(_CHUNK):  # to the checksum of gzip
            padding += len(chunk)
            if chunk.strip(b"\0"):
                raise _refusal(source, "more follows after its end, as where tars were joined")
            if padding > _MAX_PADDING:
                raise _refusal(source, "much follows after its end")


_SPARSE = DataError("", "sparse members; not supported", "Pack it again without --sparse")


class _TarHeader(tarfile.TarInfo):
    """A header that is checked where tarfile takes damage for the end, or reads what it claims."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in a block of 512 bytes; one of zeros is the end."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(f"damaged or cut off: {error}") from None
        if header.size > _MAX_HEADER_BYTES and not header.isreg():
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _SPARSE
        return header

    def _proc_pax(self, archive: Any) -> tarfile.TarInfo:  # called by tarfile
        stream, size = archive.fileobj, self._block(self.size)  # type: ignore[attr-defined]
        content = stream.read(size)
        if b"GNU.sparse" in content:
            raise _SPARSE
        if sum(len(number) ** 2 for number in re.findall(rb"[0-9]+", content)) > _MAX_DIGITS**2:
            raise tarfile.ReadError("a header of long numbers")
        if len(archive.pax_headers) > _MAX_GLOBALS:
            raise tarfile.ReadError(f"more than {_MAX_GLOBALS} attributes of all members")
        archive.fileobj = _Repeated(content, stream)
        try:
            return cast(tarfile.TarInfo, super()._proc_pax(archive))  # type: ignore[misc]
        finally:
            archive.fileobj = stream


class _Repeated:
    """A stream that gives bytes that were read once more, before what follows them."""

    def __init__(self, content: bytes, stream: IO[bytes]) -> None:
        self._content, self._stream = content, stream
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        """Return the content at first, then what the stream has."""
        content, self._content = self._content, b""
        return content or self._stream.read(size)


class _XzFile:
    """An .xz file that is decompressed within a limit of memory, which lzma.open lacks."""

    def __init__(self, file: BinaryIO) -> None:
        self._chunks = filter(None, self._decompress(file))

    def read(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end; `size` is a wish."""
        return next(self._chunks, b"")

    def _decompress(self, file: BinaryIO) -> Iterator[bytes]:
        packed = file.read(_CHUNK)
        while packed:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)
            while not decoder.eof:
                if decoder.needs_input and not packed:
                    raise EOFError("cut off")
                yield decoder.decompress(packed, tarfile.RECORDSIZE)
                packed = file.read(_CHUNK) if decoder.needs_input else b""
            # another stream may follow, after zeros
            packed = (decoder.unused_data or file.read(_CHUNK)).lstrip(b"\0")


_NO_NAME = re.compile("[\\0-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
_OUTSIDE = re.compile("/|[A-Za-z]:/" if os.name == "posix" else "/|.*:")
_UNSUPPORTED = (  # position and bytes that mark a format
    (0, b"Rar!\x1a", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 file"),
    (0, b"LZIP", "an lzip file"),
    (0, b"\x1f\x9d", "a file of compress (.Z)"),
    (0, b"]\0\0", "an LZMA file"),
    (0, b"MSCF\0", "a CAB archive"),
    (32_769, b"CD001", "an ISO image"),
)
_COMPRESSIONS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", _XzFile))
