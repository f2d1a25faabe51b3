"""Unpack the images of a zip or tar archive, after every member was looked at; what could do harm is refused whole."""

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

from i2i.data.folders import DataError
from i2i.images import EXTENSIONS, MAX_PIXELS, ImageError, read_header

MAX_GB = 100.0  # of all members together: the largest public sets of faces come to 90
_LARGEST = 8 * MAX_PIXELS + 2**20  # bytes of an image: 16-bit RGBA without compression
_MEMBERS = 1_000_000  # each takes about a kilobyte of memory while they are looked at
_RATIO = 200  # images are compressed already; flat drawings without are not, and seldom reach this
_RATIO_FROM = 100 * 10**6  # bytes below which no ratio does harm
_DICTIONARY = 2**28  # bytes that unpacking .xz may take: four times what its strongest preset does
_PADDING = 2**26  # bytes behind the end of a tar, which is filled up to whole records
_PIECE = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unpacked(NamedTuple):
    """What became of the members of an archive."""

    images: int
    passed_over: int  # files that are no images, and hidden ones
    refused: list[tuple[str, str]]  # images left out: name, reason


class _Member(NamedTuple):
    name: str
    size: int  # bytes, unpacked, as its header claims
    kind: str  # "file", "folder", or what it is instead
    open: Callable[[], IO[bytes]]  # before the next member is asked for


def unpack(
    archive: str | os.PathLike[str],
    out: str | os.PathLike[str],
    max_gb: float = MAX_GB,
    progress: Callable[[int, int], None] | None = None,
) -> Unpacked:
    """Write the images of a zip, tar, tar.gz, tar.bz2 or tar.xz file to the folder `out`, in the archive's tree.

    Images whose header cannot be read, or asks for more than MAX_PIXELS, are listed and left out.
    The folder appears when it is complete, and not before. `progress` is called with images
    written and their total.

    Raises:
        DataError: `out` is not empty; a member leads out of it, is no plain file, has the name of
            another, is encrypted, or too large; damage; a full disk. Nothing was left behind.
    """
    source, target = Path(archive), Path(out).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{out}: is not an empty folder. Choose a new one.")
    survey = _Survey(source, max_gb)
    with closing(_members(source)) as members:
        for member in members:
            survey.add(member)
    if not survey.images:
        known = ", ".join(sorted(EXTENSIONS))
        raise DataError(f"{source}: has no images among {survey.others} files (known: {known}).")
    temporary = target.with_name(f".{target.name}.unpacking")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    except FileExistsError:
        raise DataError(
            f"{temporary}: left by an unpacking that was killed, or another is at work. If none is, remove the folder."
        ) from None
    try:
        done = _write(source, temporary, max_gb, survey.images, progress)
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DataError(
                f"{out}: the disk is full; {survey.needed / 1e9:.3g} GB are needed. Nothing was left behind."
            ) from None
        raise
    return done


def _write(
    source: Path,
    folder: Path,
    max_gb: float,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Unpacked:
    survey, refused = _Survey(source, max_gb), []
    with closing(_members(source)) as members:
        for member in members:
            place = survey.add(member)  # again: the file may have changed
            if place is None:
                continue
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                file.writelines(_pieces(member, source))
            try:
                read_header(path)
            except ImageError as error:
                refused.append((place, str(error).removeprefix(f"{path}: ")))
                path.unlink()
            if progress:
                progress(survey.images, total)
    return Unpacked(survey.images - len(refused), survey.others, refused)


def _pieces(member: _Member, source: Path) -> Iterator[bytes]:
    """Yield the content of a member, and never more than its header claims."""
    left = member.size
    with _reading(source), member.open() as content:
        while piece := content.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise _refusal(
                    source, member.name, f"is longer than the {member.size} bytes that it claims"
                )
            yield piece
    if left:
        raise _refusal(
            source, member.name, f"is shorter than the {member.size} bytes that it claims"
        )


# -- what is refused -------------------------------------------------------------------------------


class _Survey:
    """Members as they are looked at, one after the other."""

    def __init__(self, source: Path, max_gb: float) -> None:
        self.source, self.max_gb = source, max_gb
        self.images = self.others = 0
        self.bytes = self.needed = 0  # of all members; of the images
        self._packed = source.stat().st_size if source.exists() else 0
        self._files: set[str] = set()  # names as a file system without case has them
        self._folders: set[str] = set()

    def add(self, member: _Member) -> str | None:
        """Return the path below the folder of an image that is to be unpacked, and None for other members.

        Raises:
            DataError: the archive is refused.
        """
        name = member.name.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if reason := self._fault(member, name, parts):
            raise _refusal(self.source, member.name, reason)
        if member.kind == "folder":
            return None
        hidden = parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts)
        if hidden or Path(parts[-1]).suffix.lower() not in EXTENSIONS:
            self.others += 1
            return None
        if member.size > _LARGEST:
            raise _refusal(
                self.source,
                member.name,
                f"is an image of {member.size / 1e9:.3g} GB; none needs so much",
            )
        self.images, self.needed = self.images + 1, self.needed + member.size
        return "/".join(parts)

    def _fault(self, member: _Member, name: str, parts: list[str]) -> str:
        if ".." in parts:
            return "leads out of the folder, with .."
        if name.startswith("/") or re.match("[A-Za-z]:", name):
            return "is an absolute path"
        if any(ord(letter) < 32 for letter in name) or (not parts and member.kind != "folder"):
            return "is no name for a file"
        if member.kind not in ("file", "folder"):
            return f"is {member.kind}; only plain files and folders are unpacked"
        folded = "/".join(parts).casefold()
        above = {folded[: match.start()] for match in re.finditer("/", folded)}
        if member.kind == "folder":
            self._folders.add(folded)
        elif folded in self._files:
            return "is there twice, or in upper and lower case"
        else:
            self._files.add(folded)
        self._folders |= above
        if above & self._files or (folded in self._files and folded in self._folders):
            return "is both a file and a folder"
        self.bytes += member.size
        if self.bytes > self.max_gb * 1e9:
            return f"brings the archive to {self.bytes / 1e9:.3g} GB, the limit is {self.max_gb:g} (--max-gb raises it)"
        if self.bytes > max(_RATIO_FROM, _RATIO * self._packed):
            return f"brings the archive to more than {_RATIO} times its own size, as bombs do"
        return "is one too many: the limit is a million" if len(self._files) > _MEMBERS else ""


def _refusal(source: Path, name: str, reason: str) -> DataError:
    return DataError(f"{source}: refused: its member {name!r} {reason}. Nothing was unpacked.")


# -- reading ---------------------------------------------------------------------------------------


def _members(source: Path) -> Generator[_Member, None, None]:
    """Yield the members of an archive of any kind, from their headers."""
    with _reading(source), open(source, "rb") as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith(b"PK"):
            yield from _zip_members(file, source)
        else:
            yield from _tar_members(_unpacked(file, start), source)


def _unpacked(file: BinaryIO, start: bytes) -> IO[bytes]:
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    return io.BufferedReader(_Xz(file)) if start == b"\xfd7zXZ\0" else file


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{source}: no such file.") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile) as error:
        raise DataError(
            f"{source}: not a whole zip or tar archive ({error}). Fetch it again."
        ) from None
    except OSError as error:
        raise DataError(
            f"{source}: cannot be read ({error.strerror or error}). Fetch it again."
        ) from None
    except (
        Exception
    ) as error:  # damage shows itself as zlib, lzma, struct, value, type and other errors
        raise DataError(f"{source}: damaged ({error}). Fetch it again.") from error


def _zip_members(file: BinaryIO, source: Path) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if sum(entry.compress_size for entry in entries) > source.stat().st_size:
            raise DataError(
                f"{source}: refused: its members overlap, as those of bombs do. Nothing was unpacked."
            )
        for entry in entries:
            kind = _kind_of(entry)
            yield _Member(entry.filename, entry.file_size, kind, partial(archive.open, entry))


def _kind_of(entry: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & 1:
        return "encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        return "compressed in an unusual way"  # LZMA may ask for 4 GB of memory
    if mode == stat.S_IFLNK:
        return "a symbolic link"
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a device or a pipe"
    return "folder" if entry.is_dir() else "file"


def _tar_members(content: IO[bytes], source: Path) -> Generator[_Member, None, None]:
    stream = _Forward(content, source)
    with tarfile.TarFile(fileobj=cast(IO[bytes], stream)) as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # or they pile up in memory
            kind = "a device or a pipe"
            if entry.isdir():
                kind = "folder"
            elif entry.issym() or entry.islnk():
                kind = "a symbolic link" if entry.issym() else "a hard link"
            elif entry.isreg():
                kind = "file"
            yield _Member(entry.name, entry.size, kind, partial(_content, archive, entry))
    if stream.last != bytes(
        tarfile.BLOCKSIZE
    ):  # tarfile takes a damaged header in the middle for the end
        raise DataError(
            f"{source}: damaged or cut off: it does not end as archives do. Fetch it again."
        )
    end = stream.place
    while stream.read(_PIECE):  # to the checksum of the compression
        if stream.place - end > _PADDING:
            raise DataError(
                f"{source}: refused: there is much behind its end. Nothing was unpacked."
            )


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(entry)
    assert content is not None, "only files are opened"
    return content


class _Forward:
    """A stream for tarfile that never goes back, and never reads more at once than an honest header needs."""

    def __init__(self, content: IO[bytes], source: Path) -> None:
        self.content, self.source = content, source
        self.place = 0
        self.last = b""  # what was read last

    def read(self, size: int) -> bytes:
        if size > _PIECE:  # a long name or a list of attributes; tarfile would read it into memory
            raise DataError(
                f"{self.source}: refused: a header of {size} bytes. Nothing was unpacked."
            )
        self.last = self.content.read(size)
        self.place += len(self.last)
        return self.last

    def seek(self, place: int) -> None:
        if place < self.place:
            raise tarfile.ReadError("its members do not follow each other")
        while self.place < place and self.read(min(place - self.place, _PIECE)):
            pass

    def tell(self) -> int:
        return self.place


class _Xz(io.RawIOBase):
    """An .xz file, unpacked with a limit on memory, which lzma.open has not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._decoder.eof:  # another stream may follow, after zeros
                rest = (self._decoder.unused_data or self._file.read(_PIECE)).lstrip(b"\0")
                if not rest:
                    return 0
                self._decoder, packed = (
                    lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY),
                    rest,
                )
            else:
                packed = self._file.read(_PIECE) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not packed:
                    raise EOFError("cut off")
            if content := self._decoder.decompress(packed, len(buffer)):
                buffer[: len(content)] = content
                return len(content)
