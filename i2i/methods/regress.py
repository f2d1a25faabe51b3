"""Regression: translation from pairs without a discriminator; pix2pix's G alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from i2i.direction import Direction
from i2i.errors import OptionError
from i2i.methods import Images, MakeGenerator, Method, Phase, Terms
from i2i.methods._regression import Distances, LambdaFocalFrequency, LambdaGradient, LambdaL1
from i2i.options import validate_options


class Regress(Method):
    """Learns source -> target from pairs by distance alone: the baseline of every GAN on pairs.

    It is pix2pix with lambda_gan=0 (the L1 row of Isola et al., CVPR 2017, Table 1), and weights
    mean the same. Without dropout: with one best answer there is no use for noise.
    """

    kind = "paired"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {"name": "unet_256", "norm": "batch", "dropout": False},
    }

    @validate_options
    def __init__(
        self,
        make_generator: MakeGenerator,
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
        self.distances = Distances(lambda_l1, lambda_focal_frequency, lambda_gradient)
        if not any(self.distances):
            raise OptionError(
                "lambda_l1", "0, as all weights, leaves nothing to learn", "Set one above 0"
            )

    def fakes(self, real: Images) -> Images:
        """Return {target: G(source)}."""
        return {self.target: self.G(real[self.source])}

    def phases(self) -> tuple[Phase, ...]:
        """Return G."""
        return (Phase("G", (self.G,), self.loss, live=True),)

    def translators(self) -> dict[str, nn.Module]:
        """Return the one direction that was trained."""
        return {f"{self.source}2{self.target}": self.G}

    def loss(self, real: Images, fake: Images) -> Terms:
        """Return the weighted distances to the target."""
        return self.distances.terms(fake[self.target], real[self.target])
