"""CUT and FastCUT: one-sided unpaired translation by patchwise contrastive learning. Park et al., ECCV 2020."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from i2i.direction import Direction
from i2i.losses.patch_nce import patch_nce
from i2i.methods._adversarial import MakeDiscriminator
from i2i.methods._base import Images, MakeGenerator, Method, Phase, Terms

_HEAD = 256  # features of a patch that are compared (Sec. 3)


class CUT(Method):
    """Learns source -> target from two folders; every patch of the output keeps the content of its input patch.

    Code (paper): G (G = decoder of encoder), D (D), heads (H_l), lambda_nce (λ_X), nce_identity
    (λ_Y = λ_X).
    """

    kind = "unpaired"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {"name": "resnet_9blocks", "norm": "instance"},
        "discriminator": {"name": "patchgan", "norm": "instance"},
        "method": {"objective": "lsgan"},
        "train": {"init": "xavier"},
    }

    def __init__(
        self,
        make_generator: MakeGenerator,
        make_discriminator: MakeDiscriminator,
        channels: Mapping[str, int],
        direction: Direction,
        *,
        fast: bool = False,  # FastCUT: no identity term, λ 10, flip equivariance (Sec. 4)
        lambda_nce: float | None = None,  # None: 1, or 10 with fast
        nce_identity: bool | None = None,  # None: on, off with fast
        patches: int = 256,  # places compared in each image and depth
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.source, self.target = direction.source, direction.target
        self.fast = fast
        self.lambda_nce = (10.0 if fast else 1.0) if lambda_nce is None else lambda_nce
        self.nce_identity = not fast if nce_identity is None else nce_identity
        for name, value in (
            ("lambda_nce", self.lambda_nce),
            ("patches", patches),
            ("temperature", temperature),
        ):
            if not value > 0:
                raise ValueError(f"{name}: must be above 0, got {value}")
        self.patches, self.temperature = patches, temperature
        if channels["a"] != channels["b"]:
            raise ValueError(
                "direction: CUT compares input and output through one encoder, so a and b need the same number of "
                f"channels, not {channels['a']} and {channels['b']}"
            )
        self.G = make_generator(channels[self.source], channels[self.target])
        self.D = make_discriminator(channels[self.target])
        if not hasattr(self.G, "features"):
            raise ValueError("name: CUT needs a generator with an encoder, such as resnet_9blocks")
        self._features: Callable[[Tensor], list[Tensor]] = self.G.features  # type: ignore[assignment]
        self.heads = nn.ModuleList(_Head(width) for width in self._widths(channels[self.source]))
        self._flipped = False  # whether the present fakes were made from mirrored inputs (FastCUT)

    @torch.no_grad()
    def _widths(self, channels: int) -> list[int]:
        """The encoder's widths: heads made at the first step would be missing from the optimizer."""
        side = max(64, int(getattr(self.G, "size_divisor", 1)))
        return [
            feature.shape[1] for feature in self._features(torch.zeros(1, channels, side, side))
        ]

    def fakes(self, real: Images) -> Images:
        """Return {target: G(source), "identity": G(target)}; FastCUT mirrors half of its batches first."""
        source = real[self.source]
        self._flipped = self.fast and bool(torch.rand(()) < 0.5)
        if self._flipped:
            source = source.flip(3)
        if not self.nce_identity:
            return {self.target: self.G(source)}
        both = self.G(torch.cat([source, real[self.target]]))
        return {self.target: both[: source.shape[0]], "identity": both[source.shape[0] :]}

    def phases(self) -> tuple[Phase, ...]:
        """D, then G together with the heads that read its encoder."""
        return (
            Phase("D", (self.D,), self.discriminator_loss, schedule=self.D.d_schedule),
            Phase(
                "G",
                (self.G, self.heads),
                self.generator_loss,
                live=True,
                schedule=self.D.g_schedule,
            ),
        )

    def translators(self) -> dict[str, nn.Module]:
        """Return the one direction that was trained."""
        return {f"{self.source}2{self.target}": self.G}

    def discriminator_loss(self, real: Images, fake: Images) -> Terms:
        """Eqn. (1) from D's side, halved."""
        return self.D.discriminator_terms([real[self.target]], [fake[self.target]])

    def generator_loss(self, real: Images, fake: Images) -> Terms:
        """Eqn. (5); with the identity term both contrastive terms count half, as in the authors' code."""
        terms = self.D.generator_terms([fake[self.target]], [real[self.target]])
        weight = self.lambda_nce / (2 if self.nce_identity else 1)
        terms["nce"] = weight * self._nce(fake[self.target], real[self.source], self._flipped)
        if self.nce_identity:
            terms["nce_identity"] = weight * self._nce(fake["identity"], real[self.target], False)
        return terms

    def _nce(self, output: Tensor, source: Tensor, flipped: bool) -> Tensor:
        with torch.no_grad():
            keys = self._features(source)
        queries = self._features(output)
        terms = []
        for head, query, key in zip(self.heads, queries, keys, strict=True):
            query = query.flip(3) if flipped else query
            places = torch.randperm(query[0, 0].numel(), device=query.device)[: self.patches]
            with torch.no_grad():
                wanted = head(key, places)
            terms.append(patch_nce(head(query, places), wanted, self.temperature))
        return torch.stack(terms).mean()


class _Head(nn.Module):
    """Two layers from encoder features at some places to unit vectors. SimCLR's projection head, one for each depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, last = nn.Linear(width, _HEAD), nn.Linear(_HEAD, _HEAD)
        self.layers = nn.Sequential(first, nn.ReLU(), last)
        for layer in (first, last):
            nn.init.xavier_normal_(layer.weight, 0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, places: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, S, 256] at the S `places` of H*W."""
        rows = features.flatten(2)[:, :, places].transpose(1, 2)
        return normalize(self.layers(rows).float(), dim=2)
