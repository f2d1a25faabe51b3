"""What D sees is augmented, differentiably and on the device: DiffAugment (Zhao et al., NeurIPS 2020) and ADA."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from kornia.geometry.transform import affine
from torch import Tensor

from i2i.losses.adversarial import Logits

AugmentName = Literal["none", "diffaugment", "ada"]
Draw = Callable[[], Tensor]


def augment(views: Sequence[Tensor], policy: AugmentName, probability: float) -> list[Tensor]:
    """Return `views` with colour, geometry and cutout changed, equally for all views of a sample.

    Args:
        views: images, each [N, C, H, W] in [-1, 1]; gradients flow through.
        policy: diffaugment is brightness, saturation, contrast, translation and cutout on every
            sample; ada adds mirroring, quarter turns and scaling, each with `probability`.
        probability: of one operation on one sample.
    """
    n, device = views[0].shape[0], views[0].device
    uniform: Draw = lambda: torch.rand(n, 1, 1, 1, device=device)  # noqa: E731
    chosen: Draw = lambda: (uniform() < probability).float()  # noqa: E731
    brightness = (uniform() - 0.5) * chosen()
    saturation = 1 + (2 * uniform() - 1) * chosen()
    contrast = 1 + (uniform() - 0.5) * chosen()
    matrix = _matrix(views[0], policy, uniform, chosen)
    hole = _hole(views[0], uniform, chosen)
    seen = []
    for view in views:
        # kornia's colour functions clamp, and a clamped pixel has no gradient: these do not
        x = view.float() + brightness
        x = torch.lerp(x.mean(1, keepdim=True), x, saturation)
        x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, contrast)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # 8 bits of a coordinate would blur the image
            x = affine(x, matrix, padding_mode="reflection" if policy == "ada" else "zeros")
        seen.append(x * hole)
    return seen


def _matrix(like: Tensor, policy: AugmentName, uniform: Draw, chosen: Draw) -> Tensor:
    """Return [N, 2, 3] in pixels: a shift by up to an eighth of each side, and ADA's turns about the centre."""
    n, _, height, width = like.shape
    pick = chosen().flatten()
    shift_x = torch.round((uniform().flatten() - 0.5) * width / 4) * pick
    shift_y = torch.round((uniform().flatten() - 0.5) * height / 4) * pick
    linear = torch.eye(2, device=like.device).repeat(n, 1, 1)
    if policy == "ada":
        angle = torch.floor(4 * uniform().flatten()) * (math.pi / 2) * chosen().flatten()
        scale = torch.exp2((2 * uniform().flatten() - 1) * 0.35 * chosen().flatten())
        mirror = 1 - 2 * (uniform().flatten() < 0.5).float() * chosen().flatten()
        cos, sin = scale * angle.cos(), scale * angle.sin()
        linear = torch.stack([cos * mirror, -sin, sin * mirror, cos], 1).view(n, 2, 2)
    x, y = (width - 1) / 2, (height - 1) / 2  # the centre stays where it is, but for the shift
    offset_x = x - linear[:, 0, 0] * x - linear[:, 0, 1] * y + shift_x
    offset_y = y - linear[:, 1, 0] * x - linear[:, 1, 1] * y + shift_y
    return torch.cat([linear, torch.stack([offset_x, offset_y], 1).unsqueeze(2)], 2)


def _hole(like: Tensor, uniform: Draw, chosen: Draw) -> Tensor:
    """Return [N, 1, H, W]: 0 in a rectangle of half of each side at a random place, 1 elsewhere."""
    _, _, height, width = like.shape
    y = torch.arange(height, device=like.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=like.device).view(1, 1, 1, -1)
    inside_y = (y - torch.floor(uniform() * height)).abs() < height / 4
    inside_x = (x - torch.floor(uniform() * width)).abs() < width / 4
    return 1 - (inside_y & inside_x).float() * chosen()


class AdaptiveProbability:
    """Raises the probability of augmentation while D overfits. Karras et al., NeurIPS 2020, Sec. 3.1: r_t and 0.6."""

    interval = 4  # pop_metrics between adjustments

    def __init__(self, target: float | None, images: int | None) -> None:
        target, images = 0.6 if target is None else target, 500_000 if images is None else images
        if not 0 <= target <= 1:
            raise ValueError(f"augment_target: must be in [0, 1], got {target}")
        if images < 1:
            raise ValueError(f"augment_images: must be at least 1, got {images}")
        self.target, self.images = target, images
        self.probability = 0.0
        self._signs: Tensor | float = 0.0  # stays on the device until the window is full
        self._observed = self._seen = 0

    def observe(self, logits: Logits, decision_threshold: float) -> None:
        """Take D's opinion of a batch of reals; `decision_threshold` is the logit that means undecided."""
        scales = [logits] if isinstance(logits, Tensor) else list(logits)
        with torch.no_grad():
            self._signs = (
                self._signs
                + torch.stack(
                    [(s.float() - decision_threshold).sign().mean() for s in scales]
                ).mean()
            )
        self._observed += 1
        self._seen += scales[0].shape[0]
        if self._observed == self.interval:
            direction = math.copysign(1.0, float(self._signs) / self._observed - self.target)
            self.probability = min(
                max(self.probability + direction * self._seen / self.images, 0.0), 1.0
            )
            self._signs, self._observed, self._seen = 0.0, 0, 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "probability": self.probability,
            "window": [float(self._signs), self._observed, self._seen],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.probability = state["probability"]
        self._signs, self._observed, self._seen = state["window"]
