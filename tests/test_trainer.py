"""The step that every method shares, against loops written by hand."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from runs import fitting
from states import equal
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss
from torch.utils._python_dispatch import TorchDispatchMode

from i2i import config, registry
from i2i.config import Config, Layer, OptimConfig, TrainConfig
from i2i.execution import Execution
from i2i.methods._base import Images, Method, Phase
from i2i.run import build
from i2i.run.settings import resolve
from i2i.training.meter import NonFiniteError
from i2i.training.optim import lr_factor
from i2i.training.trainer import Trainer

SMALL = {
    "pix2pix": ["generator.name=unet", "generator.depth=4", "generator.width=4"],
    "regress": [
        *("generator.name=unet", "generator.depth=4", "generator.width=4"),
        *("method.lambda_focal_frequency=1", "method.lambda_gradient=10"),
    ],
    "cyclegan": [
        "generator.name=resnet",
        "generator.blocks=1",
        "generator.width=4",
        "method.history=3",
    ],
    "cut": [
        "generator.name=resnet",
        "generator.blocks=1",
        "generator.width=4",
        "method.patches=16",
    ],
    "dcgan": ["generator.width=4", "method.latent=5", "train.ema_halflife_images=20"],
}
METHODS = registry.names("methods")


def settings(method: str, *overrides: str) -> Config:
    size = [
        "data.load_size=16",
        "data.crop_size=16",
        "discriminator.width=4",
        "train.total_images=64",
        "train.batch=2",
    ]
    shallow = [] if method == "dcgan" else ["discriminator.layers=1"]
    texts = (*size, *shallow, *SMALL[method], *overrides)
    layers = [Layer("test", {"data": {"root": "x"}})]
    return resolve(
        method,
        layers + [config.parse_override(text) for text in fitting(method, texts)],
    )


def trainer_for(method: str, *overrides: str, seed: int = 0) -> Trainer:
    chosen = settings(method, *overrides)
    torch.manual_seed(seed)
    networks = build.make_method(chosen, {"a": 3, "b": 3, "image": 3})
    torch.manual_seed(seed + 1)
    return Trainer(networks, chosen.train, chosen.optim, torch.device("cpu"), Execution())


def batch(step: int, method: str = "pix2pix") -> Images:
    random = torch.Generator().manual_seed(step)
    names = ("image",) if method == "dcgan" else ("a", "b")
    return {name: torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for name in names}


def test_every_method_has_a_small_form_in_these_tests() -> None:
    assert set(SMALL) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_each_phase_moves_its_own_networks_and_no_other(method: str) -> None:
    trainer = trainer_for(method)
    for phase in trainer.phases:
        trainer.phases = (phase,)
        before = copy.deepcopy(trainer.method.state_dict())
        trainer.step([batch(0, method)])
        own = {
            name
            for net in phase.nets
            for name, part in trainer.method.named_modules()
            if part is net
        }
        moved = {
            name
            for name, _ in trainer.method.named_parameters()
            if not equal(before[name], trainer.method.get_parameter(name))
        }
        assert moved
        assert all(any(name.startswith(f"{prefix}.") for prefix in own) for name in moved)
        expected = {
            name
            for name, _ in trainer.method.named_parameters()
            if any(name.startswith(f"{p}.") for p in own)
        }
        assert moved == expected, "a parameter got no gradient"


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_restored_trainer_continues_bit_for_bit(method: str, accumulate: int) -> None:
    def run(trainer: Trainer, steps: range) -> None:
        for step in steps:
            trainer.step([batch(10 * step + part, method) for part in range(accumulate)])

    overrides = [f"train.accumulate={accumulate}"]
    reference = trainer_for(method, *overrides)
    run(reference, range(5))
    first = trainer_for(method, *overrides)
    run(first, range(3))
    saved = copy.deepcopy(first.state())
    second = trainer_for(method, *overrides, seed=9)
    second.restore(saved)
    run(second, range(3, 5))
    state = reference.state()
    assert equal(second.state()["ranks"][0]["image_stats"], state["ranks"][0]["image_stats"])
    assert second.pop_metrics() == reference.pop_metrics()
    assert second.pop_histograms() == (counts := reference.pop_histograms())
    assert all(sum(bins) for bins in counts.values())
    assert reference.pop_histograms() == {}
    state = reference.state()
    assert equal(second.state() | {"ranks": 0}, state | {"ranks": 0})
    assert equal(second.state()["ranks"][0]["pools"], state["ranks"][0]["pools"])


def test_state_of_an_earlier_version_restores_the_image_statistics() -> None:
    reference, resumed = trainer_for("cyclegan"), trainer_for("cyclegan", seed=9)
    reference.step([batch(0)])
    state = copy.deepcopy(reference.state())
    state["ranks"][0]["observer"] = state["ranks"][0].pop("image_stats")
    resumed.restore(state)
    for trainer in (reference, resumed):
        torch.manual_seed(3)
        trainer.step([batch(1)])
    assert resumed.pop_metrics() == reference.pop_metrics()


class NoHostSync(TorchDispatchMode):
    """Fails where the host would wait for a value on the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        aten = torch.ops.aten
        syncs = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)
        assert func not in syncs, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
def test_forward_and_backward_of_every_phase_wait_for_no_value(method: str) -> None:
    trainer = trainer_for(method, "method.augment=ada", "method.label_flip=0.2")
    real = batch(0, method)
    trainer.step([real])
    for phase in trainer.phases:
        fakes = trainer.method.fakes(real)
        with NoHostSync():
            terms = trainer.forward_backward(phase, real, fakes)
        assert terms
        assert not any(term.requires_grad for term in terms.values())
    with pytest.raises(AssertionError, match="waits for the device"), NoHostSync():
        float(next(iter(terms.values())))


METRICS = {
    "pix2pix": ["D/accuracy_real", "D/accuracy_fake", "b/drift", "b/diversity", "b/saturation"],
    "cyclegan": [
        "D_a/accuracy_real",
        "D_b/accuracy_fake",
        "a/correlation",
        "b/correlation",
        "a/drift",
        "b/diversity",
    ],
    "regress": ["G/l1", "G/focal_frequency", "G/gradient", "b/drift", "b/diversity"],
    "cut": ["D/accuracy_real", "D/accuracy_fake", "b/correlation", "b/drift", "b/diversity"],
    "dcgan": [
        "D/accuracy_real",
        "D/accuracy_fake",
        "image/drift",
        "image/diversity",
        "image/saturation",
    ],
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_row_has_accuracies_and_statistics_of_the_images_of_its_interval(
    method: str, accumulate: int
) -> None:
    trainer = trainer_for(method, f"train.accumulate={accumulate}")
    for step in range(3):
        trainer.step([batch(10 * step + part, method) for part in range(accumulate)])
    row = trainer.pop_metrics()
    assert set(METRICS[method]) <= set(row)
    assert all(
        0 <= value <= 1 for name, value in row.items() if "/accuracy_" in name or "/drift" in name
    )


def test_row_knows_nothing_of_the_images_of_an_earlier_interval() -> None:
    black = {name: torch.full_like(x, -1) for name, x in batch(0).items()}
    fresh, used = trainer_for("pix2pix", "optim.lr=1e-12"), trainer_for("pix2pix", "optim.lr=1e-12")
    used.step([black])
    assert used.pop_metrics()["b/saturation_real"] == 1
    for trainer in (fresh, used):
        trainer.step([batch(1)])
    assert used.pop_metrics()["b/saturation_real"] == fresh.pop_metrics()["b/saturation_real"]


def test_accuracy_is_logged_and_is_no_term_of_the_loss() -> None:
    trainer = trainer_for("pix2pix")
    trainer.step([batch(0)])
    losses = {
        name for name in trainer.pop_metrics() if name.startswith("D/") and "accuracy" not in name
    }
    assert losses == {"D/real", "D/fake", "D/grad_norm"}


def adam(net: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)


def test_three_steps_of_pix2pix_equal_a_loop_written_by_hand() -> None:
    trainer = trainer_for("pix2pix")
    method: Any = copy.deepcopy(trainer.method)
    g, d = method.G, method.D.net
    adam_g, adam_d = adam(g), adam(d)
    state = torch.get_rng_state()
    for step in range(3):
        trainer.step([batch(step)])
    torch.set_rng_state(state)
    for step in range(3):
        a, b = batch(step).values()
        fake = g(a)
        adam_d.zero_grad()
        on_real, on_fake = d(torch.cat([a, b], 1)), d(torch.cat([a, fake.detach()], 1))
        (softplus_loss(on_real, 1) * 0.5 + softplus_loss(on_fake, 0) * 0.5).backward()
        adam_d.step()
        adam_g.zero_grad()
        (softplus_loss(d(torch.cat([a, fake], 1)), 1) + 100 * l1_loss(fake, b)).backward()
        adam_g.step()
    assert equal(
        trainer.method.state_dict(),
        method.state_dict() | {"D._extra_state": {"asked": 3, "ada": {}}},
    )


def softplus_loss(logits: Tensor, target: float) -> Tensor:
    return (nn.functional.softplus(logits) - target * logits).mean()


def test_vanilla_objective_is_binary_cross_entropy_with_logits() -> None:
    from i2i.losses.adversarial import vanilla

    logits = torch.linspace(-8, 8, 30)
    for target in (0.0, 0.9, 1.0):
        expected = binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
        assert torch.allclose(vanilla(logits, target), expected, atol=1e-6)


def test_resumed_run_takes_its_learning_rate_from_the_settings_and_not_from_the_checkpoint() -> (
    None
):
    first = trainer_for("pix2pix")
    first.step([batch(0)])
    second = trainer_for("pix2pix", "optim.lr=1e-5", "optim.betas=[0.9, 0.99]")
    second.restore(first.state())
    assert second.lrs()["G"] == pytest.approx(1e-5)
    assert second.optimizers["G"].adam.param_groups[0]["betas"] == (0.9, 0.99)


def test_accumulated_batches_give_the_gradient_of_one_batch() -> None:
    overrides = [
        "generator.norm=instance",
        "generator.dropout=false",
        "discriminator.norm=instance",
    ]
    one, two = (
        trainer_for("pix2pix", *overrides),
        trainer_for("pix2pix", *overrides, "train.accumulate=2"),
    )
    data = batch(0)
    one.step([data])
    two.step([{name: x[:1] for name, x in data.items()}, {name: x[1:] for name, x in data.items()}])
    for a, b in zip(one.method.parameters(), two.method.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6)


class Toy(Method):
    """One weight for G, one for D, so that every update can be followed by hand."""

    kind = "paired"

    def __init__(self, phases: Callable[["Toy"], tuple[Phase, ...]]) -> None:
        super().__init__()
        self.G, self.D = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        self.make, self.passes = phases, 0

    def fakes(self, real: Images) -> Images:
        self.passes += 1
        return {"b": self.G(real["a"])}

    def phases(self) -> tuple[Phase, ...]:
        return self.make(self)

    def translators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G}


def toy_trainer(method: Method) -> Trainer:
    return Trainer(
        method, TrainConfig(total_images=100), OptimConfig(lr=0.1), torch.device("cpu"), Execution()
    )


def test_second_live_phase_sees_the_generator_after_it_moved() -> None:
    means: list[float] = []

    def loss(real: Images, fake: Images) -> dict[str, Tensor]:
        means.append(float(fake["b"].detach().mean()))
        return {"mean": fake["b"].mean()}

    method = Toy(
        lambda m: (Phase("one", (m.G,), loss, live=True), Phase("two", (m.G,), loss, live=True))
    )
    toy_trainer(method).step([{"a": torch.ones(1, 1, 2, 2)}])
    assert means[1] == pytest.approx(means[0] - 0.1, abs=1e-4)
    assert method.passes == 2


def test_one_generator_pass_serves_all_phases_of_a_step() -> None:
    def loss(real: Images, fake: Images) -> dict[str, Tensor]:
        return {"d": method.D(fake["b"]).mean()}

    method = Toy(lambda m: (Phase("D", (m.D,), loss), Phase("G", (m.G,), loss, live=True)))
    toy_trainer(method).step([{"a": torch.ones(1, 1, 2, 2)}])
    assert method.passes == 1


def test_phases_over_the_same_networks_share_an_optimizer_named_after_the_first() -> None:
    def loss(real: Images, fake: Images) -> dict[str, Tensor]:
        return {"mean": fake["b"].mean()}

    method = Toy(
        lambda m: (Phase("one", (m.G,), loss, live=True), Phase("two", (m.G,), loss, live=True))
    )
    trainer = toy_trainer(method)
    trainer.step([{"a": torch.ones(1, 1, 2, 2)}])
    assert trainer.optimizers["one"] is trainer.optimizers["two"]
    assert trainer.lrs() == {"one": 0.1}
    state = trainer.state()
    assert set(state["optimizers"]) == set(state["scalers"]) == {"one"}
    assert state["optimizers"]["one"]["state"][0]["step"] == 2


@pytest.mark.parametrize("where", ["G", "D", "batch"])
def test_nan_stops_the_step_before_the_phase_that_has_it_is_applied(where: str) -> None:
    trainer = trainer_for("pix2pix")
    data = batch(0)
    if where == "batch":
        data["a"][0, 0, 0, 0] = float("nan")
    else:
        next(getattr(trainer.method, where).parameters()).data[0] = float("inf")
    before = copy.deepcopy(dict(trainer.method.named_parameters()))
    with pytest.raises(NonFiniteError):
        trainer.step([data])
    after = dict(trainer.method.named_parameters())
    assert equal(
        {n: p for n, p in before.items() if n.startswith("G")},
        {n: after[n] for n in before if n.startswith("G")},
    )


def test_learning_rate_falls_linearly_in_the_second_half_and_ends_above_zero() -> None:
    factors = [lr_factor(images, 200, 0.5) for images in range(0, 200, 10)]
    assert factors[:11] == [1.0] * 11
    assert factors[-1] == pytest.approx(0.1)
    assert all(x > y for x, y in pairwise(factors[10:]))
    assert {lr_factor(images, 200, 1.0) for images in range(203)} == {1.0}, (
        "the last batch may pass the total"
    )


def test_average_moves_halfway_in_its_half_life() -> None:
    from i2i.training.ema import Ema

    net = nn.Conv2d(1, 1, 1, bias=False)
    ema = Ema({"a2b": net}, half_life=8)
    start = net.weight.item()
    net.weight.data += 1
    for _ in range(4):
        ema.update(2, position=10**6)
    assert ema.nets["a2b"].get_parameter("weight").item() == pytest.approx(start + 0.5)


def test_history_returns_new_fakes_until_full_and_then_half_old_ones() -> None:
    from i2i.training.image_pool import ImagePool

    torch.manual_seed(0)
    pool = ImagePool(50)
    first = torch.arange(50.0).view(50, 1, 1, 1)
    assert torch.equal(pool.query(first), first)
    later = torch.arange(50.0, 1050.0).view(1000, 1, 1, 1)
    same = (pool.query(later) == later).float().mean()
    assert 0.45 < same < 0.55
    assert len(pool.images) == 50


def test_bfloat16_step_trains_and_keeps_weights_and_terms_in_float32() -> None:
    chosen = settings("pix2pix")
    torch.manual_seed(0)
    pix2pix = build.make_method(chosen, {"a": 3, "b": 3})
    trainer = Trainer(pix2pix, chosen.train, chosen.optim, torch.device("cpu"), Execution("bf16"))
    trainer.step([batch(0)])
    terms = trainer.pop_metrics()
    reference = trainer_for("pix2pix")
    torch.set_rng_state(torch.get_rng_state())
    reference.step([batch(0)])
    assert all(parameter.dtype == torch.float32 for parameter in pix2pix.parameters())
    assert terms["G/l1"] == pytest.approx(reference.pop_metrics()["G/l1"], rel=0.05)
