"""The contract of methods: pure losses without a host sync, described options, any domains, frozen networks."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from runs import fitting
from states import equal
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.utils._python_dispatch import TorchDispatchMode

from i2i import config, registry
from i2i.config import Layer, OptimConfig, TrainConfig
from i2i.execution import Execution
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Images, Method, Phase, Terms
from i2i.networks.generators.resnet import ResNet
from i2i.options import option_fields
from i2i.run import build
from i2i.run.settings import resolve
from i2i.training.trainer import Trainer

aten = torch.ops.aten
SIDE = 16
SMALL = {
    "pix2pix": ["generator.name=unet", "generator.depth=4"],
    "regress": ["generator.name=unet", "generator.depth=4", "method.lambda_focal_frequency=1"],
    "cyclegan": ["generator.name=resnet", "generator.blocks=1"],
    "cut": ["generator.name=resnet", "generator.blocks=1", "method.patches=16"],
    "fastcut": ["generator.name=resnet", "generator.blocks=1", "method.fast=true"],
    "dcgan": ["method.latent=5"],
}
TOOLS = {
    "plain": [],
    "ada": ["method.augment=ada"],
    "diffaugment": ["method.augment=diffaugment", "method.label_flip=0.2"],
    "penalties": ["method.r1=1", "method.r2=1", "discriminator.norm=none"],
    "features": ["method.feature_matching=1", "method.objective=rpgan"],
}


def small(name: str, *overrides: str) -> Method:
    texts = [f"data.load_size={SIDE}", f"data.crop_size={SIDE}", "generator.width=4"]
    texts += ["discriminator.width=4", *SMALL[name], *overrides]
    texts += [] if name == "dcgan" else ["discriminator.layers=1"]
    method_name = "cut" if name == "fastcut" else name
    texts = fitting(method_name, texts)
    layers = [Layer("test", {"data": {"root": "x"}}), *map(config.parse_override, texts)]
    settings = resolve(method_name, layers)
    torch.manual_seed(0)
    method = build.make_method(settings, {"a": 3, "b": 3, "image": 3})
    return method.train()


def batch(number: int, domains: tuple[str, ...]) -> Images:
    random = torch.Generator().manual_seed(number)
    return {name: torch.rand(2, 3, SIDE, SIDE, generator=random) * 2 - 1 for name in domains}


def components() -> Iterator[tuple[str, type[Any]]]:
    yield "adversarial", AdversarialLoss
    rooms: tuple[registry.Category, ...] = ("methods", "generators", "discriminators")
    for room in rooms:
        for name in registry.names(room):
            yield f"{room}/{name}", registry.find(room, name).factory


class NoFetch(TorchDispatchMode):
    """Refuses what would wait for a device: .item(), float(), bool() of a tensor, torch.equal."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in (aten._local_scalar_dense, aten.equal, aten.nonzero), func
        return func(*args, **(kwargs or {}))


# -- every registered component --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "factory"), components(), ids=lambda value: str(value))
def test_every_option_is_described_and_has_a_default(name: str, factory: type[Any]) -> None:
    options = option_fields(factory)
    assert options
    for option, (hint, default) in options.items():
        descriptions = [getattr(part, "description", None) for part in hint.__metadata__]
        assert any(descriptions), f"{name}: {option} has no description"
        assert default is not inspect.Parameter.empty, f"{name}: {option} has no default"


def test_domains_of_every_method_are_those_of_its_data() -> None:
    for name in registry.names("methods"):
        method = registry.find("methods", name).factory
        assert method.domains == config.DATA[method.kind].domains


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", SMALL)
def test_fakes_and_losses_fetch_nothing_from_the_device(name: str, tool: str) -> None:
    method = small(name, *TOOLS[tool])
    real = batch(0, method.domains)
    with NoFetch():
        for _ in range(5):  # the fifth is after an adjustment of ada
            fake = method.fakes(real)
            for phase in method.phases():
                for terms in phase.parts(real, fake):
                    assert all(term.shape == () for term in terms.values())


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", SMALL)
def test_loss_depends_on_its_arguments_and_the_state_alone(name: str, tool: str) -> None:
    method = small(name, *TOOLS[tool])
    other = copy.deepcopy(method)
    real = batch(0, method.domains)
    torch.manual_seed(1)
    fake = method.fakes(real)
    for seed in (0, 1):  # of other fakes, made in between: both sides of FastCUT's coin
        for phase, again in zip(method.phases(), other.phases(), strict=True):
            method.load_state_dict(other.state_dict())
            torch.manual_seed(seed)
            method.fakes(batch(1, method.domains))
            torch.manual_seed(2)
            terms = list(phase.parts(real, fake))
            torch.manual_seed(2)
            assert equal(terms, list(again.parts(real, fake)))


# -- what no registered method has -----------------------------------------------------------------


class Distillation(Method):
    """A student that learns from a frozen teacher, over three domains of any name."""

    kind = "paired"
    domains = ("sketch", "mask", "photo")

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        inputs = channels["sketch"] + channels["mask"]
        self.student = ResNet(inputs, channels["photo"], width=4, blocks=1, norm="batch")
        teacher = ResNet(inputs, channels["photo"], width=4, blocks=2, norm="batch", dropout=True)
        self.teacher = self.freeze(teacher)

    def fakes(self, real: Images) -> Images:
        return {"photo": self.student(torch.cat([real["sketch"], real["mask"]], 1))}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("student", (self.student,), self.loss, live=True),)

    def translators(self) -> dict[str, nn.Module]:
        return {"a2b": self.student}

    def loss(self, real: Images, fake: Images) -> Terms:
        target = self.teacher(torch.cat([real["sketch"], real["mask"]], 1))
        again = self.teacher(torch.cat([fake["photo"], fake["photo"]], 1))  # gradients flow through
        return {"imitate": l1_loss(fake["photo"], target), "through": again.abs().mean()}


def distill(seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    method = Distillation(dict.fromkeys(Distillation.domains, 3))
    train = TrainConfig(total_images=64, ema_halflife_images=20.0)
    return Trainer(method, train, OptimConfig(), torch.device("cpu"), Execution())


def teacher_of(trainer: Trainer) -> dict[str, Tensor]:
    method = trainer.method
    assert isinstance(method, Distillation)
    return copy.deepcopy(method.teacher.state_dict())


def test_frozen_network_keeps_its_weights_statistics_and_mode_while_others_learn() -> None:
    trainer = distill()
    method, before = trainer.method, teacher_of(trainer)
    assert isinstance(method, Distillation)
    student = copy.deepcopy(method.student.state_dict())
    for step in range(3):
        trainer.step([batch(step, method.domains)])
    assert equal(teacher_of(trainer), before)
    assert not equal(method.student.state_dict(), student)
    assert method.student.training
    assert not any(module.training for module in method.teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    owned = {
        id(p) for o in trainer.optimizers.values() for g in o.adam.param_groups for p in g["params"]
    }
    assert owned == {id(parameter) for parameter in method.student.parameters()}
    assert trainer.ema is not None
    assert set(trainer.ema.nets) == {"a2b"}
    assert not copy.deepcopy(method).train().teacher.training


def test_frozen_network_is_saved_and_restored() -> None:
    first, second = distill(), distill(seed=1)
    assert not equal(teacher_of(first), teacher_of(second))
    first.step([batch(0, Distillation.domains)])
    second.restore(copy.deepcopy(first.state()))
    assert equal(teacher_of(second), teacher_of(first))
    for trainer in (first, second):
        trainer.step([batch(1, Distillation.domains)])
    assert equal(second.state()["method"], first.state()["method"])


def test_domains_of_any_name_are_measured() -> None:
    trainer = distill()
    trainer.step([batch(0, Distillation.domains)])
    assert {"student/imitate", "photo/drift"} <= set(trainer.pop_metrics())
