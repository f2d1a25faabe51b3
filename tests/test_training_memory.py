"""Training where memory ends: what a step is predicted to take, what the error advises, what is left of the run."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from commands import i2i
from peaks import measure
from runs import train_words
from test_trainer import METHODS, settings

from i2i.checkpoint import CHECKPOINTS, steps
from i2i.config import Config
from i2i.execution import Execution
from i2i.run import build
from i2i.run.memory import explaining_out_of_memory, step_bytes
from i2i.scenes import write_dataset
from i2i.training.trainer import Trainer

CHANNELS = {"a": 3, "b": 3, "image": 3}
LARGE = ["data.load_size=128", "data.crop_size=128", "generator.width=16", "train.batch=1"]


class Traced(NamedTuple):
    """Settings of a step to be traced."""

    config: Config
    execution: Execution = Execution()


def predicted(folder: Path, *cases: Traced) -> list[int]:
    """Return the bytes of each, traced in a child: autograd's threads, which it starts, forbid to fork."""

    def trace(_: object) -> list[int]:
        return [
            step_bytes(build.make_method(config, CHANNELS), config, CHANNELS, execution)
            for config, execution in cases
        ]

    found: list[int] = measure(lambda: None, trace, folder).answer
    return found


def prepare(config: Config) -> tuple[Trainer, dict[str, torch.Tensor]]:
    torch.set_num_threads(1)
    method = build.make_method(config, CHANNELS)
    trainer = Trainer(method, config.train, config.optim, torch.device("cpu"), Execution())
    return trainer, {name: torch.zeros(1, 3, 128, 128) for name in method.domains}


def step(prepared: tuple[Trainer, dict[str, torch.Tensor]]) -> None:
    trainer, images = prepared
    trainer.step([images])


def test_predicted_memory_is_that_of_a_step_and_falls_with_what_saves_it(tmp_path: Path) -> None:
    large = functools.partial(settings, "cyclegan", *LARGE)
    taken = measure(functools.partial(prepare, large()), step, tmp_path).growth
    now, split, checkpointed, bf16, two, halved = predicted(
        tmp_path,
        Traced(large()),
        Traced(large(), Execution(split=True)),
        Traced(large("train.activation_checkpointing=true"), Execution(split=True)),
        Traced(large(), Execution("bf16")),
        Traced(large("train.batch=2")),
        Traced(large("train.batch=1", "train.accumulate=2")),
    )
    assert 0.6 < taken / now < 1.4
    assert checkpointed < 0.8 * split
    assert split < 0.7 * now
    assert bf16 < now
    assert halved < 0.7 * two


def test_step_of_every_method_can_be_traced(tmp_path: Path) -> None:
    options = ["method.augment=ada", "train.ema_halflife_images=10"]
    assert all(
        predicted(
            tmp_path, *(Traced(settings(each, *options), Execution(split=True)) for each in METHODS)
        )
    )


def fail_in_second_step() -> None:
    whole = Trainer.step

    def limited(self: Trainer, batches: Any) -> None:
        if self.updates:
            torch.empty(2**60)  # torch's own error
        whole(self, batches)

    Trainer.step = limited  # type: ignore[method-assign]


def test_run_out_of_memory_says_what_to_change_and_continues_so(tmp_path: Path) -> None:
    write_dataset("orchard", tmp_path / "data", 6, 32, seed=1)
    run = tmp_path / "run"
    words = train_words("cyclegan", {"orchard": tmp_path / "data"}, run, "--images", 6)
    ended = i2i(tmp_path / "first", *words, before=fail_in_second_step)
    assert ended.status == 2
    assert "Traceback" not in ended.err
    assert "i2i: cpu: out of memory in a training step" in ended.err
    assert f"Continue with i2i resume {run} and" in ended.err
    for change in (
        "--set train.activation_checkpointing=true (about",
        "--set train.batch=1 --set train.accumulate=2 (about",
    ):
        assert change in ended.err
    assert steps(run / CHECKPOINTS)
    changed = ["--set", "train.batch=1", "--set", "train.accumulate=2"]
    assert i2i(tmp_path / "second", "resume", run, *changed, "--device", "cpu").status == 0


def test_another_error_is_not_explained_as_one_of_memory() -> None:
    config = settings("pix2pix")
    trainer, _ = prepare(config)
    with (
        pytest.raises(RuntimeError, match="a shape"),
        explaining_out_of_memory(trainer, config, CHANNELS, Path("x")),
    ):
        raise RuntimeError("a shape")
