"""DCGAN: images from noise with deep convolutional networks. Radford et al., ICLR 2016."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from i2i.methods import Images, MakeDiscriminator, MakeGenerator, Method, Phase, Terms
from i2i.networks.latent import LatentDistribution, LatentSpec
from i2i.options import Doc, validate_options

_Distribution = Annotated[LatentDistribution, Doc("N(0, 1), or U[-1, 1] as published")]


class DCGAN(Method):
    """Learns to draw images like those of one folder.

    Code (paper): G (generator), D (discriminator), latent (Z).
    """

    kind = "unconditional"
    domains = ("image",)
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "data": {"load_size": 64, "crop_size": 64},
        "generator": {"name": "dcgan", "norm": "batch"},
        "discriminator": {"name": "patchgan", "norm": "batch", "head": "image"},
        "method": {"objective": "vanilla"},
        "optim": {"lr_decay_start": 1.0},
        "train": {
            "batch": 128,
            "epochs": 100,
            "ema_halflife_images": 10_000,
            "checkpoint_every_images": 20_000,
        },
        "log": {"every_images": 1_280, "samples": 64},
    }

    @validate_options
    def __init__(
        self,
        make_generator: MakeGenerator,
        make_discriminator: MakeDiscriminator,
        channels: Mapping[str, int],
        *,
        latent: Annotated[
            int, Field(ge=1, le=65_536, strict=True), Doc("length of the latent vector")
        ] = 100,
        latent_distribution: _Distribution = "normal",
    ) -> None:
        super().__init__()
        self.latent: LatentSpec = LatentSpec(latent, latent_distribution)
        self.G = make_generator(latent, channels["image"])
        self.D = make_discriminator(channels["image"])

    def fakes(self, real: Images) -> Images:
        """Return as many images as `real` has, from fresh latents."""
        image = real["image"]
        return {"image": self.G(self.latent.sample(len(image), image.device))}

    def phases(self) -> tuple[Phase, ...]:
        """Return D, then G through the D that has just moved."""
        return (
            Phase("D", (self.D,), self.discriminator_loss, schedule=self.D.d_schedule),
            Phase("G", (self.G,), self.generator_loss, live=True, schedule=self.D.g_schedule),
        )

    def translators(self) -> dict[str, nn.Module]:
        """Return the generator."""
        return {"generate": self.G}

    def discriminator_loss(self, real: Images, fake: Images) -> Terms:
        """Return Eqn. (1) of Goodfellow et al., NeurIPS 2014, from D's side, halved."""
        return self.D.discriminator_terms([real["image"]], [fake["image"]])

    def generator_loss(self, real: Images, fake: Images) -> Terms:
        """Return the same from G's side."""
        return self.D.generator_terms([fake["image"]], [real["image"]])
