"""A run that was stopped anywhere, by anything, ends as if nothing had happened: every tensor, counter and log row."""

import os
import random
import shutil
import signal
import time
from itertools import product
from multiprocessing import active_children
from pathlib import Path

import pytest
from processes import kill_after, start
from runs import command, draw_scenes, final_state, rows, train_words
from states import equal
from torch import Tensor

from i2i import registry
from i2i.checkpoint import CHECKPOINTS, WEIGHTS, steps
from i2i.training.trainer import Trainer

METHODS = registry.names("methods")
ALL_CASES = list(product(METHODS, (0, 2), (8, 12), (1, 2)))
FEW_CASES = [
    case for number, case in enumerate(ALL_CASES) if number % 8 == 3 * (number // 8) % 8
]  # one a method
LENGTH = 20  # of 12 images an epoch: 8 is within the first, 12 its end


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def resume_words(method: str, run: Path) -> list[str]:
    return ["train", method, "--resume", str(run), "--device", "cpu"]


def run_to_the_end(words: list[str], log: Path) -> None:
    process = start(command, words, log)
    process.join(120)
    assert process.exitcode == 0, log.read_text()


def same(one: Path, other: Path) -> bool:
    """Return True if two finished runs agree in state, rows, and every byte of the weights."""
    states = equal(final_state(one), final_state(other))
    return (
        states
        and rows(one) == rows(other)
        and (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    )


@pytest.mark.parametrize(
    ("method", "workers", "position", "accumulate"),
    [
        pytest.param(
            *case,
            id="-".join(map(str, case)),
            marks=[] if case in FEW_CASES else [pytest.mark.slow],
        )
        for case in ALL_CASES
    ],
)
def test_resumed_run_equals_uninterrupted_run_bit_for_bit(
    method: str,
    workers: int,
    position: int,
    accumulate: int,
    scenes: dict[str, Path],
    tmp_path: Path,
) -> None:
    sets = [
        f"data.workers={workers}",
        f"train.accumulate={accumulate}",
        "train.checkpoint_every_images=4",
        "train.keep_checkpoints=9",
    ]
    if (
        method == "dcgan"
    ):  # a D that learns fast and an aim that is soon passed: the probability moves
        sets += [
            "train.ema_halflife_images=20",
            "method.augment_target=0",
            "optim.lr_discriminator=0.01",
        ]
    words = [word for text in sets for word in ("--set", text)]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    run_to_the_end(
        train_words(method, scenes, unbroken, "--images", LENGTH, *words), tmp_path / "log"
    )
    shutil.copytree(
        unbroken, broken
    )  # as if killed after `position` images: later checkpoints are gone
    for images, path in steps(broken / CHECKPOINTS):
        if images > position:
            shutil.rmtree(path)
    assert steps(broken / CHECKPOINTS)[-1][0] == position
    run_to_the_end(resume_words(method, broken), tmp_path / "log")
    state = final_state(broken)
    assert state["images"] == LENGTH
    if method == "cyclegan":
        assert [len(pool) for pool in state["ranks"][0]["pools"].values()] == [3, 3], (
            "the pools are full"
        )
    if method == "dcgan":
        assert state["ema"]
        assert state["method"]["D._extra_state"]["ada"]["probability"] > 0
    assert same(unbroken, broken)


def test_run_killed_at_random_moments_ends_with_the_weights_of_an_unbroken_run(
    thorough: bool, scenes: dict[str, Path], tmp_path: Path
) -> None:
    chance = random.Random(5)
    words = [
        "--images",
        "24",
        "--set",
        "train.checkpoint_every_images=4",
        "--set",
        "log.sample_every_images=8",
    ]
    log, length, killed = tmp_path / "log", {}, 0
    trials = 20 if thorough else 2
    for method in METHODS[:trials]:
        began = time.monotonic()
        run_to_the_end(train_words(method, scenes, tmp_path / method, *words), log)
        length[method] = time.monotonic() - began
    for trial in range(trials):
        method = METHODS[trial % len(METHODS)]
        run = tmp_path / f"run{trial}"
        arguments = train_words(method, scenes, run, *words)
        killed += kill_after(start(command, arguments, log), chance.uniform(0, length[method]))
        # killed before it wrote anything, it is begun again
        run_to_the_end(
            resume_words(method, run) if (run / "config.yaml").exists() else arguments, log
        )
        assert same(tmp_path / method, run), f"trial {trial}"
        assert not list(run.rglob("*.tmp-*"))
    assert killed


def test_run_killed_before_its_first_checkpoint_is_resumed_from_the_beginning(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    run_to_the_end(train_words("pix2pix", scenes, unbroken, "--images", 4), tmp_path / "log")
    shutil.copytree(unbroken, run)
    shutil.rmtree(run / CHECKPOINTS)
    (run / WEIGHTS).unlink()
    run_to_the_end(resume_words("pix2pix", run), tmp_path / "log")
    assert "has no checkpoint yet" in (tmp_path / "log").read_text()
    assert same(unbroken, run)


def test_run_killed_between_its_last_checkpoint_and_its_weights_gets_them(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    run_to_the_end(train_words("pix2pix", scenes, unbroken, "--images", 4), tmp_path / "log")
    shutil.copytree(unbroken, run)
    old = steps(unbroken / CHECKPOINTS)[0][1] / WEIGHTS
    (run / WEIGHTS).write_bytes(old.read_bytes())
    run_to_the_end(resume_words("pix2pix", run), tmp_path / "log")
    assert same(unbroken, run)


def test_run_whose_loader_worker_is_killed_in_a_step_saves_what_it_learned_and_goes_on_exactly(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    unbroken, run, log = tmp_path / "unbroken", tmp_path / "run", tmp_path / "log"
    words = ["--images", "16", "--set", "data.workers=1"]
    run_to_the_end(train_words("pix2pix", scenes, unbroken, *words), log)

    def prepare() -> None:
        step = Trainer.step

        def stepping(trainer: Trainer, batches: list[dict[str, Tensor]]) -> None:
            if trainer.updates == 3:
                os.kill(active_children()[0].pid or 0, signal.SIGKILL)
                time.sleep(0.2)
            step(trainer, batches)

        Trainer.step = stepping  # type: ignore[method-assign, assignment]

    process = start(command, train_words("pix2pix", scenes, run, *words), log, prepare)
    process.join(120)
    text = log.read_text()
    assert process.exitcode == 2, text
    assert "a loader worker died" in text.splitlines()[-1]
    assert "killed by signal 9" in text.splitlines()[-1]
    saved = steps(run / CHECKPOINTS)[-1][0]
    assert f"saved after {saved} images; continue with i2i resume {run}" in text.splitlines()
    assert "Traceback" not in text
    assert steps(run / CHECKPOINTS)[-1][0] >= 8
    run_to_the_end(resume_words("pix2pix", run), log)
    assert same(unbroken, run)


def test_data_set_that_changed_in_between_is_reported(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(scenes["portraits"], data)
    run = tmp_path / "run"
    run_to_the_end(train_words("dcgan", {"portraits": data}, run, "--images", 4), tmp_path / "log")
    next(iter(data.rglob("*.png"))).unlink()
    run_to_the_end([*resume_words("dcgan", run), "--images", "8"], tmp_path / "log")
    assert "an epoch was 15 images then, it is 14 now" in (tmp_path / "log").read_text()
