"""Differentiable augmentation of what D sees: DiffAugment (Zhao et al., NeurIPS 2020) and ADA."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from i2i.losses.adversarial import Logits
from i2i.methods._base import Peers

AugmentName = Literal["none", "diffaugment", "ada"]
Draw = Callable[[], Tensor]  # -> [N, 1, 1, 1]


def augment(
    views: Sequence[Tensor], policy: AugmentName, probability: float | Tensor
) -> list[Tensor]:
    """Return `views` with color, geometry and cutout changed, equally for all views of a sample.

    Args:
        views: images, each [N, C, H, W] in [-1, 1]; gradients flow through.
        policy: diffaugment is brightness, saturation, contrast, translation and cutout on every
            sample; ada adds mirroring, quarter turns and scaling, each with `probability`.
        probability: of one operation on one sample; a float or 0-d.
    """
    from kornia.geometry.transform import affine  # takes 0.4 s, and few runs augment

    n, device = views[0].shape[0], views[0].device

    def uniform() -> Tensor:
        return torch.rand(n, 1, 1, 1, device=device)

    def active() -> Tensor:
        return (uniform() < probability).float()

    brightness = (uniform() - 0.5) * active()
    saturation = 1 + (2 * uniform() - 1) * active()
    contrast = 1 + (uniform() - 0.5) * active()
    matrix = _matrix(views[0], policy, uniform, active)
    cutout = _cutout(views[0], uniform, active)
    padding = "reflection" if policy == "ada" else "zeros"
    augmented = []
    for view in views:
        # kornia's color functions clamp, and a clamped pixel has no gradient: these do not
        x = view.float() + brightness
        x = torch.lerp(x.mean(1, keepdim=True), x, saturation)
        x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, contrast)
        with torch.autocast(x.device.type, enabled=False):  # coordinates of 8 bits blur the image
            x = affine(x, matrix, padding_mode=padding)
        augmented.append(x * cutout)
    return augmented


def _matrix(like: Tensor, policy: AugmentName, uniform: Draw, active: Draw) -> Tensor:
    """Return [N, 2, 3] in pixels: shifts by up to an eighth of each side, and ADA's linear maps."""
    n, _, height, width = like.shape
    shifted = active().flatten()
    shift_x = torch.round((uniform().flatten() - 0.5) * width / 4) * shifted
    shift_y = torch.round((uniform().flatten() - 0.5) * height / 4) * shifted
    linear = torch.eye(2, device=like.device).repeat(n, 1, 1)
    if policy == "ada":
        angle = torch.floor(4 * uniform().flatten()) * (math.pi / 2) * active().flatten()
        scale = torch.exp2((2 * uniform().flatten() - 1) * 0.35 * active().flatten())
        mirror = 1 - 2 * (uniform().flatten() < 0.5).float() * active().flatten()
        cos, sin = scale * angle.cos(), scale * angle.sin()
        linear = torch.stack([cos * mirror, -sin, sin * mirror, cos], 1).view(n, 2, 2)
    x, y = (width - 1) / 2, (height - 1) / 2  # the center is fixed, but for the shift
    offset_x = x - linear[:, 0, 0] * x - linear[:, 0, 1] * y + shift_x
    offset_y = y - linear[:, 1, 0] * x - linear[:, 1, 1] * y + shift_y
    return torch.cat([linear, torch.stack([offset_x, offset_y], 1).unsqueeze(2)], 2)


def _cutout(like: Tensor, uniform: Draw, active: Draw) -> Tensor:
    """Return [N, 1, H, W]: 0 in a rectangle of half of each side at a random position, else 1."""
    _, _, height, width = like.shape
    y = torch.arange(height, device=like.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=like.device).view(1, 1, 1, -1)
    inside_y = (y - torch.floor(uniform() * height)).abs() < height / 4
    inside_x = (x - torch.floor(uniform() * width)).abs() < width / 4
    return 1 - (inside_y & inside_x).float() * active()


class AdaptiveProbability:
    """Probability of augmentation that rises while D overfits, on the device; one for all ranks.

    Karras et al., NeurIPS 2020, Sec. 3.1: r_t, the mean sign of D on reals, is kept at `target`.
    `images`: in which the probability can go from 0 to 1.
    """

    interval = 4  # batches between adjustments

    def __init__(self, target: float = 0.6, images: int = 500_000) -> None:
        self.target, self.images = target, images
        self.probability: Tensor | float = 0.0
        self._signs: Tensor | float = 0.0  # sum over the batches since the last adjustment
        self._batches = self._images = 0  # batches of one rank, images of all

    @torch.no_grad()
    def update(self, logits: Logits, decision_threshold: float, peers: Peers | None = None) -> None:
        """Take D's logits of a batch of reals; at `decision_threshold` D is undecided.

        Every `interval` batches the mean sign is averaged over `peers`, which all call this.
        """
        scales = [logits] if isinstance(logits, Tensor) else list(logits)
        signs = [(scale.float() - decision_threshold).sign().mean() for scale in scales]
        total = self._signs + torch.stack(signs).mean()
        self._signs = total
        self._batches += 1
        self._images += scales[0].shape[0] * (peers.world_size if peers else 1)
        if self._batches == self.interval:
            # 64 bits, which MPS lacks: the steps are small
            wide = total if total.device.type == "mps" else total.double()
            sums = torch.stack([wide, wide.new_zeros(()) + self.probability])
            signs, probability = peers.mean(sums) if peers else sums
            excess = signs / self._batches - self.target
            step = torch.copysign(torch.ones_like(excess), excess) * self._images / self.images
            self.probability = (probability + step).clamp(0.0, 1.0)
            self._signs, self._batches, self._images = 0.0, 0, 0

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        window = [float(self._signs), self._batches, self._images]
        return {"probability": float(self.probability), "window": window}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.probability = state["probability"]
        self._signs, self._batches, self._images = state["window"]
