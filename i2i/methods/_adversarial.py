"""A discriminator with its objective and regularization: the same toolbox for every method."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.nn.modules.batchnorm import _BatchNorm

from i2i.errors import OptionError
from i2i.losses import adversarial
from i2i.losses.adversarial import OBJECTIVES, Logits, ObjectiveName
from i2i.losses.penalties import wgan_gp_penalty, zero_centered_gradient_penalty
from i2i.methods._augment import AdaptiveProbability, AugmentName, augment
from i2i.methods._base import MetricsModule, Schedule, Terms
from i2i.networks.contract import Discriminator
from i2i.options import Count, Doc, Weight, validate_options

# Images of one sample, which D sees stacked on channels, each [N, C, H, W] in [-1, 1].
Views = Sequence[Tensor]

_UpToHalf = Annotated[float, Field(ge=0, le=0.49)]
_Share = Annotated[float, Field(ge=0, le=1)]
_LambdaGan = Annotated[
    Weight, Doc("weight of G's adversarial term; 0: regression, D is not trained", resumable=True)
]
_Noise = Annotated[Weight, Doc("standard deviation of noise on D's input", resumable=True)]
_Features = Annotated[Weight, Doc("weight of the distance in D's features", resumable=True)]


class AdversarialLoss(MetricsModule):
    """A discriminator network, its objective and its regularization.

    Keyword-only parameters are options of every method (`method.NAME` in a config).

    Raises:
        OptionError: options that contradict each other, or the network.
    """

    @validate_options
    def __init__(
        self,
        net: nn.Module,
        *,
        objective: Annotated[ObjectiveName, Doc("adversarial loss")] = "vanilla",
        lambda_gan: _LambdaGan = 1.0,
        label_smoothing: Annotated[
            _UpToHalf, Doc("reals are labeled 1 minus this; vanilla and lsgan only")
        ] = 0.0,
        label_flip: Annotated[
            _UpToHalf, Doc("share of samples whose real and fake are exchanged for D")
        ] = 0.0,
        instance_noise: _Noise = 0.0,
        r1: Annotated[Weight, Doc("weight of D's gradient penalty on reals", True)] = 0.0,
        r2: Annotated[Weight, Doc("weight of D's gradient penalty on fakes", True)] = 0.0,
        gradient_penalty: Annotated[
            Weight | None,
            Doc("weight of D's gradient penalty between both; None: 10 with wgan-gp, else 0"),
        ] = None,
        penalty_interval: Annotated[
            Count | None,
            Doc("updates of D from one penalty to the next; None: 1 with wgan-gp, else 16"),
        ] = None,
        feature_matching: _Features = 0.0,
        augment: Annotated[AugmentName, Doc("augmentation of all that D sees")] = "none",
        augment_target: Annotated[
            _Share | None, Doc("mean sign of D on reals that ada aims at; None: 0.6")
        ] = None,
        augment_images: Annotated[
            Count | None,
            Doc("images in which ada's probability can go from 0 to 1; None: 500,000"),
        ] = None,
        d_steps: Annotated[Count, Doc("updates of D for each of G")] = 1,
        g_steps: Annotated[Count, Doc("updates of G for each of D")] = 1,
        alternate: Annotated[
            Literal["steps", "blocks"], Doc("blocks: d_steps of D alone, then g_steps of G alone")
        ] = "steps",
    ) -> None:
        super().__init__()
        critic = objective == "wgan-gp"
        self.net = net
        self.objective: ObjectiveName = objective
        self.lambda_gan = lambda_gan
        self.real_target = 1.0 - label_smoothing
        self.label_flip, self.instance_noise = label_flip, instance_noise
        self.r1, self.r2, self.feature_matching = r1, r2, feature_matching
        if gradient_penalty is None:
            gradient_penalty = 10.0 if critic else 0.0
        self.gradient_penalty = gradient_penalty
        self.penalized = bool(r1 or r2 or gradient_penalty)
        self.penalty_interval = penalty_interval or (1 if critic else 16)
        self.augment_policy = augment
        self.ada = _adaptive_probability(augment, augment_target, augment_images)
        self.d_schedule, self.g_schedule = _schedules(d_steps, g_steps, alternate == "blocks")
        if not lambda_gan:
            self.d_schedule = Schedule(length=0)
        if self.ada:
            self.uncapturable = "augment=ada adapts its probability in the program"
        self._check_combination(penalty_interval)

    def _check_combination(self, penalty_interval: int | None) -> None:
        name, objective = self.objective, OBJECTIVES[self.objective]
        if not self.lambda_gan:
            self._check_unused()
        if self.real_target < 1 and not objective.supports_smoothing:
            reason = f"{name} has no labels to smooth"
            raise OptionError("label_smoothing", reason, "Use vanilla or lsgan")
        if self.ada and (objective.relativistic or objective.decision_threshold is None):
            reason = f"ada reads the sign of D on reals, which means nothing with {name}"
            raise OptionError("augment", reason, "Use diffaugment, or another objective")
        if penalty_interval is not None and not self.penalized:
            hint = "Set r1, r2 or gradient_penalty, or leave it out"
            raise OptionError("penalty_interval", "there is no penalty", hint)
        if name == "wgan-gp" and not self.gradient_penalty:
            reason = "wgan-gp without its penalty is not a Wasserstein critic"
            raise OptionError("gradient_penalty", reason, "Leave it at 10")
        if name == "wgan-gp" and (self.r1 or self.r2):
            reason = "wgan-gp has its own gradient penalty"
            raise OptionError("r1" if self.r1 else "r2", reason, "Use another objective")
        batch_norm = any(isinstance(layer, _BatchNorm) for layer in self.net.modules())
        if self.penalized and batch_norm:
            option = "r1" if self.r1 else "r2" if self.r2 else "gradient_penalty"
            reason = "each image has no gradient of its own where batch norm couples images"
            hint = "Set discriminator.norm to instance, group or none"
            raise OptionError(option, reason, hint)

    def _check_unused(self) -> None:
        """Refuse options of the discriminator where it is not trained."""
        names = ("label_flip", "instance_noise", "feature_matching", "ada", "penalized")
        options = {"ada": "augment", "penalized": "r1, r2, gradient_penalty"}
        for name in names:
            if getattr(self, name):
                reason = "has no effect with lambda_gan=0, which trains no discriminator"
                raise OptionError(options.get(name, name), reason, "Leave it out")

    def forward(self, x: Tensor) -> Logits:
        """Return the logits of D for [N, C, H, W]."""
        logits: Logits = self.net(x)
        return logits

    # -- terms -------------------------------------------------------------------------------------

    def discriminator_terms(self, real: Views, fake: Views) -> Terms:
        """Return the terms with which D learns to tell `real` from `fake`, and penalties when due.

        Keeps D's accuracies and logits for the log: by what is real, whatever a flipped label says.
        """
        flipped = None
        if self.label_flip:
            n, device = len(real[0]), real[0].device
            flipped = torch.rand(n, 1, 1, 1, device=device) < self.label_flip
            real, fake = _exchange(real, fake, flipped)
        real_input, fake_input = self._input(real), self._input(fake)
        real_logits, fake_logits = self(real_input), self(fake_input)
        self._record(real_logits, fake_logits, flipped)
        if self.ada:
            threshold = OBJECTIVES[self.objective].decision_threshold or 0.0
            self.ada.update(real_logits, threshold, self.peers)
        terms = adversarial.discriminator_loss(
            self.objective, real_logits, fake_logits, self.real_target
        )
        if self.decisions(1)[0]:
            terms |= self._penalties(real_input.detach(), fake_input.detach())
        self.calls += 1
        return terms

    def decisions(self, calls: int) -> tuple[bool, ...]:
        """Return for each of the next `calls` of `discriminator_terms` if it adds penalties."""
        updates = range(self.calls, self.calls + calls)
        return tuple(self.penalized and n % self.penalty_interval == 0 for n in updates)

    @torch.no_grad()
    def _record(self, real: Logits, fake: Logits, flipped: Tensor | None) -> None:
        real, fake = ([x] if isinstance(x, Tensor) else x for x in (real, fake))
        if flipped is not None:
            real, fake = _exchange(real, fake, flipped)
        self.metrics = adversarial.accuracies(self.objective, real, fake)
        maps = {"logits_real": real, "logits_fake": fake}
        self.histograms = {name: self.histogram(logits) for name, logits in maps.items()}

    def generator_terms(self, fake: Views, real: Views) -> Terms:
        """Return the terms with which G learns to make D take `fake` for real.

        `real` serves relativistic objectives and feature matching.
        """
        if not self.lambda_gan:
            return {}
        fake_input = self._input(fake)
        if self.feature_matching:
            return self._feature_matching(fake_input, self._input(real))
        real_logits = None
        if OBJECTIVES[self.objective].relativistic:
            with torch.no_grad():
                real_logits = self(self._input(real))
        loss = adversarial.generator_loss(self.objective, self(fake_input), real_logits)
        return {"gan": self.lambda_gan * loss}

    def _feature_matching(self, fake: Tensor, real: Tensor) -> Terms:
        """Return G's terms with L1 of D's hidden layers. Wang et al., CVPR 2018, Eqn. (4)."""
        assert isinstance(self.net, Discriminator)
        scales = self.net.scales  # the last maps are the logits
        with torch.no_grad():
            target = self.net.features(real)
        output = self.net.features(fake)
        pairs = zip(output[:-scales], target[:-scales], strict=True)
        distance = torch.stack([l1_loss(x.float(), y.float()) for x, y in pairs]).mean()
        gan = adversarial.generator_loss(self.objective, output[-scales:], target[-scales:])
        return {"gan": self.lambda_gan * gan, "features": self.feature_matching * distance}

    def _penalties(self, real: Tensor, fake: Tensor) -> Terms:
        """Return lazy regularization: the weight makes up for the updates in between.

        Karras et al., CVPR 2020, Sec. 3.1. Halved, as all of D's loss is, so that weights mean what
        they mean in the papers.
        """
        scale, terms = 0.5 * self.penalty_interval, {}
        with torch.autocast(real.device.type, enabled=False):  # 16 bits overflow in 2nd derivatives
            real, fake = real.float(), fake.float()
            if self.r1:
                weight = scale * self.r1 / 2
                terms["r1"] = weight * zero_centered_gradient_penalty(self.net, real)
            if self.r2:
                weight = scale * self.r2 / 2
                terms["r2"] = weight * zero_centered_gradient_penalty(self.net, fake)
            if self.gradient_penalty:
                weight = scale * self.gradient_penalty
                terms["penalty"] = weight * wgan_gp_penalty(self.net, real, fake)
        return terms

    def _input(self, views: Views) -> Tensor:
        """Return what D sees of a batch: augmented, stacked on channels, with noise."""
        if self.augment_policy != "none":
            views = augment(views, self.augment_policy, self.ada.probability if self.ada else 1.0)
        x = torch.cat([view.to(views[0].dtype) for view in views], 1)
        return x + self.instance_noise * torch.randn_like(x) if self.instance_noise else x

    # -- state -------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counters that a checkpoint keeps besides the weights."""
        return {"asked": self.calls, "ada": self.ada.state() if self.ada else {}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from what `get_extra_state` returned."""
        self.calls = state["asked"]
        if self.ada:
            self.ada.restore(state["ada"])


MakeDiscriminator = Callable[[int], AdversarialLoss]  # (in_channels)


def _exchange(real: Views, fake: Views, where: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return `real` and `fake` with the samples `where` True, [N, 1, 1, 1], exchanged."""
    pairs = list(zip(real, fake, strict=True))
    new_real = [torch.where(where, f, r) for r, f in pairs]
    return new_real, [torch.where(where, r, f) for r, f in pairs]


def _adaptive_probability(
    augment: AugmentName, target: float | None, images: int | None
) -> AdaptiveProbability | None:
    if augment == "ada":
        return AdaptiveProbability(0.6 if target is None else target, images or 500_000)
    if target is not None or images is not None:
        option = "augment_images" if target is None else "augment_target"
        raise OptionError(option, "has no effect without augment=ada", "Leave it out")
    return None


def _schedules(d_steps: int, g_steps: int, blocks: bool) -> tuple[Schedule, Schedule]:
    """Return the steps in which D and in which G are updated."""
    period = d_steps + g_steps
    if blocks:
        return Schedule(period, d_steps), Schedule(period, g_steps, start=d_steps)
    if d_steps > 1 and g_steps > 1:
        reason = "with alternate=steps, d_steps or g_steps is 1"
        raise OptionError("d_steps", reason, "Use alternate=blocks for both")
    return Schedule(g_steps), Schedule(d_steps)
