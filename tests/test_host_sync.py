"""Steps of every method on torch's meta device, whose tensors have no values: to ask for one is an error."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from peaks import measure
from test_trainer import METHODS, batch, settings
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2i.execution import Execution
from i2i.methods._augment import AdaptiveProbability
from i2i.run import build
from i2i.training.distributed import Rank
from i2i.training.graphs import Passes
from i2i.training.trainer import Trainer

SETTINGS = ["method.augment=ada", "optim.clip=1", "train.ema_halflife_images=20"]


class NoBlockingCopy(TorchFunctionMode):
    """Refuses copies to the device that wait until it has done all before them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        of_values = func in (torch.tensor, torch.as_tensor, Tensor.new_tensor)
        moved = func is Tensor.to and args[0].device.type == "cpu"
        if of_values or (moved and not (kwargs or {}).get("non_blocking")):
            assert result.device.type == "cpu", f"{func} waits for the device"
        return result


@pytest.fixture(autouse=True)
def two_ranks_without_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has neither autocast nor communication."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for name in ("all_reduce", "broadcast"):
        monkeypatch.setattr(torch.distributed, name, lambda *_: None)


def test_step_on_a_device_waits_for_none_of_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdaptiveProbability, "interval", 1)
    # in a process of its own: after a backward pass of such a device no other can be forked
    measure(lambda: None, lambda _: [step_without_values(method) for method in METHODS], tmp_path)


def step_without_values(method: str) -> None:
    chosen = settings(method, *SETTINGS)
    networks = build.make_method(chosen, {"a": 3, "b": 3, "image": 3})
    trainer = Trainer(
        networks, chosen.train, chosen.optim, torch.device("meta"), Execution(), Rank(1, 2)
    )
    with NoBlockingCopy():
        trainer.step([batch(0, method)])
    assert trainer.updates == 1
    with pytest.raises(RuntimeError, match="meta"):
        trainer.pop_metrics()
    for copy in (torch.ones(()).to, lambda device: torch.tensor(1.0, device=device)):
        with pytest.raises(AssertionError, match="waits"), NoBlockingCopy():
            copy("meta")


class OnDevice(TorchDispatchMode):
    """Refuses to compute on the host, which no CUDA graph repeats."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            assert getattr(value, "device", None) != torch.device("cpu"), f"{func} on the host"
        return result


class PassesOnDevice(Passes):
    def images(self, *arguments: Any) -> Any:
        with OnDevice():
            return super().images(*arguments)

    def terms(self, *arguments: Any) -> Any:
        with OnDevice():
            return super().terms(*arguments)


GRAPHS = [
    ("pix2pix", "method.feature_matching=1", "method.label_flip=0.1", "method.instance_noise=0.1"),
    ("cyclegan", "method.r1=1", "method.r2=1"),
    ("cut", "method.fast=true", "method.augment=diffaugment"),
    ("dcgan", "method.objective=wgan-gp", "discriminator.norm=none", "method.augment=diffaugment"),
]


def test_passes_that_graphs_capture_compute_nothing_on_the_host(tmp_path: Path) -> None:
    measure(lambda: None, lambda _: [passes_on_device(*case) for case in GRAPHS], tmp_path)


def passes_on_device(method: str, *overrides: str) -> None:
    chosen, meta = settings(method, *overrides), torch.device("meta")
    networks = build.make_method(chosen, {"a": 3, "b": 3, "image": 3})
    trainer = Trainer(networks, chosen.train, chosen.optim, meta, Execution())
    trainer.graphs.choose = lambda *_: PassesOnDevice(meta)  # type: ignore[method-assign]
    trainer.step([batch(0, method)])
    with pytest.raises(AssertionError, match="on the host"), OnDevice():
        torch.rand(())
