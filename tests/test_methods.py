"""Every method against a loop written by hand from its paper, and every tool of the GAN toolbox with every method."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from runs import fitting
from torch import Tensor, nn

from i2i import config, registry
from i2i.config import ConfigError, Layer
from i2i.execution import Execution
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Images
from i2i.run import build
from i2i.run.settings import has_discriminator, resolve
from i2i.training.trainer import Trainer

SIDE, BATCH = 16, 2
TINY = {
    "pix2pix": ["generator.name=unet", "generator.depth=4", "discriminator.layers=1"],
    "regress": ["generator.name=unet", "generator.depth=4"],
    "cyclegan": [
        "generator.name=resnet",
        "generator.blocks=1",
        "discriminator.layers=1",
        "method.history=3",
    ],
    "cut": [
        "generator.name=resnet",
        "generator.blocks=2",
        "discriminator.layers=1",
        "method.patches=16",
    ],
    "dcgan": ["method.latent=5", "train.ema_halflife_images=null"],
}
METHODS = registry.names("methods")


def trainer_for(method: str, *overrides: str) -> Trainer:
    sizes = [
        f"data.load_size={SIDE}",
        f"data.crop_size={SIDE}",
        "generator.width=4",
        "discriminator.width=4",
    ]
    texts = [
        *sizes,
        f"train.batch={BATCH}",
        "train.total_images=64",
        *TINY.get(method, []),
        *overrides,
    ]
    texts = fitting(method, texts)
    layers = [Layer("test", {"data": {"root": "x"}}), *map(config.parse_override, texts)]
    chosen = resolve(method, layers)
    torch.manual_seed(0)
    made = build.make_method(chosen, {"a": 3, "b": 3, "image": 3})
    return Trainer(made, chosen.train, chosen.optim, torch.device("cpu"), Execution())


def batch(number: int, method: str) -> Images:
    random = torch.Generator().manual_seed(number)
    names = ("image",) if method == "dcgan" else ("a", "b")
    return {name: torch.rand(BATCH, 3, SIDE, SIDE, generator=random) * 2 - 1 for name in names}


# -- three steps by hand ---------------------------------------------------------------------------


def adam(*nets: nn.Module) -> torch.optim.Adam:
    parameters = [parameter for net in nets for parameter in net.parameters()]
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999), fused=True)


def update(optimizer: torch.optim.Adam, *terms: Tensor) -> None:
    optimizer.zero_grad()
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    total.backward()
    optimizer.step()


def least_squares(logits: Tensor, label: float) -> Tensor:
    return F.mse_loss(logits, torch.full_like(logits, label))


def cross_entropy_of_label(logits: Tensor, label: float) -> Tensor:
    return (F.softplus(logits) - label * logits).mean()


def step_by_trainer(trainer: Trainer, method: str, seed: int) -> Any:
    """Return a copy of the untrained networks, and torch's random state set back to where the trainer found it."""
    untrained = copy.deepcopy(trainer.method)
    torch.manual_seed(seed)
    for number in range(3):
        trainer.step([batch(number, method)])
    torch.manual_seed(seed)
    return untrained


def assert_same(trained: nn.Module, by_hand: nn.Module) -> None:
    found, wanted = (
        dict([*net.named_parameters(), *net.named_buffers()]) for net in (trained, by_hand)
    )
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


class Pool:
    """Three old fakes; once it is full, each new fake changes places with one of them with probability 1/2."""

    def __init__(self) -> None:
        self.stored: list[Tensor] = []
        self.exchanged = 0

    def __call__(self, fakes: Tensor) -> Tensor:
        shown = []
        for fake in fakes.detach().clone():
            if len(self.stored) < 3:
                self.stored.append(fake)
            elif torch.rand(()).item() < 0.5:
                place = torch.randint(3, ()).item()
                fake, self.stored[int(place)] = self.stored[int(place)], fake
                self.exchanged += 1
            shown.append(fake)
        return torch.stack(shown)


@pytest.mark.parametrize("identity", [0.5, 0.0])
def test_three_steps_of_cyclegan_equal_a_loop_written_by_hand(identity: float) -> None:
    trainer = trainer_for("cyclegan", f"method.lambda_identity={identity}")
    nets = step_by_trainer(trainer, "cyclegan", seed=1)
    ab, ba, d_a, d_b = nets.G_ab, nets.G_ba, nets.D_a.net, nets.D_b.net
    adam_g, adam_d = adam(ab, ba), adam(d_a, d_b)
    pool_a, pool_b = Pool(), Pool()
    for number in range(3):
        a, b = batch(number, "cyclegan").values()
        fake_a, fake_b = ba(b), ab(a)
        fooled = [least_squares(d_b(fake_b), 1), least_squares(d_a(fake_a), 1)]
        cycles = [10 * F.l1_loss(ba(fake_b), a), 10 * F.l1_loss(ab(fake_a), b)]
        same = [5 * F.l1_loss(ab(b), b), 5 * F.l1_loss(ba(a), a)] if identity else []
        update(adam_g, *fooled, *cycles, *same)
        old_a, old_b = pool_a(fake_a), pool_b(fake_b)
        losses = [least_squares(d_a(a), 1) / 2, least_squares(d_a(old_a), 0) / 2]
        losses += [least_squares(d_b(b), 1) / 2, least_squares(d_b(old_b), 0) / 2]
        update(adam_d, *losses)
    assert pool_a.exchanged + pool_b.exchanged > 0
    assert_same(trainer.method, nets)


def contrast(
    encode: Any, heads: nn.ModuleList, output: Tensor, source: Tensor, mirrored: bool, patches: int
) -> Tensor:
    """PatchNCE over all depths: at each, the patch of the output should find its own patch of the source."""
    with torch.no_grad():
        keys = encode(source)
    losses = []
    for head, query, key in zip(heads, encode(output), keys, strict=True):
        if mirrored:
            query = query.flip(3)
        n, _, height, width = query.shape
        chosen = torch.randperm(height * width)[:patches]
        first, last = head.layers[0], head.layers[2]

        def project(
            x: Tensor, chosen: Tensor = chosen, first: Any = first, last: Any = last
        ) -> Tensor:
            x = x.reshape(x.shape[0], x.shape[1], -1)[:, :, chosen].permute(0, 2, 1)
            hidden = F.relu(F.linear(x, first.weight, first.bias))
            return F.normalize(F.linear(hidden, last.weight, last.bias), dim=-1)

        with torch.no_grad():
            positives = project(key)
        near_duplicate = torch.bmm(project(query), positives.mT) / 0.07
        own = torch.arange(near_duplicate.shape[1]).expand(n, -1)
        losses.append(
            F.cross_entropy(near_duplicate.reshape(-1, near_duplicate.shape[2]), own.reshape(-1))
        )
    return torch.stack(losses).mean()


def test_three_steps_of_cut_equal_a_loop_written_by_hand() -> None:
    trainer = trainer_for("cut")
    nets = step_by_trainer(trainer, "cut", seed=2)
    g, d, heads = nets.G, nets.D.net, nets.heads
    adam_g, adam_d = adam(g, heads), adam(d)
    for number in range(3):
        a, b = batch(number, "cut").values()
        fake, same = g(torch.cat([a, b])).split(BATCH)
        update(adam_d, least_squares(d(b), 1) / 2, least_squares(d(fake.detach()), 0) / 2)
        fooled = least_squares(d(fake), 1)
        content = contrast(g.features, heads, fake, a, mirrored=False, patches=16) / 2
        identity = contrast(g.features, heads, same, b, mirrored=False, patches=16) / 2
        update(adam_g, fooled, content, identity)
    assert_same(trainer.method, nets)


def test_three_steps_of_fastcut_equal_a_loop_written_by_hand() -> None:
    trainer = trainer_for("cut", "method.fast=true")
    nets = step_by_trainer(trainer, "cut", seed=5)
    g, d, heads = nets.G, nets.D.net, nets.heads
    adam_g, adam_d = adam(g, heads), adam(d)
    coins = []
    for number in range(3):
        a, b = batch(number, "cut").values()
        mirrored = torch.rand(()).item() < 0.5
        coins.append(mirrored)
        fake = g(a.flip(3) if mirrored else a)
        update(adam_d, least_squares(d(b), 1) / 2, least_squares(d(fake.detach()), 0) / 2)
        fooled = least_squares(d(fake), 1)
        update(adam_g, fooled, 10 * contrast(g.features, heads, fake, a, mirrored, patches=16))
    assert set(coins) == {True, False}, "take a seed with which both sides of the coin come up"
    assert_same(trainer.method, nets)


def test_three_steps_of_dcgan_equal_a_loop_written_by_hand() -> None:
    trainer = trainer_for("dcgan")
    nets = step_by_trainer(trainer, "dcgan", seed=3)
    g, d = nets.G, nets.D.net
    adam_g, adam_d = adam(g), adam(d)
    for number in range(3):
        real = batch(number, "dcgan")["image"]
        fake = g(torch.randn(BATCH, 5, 1, 1))
        on_real, on_fake = d(real), d(fake.detach())
        update(
            adam_d, cross_entropy_of_label(on_real, 1) / 2, cross_entropy_of_label(on_fake, 0) / 2
        )
        update(adam_g, cross_entropy_of_label(d(fake), 1))
    assert_same(trainer.method, nets)


# -- the toolbox -----------------------------------------------------------------------------------

# option set: settings, and the terms of D or G that must show that they came through
TOOLBOX: dict[str, tuple[list[str], set[str]]] = {
    "hinge": (["method.objective=hinge"], {"real", "fake", "gan"}),
    "rpgan_without_norm": (
        ["method.objective=rpgan", "method.r1=1", "method.r2=1", "discriminator.norm=none"],
        {"pair", "r1", "r2", "gan"},
    ),
    "rpgan_with_instance_norm": (
        ["method.objective=rpgan", "method.r1=1", "method.r2=1", "discriminator.norm=instance"],
        {"pair", "r1", "r2", "gan"},
    ),
    "wgan_gp_and_two_steps_of_d": (
        ["method.objective=wgan-gp", "method.d_steps=2", "discriminator.norm=instance"],
        {"real", "fake", "penalty", "gan"},
    ),
    "diffaugment": (["method.augment=diffaugment"], {"real", "fake", "gan"}),
    "ada": (["method.augment=ada"], {"real", "fake", "gan"}),
    "feature_matching": (["method.feature_matching=5"], {"features", "gan"}),
    "flipped_labels_and_noise": (
        ["method.label_flip=0.1", "method.instance_noise=0.05"],
        {"real", "fake", "gan"},
    ),
    "multiscale": (
        ["discriminator.name=multiscale", "discriminator.scales=2", "discriminator.layers=1"],
        {"real", "fake", "gan"},
    ),
    "spectral_norm": (["discriminator.spectral=true"], {"real", "fake", "gan"}),
    "nearest_upsampling": (["generator.upsample=nearest"], {"real", "fake", "gan"}),
    "blurred_upsampling": (["generator.upsample=deconv_blur"], {"real", "fake", "gan"}),
    "clipped_gradients": (["optim.clip=1"], {"grad_norm", "gan"}),
    "accumulated_batches": (["train.accumulate=2"], {"real", "fake", "gan"}),
}


def weights_of(nets: dict[str, nn.Module]) -> dict[str, list[Tensor]]:
    return {
        name: [parameter.detach().clone() for parameter in net.parameters()]
        for name, net in nets.items()
    }


@pytest.mark.parametrize("options", TOOLBOX)
@pytest.mark.parametrize("method", filter(has_discriminator, METHODS))
def test_every_tool_trains_the_networks_that_are_due_with_every_method(
    method: str, options: str
) -> None:
    settings, expected = TOOLBOX[options]
    trainer = trainer_for(method, *settings)
    for module in trainer.method.modules():
        if isinstance(module, AdversarialLoss) and module.ada:
            module.ada.probability = 1.0  # two steps would not get it off 0
    nets = {f"{phase.name}{i}": net for phase in trainer.phases for i, net in enumerate(phase.nets)}
    torch.manual_seed(1)
    for step in range(2):
        before = weights_of(nets)
        trainer.step([batch(10 * step + part, method) for part in range(trainer.train.accumulate)])
        after = weights_of(nets)
        moved = {name for name in nets if not all(map(torch.equal, before[name], after[name]))}
        turns = {phase.name: phase.schedule.is_due(step) for phase in trainer.phases}
        assert moved == {name for name in nets if turns[name[:-1]]}
    terms = trainer.pop_metrics()
    assert all(math.isfinite(value) for value in terms.values()), terms
    assert all(any(key.split("/")[1].startswith(name) for key in terms) for name in expected), (
        expected,
        terms,
    )


# -- initial weights -------------------------------------------------------------------------------


def spread(net: nn.Module) -> float:
    """Return the standard deviation of the largest weight."""
    return max(net.parameters(), key=lambda weight: weight.numel()).std().item()


@pytest.mark.parametrize("method", filter(has_discriminator, METHODS))
def test_discriminators_are_initialized_apart_and_what_else_a_method_has_as_its_generators(
    method: str,
) -> None:
    own = ["train.init=orthogonal", "train.init_discriminator=normal"]
    own += ["train.init_gain_discriminator=0.5"]
    for net in trainer_for(method, *own).method.children():
        if isinstance(net, AdversarialLoss):
            assert spread(net) == pytest.approx(0.5, rel=0.1)
        else:
            weights = [weight for weight in net.parameters() if weight.ndim > 1]
            rows = weights[-1].flatten(1)
            product = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
            torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-4, rtol=0)


def test_gain_of_generators_is_that_of_discriminators_of_the_same_scheme_only() -> None:
    for options, expected in (
        ([], 0.3),
        (["train.init_discriminator=normal"], 0.3),
        (["train.init_gain_discriminator=0.1"], 0.1),
        (["train.init_discriminator=xavier"], 0.02 * (2 / (4 + 8) / 16) ** 0.5),
    ):
        net = trainer_for("pix2pix", "train.init_gain=0.3", *options).method
        assert spread(net.G) == pytest.approx(0.3, rel=0.1)
        assert net.D.net.layers[1].conv.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_initialization_of_discriminators_that_are_not_trained_is_refused() -> None:
    for option in ("init_discriminator=kaiming", "init_gain_discriminator=0.1"):
        with pytest.raises(ConfigError, match="has no effect: no discriminator is trained"):
            trainer_for("pix2pix", "method.lambda_gan=0", f"train.{option}")
