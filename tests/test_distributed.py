"""Two processes on one machine, over gloo: they agree, and together they are one process with a larger batch."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import start
from runs import finish, free_port
from states import equal
from test_trainer import METHODS, settings
from torch import Tensor, nn

from i2i.execution import Execution
from i2i.methods._augment import AdaptiveProbability
from i2i.methods._base import Images
from i2i.networks.latent import LatentSpec
from i2i.run import build
from i2i.training.batch_norm import RankBatchNorm
from i2i.training.distributed import Rank, RankLostError, process_group
from i2i.training.guard import GuardError
from i2i.training.optim import PhaseOptimizer
from i2i.training.trainer import Trainer

# with batch norm where it is published, with pools, averages and adaptive augmentation
OVERRIDES = {
    "pix2pix": ["generator.dropout=false", "train.ema_halflife_images=20"],
    "regress": ["train.ema_halflife_images=20"],
    "cyclegan": ["method.history=8"],
    "cut": ["train.ema_halflife_images=20"],
    "dcgan": ["method.augment=ada", "method.augment_images=1000"],
}
TRAINED = ("pix2pix", "cyclegan", "dcgan")  # which have averages, pools, adaptive augmentation
STEPS = 20


def trainer_for(method: str, rank: Rank, seed: int, *overrides: str) -> Trainer:
    chosen = settings(method, *OVERRIDES[method], *overrides)
    torch.manual_seed(seed)
    networks = build.make_method(chosen, {"a": 3, "b": 3, "image": 3})
    return Trainer(networks, chosen.train, chosen.optim, torch.device("cpu"), Execution(), rank)


def joint_batch(method: str, step: int) -> Images:
    random = torch.Generator().manual_seed(step)
    names = ("image",) if method == "dcgan" else ("a", "b")
    return {name: torch.rand(4, 3, 16, 16, generator=random) * 2 - 1 for name in names}


def part(images: Images, rank: Rank) -> Images:
    """Return the rows of the joint batch that are this rank's."""
    return {name: x.chunk(rank.world_size)[rank.rank] for name, x in images.items()}


def gradient(optimizer: PhaseOptimizer) -> Tensor:
    return torch.cat([p.grad.flatten() for p in optimizer.parameters if p.grad is not None])


def first_gradients(method: str, rank: Rank) -> dict[str, Tensor]:
    """Return the gradient of each phase in step 1, on the same weights, with the draws of one process."""
    joint = torch.randn(4, 5, 1, 1, generator=torch.Generator().manual_seed(7)).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LatentSpec, "sample", lambda *_: joint.chunk(rank.world_size)[rank.rank])
        torch.set_default_dtype(
            torch.float64
        )  # 32 bits differ by more: batch sizes round differently
        try:
            trainer = trainer_for(method, rank, rank.rank, "optim.lr=1e-30")  # rank 0's weights
            torch.manual_seed(3)  # of CUT's patches, which are the same in every image
            images = {name: x.double() for name, x in joint_batch(method, 0).items()}
            trainer.step([part(images, rank)])
        finally:
            torch.set_default_dtype(torch.float32)
    return {name: gradient(each) for name, each in trainer.optimizers.items()}


def train(method: str, rank: Rank) -> dict[str, Any]:
    """Return the state after 20 steps, as this rank sees it."""
    trainer = trainer_for(method, rank, rank.rank)
    torch.manual_seed(rank.rank)
    if method == "dcgan":
        trainer.method.get_submodule("D").ada.probability = 0.5
    for step in range(STEPS):
        trainer.step([part(joint_batch(method, step), rank)])
    row = trainer.pop_metrics()
    assert rank.gather(row) == [row, row], "what is logged is the mean over ranks"
    own = trainer.state()["ranks"]
    for name, bins in trainer.pop_histograms().items():
        counts = [each["terms"]["histograms"][name] for each in own]
        assert bins == (counts[0] + counts[1]).tolist(), "histograms count all ranks"
    return trainer.state()


def check_agreement(rank: Rank) -> None:
    assert rank.any(7 * rank.rank) == 7
    parameter = torch.zeros(3, requires_grad=True)
    parameter.grad = torch.full((3,), float(rank.rank))
    known = rank.average_gradients([parameter], nonfinite=rank.rank == 1)
    assert known, "what one rank has, all know"
    assert torch.equal(parameter.grad, torch.full((3,), 0.5))
    assert not rank.average_gradients([parameter])


def check_adaptive_probability(rank: Rank) -> None:
    """The mean sign of both is above the target, that of the second alone is below."""
    ada = AdaptiveProbability(target=0.0, images=64)
    ada.probability = (0.4, 0.6)[rank.rank]  # as in runs of when each rank had its own
    logits = torch.ones(2, 1, 2, 2)
    if rank.rank == 1:
        logits[0] = -1
        logits[1, 0, 0] = -1
    for _ in range(4):
        ada.update(logits, 0.0, rank)
    assert float(ada.probability) == 0.5 + 4 * 4 / 64, "the images of both count"


def check_batch_norm(rank: Rank) -> None:
    """Output, gradients and running statistics are those of torch's on the joint batch."""
    random = torch.Generator().manual_seed(0)
    joint = (torch.randn(4, 3, 5, 5, generator=random) + 2).requires_grad_()
    slope = torch.randn(4, 3, 5, 5, generator=random)
    plain = nn.BatchNorm2d(3)
    nn.init.normal_(plain.weight, generator=random)
    own = RankBatchNorm(3)
    own.load_state_dict(plain.state_dict())
    x = joint.detach().chunk(2)[rank.rank].clone().requires_grad_()
    expected, output = plain(joint), own(x)
    (expected * slope).sum().backward()
    (output * slope.chunk(2)[rank.rank]).sum().backward()
    assert joint.grad is not None
    assert torch.allclose(output, expected.chunk(2)[rank.rank], atol=1e-6)
    assert torch.allclose(x.grad, joint.grad.chunk(2)[rank.rank], atol=1e-6)
    for mine, theirs in zip(own.buffers(), plain.buffers(), strict=True):
        assert torch.allclose(mine, theirs)
    if rank.is_main:  # evaluation waits for nobody
        assert torch.allclose(own.eval()(x), plain.eval()(x), atol=1e-6)
    halved = own.train()(x.detach().bfloat16())
    assert halved.dtype == torch.bfloat16
    assert torch.allclose(halved.float(), output, atol=0.05)


def work(index: int, port: int, folder: Path) -> None:
    os.environ |= {"RANK": str(index), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")) as rank:
        check_agreement(rank)
        check_adaptive_probability(rank)
        check_batch_norm(rank)
        for method in METHODS:
            found = {"first": first_gradients(method, rank)}
            if method in TRAINED:
                found["state"] = train(method, rank)
            torch.save(found, folder / f"{method}-{index}.pt")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What both ranks have found, by method."""
    folder, port = tmp_path_factory.mktemp("ranks"), free_port()
    assert finish([start(work, index, port, folder) for index in range(2)], 400) == [0, 0]
    return {
        method: [torch.load(folder / f"{method}-{index}.pt") for index in range(2)]
        for method in METHODS
    }


@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_two_ranks_is_that_of_one_process_with_the_joint_batch(
    method: str, two_ranks: dict[str, Any]
) -> None:
    expected = first_gradients(method, Rank())
    for found in two_ranks[method]:
        assert found["first"].keys() == expected.keys()
        for phase, gradient in expected.items():
            error = (found["first"][phase] - gradient).norm() / gradient.norm()
            assert error <= 1e-6, phase


@pytest.mark.parametrize("method", TRAINED)
def test_ranks_are_equal_bit_for_bit_after_20_steps_but_for_their_own_pools_and_draws(
    method: str, two_ranks: dict[str, Any]
) -> None:
    one, two = (found["state"] for found in two_ranks[method])
    assert one["images"] == two["images"] == 4 * STEPS
    assert one["updates"] == two["updates"] == STEPS
    for part in ("optimizers", "scalers", "ema"):
        assert equal(one[part], two[part]), part
    tensors = {name for name, value in one["method"].items() if isinstance(value, Tensor)}
    for name in tensors:
        assert torch.equal(one["method"][name], two["method"][name]), name
    assert equal(one["ranks"], two["ranks"]), "each has gathered what both have"
    assert not equal(one["ranks"][0]["cpu"], one["ranks"][1]["cpu"])
    for pools in zip(*(own["pools"].items() for own in one["ranks"]), strict=True):
        (name, mine), (_, other) = pools
        assert len(mine) == len(other) == (8 if method == "cyclegan" else 0), name
        assert not mine or not equal(mine, other)
    if method == "dcgan":
        ada = [own["counters"]["D._extra_state"]["ada"] for own in one["ranks"]]
        assert ada[0]["probability"] == ada[1]["probability"] != 0.5


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
