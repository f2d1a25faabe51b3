"""Pictures and archives made to do harm: refused from their headers, before they take memory or touch the disk."""

import bz2
import gzip
import io
import lzma
import os
import resource
import shutil
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from malformed import HUGE, bomb, picture, png, saved, tiff, tiff_tags
from peaks import MEBIBYTE, measure
from processes import start

from i2i import images
from i2i.cli import group
from i2i.data import archives
from i2i.data.archives import Unpacked, unpack
from i2i.data.folders import DataError, Listing
from i2i.data.inspect import inspect
from i2i.errors import I2IError
from i2i.files import WriteError
from i2i.images import ImageError

PICTURE = saved(picture(), "PNG")
KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")
FEW = 32 * MEBIBYTE
Member = tuple[str, bytes]


def packed(path: Path, *members: Member) -> Path:
    """Write an archive of the kind that the suffix of `path` names."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:" + path.suffix[1:].replace("tar", "")) as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def special(path: Path, name: str, kind: bytes, target: str = "") -> Path:
    """Write a tar with a good picture and a member that is no file."""
    packed(path, ("good.png", PICTURE))
    with tarfile.open(path, "a") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        tar.addfile(entry)
    return path


def zip_entry(
    path: Path, mode: int = 0, content: bytes = PICTURE, method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """Write a zip with a good picture and a member of this Unix mode."""
    packed(path, ("good.png", PICTURE))
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("x.png")
        entry.external_attr, entry.create_system = mode << 16, 3
        archive.writestr(entry, content, method)
    return path


def assert_refused(archive: Path, match: str, **options: float) -> None:
    """Hold that nothing at all is written, and that the message names the archive and says why."""
    folder = archive.parent
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=match) as caught:
        unpack(archive, folder / "out", **options)
    assert str(archive) in str(caught.value)
    assert sorted(folder.rglob("*")) == before


# -- pictures --------------------------------------------------------------------------------------

BOMBS = {
    "bits.png": bomb(),
    "color.png": png(HUGE, data=bytes(99)),
    "raw.tif": tiff(tiff_tags(HUGE)),
    "packed.tif": tiff(tiff_tags(HUGE, 8, 64)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_over_the_limit_is_refused_before_memory_is_taken(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    assert len(BOMBS[name]) < 30_000
    good = tmp_path / f"good{path.suffix}"
    images.encode(images.from_pil(picture()), good)

    def work(_: object) -> list[str]:
        return [_reason(lambda: images.read_header(path)), _reason(lambda: images.decode(path))]

    done = measure(lambda: images.decode(good).tolist(), work, tmp_path)
    assert all(
        "15000x15000 is 225 megapixels, the limit is 100" in reason for reason in done.answer
    )
    assert done.growth < FEW


@pytest.mark.parametrize("size", [(9_000, 9_000), (1, 90_000_000)], ids=["square", "line"])
def test_a_picture_that_its_file_cannot_hold_is_refused_before_memory_is_taken(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    files = {
        "a.png": png(size, data=bytes(99)),
        "b.tif": tiff(tiff_tags(size)),
        "c.tif": tiff(tiff_tags(size, 5, 64)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def work(_: object) -> list[str]:
        return [_reason(lambda path=tmp_path / name: images.decode(path)) for name in files]

    done = measure(lambda: None, work, tmp_path)
    assert all("cannot hold" in reason for reason in done.answer)
    assert done.growth < FEW


def _reason(read: Callable[[], object]) -> str:
    try:
        read()
    except ImageError as error:
        return str(error)
    return "read"


def test_threads_that_decode_large_pictures_wait_for_each_other(tmp_path: Path) -> None:
    side = 4_000  # 16 megapixels: 112 MB each while it is decoded
    content = png((side, side), data=bytes((side * 3 + 1) * side))
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(content)
    files = [str(tmp_path / f"{number}.png") for number in range(8)]
    done = measure(
        lambda: inspect(Listing(("image",), [files[:1]]), "fingerprint"),
        lambda _: len(inspect(Listing(("image",), [files]), "fingerprint", threads=8).errors),
        tmp_path,
    )
    assert done.answer == 0
    assert done.growth < 600 * MEBIBYTE


# -- archives that are right -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_archive_unpacks_its_images_and_nothing_else(
    tmp_path: Path, kind: str
) -> None:
    members = [
        ("set/train/a/1.png", PICTURE),
        ("./set/train/b/1.JPG", saved(picture(), "JPEG")),
        ("set/readme.txt", b"x"),
        ("set/.hidden.png", PICTURE),
        ("__MACOSX/set/train/a/1.png", PICTURE),
        ("set/run.py", b"x" * 10**5),
    ]
    done = unpack(packed(tmp_path / f"x.{kind}", *members), tmp_path / "new" / "out")
    assert done == Unpacked(2, 4, [])
    written = sorted(path for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "new/out").as_posix() for path in written] == [
        "set/train/a/1.png",
        "set/train/b/1.JPG",
    ]
    assert written[0].read_bytes() == PICTURE
    assert not written[0].stat().st_mode & 0o111


def test_images_that_cannot_be_read_are_listed_and_skipped(tmp_path: Path) -> None:
    archive = packed(
        tmp_path / "x.zip", ("good.png", PICTURE), ("bomb.png", bomb()), ("cut.png", PICTURE[:99])
    )
    result = CliRunner().invoke(
        group, ["data", "unpack", str(archive), str(tmp_path / "out")], standalone_mode=False
    )
    assert result.return_value == 1
    assert "skipped: bomb.png: 15000x15000 is 225 megapixels" in result.output
    assert "skipped: cut.png: truncated" in result.output
    assert "1 images in" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_an_empty_folder_is_filled_and_any_other_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", ("good.png", PICTURE))
    out = tmp_path / "out"
    out.mkdir()
    assert unpack(archive, out).images == 1
    with pytest.raises(WriteError, match="exists and is not empty"):
        unpack(archive, out)
    with pytest.raises(WriteError, match="exists and is not empty"):
        unpack(archive, archive)


# -- archives that are not -------------------------------------------------------------------------

NAMES = {
    "../evil.png": r"leads out of the folder",
    "a/../../evil.png": r"leads out of the folder",
    "a\\..\\..\\evil.png": r"leads out of the folder",
    "..": r"leads out of the folder",
    "/tmp/evil.png": r"leads out of the folder",
    "\\evil.png": r"leads out of the folder",
    "\\\\host\\share\\evil.png": r"leads out of the folder",
    "C:\\evil.png": r"leads out of the folder",
    "c:/evil.png": r"leads out of the folder",
    "evil\n.png": r"not a valid file name",
    "../notes.txt": r"leads out of the folder",  # not an image, and still
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_name_that_leads_elsewhere_refuses_the_archive(
    tmp_path: Path, kind: str, name: str
) -> None:
    archive = packed(tmp_path / f"x.{kind}", ("a.png", PICTURE), (name, PICTURE))
    assert_refused(archive, NAMES[name])


@pytest.mark.skipif(os.name != "posix", reason="a colon leads elsewhere on Windows")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_colon_is_part_of_a_name(tmp_path: Path, kind: str) -> None:
    names = {"a:b.png", "c:d.png", "12:30/x.png"}
    archive = packed(tmp_path / f"x.{kind}", *((name, PICTURE) for name in sorted(names)))
    assert unpack(archive, tmp_path / "out").images == 3
    out = tmp_path / "out"
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == names


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_member_in_too_many_folders_is_refused_with_the_limit(tmp_path: Path, kind: str) -> None:
    deepest = packed(tmp_path / f"x.{kind}", ("d/" * 50 + "x.png", PICTURE))
    assert unpack(deepest, tmp_path / "deepest").images == 1
    deeper = packed(tmp_path / f"y.{kind}", ("d/" * 51 + "x.png", PICTURE))
    assert_refused(deeper, "is in 51 folders, more than 50")


SPECIAL = {
    "symbolic link": (tarfile.SYMTYPE, "a link"),
    "hard link": (tarfile.LNKTYPE, "a link"),
    "character device": (tarfile.CHRTYPE, "a device or a pipe"),
    "block device": (tarfile.BLKTYPE, "a device or a pipe"),
    "pipe": (tarfile.FIFOTYPE, "a device or a pipe"),
}


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("target", ["/etc/passwd", "good.png", "../x"])
def test_a_tar_member_that_is_no_file_refuses_the_archive(
    tmp_path: Path, what: str, target: str
) -> None:
    kind, reason = SPECIAL[what]
    assert_refused(special(tmp_path / "x.tar", "x.png", kind, target), f"'x.png' is {reason}")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(0o120777, "a link"), (0o020666, "a device"), (0o010666, "a device or a pipe")],
)
def test_a_zip_member_that_is_no_file_refuses_the_archive(
    tmp_path: Path, mode: int, reason: str
) -> None:
    assert_refused(zip_entry(tmp_path / "x.zip", mode, b"/etc/passwd"), f"'x.png' is {reason}")


def test_an_encrypted_or_unusual_zip_member_refuses_the_archive(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = zip_entry(tmp_path / "x.zip", method=method)
        assert_refused(path, "compressed in an unusual way")
    content = bytearray(packed(path, ("x.png", PICTURE)).read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    assert_refused(path, "'x.png' is encrypted")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("a/x.png", "a/x.png", "exists twice"),
        ("a/x.png", "A/X.png", "exists twice"),
        ("a/x.png", "./a//x.png", "exists twice"),
        ("a.png", "a.png/b.png", "both a file and a folder"),
        ("a.png/b.png", "a.png", "both a file and a folder"),
    ],
)
def test_two_members_for_one_place_refuse_the_archive(
    tmp_path: Path, kind: str, one: str, other: str, reason: str
) -> None:
    assert_refused(packed(tmp_path / f"x.{kind}", (one, PICTURE), (other, PICTURE)), reason)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_is_refused_from_its_header(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path / f"x.{kind}", ("a.png", PICTURE), ("big.bin", bytes(110 * 10**6)))
    assert archive.stat().st_size < 110 * 10**6 / 200
    done = measure(lambda: None, lambda _: _refusal(archive), tmp_path)
    assert "'big.bin' of 0.11 GB expands the archive more than 200 times" in done.answer
    assert done.growth < FEW


def _refusal(archive: Path) -> str:
    try:
        unpack(archive, archive.parent / "out")
    except I2IError as error:
        return str(error)
    return "all unpacked"


def claiming(size: int, content: bytes = PICTURE, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar whose one member claims `size` bytes."""
    entry = tarfile.TarInfo("x.png")
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512 + 1024)


def test_sizes_over_the_limits_are_refused_from_their_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(claiming(10**12))
    assert_refused(path, "of 1e.03 GB exceeds the limit of 100 GB")
    path.write_bytes(claiming(900_000_000))
    assert_refused(path, "of 0.9 GB expands the archive more than 200 times")
    with open(path, "r+b") as file:
        file.truncate(10**7)  # sparse: a file of zeros after its end
    assert_refused(path, "an image of 0.9 GB")
    archive = packed(tmp_path / "x.zip", ("a.png", PICTURE), ("b.bin", os.urandom(2_000_000)))
    assert_refused(archive, "exceeds the limit of 0.001 GB .--max-gb", max_gb=0.001)
    assert unpack(archive, tmp_path / "out", max_gb=0.003).images == 1


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_a_tar_header_that_asks_for_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar.bz2"
    path.write_bytes(bz2.compress(claiming(100_000_000, bytes(100_000_000), kind)))
    done = measure(lambda: None, lambda _: _refusal(path), tmp_path)
    assert (
        "a header of 100000256 bytes" in done.answer or "a header of 100000000 bytes" in done.answer
    )
    assert done.growth < FEW


def test_an_xz_dictionary_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]
    path.write_bytes(lzma.compress(b"x", filters=filters) if sys.maxsize > 2**32 else b"")
    assert_refused(path, "Memory usage limit")


def test_an_xz_file_of_several_streams_is_unpacked(tmp_path: Path) -> None:
    content = packed(tmp_path / "x.tar", ("a.png", PICTURE), ("b.png", PICTURE)).read_bytes()
    path = tmp_path / "x.tar.xz"
    halves = (content[:700], content[700:])
    path.write_bytes(bytes(4).join(lzma.compress(half) for half in halves) + bytes(8))
    assert unpack(path, tmp_path / "out").images == 2


def test_a_tar_member_of_negative_size_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", ("a.png", PICTURE))
    path.write_bytes(path.read_bytes()[: -(-len(PICTURE) // 512) * 512 + 512] + claiming(-1024))
    assert_refused(path, "not a complete zip or tar archive")


def test_zip_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("a.png", os.urandom(10_000)), ("b.png", b"x"))
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\x01\x02")
    content[second + 20 : second + 28] = struct.pack("<II", 10_000, 10_000)
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(content)
    assert_refused(path, "members overlap")


def test_sizes_that_lie_are_found_while_writing(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("a.png", PICTURE), ("b.png", PICTURE))
    content = bytearray(path.read_bytes())
    for offset in (-50, 50):
        changed = content.copy()
        place = changed.rindex(b"PK\x01\x02") + 24
        changed[place : place + 4] = struct.pack("<I", len(PICTURE) + offset)
        path.write_bytes(changed)
        assert_refused(path, "x.zip")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_or_cut_off_archive_is_an_error_that_names_it(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path / f"x.{kind}", *((f"{number}.png", PICTURE) for number in range(5)))
    content = path.read_bytes()
    for length in (
        0,
        1,
        5,
        100,
        300,
        len(content) // 2,
        len(content) - 9 if kind != "tar" else 3 * 512,
    ):
        path.write_bytes(content[:length])
        assert_refused(path, f"x.{kind}: ")
    for place in range(50, len(content), len(content) // 7):
        path.write_bytes(content[:place] + b"\xff" * 40 + content[place + 40 :])
        if "all unpacked" not in (text := _refusal(path)):
            assert str(path) in text
            assert not (tmp_path / "out").exists()
        else:  # a tar has no checksums of contents
            assert kind == "tar"
            shutil.rmtree(tmp_path / "out")


def test_a_damaged_header_between_members_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", *((f"{number}.png", PICTURE) for number in range(3)))
    content = bytearray(path.read_bytes())
    content[content.index(b"1.png") + 150] ^= 1
    path.write_bytes(content)
    assert_refused(path, "not a complete zip or tar archive .damaged or cut off: bad checksum")


def test_what_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    for name, content in (
        ("x.zip", PICTURE),
        ("x.tar", b"hello" * 999),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert_refused(path, "not a complete zip or tar archive")
    assert_refused(packed(tmp_path / "none.zip", ("a.txt", b"x")), "has no images among 1 files")
    for path, reason in {"missing.zip": "No such file or directory", ".": "Is a directory"}.items():
        with pytest.raises(DataError) as refused:
            unpack(tmp_path / path, tmp_path / "out")
        assert str(refused.value) == f"{tmp_path / path}: cannot be read ({reason})"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.rar", b"Rar!\x1a\x07\0" + bytes(99), "a RAR archive; not supported"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive; not supported"),
        ("x.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(99), "a Zstandard file; not supported"),
        ("x.tar.Z", b"\x1f\x9d\x90" + bytes(99), r"a file of compress \(.Z\); not supported"),
        ("x.tar.lzma", lzma.compress(bytes(999), lzma.FORMAT_ALONE), "an LZMA file; not supported"),
        ("x.cab", b"MSCF" + bytes(99), "a CAB archive; not supported"),
        ("x.iso", bytes(32_769) + b"CD001" + bytes(99), "an ISO image; not supported"),
        ("x.png.gz", gzip.compress(PICTURE), "compressed, but no tar archive"),
        ("x.png.xz", lzma.compress(PICTURE), "compressed, but no tar archive"),
    ],
)
def test_other_archive_is_called_by_its_name_and_not_damaged(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, reason)


ABSURD_NAMES = {
    "a/" * 32_000 + "x.png": "a name of 64,005 characters",
    "n" * 300 + ".png": "a name of 304 bytes",
    "é" * 130 + ".png": "a name of 264 bytes",
    "\u202egnp.png": "not a valid file name",
    "a\x9b2J.png": "not a valid file name",
}


@pytest.mark.parametrize("number", range(len(ABSURD_NAMES)))
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_absurd_name_is_refused_without_its_memory(tmp_path: Path, kind: str, number: int) -> None:
    name, reason = list(ABSURD_NAMES.items())[number]
    path = packed(tmp_path / f"x.{kind}", (name, PICTURE))
    done = measure(lambda: None, lambda _: _refusal(path), tmp_path)
    assert reason in done.answer or "a header of 64" in done.answer
    assert done.growth < FEW


def test_names_that_are_one_in_another_unicode_form_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("é.png", PICTURE), ("e\u0301.png", PICTURE))
    assert_refused(path, "exists twice")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x": "9" * 60_000}, "a header of long numbers"),
        ({"x": "9" * 93_000}, "a header of 93"),
        ({"x": ("1" * 290 + " ") * 200}, "a header of long numbers"),
        ({"GNU.sparse.map": "1,2"}, "sparse members; not supported"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, "sparse members; not supported"),
    ],
)
def test_attributes_that_take_long_or_move_content_are_refused_at_once(
    tmp_path: Path, headers: dict[str, str], reason: str
) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("x.png")
        entry.size, entry.pax_headers = len(PICTURE), headers
        tar.addfile(entry, io.BytesIO(PICTURE))
    began = time.monotonic()
    assert_refused(path, reason)
    assert time.monotonic() - began < 5


def test_attributes_of_an_ordinary_tar_are_read(tmp_path: Path) -> None:
    path, name = tmp_path / "x.tar", "träin/" + "1" * 200 + ".png"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(3):
            entry = tarfile.TarInfo(f"{number}/{name}")
            entry.size, entry.pax_headers = len(PICTURE), {"mtime": "1700000000.123456789"}
            tar.addfile(entry, io.BytesIO(PICTURE))
    assert unpack(path, tmp_path / "out").images == 3
    assert (tmp_path / "out" / "2" / name).read_bytes() == PICTURE


# -- interrupted -----------------------------------------------------------------------------------


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    noise = saved(picture((600, 600)).effect_spread(300), "PNG")
    archive = packed(tmp_path / "x.zip", ("a.png", PICTURE), ("b.png", noise))
    size = len(noise)

    def work(_: object) -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, size - 1))
        return _refusal(archive)

    done = measure(lambda: None, work, tmp_path)
    assert "disk full" in done.answer
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_killed_unpacking_leaves_no_folder_and_says_what_it_left(tmp_path: Path) -> None:
    archive = packed(tmp_path / "x.zip", ("a.png", PICTURE), ("b.png", PICTURE))
    process = start(_unpack_and_die, archive, tmp_path / "out")
    process.join()
    assert process.exitcode == -9
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"\.out\.unpacking: left by an unpacking that was killed"):
        unpack(archive, tmp_path / "out")


def _unpack_and_die(archive: Path, out: Path) -> None:
    read = archives.read_header
    archives.read_header = lambda path: (
        os.kill(os.getpid(), 9) if path.name == "b.png" else read(path)
    )
    unpack(archive, out)
