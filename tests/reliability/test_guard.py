"""NaN and infinity in G, D or a batch: stopped at that step with the files named, or rolled back and skipped."""

import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import draw_scenes, final_state, finish, rows, start_ranks, train_words
from states import equal

from i2i.checkpoint import CHECKPOINTS, load_state, newest, steps
from i2i.model_file import load_model
from i2i.training.trainer import Trainer

WORDS = [
    "--images",
    "24",
    "--set",
    "train.checkpoint_every_images=4",
    "--set",
    "train.keep_checkpoints=9",
]
UPDATE, POSITION = 5, 10  # the step that fails, and the images before it
Step = Callable[[Trainer, list[dict[str, torch.Tensor]]], None]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def poison(
    where: str, value: float, check_every_step: bool = True, always: bool = False
) -> Callable[[int], None]:
    """Return a function that puts `value` into G, D or the batch before the step at POSITION.

    Once, or `always` when it comes up. Without `check_every_step`, terms are only checked when they
    are logged, as on a GPU.
    """

    def prepare(_: int) -> None:
        step: Step = Trainer.step
        calls: list[int] = []

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            trainer.check_every_step = check_every_step
            if trainer.images == POSITION and (always or not calls):
                calls.append(1)
                if where == "batch":
                    batches[0]["b"][0, 0, 0, 0] = value
                else:
                    next(getattr(trainer.method, where).parameters()).data.view(-1)[0] = value
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    return prepare


def skipping(_: int) -> None:
    """Skip the step at POSITION from the start, without any guard."""
    step: Step = Trainer.step

    def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
        (trainer.skip if trainer.images == POSITION else partial(step, trainer))(batches)

    Trainer.step = stepping  # type: ignore[method-assign, assignment]


def train(
    scenes: dict[str, Path], run: Path, prepare: Callable[[int], None] | None, *more: str
) -> tuple[int, str]:
    """Return exit status and output."""
    words = train_words("pix2pix", scenes, run, *WORDS, *more)
    (code,) = finish(start_ranks(1, words, run.parent / "log", prepare))
    assert code is not None
    return code, (run.parent / "log").read_text()


def finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    return (
        all(map(finite, value.values() if isinstance(value, dict) else value))
        if not is_plain(value)
        else True
    )


def is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list | tuple)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["G", "D", "batch"])
def test_run_stops_at_that_step_with_a_good_state_on_disk_and_the_files_named(
    where: str, value: float, scenes: dict[str, Path], tmp_path: Path
) -> None:
    code, output = train(scenes, tmp_path / "run", poison(where, value))
    assert code == 3
    message = output.splitlines()[-1]
    assert message.startswith(f"i2i: {tmp_path / 'run'}: stopped after {POSITION} images: ")
    assert message.count("facades/train/a/") == message.count("facades/train/b/") == 2
    assert "train.on_nonfinite=rollback" in message
    path, damaged = newest(tmp_path / "run" / CHECKPOINTS)
    assert (path.name, damaged) == ("step-00000008", [])
    assert finite(load_state(path))
    assert finite(load_model(tmp_path / "run").tensors)
    assert rows(tmp_path / "run")[-1]["images"] == 8


@pytest.fixture(scope="module")
def without_that_batch(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has skipped the step at POSITION, without any guard."""
    run = tmp_path_factory.mktemp("reference") / "run"
    code, output = train(scenes, run, skipping)
    assert code == 0, output
    return run


@pytest.mark.parametrize("check_every_step", [True, False])
@pytest.mark.parametrize("where", ["G", "D", "batch"])
def test_guard_goes_back_and_ends_like_a_run_without_that_batch(
    where: str,
    check_every_step: bool,
    scenes: dict[str, Path],
    without_that_batch: Path,
    tmp_path: Path,
) -> None:
    prepare = poison(where, math.nan, check_every_step, always=where == "batch")
    code, output = train(scenes, tmp_path / "run", prepare, "--set", "train.on_nonfinite=rollback")
    assert code == 0, output
    lines = [line for line in output.splitlines() if line.startswith("guard, after ")]
    assert len(lines) == 1
    assert f"after {POSITION} images" in lines[0]
    assert lines[0].count("facades/train/a/") == 2
    assert "step-00000008; this step will be skipped" in lines[0]
    assert equal(final_state(tmp_path / "run"), final_state(without_that_batch))
    assert rows(tmp_path / "run") == rows(without_that_batch)


def test_run_resumed_before_a_broken_batch_meets_it_and_skips_it_again(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    prepare = poison("batch", math.nan, always=True)
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(scenes, reference, prepare, "--set", "train.on_nonfinite=rollback")[0] == 0
    shutil.copytree(reference, run)
    for images, path in steps(run / CHECKPOINTS):
        if images > 8:
            shutil.rmtree(path)
    words = ["train", "pix2pix", "--resume", str(run), "--device", "cpu"]
    assert finish(start_ranks(1, words, tmp_path / "log", prepare)) == [0]
    assert equal(final_state(run), final_state(reference))
    assert (tmp_path / "log").read_text().count("guard, after ") == 2


def test_guard_gives_up_where_skipping_batches_does_not_help(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    def every_step_after_the_first_checkpoint(_: int) -> None:
        step: Step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, torch.Tensor]]) -> None:
            if trainer.images >= 4:
                batches[0]["a"].fill_(math.nan)
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    more = ["--set", "train.on_nonfinite=rollback", "--images", "80"]
    code, output = train(scenes, tmp_path / "run", every_step_after_the_first_checkpoint, *more)
    assert code == 3
    assert output.count("guard, after ") == 10
    assert "Skipping 10 batches has not helped" in output.splitlines()[-1]
