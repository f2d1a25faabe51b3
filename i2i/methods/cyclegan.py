"""CycleGAN: unpaired translation with cycle-consistent adversarial networks. Zhu et al., ICCV 2017."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import l1_loss

from i2i.methods._adversarial import MakeDiscriminator
from i2i.methods._base import Images, MakeGenerator, Method, Phase, Terms


class CycleGAN(Method):
    """Learns a -> b and b -> a at once: there and back again must give the same image.

    Code (paper): G_ab (G), G_ba (F), D_b (D_Y), D_a (D_X), lambda_a and lambda_b (λ in Eqn. 3, one
    for each cycle).
    """

    kind = "unpaired"
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "generator": {"name": "resnet_9blocks", "norm": "instance"},
        "discriminator": {"name": "patchgan", "norm": "instance"},
        "method": {"objective": "lsgan"},
    }

    def __init__(
        self,
        make_generator: MakeGenerator,
        make_discriminator: MakeDiscriminator,
        channels: Mapping[str, int],
        *,
        lambda_a: float = 10.0,  # weight of the cycle a -> b -> a
        lambda_b: float = 10.0,
        lambda_identity: float = 0.5,  # weight of G_ab(b) = b, relative to the cycles (Sec. 5.2); 0: off
        history: int = 50,  # old fakes that D keeps seeing (Sec. 4)
    ) -> None:
        super().__init__()
        for name, value in (
            ("lambda_a", lambda_a),
            ("lambda_b", lambda_b),
            ("lambda_identity", lambda_identity),
        ):
            if not value >= 0:
                raise ValueError(f"{name}: must be at least 0, got {value}")
        if history < 0:
            raise ValueError(f"history: must be at least 0, got {history}")
        if lambda_identity and channels["a"] != channels["b"]:
            self.notes = (
                f"The identity term is off: a has {channels['a']} channels and b has {channels['b']}, "
                "and no generator takes an image of its own output domain.",
            )
            lambda_identity = 0.0
        self.G_ab = make_generator(channels["a"], channels["b"])
        self.G_ba = make_generator(channels["b"], channels["a"])
        self.D_a = make_discriminator(channels["a"])
        self.D_b = make_discriminator(channels["b"])
        self.lambda_a, self.lambda_b, self.lambda_identity, self.history = (
            lambda_a,
            lambda_b,
            lambda_identity,
            history,
        )

    def fakes(self, real: Images) -> Images:
        """Return {"a": F(b), "b": G(a)}."""
        return {"a": self.G_ba(real["b"]), "b": self.G_ab(real["a"])}

    def phases(self) -> tuple[Phase, ...]:
        """Both generators together, then both discriminators on fakes from before."""
        return (
            Phase(
                "G",
                (self.G_ab, self.G_ba),
                self.generator_loss,
                live=True,
                schedule=self.D_b.g_schedule,
            ),
            Phase("D", (self.D_a, self.D_b), self.discriminator_loss, schedule=self.D_b.d_schedule),
        )

    def translators(self) -> dict[str, nn.Module]:
        """Return both directions."""
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def generator_loss(self, real: Images, fake: Images) -> Terms:
        """Eqn. (3) from the generators' side, and the identity term of Sec. 5.2."""
        terms = _named("b", self.D_b.generator_terms([fake["b"]], [real["b"]]))
        terms |= _named("a", self.D_a.generator_terms([fake["a"]], [real["a"]]))
        terms["cycle_a"] = self.lambda_a * _distance(self.G_ba(fake["b"]), real["a"])
        terms["cycle_b"] = self.lambda_b * _distance(self.G_ab(fake["a"]), real["b"])
        if self.lambda_identity:
            terms["identity_b"] = (
                self.lambda_identity * self.lambda_b * _distance(self.G_ab(real["b"]), real["b"])
            )
            terms["identity_a"] = (
                self.lambda_identity * self.lambda_a * _distance(self.G_ba(real["a"]), real["a"])
            )
        return terms

    def discriminator_loss(self, real: Images, fake: Images) -> Terms:
        """Eqn. (1) from each discriminator's side, halved."""
        terms = _named("a", self.D_a.discriminator_terms([real["a"]], [fake["a"]]))
        return terms | _named("b", self.D_b.discriminator_terms([real["b"]], [fake["b"]]))


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return l1_loss(x.float(), y)


def _named(domain: str, terms: Terms) -> Terms:
    return {f"{name}_{domain}": term for name, term in terms.items()}
