"""Parts of a loss that are propagated back one after the other, against all of them at once."""

import copy
import gc
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import pytest
import torch
from test_trainer import METHODS, Toy, batch, toy_trainer, trainer_for
from torch import Tensor

from i2i.execution import Execution
from i2i.methods._base import Images, Phase, Terms
from i2i.training.trainer import Trainer

OPTIONS: dict[str, list[str]] = {
    "no identity": ["method.lambda_identity=0"],
    "no cycles": ["method.lambda_a=0", "method.lambda_b=0"],
    "features": ["method.feature_matching=10"],
    "relativistic": ["method.objective=rpgan"],
    "augmented": ["method.augment=diffaugment", "method.instance_noise=0.1"],
    "dropout": ["generator.dropout=true", "generator.norm=batch"],
    "two batches": ["train.accumulate=2"],
}


def gradients(trainer: Trainer, method: str) -> tuple[dict[str, list[Tensor]], dict[str, float]]:
    """Return the gradients of each phase of the same step, and the row of the log."""
    real, found = batch(0, method), {}
    torch.manual_seed(1)
    for phase in trainer.phases:
        trainer.method.zero_grad()
        trainer.phases = (phase,)
        trainer.optimizers[phase.name].base_lr = 0.0
        trainer.step([real] * trainer.train.accumulate)
        found[phase.name] = [p.grad.clone() for p in phase.trainable() if p.grad is not None]
    return found, trainer.pop_metrics()


def compare(one: Trainer, method: str) -> None:
    parts = copy.deepcopy(one)
    parts.execution = Execution(split=True)
    (whole, row), (split, split_row) = gradients(one, method), gradients(parts, method)
    assert whole.keys() == split.keys()
    for name, expected in whole.items():
        assert len(split[name]) == len(expected)
        for a, b in zip(expected, split[name], strict=True):
            assert float((a - b).norm() / a.norm().clamp_min(1e-12)) < 2e-5
    assert list(row) == list(split_row)
    assert split_row == pytest.approx(row, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_the_parts_add_up_to_those_of_the_sum(method: str) -> None:
    compare(trainer_for(method), method)


@pytest.mark.parametrize("option", OPTIONS)
def test_gradients_of_the_parts_of_cyclegan_add_up_with(option: str) -> None:
    compare(trainer_for("cyclegan", *OPTIONS[option]), "cyclegan")


def test_split_step_holds_half_of_the_maps_at_once() -> None:
    whole, split = trainer_for("cyclegan"), trainer_for("cyclegan")
    split.execution = Execution(split=True)
    assert most_saved(split) < 0.6 * most_saved(whole)


def most_saved(trainer: Trainer) -> int:
    """Return the most bytes that a step had saved for its backward passes at one time."""
    saved, most = WeakSet[Any](), 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def pack(tensor: Tensor) -> Saved:
        nonlocal most
        held = Saved(tensor)
        saved.add(held)
        storages = {s.data_ptr(): s.nbytes() for s in (x.tensor.untyped_storage() for x in saved)}
        most = max(most, sum(storages.values()))
        return held

    gc.collect()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        trainer.step([batch(0)])
    return most


def test_part_without_a_gradient_is_logged_and_changes_nothing() -> None:
    def loss(real: Images, fake: Images) -> Iterator[Terms]:
        yield {"mean": fake["b"].mean()}
        yield {"constant": real["a"].mean()}

    method = Toy(lambda m: (Phase("G", (m.G,), loss, live=True),))
    trainer = toy_trainer(method)
    trainer.execution = Execution(split=True)
    before = method.G.weight.item()
    trainer.step([{"a": torch.ones(1, 1, 2, 2)}])
    assert method.G.weight.item() == pytest.approx(before - 0.1, abs=1e-4)
    assert trainer.pop_metrics()["G/constant"] == 1
