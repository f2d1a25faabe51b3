"""Two processes that train together: each learns what happens to the other, and none is left behind."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import wait_for
from runs import draw_scenes, final_state, finish, rows, start_ranks, train_words

from i2i.checkpoint import CHECKPOINTS, newest, steps
from i2i.data.dataset import PairedImages
from i2i.data.unconditional import UnconditionalImages
from i2i.files import DiskFullError
from i2i.images import ImageError
from i2i.training import loop
from i2i.training.trainer import Trainer

WORDS = ["--images", "80", "--set", "train.checkpoint_every_images=8"]  # 20 steps of 2 x 2


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def children(pid: int) -> list[int]:
    pids = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == pid:
            pids.append(int(status.parent.name))
    return pids


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_run_of_two_processes_goes_on_in_one_and_in_two_again_and_meets_every_sample_once(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log, drawn = tmp_path / "run", tmp_path / "log", tmp_path / "drawn"

    def prepare(index: int) -> None:
        sample = UnconditionalImages.pixels

        def sampling(dataset: UnconditionalImages, *key: int) -> dict[str, torch.Tensor]:
            with drawn.open("a") as file:
                file.write(f"{key}\n")
            return sample(dataset, *key)

        UnconditionalImages.pixels = sampling  # type: ignore[method-assign, assignment]

    # averaged weights, batch norm and adaptive augmentation; 15 images, steps of 4
    resumed = ["train", "dcgan", "--resume", str(run), "--device", "cpu", "--images"]
    turns = {
        20: (2, train_words("dcgan", scenes, run, "--images", 20)),
        40: (1, [*resumed, "40", "--set", "train.batch=4"]),
        60: (2, [*resumed, "60", "--set", "train.batch=2"]),
    }
    for images, (world, words) in turns.items():
        assert finish(start_ranks(world, words, log, prepare)) == [0] * world, log.read_text()
        state = final_state(run)
        assert (state["images"], state["updates"]) == (images, images // 4)
        assert len(state["ranks"]) == world
        ada = [own["counters"]["D._extra_state"]["ada"]["probability"] for own in state["ranks"]]
        assert len(set(ada)) == 1
    every = [str((epoch, index)) for epoch in range(4) for index in range(15)]
    assert sorted(drawn.read_text().splitlines()) == sorted(every)
    assert [row["images"] for row in rows(run)] == list(range(4, 61, 4))
    assert log.read_text().count("resuming from") == 2, "the first process speaks for all"


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_rank_is_killed_the_other_ends_with_a_message_and_no_process_is_left(
    victim: int, scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log, note = tmp_path / "run", tmp_path / "log", tmp_path / "workers"

    def dies_at_step_10(index: int) -> None:
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            if trainer.updates == 10 and index == victim:
                note.write_text(" ".join(map(str, children(os.getpid()))))
                os.kill(os.getpid(), 9)
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    words = train_words("pix2pix", scenes, run, *WORDS, "--set", "data.workers=1")
    codes = finish(start_ranks(2, words, log, dies_at_step_10), 60)
    assert codes[victim] == -9
    assert codes[1 - victim] == 4, log.read_text()
    assert "another of the 2 processes ended" in log.read_text()
    assert "Traceback" not in log.read_text()
    workers = [int(pid) for pid in note.read_text().split()]
    assert workers
    wait_for(lambda: not any(map(alive, workers)), 20, "the loader's processes to end")
    newest(run / CHECKPOINTS)
    resumed = ["train", "pix2pix", "--resume", str(run), "--device", "cpu"]
    assert finish(start_ranks(2, resumed, log)) == [0, 0], log.read_text()
    assert steps(run / CHECKPOINTS)[-1][0] == 80


def poisoned(index: int, rank: int, what: float | Exception) -> None:
    """Let one rank meet, in step 5, an image of the value `what`, or one that cannot be read."""
    step, sample, drawn = Trainer.step, PairedImages.pixels, []

    def sampling(dataset: PairedImages, *key: int) -> dict[str, torch.Tensor]:
        drawn.append(key)
        if isinstance(what, Exception) and len(drawn) == 11:  # two a step
            raise what
        return sample(dataset, *key)

    def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
        if trainer.updates == 5 and isinstance(what, float):
            batches[0]["a"].fill_(what)
        step(trainer, batches)

    if index == rank:
        PairedImages.pixels = sampling  # type: ignore[method-assign, assignment]
        Trainer.step = stepping  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_not_finite_on_one_rank_stops_both_at_that_step_with_the_files_of_both(
    rank: int, scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *WORDS)
    codes = finish(
        start_ranks(2, words, log, lambda index: poisoned(index, rank, float("nan"))), 60
    )
    assert codes == [3, 3], log.read_text()
    message = next(line for line in log.read_text().splitlines() if "not finite" in line)
    assert message.startswith(f"i2i: {run}: stopped after 20 images")
    assert message.count("train/a/") == 4
    assert steps(run / CHECKPOINTS)[-1][0] == 16


def test_both_ranks_roll_back_together_where_the_settings_allow_it(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *WORDS, "--set", "train.on_nonfinite=rollback")
    once: dict[str, Any] = {}

    def prepare(index: int) -> None:
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            if trainer.updates == 5 and index == 1 and not once:
                once["done"] = True
                batches[0]["a"].fill_(float("inf"))
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    assert finish(start_ranks(2, words, log, prepare), 60) == [0, 0], log.read_text()
    assert log.read_text().count("guard, after 16 images: after 20 images") == 1
    assert steps(run / CHECKPOINTS)[-1][0] == 80


def test_checkpoint_that_failed_on_the_first_rank_is_written_when_all_stop_there(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"

    def prepare(index: int) -> None:
        step, publish, failed = Trainer.step, loop.publish, []

        def failing_once(folder: Path, images: int, *rest: Any) -> Path:
            if images == 8 and not failed:
                failed.append(True)
                raise DiskFullError("disk", "no room")
            return publish(folder, images, *rest)

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            step(trainer, batches)
            if trainer.images == 8:
                os.kill(os.getpid(), signal.SIGTERM)

        loop.publish = failing_once  # type: ignore[attr-defined]
        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    codes = finish(start_ranks(2, train_words("pix2pix", scenes, run, *WORDS), log, prepare), 60)
    assert codes == [143, 143], log.read_text()
    assert steps(run / CHECKPOINTS)[-1][0] == 8
    assert "checkpoints are written again" in log.read_text()


@pytest.mark.parametrize("rank", [0, 1])
def test_image_that_one_rank_cannot_read_stops_both_and_saves_what_was_learned(
    rank: int, scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    error = ImageError("photo.png", "damaged")
    words = train_words("pix2pix", scenes, run, *WORDS)
    codes = finish(start_ranks(2, words, log, lambda index: poisoned(index, rank, error)), 60)
    assert codes[rank] == 2, log.read_text()
    assert codes[1 - rank] == 4, log.read_text()
    assert "i2i: photo.png: damaged" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert steps(run / CHECKPOINTS)[-1][0] == 20
