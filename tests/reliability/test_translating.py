"""Translating never loses work: killed, sharded, on a full disk, without anyone who listens."""

import functools
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commands import Command, i2i, small_disk
from models import outputs, temporaries, write_model, write_pictures
from PIL import Image
from writes import Write, intercepted

from i2i import files, images
from i2i.translation.folder import translate_folder
from i2i.translation.loading import load
from i2i.translation.options import Options

Folder = Callable[[int], Path]
Unbroken = Callable[[Path, Path], dict[str, bytes]]


@pytest.fixture(scope="module", params=["resnet", "unet"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: instance norm, or batch norm on the statistics of each image."""
    return write_model(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of so many pictures."""
    return functools.cache(lambda count: write_pictures(tmp_path_factory.mktemp("photos"), count))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The outputs of a model for a folder."""
    return functools.cache(
        lambda model, source: whole(model, source, tmp_path_factory.mktemp("whole") / "out")
    )


def whole(model: Path, photos: Path, out: Path) -> dict[str, bytes]:
    """The outputs of an unbroken run, each of which decodes."""
    report = translate_folder(load(model, device="cpu"), photos, out)
    assert report.failed == []
    for path in out.rglob("*.*"):
        if not path.name.startswith("."):
            images.decode(path)
    return outputs(out)


def die_in_the_middle_of_write(number: int) -> None:
    """Let this process kill itself when half of its `number`-th output is on disk."""
    left = [number]

    def half(path: Path, write: Write, content: bytes) -> int:
        left[0] -= 1
        if left[0] == 0:
            write(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(content)

    files.open = intercepted(half)  # type: ignore[attr-defined]


def test_translate_killed_at_random_moments_ends_like_an_unbroken_run(
    model: Path, photos: Folder, unbroken: Unbroken, tmp_path: Path, thorough: bool
) -> None:
    source = photos(120 if thorough else 48)
    expected = unbroken(model, source)
    chance, out = random.Random(model.name), tmp_path / "out"
    kills = looks = rounds = 0
    while kills < (40 if thorough else 6):
        goal, more = len(outputs(out)) + chance.randint(0, 3), chance.uniform(0, 0.04)
        suicide = partial(die_in_the_middle_of_write, chance.randint(1, 4)) if kills % 2 else None
        running = Command(tmp_path / "streams", "translate", model, source, out, before=suicide)
        moment = float("inf")
        while running.process.exitcode is None and (suicide or time.monotonic() < moment):
            seen = outputs(out)  # what another program would find now
            assert seen.items() <= expected.items(), "something is half-written"
            looks += 1
            if len(seen) >= goal:
                moment = min(moment, time.monotonic() + more)
        running.process.kill()
        running.process.join()
        assert outputs(out).items() <= expected.items(), "something is half-written"
        if running.process.exitcode == 0:  # it was faster: once more from the start
            rounds += 1
            out = tmp_path / f"out-{rounds}"
            continue
        assert running.process.exitcode == -9
        kills += 1
    assert looks > kills
    assert temporaries(out), "no kill met a write"
    assert i2i(tmp_path / "streams", "translate", model, source, out).status == 0
    assert outputs(out) == expected
    assert temporaries(out) == []


def test_shards_are_disjoint_and_together_the_unsharded_run(
    model: Path, photos: Folder, unbroken: Unbroken, tmp_path: Path, thorough: bool
) -> None:
    source = photos(120 if thorough else 48)
    expected = unbroken(model, source)
    translator = load(model, device="cpu")
    for count in range(1, 18) if thorough else (1, 2, 17):
        together: dict[str, bytes] = {}
        for index in range(count):
            out = tmp_path / f"{count}/{index}"
            report = translate_folder(translator, source, out, Options(shard=(index, count)))
            part = outputs(out)
            assert report.written == len(part)
            assert not together.keys() & part.keys(), "two shards translate one file"
            together |= part
        assert together == expected


ENVIRONMENTS = [  # of clusters: a batch script without srun, and a job array over models
    {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "0"},
    {"RANK": "1", "WORLD_SIZE": "2"},
]


@pytest.mark.parametrize("variables", ENVIRONMENTS, ids=["batch", "array", "torchrun"])
def test_only_an_option_divides_the_pictures_among_tasks(
    variables: dict[str, str], tmp_path: Path
) -> None:
    model, source = write_model(tmp_path / "model", "unet"), write_pictures(tmp_path / "in", 8)
    words = ["translate", model, source]
    before = partial(os.environ.update, variables)
    status, out, err = i2i(tmp_path / "streams", *words, tmp_path / "all", before=before)
    assert (status, out.split()[:2], len(outputs(tmp_path / "all"))) == (0, ["8", "written,"], 8)
    assert re.fullmatch(r"note: \d tasks seem to run; .*, --shard auto divides\n", err)
    status, _, err = i2i(
        tmp_path / "streams", *words, tmp_path / "part", "--shard", "auto", before=before
    )
    divided = "SLURM_NTASKS" not in variables  # which a batch script has, too
    assert (status, len(outputs(tmp_path / "part")) < 8) == (0, divided)
    assert err.startswith("note: this is shard 1/" if divided else "note: this is shard 0/1")


# -- memory ----------------------------------------------------------------------------------------


def limit_memory() -> None:
    """Leave this process 1.5 GB of memory more than it has."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + 1_500_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def test_picture_that_memory_does_not_hold_is_named_with_numbers_and_others_are_translated(
    tmp_path: Path,
) -> None:
    model, source = write_model(tmp_path / "model", "unet"), write_pictures(tmp_path / "in", 4)
    large = source / "large.webp"  # of which no part can be read, so that tiles are no way out
    Image.new("RGB", (11_000, 9_000)).save(large, lossless=True, quality=0, method=0)
    command = partial(i2i, tmp_path / "streams", "translate", model, source)
    status, out, err = command(tmp_path / "out", before=limit_memory)
    assert (status, out.split()[:6]) == (1, ["4", "written,", "0", "already", "done,", "1"]), err
    assert re.fullmatch(
        r"failed: large\.webp: .*needs? about \d\.\d GB of memory, [01]\.\d GB are free\. .*\n", err
    )
    status, _, err = command(tmp_path / "small", "--max-pixels", 1_000_000)
    assert status == 1
    assert err.startswith("failed: large.webp: ")
    assert "megapixels" in err


# -- a full disk -----------------------------------------------------------------------------------


def stopped_cleanly(ended: object, out: Path, expected: dict[str, bytes]) -> None:
    status, _, err = ended  # type: ignore[misc]
    assert status == 2
    assert re.match(
        rf"i2i: {re.escape(str(out))}: stopped after \d+ images: the disk is full \(", err
    )
    assert err.endswith("run the same command again to continue.\n")
    assert err.count("\n") == 1, err
    assert outputs(out).items() <= expected.items()
    assert temporaries(out) == []


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose translations take some 300 KB."""
    return write_pictures(tmp_path_factory.mktemp("noise"), 60)


def test_full_disk_stops_translate_cleanly_and_it_continues_later(
    model: Path, noise: Path, unbroken: Unbroken, tmp_path: Path, thorough: bool
) -> None:
    expected = unbroken(model, noise)
    for kilobytes in range(64, 320, 12) if thorough else (64, 200):
        disk = tmp_path / f"disk-{kilobytes}"
        try:
            with small_disk(disk, f"{kilobytes}k") as resized:
                command = partial(
                    i2i, tmp_path / "streams", "translate", model, noise, disk / "out"
                )
                for _ in range(2):  # the second time there is not even room for the record
                    stopped_cleanly(command(), disk / "out", expected)
                resized("4m")
                assert command().status == 0
                assert outputs(disk / "out") == expected
                assert temporaries(disk) == []
        except PermissionError as error:
            pytest.skip(f"no file system can be mounted here: {error}")


@pytest.mark.parametrize(
    "limit", [2_000, 9_000]
)  # the first output is larger; or the record comes to be
def test_size_limit_stops_translate_cleanly_and_it_continues_later(
    limit: int, model: Path, noise: Path, unbroken: Unbroken, tmp_path: Path
) -> None:
    expected = unbroken(model, noise)
    command = partial(i2i, tmp_path / "streams", "translate", model, noise, tmp_path / "out")
    for _ in range(2):
        limited = command(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        stopped_cleanly(limited, tmp_path / "out", expected)
    assert command().status == 0
    assert outputs(tmp_path / "out") == expected
    assert temporaries(tmp_path / "out") == []


def test_full_disk_is_one_message_in_every_command_that_writes(tmp_path: Path) -> None:
    noise_model = write_model(tmp_path / "dcgan", "dcgan")
    translator = write_model(tmp_path / "resnet", "resnet")
    pairs = tmp_path / "pairs"
    for domain in "ab":
        write_pictures(pairs / "train" / domain, 4)
    disk = tmp_path / "disk"
    commands: list[list[object]] = [
        ["generate", noise_model, disk / "many", "--count", 30],
        ["generate", noise_model, disk / "sheet.png", "--grid", "20x20"],
        ["generate", noise_model, disk / "walk.webp", "--interpolate", "1:2:60"],
        ["evaluate", translator, pairs, "--split", "train", "--sheet", disk / "scores.png"],
        ["data", "synth", "facades", disk / "scenes", "--count", 10, "--size", 64],
    ]
    try:
        with small_disk(disk, "16k"):
            for command in commands:
                status, _, err = i2i(tmp_path / "streams", *command)
                assert (status, err.count("\n")) == (2, 1), err
                assert "No space left on device" in err
                assert temporaries(disk) == []
    except PermissionError as error:
        pytest.skip(f"no file system can be mounted here: {error}")


# -- nobody listens --------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", ["closed", "full"])
def test_translate_ends_well_with_closed_or_full_streams(streams: str, tmp_path: Path) -> None:
    model, source = write_model(tmp_path / "model", "unet"), write_pictures(tmp_path / "in", 6)
    (source / "broken.png").write_bytes(b"x")
    words = ["translate", model, source, tmp_path / "out"]
    if streams == "closed":
        line = f'exec "{sys.executable}" -m i2i "$@" <&- >&- 2>&-'
        status = subprocess.run(["sh", "-c", line, "sh", *words], check=False).returncode
    else:
        status = i2i(
            tmp_path / "streams",
            *words,
            before=lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 2),
        ).status
    assert status == 1, "one input is broken"
    (source / "broken.png").unlink()
    assert outputs(tmp_path / "out") == whole(model, source, tmp_path / "whole")


def test_names_that_are_not_text_are_translated_and_shown_escaped(tmp_path: Path) -> None:
    model, source = write_model(tmp_path / "model", "unet"), write_pictures(tmp_path / "in", 1)
    (source / "000.png").rename(source / os.fsdecode(b"\xff.png"))
    (source / os.fsdecode(b"broken\xfe.png")).write_bytes(b"x")
    status, out, err = i2i(tmp_path / "streams", "translate", model, source, tmp_path / "out")
    assert (status, err.split(":")[:2]) == (1, ["failed", r" broken\udcfe.png"])
    assert (tmp_path / "out" / os.fsdecode(b"\xff.png")).exists()
    status, out, err = i2i(tmp_path / "streams", "data", "check", source)
    assert status == 1
    assert r"broken\udcfe.png" in out
