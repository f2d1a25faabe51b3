"""Two processes on one machine, over gloo: they agree, and together they are one process with a larger batch."""

import os
from pathlib import Path

import pytest
import torch
from processes import start
from runs import finish, free_port

from i2i import config
from i2i.config import Layer
from i2i.execution import Execution
from i2i.methods._base import Images
from i2i.run import build
from i2i.run.settings import resolve
from i2i.training.distributed import Rank, RankLostError, process_group
from i2i.training.guard import GuardError
from i2i.training.trainer import Trainer

OVERRIDES = [
    "generator.name=unet",
    "generator.depth=3",
    "generator.width=4",
    "generator.norm=instance",
    "generator.dropout=false",
    "discriminator.norm=instance",
    "discriminator.width=4",
    "discriminator.layers=1",
    "data.load_size=16",
    "data.crop_size=16",
    "train.total_images=64",
]


def trainer_for(rank: Rank, seed: int) -> Trainer:
    layers = [Layer("test", {"data": {"root": "x"}}), *map(config.parse_override, OVERRIDES)]
    settings = resolve("pix2pix", layers)
    torch.manual_seed(seed)
    method = build.make_method(settings, {"a": 3, "b": 3})
    return Trainer(method, settings.train, settings.optim, torch.device("cpu"), Execution(), rank)


def batch(step: int) -> Images:
    random = torch.Generator().manual_seed(step)
    return {name: torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for name in "ab"}


def work(index: int, port: int, folder: Path) -> None:
    os.environ |= {
        "RANK": str(index),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as rank:
        trainer = trainer_for(
            rank, seed=index
        )  # other weights on each rank until they are broadcast
        gradients = None
        for step in range(3):
            trainer.step([{name: x[index : index + 1] for name, x in batch(step).items()}])
            gradients = gradients or [
                p.grad.clone() for p in trainer.method.parameters() if p.grad is not None
            ]
        assert rank.any(7 * index) == 7
        parameter = torch.zeros(3, requires_grad=True)
        parameter.grad = torch.full((3,), float(index))
        assert rank.average_gradients([parameter], nonfinite=index == 1), (
            "what one rank has, all know"
        )
        assert torch.equal(parameter.grad, torch.full((3,), 0.5))
        assert not rank.average_gradients([parameter])
        state = trainer.state()
        assert len(state["ranks"]) == 2
        row = trainer.pop_metrics()
        assert "b/diversity" in row
        assert rank.gather(row) == [row, row]
        torch.save(
            {"weights": state["method"], "first": gradients, "images": state["images"]},
            folder / f"{index}.pt",
        )


def test_two_ranks_stay_equal_and_their_gradient_is_that_of_one_larger_batch(
    tmp_path: Path,
) -> None:
    port = free_port()
    assert finish([start(work, index, port, tmp_path) for index in range(2)]) == [0, 0]
    one, two = (torch.load(tmp_path / f"{index}.pt", weights_only=True) for index in range(2))
    assert one["images"] == two["images"] == 6
    for name, value in one["weights"].items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, two["weights"][name]), name
    alone = trainer_for(Rank(), seed=0)
    alone.step([batch(0)])
    expected = [p.grad for p in alone.method.parameters() if p.grad is not None]
    for mine, theirs in zip(expected, one["first"], strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-6)


def test_error_of_the_run_stays_itself_and_that_of_a_lost_process_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in group.items():
        monkeypatch.setenv(name, value)
    for name, result in (
        ("init_process_group", None),
        ("destroy_process_group", None),
        ("get_rank", 1),
    ):
        monkeypatch.setattr(torch.distributed, name, lambda *_, result=result, **__: result)
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    stopped = GuardError("runs/igloos", "stopped; files of that step: igloos/1.png")
    for error, expected in ((stopped, GuardError), (lost, RankLostError)):
        with pytest.raises(expected), process_group(torch.device("cpu")):
            raise error
