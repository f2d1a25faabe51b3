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
    """Return the binary cross-entropy with logits against `target` in [0, 1].

    Goodfellow et al., NeurIPS 2014, Eqn. (1). With target 1 on fakes this is the generator's -log D
    form of its Sec. 3, which does not saturate.
    """
    return (softplus(logits) - target * logits).mean()


def lsgan(logits: Tensor, target: float) -> Tensor:
    """Return the least-squares loss. Mao et al., ICCV 2017, Eqn. (9) with a=0, b=c=1."""
    return (logits - target).square().mean()


def hinge(logits: Tensor) -> Tensor:
    """Return the hinge loss of logits that should be above 1.

    Lim and Ye, 2017; Miyato et al., ICLR 2018, Eqn. (16).
    """
    return relu(1 - logits).mean()


def logistic(logits: Tensor) -> Tensor:
    """Return -log sigmoid(logits), the logistic loss of logits that should be positive."""
    return softplus(-logits).mean()


def wasserstein(logits: Tensor) -> Tensor:
    """Return the negative mean score of a critic. Arjovsky et al., ICML 2017, Eqn. (3)."""
    return -logits.mean()


@dataclass(frozen=True)
class Objective:
    """Losses of D on the logits of reals and of fakes, and of G on those of fakes."""

    real: Callable[[Tensor, float], Tensor]  # (logits, target)
    fake: Callable[[Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    supports_smoothing: bool = False  # the target of reals may be below 1
    relativistic: bool = False  # logits are D(real) - D(fake), and D(fake) - D(real) for G
    decision_threshold: float | None = 0.0  # logit that means undecided; None: scores have no scale


OBJECTIVES: dict[ObjectiveName, Objective] = {
    "vanilla": Objective(vanilla, vanilla, lambda f: vanilla(f, 1.0), supports_smoothing=True),
    "lsgan": Objective(lsgan, lsgan, lambda f: lsgan(f, 1.0), True, decision_threshold=0.5),
    "hinge": Objective(lambda r, _: hinge(r), lambda f, _: hinge(-f), wasserstein),
    # Equal to vanilla with hard labels; the name and form of StyleGAN (Karras et al., CVPR 2019).
    "nonsaturating": Objective(lambda r, _: logistic(r), lambda f, _: logistic(-f), logistic),
    "wgan-gp": Objective(
        lambda r, _: wasserstein(r),
        lambda f, _: wasserstein(-f),
        wasserstein,
        decision_threshold=None,
    ),
    # Jolicoeur-Martineau, 2018; with R1 + R2 the baseline of Huang et al., NeurIPS 2024, Eqn. (2).
    "rpgan": Objective(
        lambda pair, _: logistic(pair), lambda f, _: logistic(-f), logistic, relativistic=True
    ),
}


def discriminator_loss(
    name: ObjectiveName, real: Logits, fake: Logits, real_target: float = 1.0
) -> dict[str, Tensor]:
    """Return the terms of D, means over scales in fp32, halved as in pix2pix (Sec. 3.3) to slow D.

    Args:
        name: objective.
        real: logits of real images.
        fake: logits of generated ones, of the same shape.
        real_target: label of reals, below 1 with one-sided smoothing (Salimans et al., NeurIPS
            2016, Sec. 3.4).
    """
    objective = OBJECTIVES[name]
    if objective.relativistic:
        return {"pair": 0.5 * _mean(lambda r, f: objective.real(r - f, 1.0), real, fake)}
    return {
        "real": 0.5 * _mean(lambda logits: objective.real(logits, real_target), real),
        "fake": 0.5 * _mean(lambda logits: objective.fake(logits, 0.0), fake),
    }


def generator_loss(name: ObjectiveName, fake: Logits, real: Logits | None = None) -> Tensor:
    """Return the term of G, a mean over scales in fp32.

    Raises:
        ValueError: a relativistic objective without `real`.
    """
    objective = OBJECTIVES[name]
    if not objective.relativistic:
        return _mean(objective.generator, fake)
    if real is None:
        raise ValueError(f"{name} compares fakes with reals: it needs the logits of both")
    return _mean(lambda f, r: objective.generator(f - r), fake, real)


def discriminator_loss_bounds(
    name: ObjectiveName, real_target: float = 1.0
) -> tuple[float, float] | None:
    """Return D's loss if it is always right, and while it can only guess; see `discriminator_loss`.

    None for wgan-gp, whose scores have no scale.
    """
    threshold = OBJECTIVES[name].decision_threshold
    if threshold is None:
        return None
    undecided = torch.tensor([threshold])
    guessing = sum(discriminator_loss(name, undecided, undecided, real_target).values())
    # cross-entropy with a smoothed label does not reach 0: its minimum is the label's entropy
    label = torch.tensor(real_target if name == "vanilla" else 1.0)
    certain = 0.5 * (torch.special.entr(label) + torch.special.entr(1 - label))
    return float(certain), float(guessing)


def accuracies(name: ObjectiveName, real: Logits, fake: Logits) -> dict[str, Tensor]:
    """Return the shares of logits for which D is right, means over scales.

    {"accuracy_real", "accuracy_fake"}; {"accuracy_pair"}, the share of pairs with the real one
    above, for a relativistic objective; {} for a critic.
    """
    threshold = OBJECTIVES[name].decision_threshold
    if threshold is None:
        return {}
    if OBJECTIVES[name].relativistic:
        return {"accuracy_pair": _mean(lambda r, f: (r > f).float().mean(), real, fake)}
    return {
        "accuracy_real": _mean(lambda logits: (logits > threshold).float().mean(), real),
        "accuracy_fake": _mean(lambda logits: (logits < threshold).float().mean(), fake),
    }


def _mean(loss: Callable[..., Tensor], *logits: Logits) -> Tensor:
    """Return the mean over scales of `loss` of one map of each of `logits`, in fp32."""
    scales = [[x] if isinstance(x, Tensor) else x for x in logits]
    terms = [loss(*(x.float() for x in maps)) for maps in zip(*scales, strict=True)]
    return sum(terms[1:], terms[0]) / len(terms)
