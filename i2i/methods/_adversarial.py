"""A discriminator together with how it is trained and asked: the same toolbox for every method."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from i2i.losses import penalties
from i2i.losses.adversarial import (
    OBJECTIVES,
    Logits,
    ObjectiveName,
    accuracies,
    discriminator_loss,
    generator_loss,
)
from i2i.methods._augment import AdaptiveProbability, AugmentName, augment
from i2i.methods._base import MetricsModule, Schedule, Terms

Views = Sequence[
    Tensor
]  # images of one sample that D sees stacked on channels, each [N, C, H, W] in [-1, 1]


class AdversarialLoss(MetricsModule):
    """A discriminator network, its objective and its regularization.

    Keyword-only parameters are options of every method (`method.NAME` in a config).
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        objective: ObjectiveName = "vanilla",
        label_smoothing: float = 0.0,  # reals are labelled 1 - this; vanilla and lsgan only
        label_flip: float = 0.0,  # share of samples whose real and fake are exchanged when D learns
        instance_noise: float = 0.0,  # standard deviation of noise on all that D sees
        r1: float = 0.0,  # weight of the gradient penalty on reals
        r2: float = 0.0,  # the same on fakes
        gradient_penalty: float
        | None = None,  # weight between reals and fakes; None: 10 with wgan-gp, else 0
        penalty_interval: int
        | None = None,  # steps from one penalty to the next; None: 1 with wgan-gp, else 16
        feature_matching: float = 0.0,  # weight of the distance in D's features
        augment: AugmentName = "none",
        augment_target: float
        | None = None,  # ada: mean sign of D on reals that is aimed at; None: 0.6
        augment_images: int
        | None = None,  # ada: images in which the probability can go from 0 to 1; None: 500,000
        d_steps: int = 1,
        g_steps: int = 1,
        alternate: Literal[
            "steps", "blocks"
        ] = "steps",  # blocks: d_steps of D alone, then g_steps of G alone
    ) -> None:
        super().__init__()
        wasserstein = objective == "wgan-gp"
        self.net = net
        self.objective: ObjectiveName = objective
        self.real_target = 1.0 - label_smoothing
        self.label_flip, self.instance_noise = label_flip, instance_noise
        self.r1, self.r2, self.feature_matching = r1, r2, feature_matching
        self.gradient_penalty = (
            (10.0 if wasserstein else 0.0) if gradient_penalty is None else gradient_penalty
        )
        self.penalty_interval = (
            (1 if wasserstein else 16) if penalty_interval is None else penalty_interval
        )
        self.augment_policy = augment
        self.ada = AdaptiveProbability(augment_target, augment_images) if augment == "ada" else None
        if not self.ada and (augment_target is not None or augment_images is not None):
            raise ValueError("augment_target, augment_images: they belong to augment=ada")
        self.penalized = bool(self.r1 or self.r2 or self.gradient_penalty)
        self.d_steps, self.g_steps, self.alternate = d_steps, g_steps, alternate
        self._asked = 0  # times that D has learned, for lazy penalties
        self._validate_options(label_smoothing, penalty_interval)

    def _validate_options(self, label_smoothing: float, penalty_interval: int | None) -> None:
        _in_range("label_smoothing", label_smoothing, 0, 0.49)
        _in_range("label_flip", self.label_flip, 0, 0.49)
        for name in ("instance_noise", "r1", "r2", "gradient_penalty", "feature_matching"):
            _in_range(name, getattr(self, name), 0, float("inf"))
        for name in ("penalty_interval", "d_steps", "g_steps"):
            _in_range(name, getattr(self, name), 1, float("inf"))
        if label_smoothing and not OBJECTIVES[self.objective].supports_smoothing:
            raise ValueError(
                f"label_smoothing: {self.objective} has no labels to smooth; use vanilla or lsgan"
            )
        if self.ada and self.objective in ("wgan-gp", "rpgan"):
            raise ValueError(
                f"augment: ada reads the sign of D on reals, which means nothing with {self.objective}"
            )
        if penalty_interval is not None and not self.penalized:
            raise ValueError(
                "penalty_interval: there is no penalty; set r1, r2 or gradient_penalty, or leave it out"
            )
        if self.objective == "wgan-gp" and not self.gradient_penalty:
            raise ValueError(
                "gradient_penalty: wgan-gp without its penalty is not a Wasserstein critic; leave it at 10"
            )
        if self.objective == "wgan-gp" and (self.r1 or self.r2):
            raise ValueError(
                "r1: wgan-gp has its own gradient penalty; use r1 and r2 with another objective"
            )
        if self.penalized and any(
            isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.net.modules()
        ):
            raise ValueError(
                "gradient_penalty, r1, r2: a penalty on each image's gradient is wrong where batch norm couples the "
                "images; set discriminator.norm to instance, group or none"
            )
        if self.alternate == "steps" and self.d_steps > 1 and self.g_steps > 1:
            raise ValueError(
                "d_steps, g_steps: with alternate=steps one of them is 1; use alternate=blocks for both"
            )

    def forward(self, x: Tensor) -> Logits:
        """Return the logits of D for [N, C, H, W]."""
        logits: Logits = self.net(x)
        return logits

    # -- whose turn it is --------------------------------------------------------------------------

    @property
    def d_schedule(self) -> Schedule:
        """The steps in which discriminators learn."""
        if self.alternate == "blocks":
            return Schedule(self.d_steps + self.g_steps, self.d_steps)
        return Schedule(self.g_steps)

    @property
    def g_schedule(self) -> Schedule:
        """The steps in which generators learn."""
        if self.alternate == "blocks":
            return Schedule(self.d_steps + self.g_steps, self.g_steps, self.d_steps)
        return Schedule(self.d_steps)

    # -- terms -------------------------------------------------------------------------------------

    def discriminator_terms(self, real: Views, fake: Views) -> Terms:
        """Return the terms that make D tell `real` from `fake`, and its penalties where they are due.

        Notes D's accuracies, see `losses.adversarial.accuracies`: on what is real, whatever its
        flipped label says.
        """
        swap = None
        if self.label_flip:
            swap = torch.rand(real[0].shape[0], 1, 1, 1, device=real[0].device) < self.label_flip
            real, fake = _exchanged(real, fake, swap)
        shown_real, shown_fake = self._show(real), self._show(fake)
        real_logits, fake_logits = self(shown_real), self(shown_fake)
        self._note(real_logits, fake_logits, swap)
        if self.ada:
            self.ada.observe(real_logits, OBJECTIVES[self.objective].decision_threshold or 0.0)
        terms = discriminator_loss(self.objective, real_logits, fake_logits, self.real_target)
        if self._asked % self.penalty_interval == 0:
            terms |= self._penalties(shown_real.detach(), shown_fake.detach())
        self._asked += 1
        return terms

    @torch.no_grad()
    def _note(self, real: Logits, fake: Logits, swap: Tensor | None) -> None:
        if swap is not None:
            scales = [
                [logits] if isinstance(logits, Tensor) else list(logits) for logits in (real, fake)
            ]
            real, fake = _exchanged(scales[0], scales[1], swap)
        self.metrics = accuracies(self.objective, real, fake)

    def generator_terms(self, fake: Views, real: Views) -> Terms:
        """Return the terms that make `fake` pass for real. `real` serves objectives over pairs and feature matching."""
        shown = self._show(fake)
        if self.feature_matching:
            return self._matched_terms(shown, self._show(real))
        if not OBJECTIVES[self.objective].relativistic:
            return {"gan": generator_loss(self.objective, self(shown))}
        with torch.no_grad():
            real_logits = self(self._show(real))
        return {"gan": generator_loss(self.objective, self(shown), real_logits)}

    def _matched_terms(self, fake: Tensor, real: Tensor) -> Terms:
        """With feature matching: L1 between D's hidden layers on fake and real. Wang et al., CVPR 2018, Eqn. (4)."""
        features: Callable[[Tensor], list[Tensor]] = self.net.features  # type: ignore[assignment]
        scales = int(getattr(self.net, "scales", 1))  # the last maps are the logits
        with torch.no_grad():
            wanted = features(real)
        found = features(fake)
        pairs = zip(found[:-scales], wanted[:-scales], strict=True)
        distance = torch.stack([l1_loss(a.float(), b.float()) for a, b in pairs]).mean()
        gan = generator_loss(self.objective, found[-scales:], wanted[-scales:])
        return {"gan": gan, "features": self.feature_matching * distance}

    def _penalties(self, real: Tensor, fake: Tensor) -> Terms:
        """Lazy regularization: the weight makes up for the steps left out. Karras et al., CVPR 2020, Sec. 3.1.

        Halved, as all of D's loss is, so that weights mean what they mean in the papers.
        """
        scale, terms = 0.5 * self.penalty_interval, {}
        with torch.autocast(
            real.device.type, enabled=False
        ):  # second derivatives overflow in 16 bits
            if self.r1:
                terms["r1"] = (
                    scale
                    * self.r1
                    / 2
                    * penalties.zero_centered_gradient_penalty(self.net, real.float())
                )
            if self.r2:
                terms["r2"] = (
                    scale
                    * self.r2
                    / 2
                    * penalties.zero_centered_gradient_penalty(self.net, fake.float())
                )
            if self.gradient_penalty:
                slope = penalties.wgan_gp_penalty(self.net, real.float(), fake.float())
                terms["penalty"] = scale * self.gradient_penalty * slope
        return terms

    # -- what D is shown ---------------------------------------------------------------------------

    def _show(self, views: Views) -> Tensor:
        if self.augment_policy != "none":
            views = augment(views, self.augment_policy, self.ada.probability if self.ada else 1.0)
        stacked = torch.cat([view.to(views[0].dtype) for view in views], 1)
        return (
            stacked + self.instance_noise * torch.randn_like(stacked)
            if self.instance_noise
            else stacked
        )

    # -- state -------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counters that a checkpoint keeps beside the weights."""
        return {"asked": self._asked, "ada": self.ada.state() if self.ada else {}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        self._asked = state["asked"]
        if self.ada:
            self.ada.restore(state["ada"])


MakeDiscriminator = Callable[[int], AdversarialLoss]  # (in_channels)


def _exchanged(real: Views, fake: Views, swap: Tensor) -> tuple[Views, Views]:
    pairs = [
        (torch.where(swap, f, r), torch.where(swap, r, f)) for r, f in zip(real, fake, strict=True)
    ]
    return [r for r, _ in pairs], [f for _, f in pairs]


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        limits = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise ValueError(f"{name}: must be {limits}, got {value}")
