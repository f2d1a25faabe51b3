"""pix2pix: translation with conditional adversarial networks. Isola et al., CVPR 2017."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from i2i.direction import Direction
from i2i.errors import OptionError
from i2i.methods import Images, MakeDiscriminator, MakeGenerator, Method, Phase, Terms
from i2i.methods._regression import Distances, LambdaFocalFrequency, LambdaGradient, LambdaL1
from i2i.options import validate_options


class Pix2Pix(Method):
    """Learns source -> target from pairs: D sees (input, output), G also stays close to the target.

    Code (paper): G (G), D (D), real[source] (x), real[target] (y), lambda_l1 (λ in Eqn. 4).
    """

    kind = "paired"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {"name": "unet_256", "norm": "batch", "dropout": True},
        "discriminator": {"name": "patchgan", "norm": "batch"},
        "method": {"objective": "vanilla"},
    }

    @validate_options
    def __init__(
        self,
        make_generator: MakeGenerator,
        make_discriminator: MakeDiscriminator,
        channels: Mapping[str, int],
        direction: Direction,
        *,
        lambda_l1: LambdaL1 = 100.0,
        lambda_focal_frequency: LambdaFocalFrequency = 0.0,
        lambda_gradient: LambdaGradient = 0.0,
    ) -> None:
        super().__init__()
        self.source, self.target = direction.source, direction.target
        self.G = make_generator(channels[self.source], channels[self.target])
        self.D = make_discriminator(channels[self.source] + channels[self.target])
        self.distances = Distances(lambda_l1, lambda_focal_frequency, lambda_gradient)
        if not (any(self.distances) or self.D.lambda_gan):
            raise OptionError("lambda_l1", "0 with lambda_gan=0 leaves nothing to learn")

    def fakes(self, real: Images) -> Images:
        """Return {target: G(source)}."""
        return {self.target: self.G(real[self.source])}

    def phases(self) -> tuple[Phase, ...]:
        """Return D, then G through the D that has just moved."""
        return (
            Phase("D", (self.D,), self.discriminator_loss, schedule=self.D.d_schedule),
            Phase("G", (self.G,), self.generator_loss, live=True, schedule=self.D.g_schedule),
        )

    def translators(self) -> dict[str, nn.Module]:
        """Return the one direction that was trained."""
        return {f"{self.source}2{self.target}": self.G}

    def discriminator_loss(self, real: Images, fake: Images) -> Terms:
        """Return Eqn. (1) from D's side, halved."""
        return self.D.discriminator_terms(self._pair(real, real), self._pair(real, fake))

    def generator_loss(self, real: Images, fake: Images) -> Terms:
        """Return Eqn. (4): the adversarial term and λ times Eqn. (3), and further distances."""
        terms = self.D.generator_terms(self._pair(real, fake), self._pair(real, real))
        return terms | self.distances.terms(fake[self.target], real[self.target])

    def _pair(self, real: Images, target: Images) -> list[Tensor]:
        return [real[self.source], target[self.target]]
