"""Tars of images, as webdataset lays them out, read and written as streams.

A tar becomes a tar: its images in their order under their names, in memory that does not depend on
its size. Input may be untrusted, with the rules of `data/archives.py`; nothing is unpacked.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from i2i.data.archives import Member, read_member, stream_tar
from i2i.data.folders import DataError
from i2i.errors import I2IError
from i2i.files import DiskFullError, WriteError, replace, temporary_path, write_error
from i2i.images import Array
from i2i.images.spec import Clipped
from i2i.translation.decoding import Item, decode
from i2i.translation.manifest import Stamp, stamp
from i2i.translation.options import Options
from i2i.translation.pipeline import Pipeline
from i2i.translation.plan import Task, change_of_format, output_name
from i2i.translation.sinks import Ledger, Outcome, encode, make_folder
from i2i.translation.translator import Translator

_END = 2 * tarfile.BLOCKSIZE  # bytes of zeros


def translate_tar(translator: Translator, options: Options, task: Task, ledger: Ledger) -> Outcome:
    """Translate the images of a tar into a tar, which appears when it is complete.

    Raises:
        DiskFullError: there is no room for it.
    """
    try:
        make_folder(task)
        with open(task.source, "rb") as file, TarWriter(task.target) as writer:
            sink = _TarSink(translator, options, task, ledger, HashingReader(file), writer)
            Pipeline(translator, options, sink).run(sink.members())
            return sink.outcome()
    except DiskFullError:
        raise
    except (DataError, WriteError) as error:
        own = error.subject in (str(task.source), str(task.target))
        return Outcome(reason=error.reason if own else str(error))
    except OSError as error:
        if error.filename == str(task.source):
            return Outcome(reason=f"cannot be read ({error.strerror})")
        raise write_error(task.target, error) from None


def sample_of(task: Task, translator: Translator, options: Options) -> tuple[Item, int] | None:
    """Return the first image of a tar that can be read, and about how many the tar holds."""
    with suppress(I2IError, OSError), open(task.source, "rb") as file:
        for is_image, member in stream_tar(task.source, file):
            if is_image:
                one = _member_task(task, member, translator, options)
                item = decode(one, translator, options)
                if isinstance(item, Item):
                    return item, max(1, task.source.stat().st_size // max(1, member.size))
    return None


class _TarSink:
    """Brings what a pipeline translates back into order, and into the tar."""

    def __init__(
        self,
        translator: Translator,
        options: Options,
        task: Task,
        ledger: Ledger,
        reader: "HashingReader",
        writer: "TarWriter",
    ) -> None:
        self._translator, self._options, self._task = translator, options, task
        self._ledger, self._reader, self._writer = ledger, reader, writer
        self._stamp = stamp(task.files)
        self._ready: dict[int, tuple[str, bytes] | None] = {}  # number of an image -> its output
        self._given = self._images = self._ignored = 0
        self._failed: list[tuple[str, str]] = []
        self._notes: list[tuple[str, str]] = []
        self._clipped: Clipped = (0, 0)

    def members(self) -> Iterator[Task]:
        """Yield the images of the tar, as they are asked for.

        Raises:
            DataError: the tar is damaged, or could do harm.
        """
        count, sample, outputs = 0, "", set[str]()
        for is_image, member in stream_tar(self._task.source, cast(IO[bytes], self._reader)):
            if not is_image:
                self._ignored += 1
                continue
            task = _member_task(self._task, member, self._translator, self._options)
            if (key := sample_of_name(member.name)) != sample:
                sample, outputs = key, set()
            if task.output in outputs:
                reason = f"another member of its sample is written as {task.output}, too"
                task = task._replace(missing=reason)
            outputs.add(task.output)
            yield task._replace(number=count)
            count += 1

    def marked(self, batch: list[Item]) -> AbstractContextManager[None]:
        """Mark the tar."""
        return self._ledger.marked([(self._task, self._stamp)])

    def write(self, item: Item, array: Array) -> bytes:
        """Return an output as the content of a file."""
        content = io.BytesIO()
        encode(item, array, content)
        return content.getvalue()

    def finish(self, item: Item, result: bytes) -> None:
        """Take an output."""
        self._images += 1
        self._clipped = (self._clipped[0] + item.clipped[0], self._clipped[1] + item.clipped[1])
        self._notes += [(note, item.task.relative) for note in item.notes]
        name = item.task.output
        if name.rpartition(".")[2] != item.task.relative.rpartition(".")[2]:
            note = change_of_format(item.task, self._translator, self._options)
            self._notes += [(note, item.task.relative)] if note else []
        self._take(item.task, (name, result))

    def fail(self, task: Task, reason: str) -> None:
        """Leave a member out."""
        self._failed.append((task.relative, reason))
        self._take(task, None)

    def _take(self, task: Task, output: tuple[str, bytes] | None) -> None:
        self._ready[task.number] = output
        while self._given in self._ready:
            if member := self._ready.pop(self._given):
                self._writer.add(*member)
            self._given += 1

    def outcome(self) -> Outcome:
        """Complete the tar."""
        if not self._images:
            first = " (first: {}: {})".format(*self._failed[0]) if self._failed else ""
            count = self._ignored + len(self._failed)
            return Outcome(reason=f"none of its {count} members could be translated{first}")
        self._ledger.check()
        details = {**self._stamp, "sha256": [self._reader.hexdigest()], **self._writer.finish()}
        details["images"] = self._images
        notes, failed = tuple(self._notes), tuple(self._failed)
        return Outcome(details, "", notes, self._images, failed, self._ignored, self._clipped)


def sample_of_name(name: str) -> str:
    """Return what the files of one sample share: the name up to the first dot after its folders."""
    folders, slash, last = name.rpartition("/")
    return folders + slash + last.partition(".")[0]


def _member_task(tar: Task, member: Member, translator: Translator, options: Options) -> Task:
    output = output_name(member.name, translator, options.format)
    content, missing = b"", ""
    limit = 8 * options.max_pixels + 2**20  # 16-bit RGBA without compression
    if member.size > limit:
        missing = f"{member.size / 1e9:.3g} GB, more than an image of --max-pixels takes"
    else:
        content = read_member(tar.source, member)
    relative = f"{tar.relative}/{member.name}"
    source = tar.source / member.name
    return Task(source, relative, Path(output), output, missing=missing, content=content)


class HashingReader:
    """A file that is read once, from its start to its end, with the hash of its content."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next bytes, b"" at the end."""
        chunk = self._file.read(size)
        self._hash.update(chunk)
        return chunk

    def hexdigest(self) -> str:
        """Return the SHA-256 of what was read."""
        return self._hash.hexdigest()


class TarWriter:
    """A tar of plain files that appears when it is finished: the same bytes for the same members.

    Use as a context manager, which removes what was not finished.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._temporary = path, temporary_path(path)
        self._hash, self._bytes = hashlib.sha256(), 0

    def __enter__(self) -> Self:
        try:
            self._temporary.unlink(missing_ok=True)  # of a killed process with the same number
            self._file = open(self._temporary, "xb")
        except OSError as error:
            raise write_error(self._path, error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def add(self, name: str, content: bytes) -> None:
        """Append a file.

        Raises:
            WriteError, DiskFullError: it cannot be written.
        """
        header = tarfile.TarInfo(name)
        header.size = len(content)
        self._write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        self._write(content)
        self._write(bytes(-len(content) % tarfile.BLOCKSIZE))

    def finish(self) -> Stamp:
        """Complete the file, and return its size, time and hash.

        Raises:
            WriteError, DiskFullError: it cannot be written.
        """
        self._write(bytes(_END))
        self._write(bytes(-self._bytes % tarfile.RECORDSIZE))
        try:
            self._file.close()
            replace(self._temporary, self._path)
            status = self._path.stat()
        except OSError as error:
            raise write_error(self._path, error) from None
        return {
            "bytes": status.st_size,
            "output_mtime_ns": status.st_mtime_ns,
            "output_sha256": self._hash.hexdigest(),
        }

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise write_error(self._path, error) from None
        self._hash.update(content)
        self._bytes += len(content)
