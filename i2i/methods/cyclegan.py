"""CycleGAN: unpaired translation with cycle-consistent GANs. Zhu et al., ICCV 2017."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from i2i.methods import Images, MakeDiscriminator, MakeGenerator, Method, Phase, Terms
from i2i.options import Doc, Weight, validate_options

_Identity = Annotated[Weight, Doc("weight of G_ab(b) = b, relative to the cycles (Sec. 5.2)", True)]
_History = Annotated[int, Field(ge=0), Doc("old fakes that D keeps seeing (Sec. 4), in images")]


class CycleGAN(Method):
    """Learns a -> b and b -> a at once: translating there and back must give the same image.

    Code (paper): G_ab (G), G_ba (F), D_b (D_Y), D_a (D_X), lambda_a and lambda_b (λ in Eqn. 3, one
    for each cycle).
    """

    kind = "unpaired"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {"name": "resnet_9blocks", "norm": "instance"},
        "discriminator": {"name": "patchgan", "norm": "instance"},
        "method": {"objective": "lsgan"},
    }

    @validate_options
    def __init__(
        self,
        make_generator: MakeGenerator,
        make_discriminator: MakeDiscriminator,
        channels: Mapping[str, int],
        *,
        lambda_a: Annotated[Weight, Doc("weight of the cycle a -> b -> a", True)] = 10.0,
        lambda_b: Annotated[Weight, Doc("weight of the cycle b -> a -> b", True)] = 10.0,
        lambda_identity: _Identity = 0.5,
        history: _History = 50,
    ) -> None:
        super().__init__()
        if lambda_identity and channels["a"] != channels["b"]:
            self.notes = (
                f"The identity term is off: a has {channels['a']} channels and b {channels['b']}, "
                "and no generator takes an image of its own output domain.",
            )
            lambda_identity = 0.0
        self.G_ab = make_generator(channels["a"], channels["b"])
        self.G_ba = make_generator(channels["b"], channels["a"])
        self.D_a = make_discriminator(channels["a"])
        self.D_b = make_discriminator(channels["b"])
        self.lambda_a, self.lambda_b, self.lambda_identity = lambda_a, lambda_b, lambda_identity
        self.history = history

    def fakes(self, real: Images) -> Images:
        """Return {"a": F(b), "b": G(a)}."""
        return {"a": self.G_ba(real["b"]), "b": self.G_ab(real["a"])}

    def phases(self) -> tuple[Phase, ...]:
        """Return both generators together, then both discriminators on fakes from before."""
        generators, discriminators = (self.G_ab, self.G_ba), (self.D_a, self.D_b)
        g, d = self.D_b.g_schedule, self.D_b.d_schedule
        return (
            Phase("G", generators, self.generator_loss, live=True, schedule=g),
            Phase("D", discriminators, self.discriminator_loss, schedule=d),
        )

    def translators(self) -> dict[str, nn.Module]:
        """Return both directions."""
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def generator_loss(self, real: Images, fake: Images) -> Iterator[Terms]:
        """Yield Eqn. (3) from the generators' side, and the identity term of Sec. 5.2."""
        yield _suffixed("b", self.D_b.generator_terms([fake["b"]], [real["b"]]))
        yield _suffixed("a", self.D_a.generator_terms([fake["a"]], [real["a"]]))
        yield {"cycle_a": self.lambda_a * _distance(self.G_ba(fake["b"]), real["a"])}
        yield {"cycle_b": self.lambda_b * _distance(self.G_ab(fake["a"]), real["b"])}
        if self.lambda_identity:
            weight_a, weight_b = (self.lambda_identity * x for x in (self.lambda_a, self.lambda_b))
            yield {"identity_b": weight_b * _distance(self.G_ab(real["b"]), real["b"])}
            yield {"identity_a": weight_a * _distance(self.G_ba(real["a"]), real["a"])}

    def discriminator_loss(self, real: Images, fake: Images) -> Iterator[Terms]:
        """Yield Eqn. (1) from each discriminator's side, halved."""
        yield _suffixed("a", self.D_a.discriminator_terms([real["a"]], [fake["a"]]))
        yield _suffixed("b", self.D_b.discriminator_terms([real["b"]], [fake["b"]]))


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return l1_loss(x.float(), y)


def _suffixed(domain: str, terms: Terms) -> Terms:
    return {f"{name}_{domain}": term for name, term in terms.items()}
