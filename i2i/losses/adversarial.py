"""Adversarial objectives as functions of discriminator logits (any shape), for D and for G."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

ObjectiveName = Literal["vanilla", "lsgan", "hinge", "nonsaturating", "wgan-gp", "rpgan"]
Logits = Tensor | Sequence[Tensor]  # one map, or one for each scale of a multi-scale discriminator


def vanilla(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy with logits against `target` in [0, 1]. Goodfellow et al., NeurIPS 2014, Eqn. (1).

    With target 1 on fakes this is the generator's -log D form of its Sec. 3, which does not
    saturate.
    """
    return (softplus(logits) - target * logits).mean()


def lsgan(logits: Tensor, target: float) -> Tensor:
    """Least-squares loss against `target`. Mao et al., ICCV 2017, Eqn. (9) with a=0, b=c=1."""
    return (logits - target).square().mean()


def hinge_real(logits: Tensor) -> Tensor:
    """Hinge loss of D on reals. Lim and Ye, 2017; Miyato et al., ICLR 2018, Eqn. (16)."""
    return relu(1 - logits).mean()


def hinge_fake(logits: Tensor) -> Tensor:
    """Hinge loss of D on fakes, see `hinge_real`."""
    return relu(1 + logits).mean()


def logistic(logits: Tensor) -> Tensor:
    """-log sigmoid(logits), the logistic loss of logits that should be positive."""
    return softplus(-logits).mean()


def wasserstein(logits: Tensor) -> Tensor:
    """Negative mean score: what raises a Wasserstein critic. Arjovsky et al., ICML 2017, Eqn. (3)."""
    return -logits.mean()


@dataclass(frozen=True)
class Objective:
    """What D minimizes on reals and on fakes, and G on fakes. `pairs`: the argument is a difference of logits."""

    real: Callable[[Tensor, float], Tensor]  # (logits, target); the target matters where `targets`
    fake: Callable[[Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    supports_smoothing: bool = False  # labels are numbers, so that smoothing them means something
    relativistic: bool = False  # Jolicoeur-Martineau's pairing: D(real) - D(fake), mirrored for G
    decision_threshold: float | None = (
        0.0  # the logit that means undecided; None: scores without a scale
    )


OBJECTIVES: dict[ObjectiveName, Objective] = {
    "vanilla": Objective(
        vanilla, vanilla, lambda fake: vanilla(fake, 1.0), supports_smoothing=True
    ),
    "lsgan": Objective(
        lsgan, lsgan, lambda fake: lsgan(fake, 1.0), supports_smoothing=True, decision_threshold=0.5
    ),
    "hinge": Objective(
        lambda real, _: hinge_real(real), lambda fake, _: hinge_fake(fake), wasserstein
    ),
    # Equal to vanilla with hard labels; the name and form of StyleGAN (Karras et al., CVPR 2019).
    "nonsaturating": Objective(
        lambda real, _: logistic(real), lambda fake, _: logistic(-fake), logistic
    ),
    "wgan-gp": Objective(
        lambda real, _: wasserstein(real),
        lambda fake, _: wasserstein(-fake),
        wasserstein,
        decision_threshold=None,
    ),
    # Jolicoeur-Martineau, 2018; with R1 + R2 the baseline of Huang et al., NeurIPS 2024, Eqn. (2).
    "rpgan": Objective(
        lambda real, _: logistic(real), lambda fake, _: logistic(-fake), logistic, relativistic=True
    ),
}


def discriminator_loss(
    name: ObjectiveName, real: Logits, fake: Logits, real_target: float = 1.0
) -> dict[str, Tensor]:
    """Return the halved terms of D (pix2pix, Sec. 3.3: halving slows D down), means over scales, in fp32.

    Args:
        real: logits of real images.
        fake: logits of generated ones, of the same shape.
        real_target: the label of reals, below 1 with one-sided smoothing (Salimans et al., NeurIPS
            2016, Sec. 3.4).
    """
    objective = OBJECTIVES[name]
    if objective.relativistic:
        pairs = [
            objective.real(r - f, 1.0) for r, f in zip(_scales(real), _scales(fake), strict=True)
        ]
        return {"pair": 0.5 * _mean(pairs)}
    return {
        "real": 0.5 * _mean([objective.real(logits, real_target) for logits in _scales(real)]),
        "fake": 0.5 * _mean([objective.fake(logits, 0.0) for logits in _scales(fake)]),
    }


def generator_loss(name: ObjectiveName, fake: Logits, real: Logits | None = None) -> Tensor:
    """Return the term of G, a mean over scales, in fp32. `real` is needed by objectives over pairs.

    Raises:
        ValueError: an objective over pairs without `real`.
    """
    objective = OBJECTIVES[name]
    if not objective.relativistic:
        return _mean([objective.generator(logits) for logits in _scales(fake)])
    if real is None:
        raise ValueError(f"{name} compares fakes with reals: it needs the logits of both")
    return _mean(
        [objective.generator(f - r) for f, r in zip(_scales(fake), _scales(real), strict=True)]
    )


def discriminator_loss_bounds(
    name: ObjectiveName, real_target: float = 1.0
) -> tuple[float, float] | None:
    """Return D's loss if it knew every image, and while it can only guess; None for a wasserstein, whose scores have no
    scale. See `discriminator_loss`."""
    decision_threshold = OBJECTIVES[name].decision_threshold
    if decision_threshold is None:
        return None
    undecided = torch.tensor([decision_threshold])
    guessing = sum(discriminator_loss(name, undecided, undecided, real_target).values())
    labels = torch.tensor(
        real_target if name == "vanilla" else 1.0
    )  # a smoothed label is never met in cross-entropy
    certain = 0.5 * (torch.special.entr(labels) + torch.special.entr(1 - labels))
    return float(certain), float(guessing)


def accuracies(name: ObjectiveName, real: Logits, fake: Logits) -> dict[str, Tensor]:
    """Return the shares of logits, means over scales, in which D is right: {"accuracy_real", "accuracy_fake"}.

    Objectives over pairs have {"accuracy_pair"}, the share of pairs with the real one above; a
    critic has none.
    """
    objective, decision_threshold = OBJECTIVES[name], OBJECTIVES[name].decision_threshold
    if decision_threshold is None:
        return {}
    if objective.relativistic:
        pairs = zip(_scales(real), _scales(fake), strict=True)
        return {"accuracy_pair": _mean([(r > f).float().mean() for r, f in pairs])}
    return {
        "accuracy_real": _mean(
            [(logits > decision_threshold).float().mean() for logits in _scales(real)]
        ),
        "accuracy_fake": _mean(
            [(logits < decision_threshold).float().mean() for logits in _scales(fake)]
        ),
    }


def _scales(logits: Logits) -> list[Tensor]:
    return [scale.float() for scale in ([logits] if isinstance(logits, Tensor) else logits)]


def _mean(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total / len(terms)
