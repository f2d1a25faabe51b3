"""The GAN toolbox: objectives, penalties, augmentation, turns, and what is refused."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.direction import Direction
from i2i.losses import penalties
from i2i.losses.adversarial import (
    OBJECTIVES,
    ObjectiveName,
    discriminator_loss,
    discriminator_loss_bounds,
    generator_loss,
)
from i2i.losses.patch_nce import patch_nce
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._augment import AdaptiveProbability, augment
from i2i.networks.discriminators.multiscale import MultiScale
from i2i.networks.discriminators.patchgan import PatchGAN

SCALAR = [-2.0, -0.3, 0.0, 0.7, 3.0]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# By hand, for one logit of a real and one of a fake: D's terms together, and G's.
BY_HAND: dict[str, Any] = {
    "vanilla": (lambda r, f: 0.5 * (softplus(-r) + softplus(f)), lambda r, f: softplus(-f)),
    "nonsaturating": (lambda r, f: 0.5 * (softplus(-r) + softplus(f)), lambda r, f: softplus(-f)),
    "lsgan": (lambda r, f: 0.5 * ((r - 1) ** 2 + f**2), lambda r, f: (f - 1) ** 2),
    "hinge": (lambda r, f: 0.5 * (max(0, 1 - r) + max(0, 1 + f)), lambda r, f: -f),
    "wgan-gp": (lambda r, f: 0.5 * (f - r), lambda r, f: -f),
    "rpgan": (lambda r, f: 0.5 * softplus(f - r), lambda r, f: softplus(r - f)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_gives_the_value_computed_by_hand(name: Any) -> None:
    for_d, for_g = BY_HAND[name]
    for r in SCALAR:
        for f in SCALAR:
            real, fake = torch.tensor([[[[r]]]]), torch.tensor([[[[f]]]])
            assert float(sum(discriminator_loss(name, real, fake).values())) == pytest.approx(
                for_d(r, f), abs=1e-5
            )
            assert float(generator_loss(name, fake, real)) == pytest.approx(for_g(r, f), abs=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_better_fakes_lower_the_loss_of_the_generator(name: Any) -> None:
    fake = torch.zeros(4, 1, 3, 3, requires_grad=True)
    generator_loss(name, fake, torch.ones(4, 1, 3, 3)).backward()
    assert fake.grad is not None
    assert (fake.grad < 0).all()


def test_objective_over_pairs_without_reals_is_refused() -> None:
    with pytest.raises(ValueError, match="both"):
        generator_loss("rpgan", torch.zeros(1))


def critic(norm: Any = "none") -> PatchGAN:
    torch.manual_seed(0)
    return PatchGAN(3, width=4, layers=1, norm=norm)


def images(seed: int, n: int = 3) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    "option", [{"objective": "wgan-gp"}, {"r1": 1.0}, {"r2": 1.0}, {"gradient_penalty": 1.0}]
)
def test_penalty_is_really_applied_and_its_gradient_reaches_the_discriminator(
    option: dict[str, Any],
) -> None:
    adversary = AdversarialLoss(critic(), **option)
    terms = adversary.discriminator_terms([images(1)], [images(2)])
    (name,) = set(terms) - {"real", "fake"}
    assert float(terms[name].detach()) > 0
    gradients = torch.autograd.grad(terms[name], list(adversary.parameters()), allow_unused=True)
    assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0


def test_gradient_norm_equals_finite_differences() -> None:
    net = critic().double()
    x = images(0, n=2)[..., :8, :8].double()

    @torch.no_grad()
    def score(batch: Tensor) -> Tensor:
        scores: Tensor = net(batch).mean([1, 2, 3])
        return scores

    total, step = 0.0, 1e-5
    for n in range(2):
        for place in torch.cartesian_prod(torch.arange(3), torch.arange(8), torch.arange(8)):
            shift = torch.zeros_like(x)
            shift[n, place[0], place[1], place[2]] = step
            total += float((score(x + shift)[n] - score(x - shift)[n]) / (2 * step)) ** 2
    assert float(penalties.zero_centered_gradient_penalty(net, x).detach()) == pytest.approx(
        total / 2, rel=1e-4
    )


def test_unit_slope_penalty_is_zero_for_a_critic_of_slope_one() -> None:
    weight = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    weight /= weight.norm()

    def net(x: Tensor) -> Tensor:
        return (x * weight).sum([1, 2, 3], keepdim=True)

    assert float(penalties.wgan_gp_penalty(net, images(1), images(2))) < 1e-9
    assert float(
        penalties.wgan_gp_penalty(lambda x: 3 * net(x), images(1), images(2))
    ) == pytest.approx(4, rel=1e-4)


def test_lazy_penalty_comes_every_interval_and_makes_up_for_the_steps_left_out() -> None:
    every, lazy = (
        AdversarialLoss(critic(), r1=1.0, penalty_interval=1),
        AdversarialLoss(critic(), r1=1.0, penalty_interval=4),
    )
    once = float(every.discriminator_terms([images(1)], [images(2)])["r1"])
    found = [lazy.discriminator_terms([images(1)], [images(2)]).get("r1") for _ in range(8)]
    assert [term is not None for term in found] == [True, False, False, False] * 2
    assert found[0] is not None
    assert float(found[0]) == pytest.approx(4 * once)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"objective": "wgan-gp", "net": critic("batch")}, "batch norm"),
        ({"r1": 1.0, "net": critic("batch")}, "batch norm"),
        ({"objective": "wgan-gp", "gradient_penalty": 0.0}, "without its penalty"),
        ({"objective": "wgan-gp", "r1": 1.0}, "r1"),
        ({"label_smoothing": 0.1, "objective": "hinge"}, "no labels"),
        ({"label_smoothing": 0.7}, "label_smoothing"),
        ({"penalty_interval": 4}, "no penalty"),
        ({"d_steps": 2, "g_steps": 2}, "blocks"),
        ({"d_steps": 0}, "d_steps"),
        ({"instance_noise": -1.0}, "instance_noise"),
        ({"augment": "ada", "augment_target": 2.0}, "augment_target"),
        ({"augment": "ada", "objective": "rpgan"}, "means nothing"),
    ],
)
def test_combination_that_makes_no_sense_is_refused_with_the_reason(
    option: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialLoss(option.pop("net", critic()), **option)


def test_smoothed_label_is_the_minimum_of_the_loss_on_reals() -> None:
    best = min(
        (x / 100 for x in range(-500, 500)),
        key=lambda x: float(OBJECTIVES["lsgan"].real(torch.tensor(x), 0.9)),
    )
    assert best == pytest.approx(0.9)


def test_turns_alternate_by_steps_and_by_blocks() -> None:
    def turns(**options: Any) -> list[str]:
        a = AdversarialLoss(critic(), **options)
        return [
            "D" * a.d_schedule.is_due(step) + "G" * a.g_schedule.is_due(step) for step in range(6)
        ]

    assert turns() == ["DG"] * 6
    assert turns(d_steps=3) == ["DG", "D", "D", "DG", "D", "D"]
    assert turns(g_steps=2) == ["DG", "G", "DG", "G", "DG", "G"]
    assert turns(d_steps=2, g_steps=1, alternate="blocks") == ["D", "D", "G", "D", "D", "G"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_accuracies_are_shares_of_logits_on_the_right_side(objective: ObjectiveName) -> None:
    adversary = AdversarialLoss(
        MultiScale(3, scales=2, width=4, layers=1, norm="none"), objective=objective
    )
    real, fake = images(1), images(2)
    adversary.discriminator_terms([real], [fake])
    with torch.no_grad():
        pairs = list(zip(adversary.net(real), adversary.net(fake), strict=True))
    middle = 0.5 if objective == "lsgan" else 0.0
    expected = {
        "accuracy_real": sum(float((r > middle).double().mean()) for r, _ in pairs) / 2,
        "accuracy_fake": sum(float((f < middle).double().mean()) for _, f in pairs) / 2,
    }
    if objective == "rpgan":
        expected = {"accuracy_pair": sum(float((r > f).double().mean()) for r, f in pairs) / 2}
    if objective == "wgan-gp":
        expected = {}
    assert {name: float(share) for name, share in adversary.metrics.items()} == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("objective", "smoothing"), [("vanilla", 0.0), ("vanilla", 0.1), ("lsgan", 0.1), ("hinge", 0.0)]
)
def test_loss_range_holds_what_a_sure_and_a_guessing_discriminator_have(
    objective: ObjectiveName, smoothing: float
) -> None:
    limits = discriminator_loss_bounds(objective, 1 - smoothing)
    assert limits is not None
    logits = torch.linspace(-20, 20, 4001)
    terms = [discriminator_loss(objective, x, x, 1 - smoothing) for x in logits.split(1)]
    least = min(float(term["real"]) for term in terms) + min(float(term["fake"]) for term in terms)
    assert limits[0] == pytest.approx(least, abs=1e-4)
    middle = torch.tensor([0.5 if objective == "lsgan" else 0.0])
    assert limits[1] == pytest.approx(
        float(sum(discriminator_loss(objective, middle, middle, 1 - smoothing).values()))
    )
    assert discriminator_loss_bounds("wgan-gp") is None


class Memory(nn.Module):
    """A discriminator whose logits are what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shown.append(x)
        return x


def test_flipped_labels_exchange_real_and_fake_for_some_samples_and_accuracy_keeps_to_the_truth() -> (
    None
):
    torch.manual_seed(0)
    net = Memory()
    adversary = AdversarialLoss(net, label_flip=0.3)
    adversary.discriminator_terms([torch.ones(1000, 1, 1, 1)], [-torch.ones(1000, 1, 1, 1)])
    shown_real, shown_fake = net.shown
    assert 0.25 < float((shown_fake == 1).float().mean()) < 0.35
    assert torch.equal(shown_real, -shown_fake)
    assert {name: float(share) for name, share in adversary.metrics.items()} == {
        "accuracy_real": 1.0,
        "accuracy_fake": 1.0,
    }


def test_multi_scale_discriminator_and_feature_matching_work_together() -> None:
    torch.manual_seed(0)
    adversary = AdversarialLoss(
        MultiScale(3, scales=2, width=4, layers=1), objective="rpgan", feature_matching=10.0
    )
    fake = images(2).requires_grad_(True)
    assert set(adversary.discriminator_terms([images(1)], [fake.detach()])) == {"pair"}
    terms = adversary.generator_terms([fake], [images(1)])
    assert set(terms) == {"gan", "features"}
    (gradient,) = torch.autograd.grad(terms["features"], fake)
    assert float(gradient.abs().sum()) > 0
    same = adversary.generator_terms([images(1)], [images(1)])["features"]
    assert float(same) == 0


# -- augmentation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["diffaugment", "ada"])
def test_views_of_a_sample_are_augmented_equally_and_gradients_flow(policy: Any) -> None:
    torch.manual_seed(0)
    view = images(3, n=4).requires_grad_(True)
    first, second = augment([view, view.detach().clone()], policy, 1.0)
    assert torch.equal(first, second)
    assert not torch.allclose(first, view)
    (gradient,) = torch.autograd.grad(first.sum(), view)
    assert float(gradient.abs().sum()) > 0


def test_augmentation_with_probability_zero_changes_nothing() -> None:
    view = images(3)
    assert torch.allclose(augment([view], "ada", 0.0)[0], view, atol=1e-5)


def test_mirror_and_quarter_turn_move_pixels_without_blurring_them() -> None:
    torch.manual_seed(1)
    view = images(3, n=64)
    turned = augment([view], "ada", 1.0)[0]
    assert turned.shape == view.shape
    assert torch.isfinite(turned).all()


def test_probability_rises_while_d_is_sure_of_reals_and_falls_again() -> None:
    ada = AdaptiveProbability(target=0.6, images=64)
    for _ in range(8):
        ada.update(torch.ones(4, 1, 2, 2), decision_threshold=0.0)
    assert float(ada.probability) == pytest.approx(0.5)
    state = ada.state()
    assert state == {"probability": 0.5, "window": [0.0, 0, 0]}
    for _ in range(8):
        ada.update(-torch.ones(4, 1, 2, 2), decision_threshold=0.0)
    assert float(ada.probability) == 0
    ada.restore(state)
    assert float(ada.probability) == pytest.approx(0.5)


def test_probability_on_the_device_equals_the_sum_of_python_floats() -> None:
    torch.manual_seed(0)
    ada, expected, window = AdaptiveProbability(target=0.0, images=1_000), 0.0, []
    for step in range(1, 200):
        logits = torch.randn(3, 1, 2, 2) + 0.4
        ada.update([logits, -logits[:, :, :1]], decision_threshold=0.0)
        window.append(torch.stack([logits.sign().mean(), -logits[:, :, :1].sign().mean()]).mean())
        if step % 4 == 0:
            mean = float(window[0] + window[1] + window[2] + window[3]) / 4
            expected = min(max(expected + math.copysign(1.0, mean) * 12 / 1_000, 0.0), 1.0)
            window = []
        assert float(ada.probability) == expected
        draws = torch.rand(64)
        assert torch.equal(draws < ada.probability, draws < expected)
    assert expected > 0


# -- contrastive term ------------------------------------------------------------------------------


def test_patch_nce_equals_a_plain_double_loop() -> None:
    torch.manual_seed(0)
    query = nn.functional.normalize(torch.randn(2, 5, 7), dim=2)
    key = nn.functional.normalize(torch.randn(2, 5, 7), dim=2)
    total = 0.0
    for n in range(2):
        for s in range(5):
            scores = [
                math.exp(float((query[n, s] * key[n, other]).sum()) / 0.07) for other in range(5)
            ]
            total -= math.log(scores[s] / sum(scores))
    assert float(patch_nce(query, key)) == pytest.approx(total / 10, rel=1e-4)


def test_patch_nce_sends_its_gradient_to_the_query_alone() -> None:
    query, key = torch.randn(1, 4, 8, requires_grad=True), torch.randn(1, 4, 8, requires_grad=True)
    patch_nce(query, key).backward()
    assert query.grad is not None
    assert key.grad is None


def test_contrastive_gradient_reaches_encoder_and_heads() -> None:
    from i2i.methods.cut import CUT
    from i2i.networks.generators.resnet import ResNet

    torch.manual_seed(0)
    method = CUT(
        lambda i, o: ResNet(i, o, width=4, blocks=5),
        lambda c: AdversarialLoss(
            PatchGAN(c, width=4, layers=1, norm="instance"), objective="lsgan"
        ),
        {"a": 3, "b": 3},
        Direction.A2B,
        patches=16,
    )
    real = {"a": images(1), "b": images(2)}
    _, terms, _ = method.generator_loss(real, method.fakes(real))
    terms["nce"].backward()
    assert all(
        p.grad is not None and float(p.grad.abs().sum()) > 0 for p in method.heads.parameters()
    )
    encoder = method.G.get_submodule("stem")
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in encoder.parameters())


def test_fast_form_compares_mirrored_fakes_with_their_own_places() -> None:
    """With a generator that copies, a mirrored pass must find every patch at its place: the loss is that of a copy."""
    from i2i.methods.cut import CUT

    class Copy(nn.Module):
        size_divisor = min_size = 1
        size = None

        def forward(self, x: Tensor) -> Tensor:
            return x

        def features(self, x: Tensor) -> list[Tensor]:
            return [x]

    torch.manual_seed(0)
    method = CUT(
        lambda *_: Copy(),
        lambda c: AdversarialLoss(critic()),
        {"a": 3, "b": 3},
        Direction.A2B,
        fast=True,
        patches=256,
    )
    real = {"a": images(1), "b": images(2)}
    mirrored = []
    for _ in range(20):
        fake = method.fakes(real)
        mirrored.append(bool(torch.equal(fake["b"], real["a"].flip(3))))
        assert bool(fake["flipped"]) == mirrored[-1]
        expected = method._nce(real["a"], real["a"])
        adversarial, terms = method.generator_loss(real, fake)
        assert (set(adversarial), set(terms)) == ({"gan"}, {"nce"})
        assert float(method._nce(fake["b"], real["a"], torch.tensor(not mirrored[-1]))) > 2 * float(
            expected
        )
        assert float(terms["nce"].detach()) == pytest.approx(10 * float(expected), rel=1e-3)
    assert 3 < sum(mirrored) < 17


def test_contrastive_term_keeps_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    query, key = (nn.functional.normalize(torch.randn(1, 64, 32), dim=2) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_nce(query, key), patch_nce(query.clone(), key))
        inside = patch_nce(query, key)
    assert torch.equal(inside, patch_nce(query, key))
