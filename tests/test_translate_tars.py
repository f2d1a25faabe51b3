"""Tars of images, as webdataset lays them out: streamed in, streamed out, done or not done."""

import errno
import io
import json
import os
import signal
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import here
from models import write_model
from peaks import measure
from processes import start
from torch import nn

from i2i import images
from i2i.files import sha256
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.translation import TranslationError, tars
from i2i.translation.folder import Report, translate_folder
from i2i.translation.options import Options
from i2i.translation.shards import shard_of
from i2i.translation.summary import summarize
from i2i.translation.translator import Translator

Members = Iterable[tuple[str, bytes]]


class Negative(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(-1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def run(source: Any, out: Path, progress: Any = None, **options: Any) -> Report:
    translator = Translator(Negative(), 3, 3, device="cpu", precision="fp32")
    return translate_folder(translator, source, out, Options(**options), progress)


def content(number: int, suffix: str = ".png", height: int = 12, depth: int = 8) -> bytes:
    random = np.random.default_rng(number)
    pixels = random.integers(0, 2**depth, (height, 10, 3), np.uint8 if depth == 8 else np.uint16)
    file = io.BytesIO()
    images.encode(pixels, file, images.format_of(f"x{suffix}"))
    return file.getvalue()


def pack(path: Path, members: Members, **attributes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, file in members:
            header = tarfile.TarInfo(name)
            header.size = len(file)
            for key, value in attributes.items():
                setattr(header, key, value)
            archive.addfile(header, io.BytesIO(file))
    return path


def samples(first: int, count: int) -> list[tuple[str, bytes]]:
    """Return samples of a picture, of several formats and sizes, with a label."""
    members = []
    for number in range(first, first + count):
        suffix = (".png", ".image.jpg", ".tif", ".webp")[number % 4]
        picture = content(number, suffix, 12 + number % 3)
        members += [(f"deep/{number:05}{suffix}", picture), (f"deep/{number:05}.cls", b"7")]
    return members


def unpacked(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        return [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder of three tars, of six samples each."""
    for number in range(3):
        pack(tmp_path / f"in/in-{number:03}.tar", samples(6 * number, 6), mtime=number + 5, uid=7)
    return tmp_path / "in"


@pytest.mark.parametrize("options", [{}, {"batch": 4}, {"format": "png", "threads": 1}])
def test_tar_holds_what_a_folder_job_writes_in_the_order_of_its_input(
    options: dict[str, Any], three: Path, tmp_path: Path
) -> None:
    for path in three.iterdir():
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
    run(tmp_path / "unpacked", tmp_path / "files", **options)
    report = run(f"{three}/*.tar", tmp_path / "out", **options)
    assert (report.written, report.failed, report.ignored) == (18, [], 18)
    for path in three.iterdir():
        given = [Path(name) for name, _ in unpacked(path) if not name.endswith(".cls")]
        written = unpacked(tmp_path / "out" / path.name)
        assert [Path(name).with_suffix("") for name, _ in written] == [name.with_suffix("") for name in given]  # fmt: skip
        for name, file in written:
            assert file == (tmp_path / "files" / name).read_bytes(), name
    assert {path.name for path in (tmp_path / "out").rglob("[!.]*")} == {"in-000.tar", "in-001.tar", "in-002.tar"}  # fmt: skip


def test_bytes_of_a_tar_depend_on_nothing_but_its_images(tmp_path: Path) -> None:
    one = pack(tmp_path / "1/a.tar", samples(0, 4), mtime=5, uid=3, uname="x", mode=0o777)
    two = pack(tmp_path / "2/a.tar", [("readme", b""), *samples(0, 4)], mtime=9)
    for number, path in enumerate((one, two)):
        run(path, tmp_path / f"out{number}")
    assert (tmp_path / "out0/a.tar").read_bytes() == (tmp_path / "out1/a.tar").read_bytes()
    with tarfile.open(tmp_path / "out0/a.tar") as archive:
        headers = [(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in archive]
    assert set(headers) == {(0, 0, 0, "", 0o644)}


def test_names_that_are_long_or_no_text_stay_as_they_are(tmp_path: Path) -> None:
    names = ["./a.png", f"{'x' * 120}/{'y' * 120}.b.png", "bild ä.png", "bad\udcff.png"]
    pack(tmp_path / "a.tar", [(name, content(0)) for name in names])
    assert run(tmp_path / "a.tar", tmp_path / "out").written == 4
    assert [name for name, _ in unpacked(tmp_path / "out/a.tar")] == names


def test_tars_are_named_by_ranges_lists_and_patterns(three: Path, tmp_path: Path) -> None:
    names = [f"{three}/in-{number:03}.tar" for number in range(3)]
    forms = [
        f"{three}/in-{{000..002}}.tar",
        names,
        [f"{three}/in-*.tar"],
        f"{three}/**/*.tar",
    ]
    for number, source in enumerate(forms):
        assert run(source, tmp_path / f"out/{number}").written == 18
    model = write_model(tmp_path / "model", "resnet")
    status, out, _ = here("translate", model, *names, tmp_path / "out/command")
    assert (status, out.split(";")[0]) == (0, "18 written, 0 tars already done, 0 failed")


def test_bad_members_are_listed_and_the_others_translated_also_when_it_is_done(
    tmp_path: Path,
) -> None:
    good = content(1)
    members = [("a.png", good), ("cut.png", good[:-9]), ("b.png", b""), ("c.png", good)]
    pack(tmp_path / "in/x.tar", members)
    pack(tmp_path / "in/none.tar", [("a.png", b"text"), ("a.txt", b"text")])
    first = run(f"{tmp_path}/in/*.tar", tmp_path / "out")
    assert first.written == 2
    assert [name for name, _ in first.failed] == ["none.tar", "x.tar/b.png", "x.tar/cut.png"]
    reasons = [reason for _, reason in first.failed]
    assert (
        "none of its 2 members could be translated (first: none.tar/a.png: not an image"
        in reasons[0]
    )
    assert "empty file" in reasons[1]
    assert "truncated" in reasons[2]
    assert [name for name, _ in unpacked(tmp_path / "out/x.tar")] == ["a.png", "c.png"]
    again = run(f"{tmp_path}/in/*.tar", tmp_path / "out")
    assert (again.written, again.skipped, again.failed) == (0, 1, first.failed)
    (shard,) = summarize(tmp_path / "out").shards
    assert (shard.tasks, shard.left, [*shard.failed]) == (2, 0, ["none.tar"])
    assert sorted(shard.failed_members) == ["x.tar/b.png", "x.tar/cut.png"]
    pack(tmp_path / "in/x.tar", [("a.png", good), ("cut.png", good)])
    pack(tmp_path / "in/none.tar", [("a.png", good)])
    repaired = run(f"{tmp_path}/in/*.tar", tmp_path / "out", overwrite=True)
    assert (repaired.written, repaired.failed) == (3, [])
    assert run(f"{tmp_path}/in/*.tar", tmp_path / "out").failed == []
    assert summarize(tmp_path / "out").complete


def test_two_members_of_a_sample_never_become_one(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", [("1.bmp", content(1)), ("1.png", content(2)), ("2.png", content(3))])
    report = run(tmp_path / "a.tar", tmp_path / "out", format="png")
    assert [name for name, _ in unpacked(tmp_path / "out/a.tar")] == ["1.png", "2.png"]
    assert [name for name, _ in report.failed] == ["a.tar/1.png"]


def test_image_that_claims_too_much_is_listed_before_it_is_read(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", [("1.png", content(1)), ("2.png", content(2) + bytes(2 * 2**20))])
    report = run(tmp_path / "a.tar", tmp_path / "out", max_pixels=2**14)
    assert (report.written, [name for name, _ in report.failed]) == (1, ["a.tar/2.png"])
    assert "more than an image of --max-pixels takes" in report.failed[0][1]


# -- what must not be read -------------------------------------------------------------------------


def linked(path: Path) -> None:
    header = tarfile.TarInfo("b.png")
    header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(path, "a") as archive:
        archive.addfile(header)


def device(path: Path) -> None:
    header = tarfile.TarInfo("b.png")
    header.type = tarfile.CHRTYPE
    with tarfile.open(path, "a") as archive:
        archive.addfile(header)


def append(path: Path, name: str) -> None:
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo(name))


HARM = {
    "a link, not a plain file": linked,
    "a device or a pipe, not a plain file": device,
    "leads out of the folder": lambda path: append(path, "../b.png"),
    "leads out of the folder ": lambda path: append(path, "/b.png"),
    "is not a valid file name": lambda path: append(path, "b\n.png"),
    "not a complete zip or tar": lambda path: path.write_bytes(path.read_bytes()[:3000]),
    "not a complete zip or tar archive": lambda path: path.write_bytes(b"text" * 400),
    "not a complete zip or tar archive ": lambda path: path.write_bytes(b""),
    "not a complete zip or tar archive  ": lambda path: path.write_bytes(
        path.read_bytes().rstrip(b"\0") + bytes(-len(path.read_bytes().rstrip(b"\0")) % 512)
    ),
    "more follows after its end": lambda path: path.write_bytes(path.read_bytes() * 2),
}


@pytest.mark.parametrize("reason", HARM)
def test_tar_that_is_damaged_or_could_do_harm_is_not_written_and_others_are(
    reason: str, tmp_path: Path
) -> None:
    for name in ("a.tar", "b.tar"):
        pack(tmp_path / "in" / name, samples(0, 4))
    HARM[reason](tmp_path / "in/a.tar")
    report = run(f"{tmp_path}/in/*.tar", tmp_path / "out")
    assert (report.written, [name for name, _ in report.failed]) == (4, ["a.tar"])
    assert reason.strip() in report.failed[0][1]
    files = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(files) == [".i2i-manifest.jsonl", "b.tar"], "nothing is half-written"


def test_what_cannot_be_done_with_tars_is_refused_before_anything_is_written(
    three: Path, tmp_path: Path
) -> None:
    pack(tmp_path / "other/x.tar", samples(0, 1))
    for source, out, reason in (
        (three / "in-000.tar", tmp_path / "out.tar", "outputs are written into a folder"),
        (three / "in-000.tar", three, "lie inside the output"),
        ([three / "in-000.tar", tmp_path / "other/x.tar"], tmp_path / "out", "not in the folder"),
        (three / "none.tar", tmp_path / "out", "no such file"),
        (f"{three}/x*.tar", tmp_path / "out", "no tars"),
        (f"{three}/in-{{000..003}}.tar", tmp_path / "out", "no such file"),
    ):
        with pytest.raises(TranslationError, match=reason):
            run(source, out)
    spec = ImageSpec((ChannelSpec(2, False, "a"), ChannelSpec(1, False, "b")))
    stacked = Translator(Negative(), 3, 3, device="cpu", source=spec)
    with pytest.raises(TranslationError, match="stacks 2 inputs, and tars hold one"):
        translate_folder(stacked, f"{three}/*.tar", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "other"]


# -- done or not -----------------------------------------------------------------------------------


def test_killed_job_continues_with_the_tars_that_are_missing(three: Path, tmp_path: Path) -> None:
    run(f"{three}/*.tar", tmp_path / "whole")

    def die(done: int, total: int) -> None:
        if done == 1:
            (tmp_path / "out/.in-001.tar.tmp-999999").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    process = start(run, f"{three}/*.tar", tmp_path / "out", die)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["in-000.tar"]
    report = run(f"{three}/*.tar", tmp_path / "out")
    assert report.written + 6 * report.skipped == 18
    for path in (tmp_path / "whole").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    assert not list((tmp_path / "out").glob(".in*"))
    assert run(f"{three}/*.tar", tmp_path / "out").skipped == 3


def test_shards_divide_tars_by_their_names(three: Path, tmp_path: Path) -> None:
    for index in range(2):
        report = run(f"{three}/*.tar", tmp_path / "out", shard=(index, 2))
        own = [path.name for path in three.iterdir() if shard_of(path.name, 2) == index]
        assert report.written == 6 * len(own)
    assert summarize(tmp_path / "out").complete
    assert (
        "3 tars written, 0 failed, 0 left" in here("translate", "--summary", tmp_path / "out").out
    )


def test_record_has_the_hashes_of_tars_and_verifying_compares_them(
    three: Path, tmp_path: Path
) -> None:
    run(f"{three}/*.tar", tmp_path / "out")
    lines = map(json.loads, (tmp_path / "out/.i2i-manifest.jsonl").read_text().splitlines())
    written = [line for line in lines if line["status"] == "written"]
    for line in written:
        assert line["sha256"] == [sha256(three / line["path"])]
        assert line["output_sha256"] == sha256(tmp_path / "out" / line["output"])
    for path, reason in ((tmp_path / "out/in-001.tar", "has changed"), (three / "in-001.tar", "was made")):  # fmt: skip
        before, status = path.read_bytes(), path.stat()
        path.write_bytes(before[:1000] + bytes([before[1000] ^ 1]) + before[1001:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert run(f"{three}/*.tar", tmp_path / "out").skipped == 3
        with pytest.raises(TranslationError, match=reason):
            run(f"{three}/*.tar", tmp_path / "out", verify=True)
        path.write_bytes(before)


def test_full_disk_stops_the_job_and_leaves_nothing_half_written(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            if self.tell() > 3000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    def opened(path: Path, mode: str) -> Any:
        return Full(path, "x") if ".in-001.tar.tmp" in path.name else open(path, mode)

    monkeypatch.setattr(tars, "open", opened, raising=False)
    with pytest.raises(TranslationError, match=r"stopped after 6 images: the disk is full"):
        run(f"{three}/*.tar", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*in-*.tar*")] == ["in-000.tar"]
    monkeypatch.undo()
    assert run(f"{three}/*.tar", tmp_path / "out").written == 12


def test_memory_does_not_depend_on_the_size_of_a_tar(tmp_path: Path) -> None:
    picture = content(0, ".bmp", 3_000)
    warm = pack(tmp_path / "warm.tar", [("0.bmp", picture)])
    path = pack(tmp_path / "large.tar", ((f"{n}.bmp", picture) for n in range(300)))
    measured = measure(
        lambda: run(warm, tmp_path / "warm"),
        lambda _: run(path, tmp_path / "out", threads=1).written,
        tmp_path,
    )
    assert measured.answer == 300
    assert measured.growth < 0.7 * path.stat().st_size


def test_image_that_killed_a_run_leaves_its_tar_out_until_it_is_asked_for(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("i2i.translation.pipeline.RISKY", -1.0)
    monkeypatch.setattr(Translator, "pixels", lambda *_: die(0, 0))
    process = start(run, three / "in-000.tar", tmp_path / "out")
    process.join()
    monkeypatch.undo()
    assert process.exitcode == -signal.SIGKILL
    (failure,) = run(three / "in-000.tar", tmp_path / "out").failed
    assert (failure[0], "killed" in failure[1]) == ("in-000.tar", True)
    assert run(three / "in-000.tar", tmp_path / "out", retry_killed=True).written == 6
