"""A disk that fills up while a run saves and samples: training continues, the last good checkpoint is intact."""

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import wait_for
from runs import draw_scenes, final_state, finish, rows, start_ranks, train_words
from states import equal

from i2i import console
from i2i.checkpoint import CHECKPOINTS, newest, steps
from i2i.training.trainer import Trainer

WORDS = [
    "--images",
    "24",
    "--set",
    "train.checkpoint_every_images=4",
    "--set",
    "log.sample_every_images=4",
]
WORDS += ["--set", "log.tensorboard=true", "--set", "train.save_retry_seconds=1"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def unbroken(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    words = train_words("pix2pix", scenes, run, *WORDS)
    assert finish(start_ranks(1, words, run.parent / "log")) == [0], (
        run.parent / "log"
    ).read_text()
    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(
            f"mounting a small disk needs rights that this user lacks: {done.stderr.decode().strip()}"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with open(folder / "filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def at_update(update: int, action: object) -> object:
    def prepare(_: int) -> None:
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            if trainer.updates == update:
                action()  # type: ignore[operator]
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    return prepare


def check_survived(run: Path, unbroken: Path, output: str, code: int | None) -> None:
    """Assert that training went to its end, reported the disk once, and kept its last good checkpoint."""
    assert code == 2
    assert "Traceback" not in output
    assert output.count("Training continues; the last good checkpoint is intact.") == 1
    assert "disk is full" in output.splitlines()[-1]
    path, damaged = newest(run / CHECKPOINTS)
    assert (path.name, damaged) == ("step-00000004", [])
    assert not list(run.rglob("*.tmp-*"))


def resume(run: Path, unbroken: Path, log: Path) -> None:
    words = ["train", "pix2pix", "--resume", str(run), "--device", "cpu"]
    assert finish(start_ranks(1, words, log)) == [0], log.read_text()
    assert equal(final_state(run), final_state(unbroken))
    assert rows(run) == rows(unbroken)


def test_full_disk_costs_no_checkpoint_and_the_run_ends_like_an_unbroken_one_once_there_is_room(
    scenes: dict[str, Path], unbroken: Path, small_disk: Path, tmp_path: Path
) -> None:
    run, log = small_disk / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *WORDS)
    (code,) = finish(start_ranks(1, words, log, at_update(3, lambda: fill(small_disk))))  # type: ignore[arg-type]
    check_survived(run, unbroken, log.read_text(), code)
    (small_disk / "filler").unlink()
    resume(run, unbroken, log)


def test_last_state_is_written_as_soon_as_the_disk_has_grown(
    scenes: dict[str, Path], unbroken: Path, small_disk: Path, tmp_path: Path
) -> None:
    run, log = small_disk / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *WORDS, "--set", "train.save_retry_seconds=100")
    processes = start_ranks(1, words, log, at_update(3, lambda: fill(small_disk)))  # type: ignore[arg-type]
    wait_for(lambda: log.exists() and "trying for " in log.read_text(), 60, "the last save")
    (small_disk / "filler").unlink()
    assert finish(processes) == [0], log.read_text()
    assert equal(final_state(run), final_state(unbroken))


def test_first_checkpoint_that_cannot_be_written_stops_before_training_and_leaves_nothing(
    scenes: dict[str, Path], small_disk: Path, tmp_path: Path
) -> None:
    run, log = small_disk / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *WORDS)
    fill(small_disk)
    with open(small_disk / "filler", "r+b") as file:  # room for the settings, not for a state
        file.truncate((small_disk / "filler").stat().st_size - 40_000)
    assert finish(start_ranks(1, words, log)) == [2]
    text = log.read_text()
    assert "disk is full" in text.splitlines()[-1]
    assert "Traceback" not in text
    assert "Training continues" not in text
    assert not run.exists()
    (small_disk / "filler").unlink()
    assert finish(start_ranks(1, words, log)) == [0], log.read_text()


def test_limit_on_the_size_of_files_is_a_full_disk_too(
    scenes: dict[str, Path], unbroken: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    words = train_words("pix2pix", scenes, run, *WORDS)
    (code,) = finish(start_ranks(1, words, log, at_update(3, limit)))  # type: ignore[arg-type]
    check_survived(run, unbroken, log.read_text(), code)
    resume(run, unbroken, log)


def test_guard_rolls_back_on_a_full_disk_too(
    scenes: dict[str, Path], unbroken: Path, small_disk: Path, tmp_path: Path
) -> None:
    run, log, done = small_disk / "run", tmp_path / "log", []

    def prepare(index: int) -> None:
        at_update(3, lambda: fill(small_disk))(index)  # type: ignore[operator]
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            if trainer.updates == 5 and not done:
                done.append(True)
                batches[0]["a"].fill_(float("nan"))
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    words = [*WORDS, "--set", "train.on_nonfinite=rollback"]
    (code,) = finish(start_ranks(1, train_words("pix2pix", scenes, run, *words), log, prepare))
    check_survived(run, unbroken, log.read_text(), code)
    assert "guard, after 4 images: after 10 images" in log.read_text()


def test_checkpoints_are_written_again_as_soon_as_there_is_room(
    scenes: dict[str, Path], unbroken: Path, small_disk: Path, tmp_path: Path
) -> None:
    run, log = small_disk / "run", tmp_path / "log"

    def prepare(index: int) -> None:
        at_update(3, lambda: fill(small_disk))(index)  # type: ignore[operator]
        at_update(7, lambda: (small_disk / "filler").unlink())(index)  # type: ignore[operator]
        console.PLAIN_SECONDS = 0.0

    assert finish(start_ranks(1, train_words("pix2pix", scenes, run, *WORDS), log, prepare)) == [
        0
    ], log.read_text()
    text = log.read_text()
    assert "disk, after 16 images: checkpoints are written again" in text
    assert "NOT SAVED: 2 failures since " in text
    assert "NOT SAVED" not in text.splitlines()[-2]
    assert equal(final_state(run), final_state(unbroken))
    assert [images for images, _ in steps(run / CHECKPOINTS)] == [16, 20, 24]
