"""Regression: losses against numpy, training without a discriminator, and every command on its run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import here, i2i
from runs import draw_scenes, final_state, train_words
from states import equal
from test_methods import batch, trainer_for

from i2i.config import ConfigError, Layer, parse_override
from i2i.losses.regression import focal_frequency, gradient_l1
from i2i.run import build
from i2i.run.settings import resolve

Array = np.ndarray[Any, np.dtype[np.float64]]


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def weights_by_hand(difference: Array) -> Array:
    """Amplitude of each frequency relative to the largest one of the channel, by the definition of the DFT."""
    height, width = difference.shape[-2:]
    down = np.exp(-2j * np.pi * np.outer(np.arange(height), np.arange(height)) / height)
    across = np.exp(-2j * np.pi * np.outer(np.arange(width), np.arange(width)) / width)
    amplitude = np.abs(down @ difference @ across) / np.sqrt(height * width)
    result: Array = np.stack([amplitude, amplitude / amplitude.max((2, 3), keepdims=True)])
    return result


def test_focal_frequency_is_the_published_sum_over_frequencies() -> None:
    fake, real = images(0, 2, 3, 8, 6), images(1, 2, 3, 8, 6)
    amplitude, weight = weights_by_hand((fake - real).double().numpy())
    assert float(focal_frequency(fake, real)) == pytest.approx((weight * amplitude**2).mean())


def test_focal_frequency_has_the_gradient_of_constant_weights() -> None:
    fake, real = images(0, 1, 2, 4, 6).requires_grad_(), images(1, 1, 2, 4, 6)
    focal_frequency(fake, real).backward()  # type: ignore[no-untyped-call]
    start = (fake.detach() - real).double().numpy()
    weight = weights_by_hand(start)[1]
    assert fake.grad is not None
    for place in np.ndindex(start.shape):
        step = np.zeros_like(start)
        step[place] = 1e-3
        above, below = (weights_by_hand(start + sign * step)[0] for sign in (1, -1))
        slope = (weight * (above**2 - below**2)).mean() / 2e-3
        assert float(fake.grad[place]) == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_gradient_distance_compares_neighbors_down_and_across() -> None:
    fake, real = images(2, 2, 3, 5, 7).requires_grad_(), images(3, 2, 3, 5, 7)
    loss = gradient_l1(fake, real)
    x, y = fake.detach().double().numpy(), real.double().numpy()

    def by_hand(x: Array) -> float:
        down = np.abs((x[:, :, 1:] - x[:, :, :-1]) - (y[:, :, 1:] - y[:, :, :-1]))
        across = np.abs((x[..., 1:] - x[..., :-1]) - (y[..., 1:] - y[..., :-1]))
        return float(down.mean() + across.mean())

    assert float(loss.detach()) == pytest.approx(by_hand(x))
    loss.backward()  # type: ignore[no-untyped-call]
    direction = images(4, 2, 3, 5, 7)
    assert fake.grad is not None
    slope = (by_hand(x + 1e-6 * direction.numpy()) - by_hand(x - 1e-6 * direction.numpy())) / 2e-6
    assert float((fake.grad * direction).sum()) == pytest.approx(slope, rel=1e-4)
    # a shift of brightness changes no difference of neighbors
    assert float(gradient_l1(real + 0.5, real)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [focal_frequency, gradient_l1])
def test_equal_images_have_no_distance_and_a_finite_gradient(loss: Any) -> None:
    fake = images(0, 1, 3, 8, 8).requires_grad_()
    value = loss(fake, fake.detach().clone())
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(fake.grad, torch.zeros_like(fake))


@pytest.mark.parametrize("loss", [focal_frequency, gradient_l1])
def test_distances_are_computed_in_fp32_under_autocast(loss: Any) -> None:
    fake, real = images(0, 1, 3, 8, 8).bfloat16(), images(1, 1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(fake, real)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(fake.float(), real))


@pytest.mark.parametrize("terms", [[], ["method.lambda_focal_frequency=2"], ["method.lambda_gradient=3"]])  # fmt: skip
def test_regression_is_pix2pix_without_its_discriminator_bit_for_bit(terms: list[str]) -> None:
    alone = trainer_for("regress", *terms)
    paired = trainer_for("pix2pix", "method.lambda_gan=0", "generator.dropout=false", *terms)
    for number in range(3):
        for trainer, method in ((alone, "regress"), (paired, "pix2pix")):
            trainer.step([batch(number, method)])
    assert equal(alone.method.G.state_dict(), paired.method.G.state_dict())
    rows = alone.pop_metrics(), paired.pop_metrics()
    assert rows[0] == rows[1]
    names = {f"G/{text.partition('=')[0].removeprefix('method.lambda_')}" for text in terms}
    assert names | {"G/l1"} == {key for key in rows[0] if key.startswith("G/")} - {"G/grad_norm"}


def test_pix2pix_adds_the_distances_to_its_adversarial_loss() -> None:
    weights = ["method.lambda_l1=0", "method.lambda_focal_frequency=2", "method.lambda_gradient=3"]
    trainer, real = trainer_for("pix2pix", *weights), batch(0, "pix2pix")
    fake = trainer.method.fakes(real)
    terms = trainer.method.generator_loss(real, fake)
    assert terms.keys() == {"gan", "focal_frequency", "gradient"}
    assert torch.equal(terms["focal_frequency"], 2 * focal_frequency(fake["b"], real["b"]))
    assert torch.equal(terms["gradient"], 3 * gradient_l1(fake["b"], real["b"]))


def settings(method: str, *texts: str) -> Any:
    layers = [Layer("test", {"data": {"root": "x"}}), *map(parse_override, texts)]
    chosen = resolve(method, layers)
    return build.make_method(chosen, {"a": 3, "b": 3})


def test_what_has_no_effect_without_a_discriminator_is_refused() -> None:
    small = ["generator.width=2"]
    with pytest.raises(ConfigError) as caught:
        settings("regress", "discriminator.layers=2", "discriminator.name=pixel", "method.r1=1")
    subjects = {error.subject for error in caught.value.errors}
    assert subjects == {"discriminator.layers", "discriminator.name", "method.r1"}
    for method, more in (("regress", []), ("pix2pix", ["method.lambda_gan=0"])):
        settings(method, *small, *more)
        with pytest.raises(ConfigError, match=r"optim.lr_discriminator: has no effect"):
            settings(method, *small, *more, "optim.lr_discriminator=1e-3")
    with pytest.raises(ConfigError, match=r"method.lambda_l1: .*leaves nothing to learn"):
        settings("regress", *small, "method.lambda_l1=0")
    settings("regress", *small, "method.lambda_l1=0", "method.lambda_gradient=1")


def run(*words: object) -> str:
    ended = here(*words)
    assert ended.status == 0, ended.err
    return ended.out + ended.err


def test_every_command_takes_a_run_of_regression(tmp_path: Path) -> None:
    scenes = draw_scenes(tmp_path / "scenes")
    out = tmp_path / "run"
    words = train_words("regress", scenes, out, "--images", 8, "--set", "validate.every_images=8")
    assert "parameters" in run(*words, "--dry-run")
    assert not out.exists()
    run(*words)
    assert "discriminator: {name: none}" in (out / "config.yaml").read_text()
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {key.split("/")[0] for key in rows[0] if "/" in key} == {"G", "lr", "b"}
    assert "lr/D" not in rows[0]
    run("resume", out, "--images", 12)
    assert final_state(out)["images"] == 12
    # a model of each starts from one of the other
    gan, tuned = tmp_path / "gan", tmp_path / "tuned"
    run(*train_words("pix2pix", scenes, gan, "--images", 4, "--init-from", out))
    run(*train_words("regress", scenes, tuned, "--images", 4, "--init-from", gan))
    run("translate", out, scenes["facades"] / "test" / "a", tmp_path / "translated")
    assert len(list((tmp_path / "translated").glob("*.png"))) == 3
    assert "SSIM" in run("evaluate", out, scenes["facades"])
    run("report", out)
    compared = json.loads(here("compare", "--json", out, gan).out)["settings"]
    assert compared["discriminator.name"] == {"run": "none", "gan": "patchgan"}
    assert "regress" in run("show", out)
    assert "No discriminator" in run("show", "regress")
    assert "regress" in run("list", "methods")
    assert '"lambda_gradient"' in run("show", "regress", "--schema")


MOMENTS = '''"""Images from noise whose mean is that of the data, without a discriminator."""

from i2i.methods import Method, Phase
from i2i.networks.latent import LatentSpec
from i2i.options import Count, Doc, validate_options
from typing import Annotated


class Moments(Method):
    """Learns the mean color."""

    kind = "unconditional"
    domains = ("image",)
    defaults = {"data": {"crop_size": 16, "load_size": 16}, "generator": {"name": "dcgan"}}

    @validate_options
    def __init__(self, make_generator, channels, *, latent: Annotated[Count, Doc("length")] = 5):
        super().__init__()
        self.latent = LatentSpec(latent)
        self.G = make_generator(latent, channels["image"])

    def fakes(self, real):
        image = real["image"]
        return {"image": self.G(self.latent.sample(len(image), image.device))}

    def phases(self):
        return (Phase("G", (self.G,), self.loss, live=True),)

    def translators(self):
        return {"generate": self.G}

    def loss(self, real, fake):
        return {"mean": (fake["image"].float().mean() - real["image"].mean()).square()}
'''


def test_a_plugin_without_a_discriminator_generates_from_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins" / "methods").mkdir(parents=True)
    (tmp_path / "plugins" / "methods" / "moments.py").write_text(MOMENTS)
    monkeypatch.setenv("I2I_PLUGINS", str(tmp_path / "plugins"))
    data, out = draw_scenes(tmp_path / "scenes", 6)["portraits"], tmp_path / "run"
    sets = ["generator.width=4", "train.batch=2", "data.workers=0", "log.tensorboard=false"]
    more = [word for text in sets for word in ("--set", text)]
    streams = tmp_path / "streams"  # a process of its own: names of methods are read once
    words = ["--data", data, "--out", out, "--images", 4, "--device", "cpu", *more]
    ended = i2i(streams, "train", "moments", *words)
    assert ended.status == 0, ended.err
    ended = i2i(streams, "generate", out, tmp_path / "images", "--count", 2)
    assert ended.status == 0, ended.err
    ended = i2i(streams, "generate", out, tmp_path / "scored", "--count", 2, "--score")
    assert "this weights file has no discriminator" in ended.err
