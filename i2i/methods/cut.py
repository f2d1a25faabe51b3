"""CUT and FastCUT: one-sided unpaired translation by patchwise contrastive learning.

Park et al., ECCV 2020.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from i2i.direction import Direction
from i2i.errors import OptionError
from i2i.losses.patch_nce import patch_nce
from i2i.methods import Images, MakeDiscriminator, MakeGenerator, Method, Phase, Terms
from i2i.networks.contract import Encoder
from i2i.networks.init import init_weights
from i2i.options import Count, Doc, validate_options

_HEAD = 256  # features of a patch that are compared (Sec. 3)

_Initialize = Callable[[nn.Module], None]  # draws weights as those of generators
_Positive = Annotated[float, Field(gt=0)]
_Fast = Annotated[bool, Doc("FastCUT: no identity term, λ 10, flip equivariance (Sec. 4)")]
_Lambda = Annotated[_Positive | None, Doc("weight of PatchNCE; None: 1, or 10 with fast", True)]
_Identity = Annotated[bool | None, Doc("PatchNCE on G(target) too; None: on, off with fast")]


class CUT(Method):
    """Learns source -> target from two folders: output patches keep the content of input patches.

    Code (paper): G (G = decoder of encoder), D (D), heads (H_l), lambda_nce (λ_X), nce_identity
    (λ_Y = λ_X).
    """

    kind = "unpaired"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {
            "name": "resnet_9blocks",
            "norm": "instance",
            "antialias": True,
            "upsample": "bilinear",
        },
        "discriminator": {"name": "patchgan", "norm": "instance", "antialias": True},
        "method": {"objective": "lsgan"},
        "train": {"init": "xavier"},
    }

    @validate_options
    def __init__(
        self,
        make_generator: MakeGenerator,
        make_discriminator: MakeDiscriminator,
        channels: Mapping[str, int],
        direction: Direction,
        initialize: _Initialize = init_weights,
        *,
        fast: _Fast = False,
        lambda_nce: _Lambda = None,
        nce_identity: _Identity = None,
        patches: Annotated[Count, Doc("patches compared in each image and depth")] = 256,
        temperature: Annotated[_Positive, Doc("τ of the softmax in Eqn. (1)")] = 0.07,
    ) -> None:
        super().__init__()
        self.source, self.target = direction.source, direction.target
        self.fast = fast
        self.lambda_nce = lambda_nce or (10.0 if fast else 1.0)
        self.nce_identity = not fast if nce_identity is None else nce_identity
        self.patches, self.temperature = patches, temperature
        if channels["a"] != channels["b"]:
            given = f"{channels['a']} and {channels['b']}"
            reason = "compares input and output through one encoder, but a and b have"
            raise OptionError("name", f"cut {reason} {given} channels")
        generator = make_generator(channels[self.source], channels[self.target])
        if not isinstance(generator, Encoder):
            raise OptionError("name", "cut needs a generator with an encoder", "Use resnet_9blocks")
        self.G = generator
        self.D = make_discriminator(channels[self.target])
        widths = self._widths(channels[self.source])
        self.heads = nn.ModuleList(_Head(width, initialize) for width in widths)

    @torch.no_grad()
    def _widths(self, channels: int) -> list[int]:
        """Return the encoder's widths: heads made at the first step would miss the optimizer."""
        side = max(64, self.G.size_divisor)
        return [f.shape[1] for f in self.G.features(torch.zeros(1, channels, side, side))]

    def fakes(self, real: Images) -> Images:
        """Return {target: G(source), "identity": G(target)}.

        FastCUT mirrors half of its batches first: the entry "flipped" is a 0-d bool.
        """
        source, extra = real[self.source], {}
        if self.fast:
            flipped = torch.rand((), device=source.device) < 0.5
            source, extra = _flip(source, flipped), {"flipped": flipped}
        if not self.nce_identity:
            return {self.target: self.G(source)} | extra
        both = self.G(torch.cat([source, real[self.target]]))
        n = len(source)
        return {self.target: both[:n], "identity": both[n:]} | extra

    def phases(self) -> tuple[Phase, ...]:
        """Return D, then G together with the heads that read its encoder."""
        g, schedule = (self.G, self.heads), self.D.g_schedule
        return (
            Phase("D", (self.D,), self.discriminator_loss, schedule=self.D.d_schedule),
            Phase("G", g, self.generator_loss, live=True, schedule=schedule),
        )

    def translators(self) -> dict[str, nn.Module]:
        """Return the one direction that was trained."""
        return {f"{self.source}2{self.target}": self.G}

    def discriminator_loss(self, real: Images, fake: Images) -> Terms:
        """Return Eqn. (1) from D's side, halved."""
        return self.D.discriminator_terms([real[self.target]], [fake[self.target]])

    def generator_loss(self, real: Images, fake: Images) -> Iterator[Terms]:
        """Yield Eqn. (5); with the identity term both contrastive terms count half."""
        yield self.D.generator_terms([fake[self.target]], [real[self.target]])
        weight = self.lambda_nce / (2 if self.nce_identity else 1)  # as in the authors' code
        flipped = fake.get("flipped")
        yield {"nce": weight * self._nce(fake[self.target], real[self.source], flipped)}
        if self.nce_identity:
            yield {"nce_identity": weight * self._nce(fake["identity"], real[self.target])}

    def _nce(self, output: Tensor, source: Tensor, flipped: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            keys = self.G.features(source)
        queries = self.G.features(output)
        terms = []
        for head, query, key in zip(self.heads, queries, keys, strict=True):
            query = query if flipped is None else _flip(query, flipped)
            positions = torch.randperm(query[0, 0].numel(), device=query.device)[: self.patches]
            with torch.no_grad():
                target = head(key, positions)
            terms.append(patch_nce(head(query, positions), target, self.temperature))
        return torch.stack(terms).mean()


class _Head(nn.Module):
    """SimCLR's projection head for one depth: two layers from encoder features to unit vectors."""

    def __init__(self, width: int, initialize: _Initialize) -> None:
        super().__init__()
        first, last = nn.Linear(width, _HEAD), nn.Linear(_HEAD, _HEAD)
        self.layers = nn.Sequential(first, nn.ReLU(), last)
        initialize(self)

    def forward(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return [N, S, 256] for [N, C, H, W], at S `positions` of H*W."""
        rows = features.flatten(2)[:, :, positions].transpose(1, 2)
        return normalize(self.layers(rows).float(), dim=2)


def _flip(x: Tensor, flipped: Tensor) -> Tensor:
    """Return x, [N, C, H, W], mirrored where `flipped`, without asking the device."""
    return torch.where(flipped, x.flip(3), x)
