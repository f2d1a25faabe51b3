"""Archives with names, attributes and damage of any kind."""

import io
import tarfile
import zipfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from malformed import picture, saved

from fuzzing import attacked, mutated, new_folder, outcome
from i2i.data.archives import unpack
from i2i.errors import I2IError

KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")


@cache
def packed(kind: str, names: tuple[str, ...], attribute: str = "") -> bytes:
    """An archive of one picture under several names."""
    content, archive = saved(picture(), "PNG"), io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for name in names:
                out.writestr(zipfile.ZipInfo(name), content)
        return archive.getvalue()
    with tarfile.open(fileobj=archive, mode="w:" + kind[3:].removeprefix("."), format=tarfile.PAX_FORMAT) as tar:  # fmt: skip
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(content), {attribute: "1"} if attribute else {}
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _names() -> st.SearchStrategy[tuple[str, ...]]:
    pieces = st.sampled_from(["a", "..", ".", "/", "\\", "x.png", "C:", "é", "e\u0301", "\u202e", "\n", "A", "n" * 200, "b/"])  # fmt: skip
    name = st.lists(pieces, min_size=1, max_size=6).map("".join).map(lambda text: f"{text}.png")
    return st.lists(st.one_of(name, st.just("d/" * 300 + "x.png")), min_size=1, max_size=4).map(
        tuple
    )


def check(content: bytes, suffix: str) -> None:
    """All is written below the folder, or nothing at all, with one line of reasons."""
    with new_folder() as folder:
        path, out = folder / f"x.{suffix}", folder / "deep" / "out"
        path.write_bytes(content)
        unpacked, message = outcome(lambda: unpack(path, out), I2IError)
        written = [file for file in folder.rglob("*") if file.is_file() and file != path]
        if unpacked is None:
            assert not written, written
            assert "\n" not in message
        else:
            assert len(written) == unpacked.images
            assert all(Path(out) in file.parents for file in written)


@attacked(kind=lambda: st.sampled_from(KINDS), names=_names)
def an_archive_with_any_names_unpacks_below_its_folder_or_is_refused(
    kind: str, names: tuple[str, ...]
) -> None:
    outcome(lambda: check(packed(kind, names), kind), UnicodeEncodeError)  # no name of a zip


@attacked(
    kind=lambda: st.sampled_from(KINDS),
    content=lambda: st.sampled_from(KINDS).flatmap(
        lambda kind: mutated(packed(kind, ("a.png", "d/b.png"), "comment"))
    ),
)
def a_damaged_archive_unpacks_below_its_folder_or_is_refused(kind: str, content: bytes) -> None:
    check(content, kind)
