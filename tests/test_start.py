"""Networks are measured before their first step: bad scales are named, and training stays as it is."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import here
from runs import draw_scenes, final_state, train_words
from states import equal
from torch import Tensor
from torch.nn.functional import interpolate, leaky_relu

from i2i import config, registry
from i2i.config import Layer
from i2i.files import EVENTS, read_rows
from i2i.methods._base import Images
from i2i.run import build
from i2i.run import train as train_module
from i2i.run.settings import resolve
from i2i.run.start import Row, check_start

CPU = torch.device("cpu")
METHODS = registry.names("methods")
DISCRIMINATORS = {"cyclegan": ["D_a", "D_b"], "regress": []}  # D with the others


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def picture(seed: int, count: int, side: int) -> Tensor:
    """Return smooth images with a little noise."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 8, 8, generator=random)
    noise = 0.1 * torch.randn(count, 3, side, side, generator=random)
    return (interpolate(coarse, (side, side), mode="bilinear") + noise).clamp(-1, 1)


def built(method: str, side: int, *overrides: str) -> tuple[Any, Any, Images]:
    """Return a method with its settings, and a batch for it."""
    texts = [f"data.load_size={side}", f"data.crop_size={side}", "generator.width=8", *overrides]
    if method in ("pix2pix", "regress"):
        texts += ["generator.name=unet_128" if side > 64 else "generator.name=unet"]
        texts += [] if side > 64 else ["generator.depth=6"]
    layers = [Layer("test", {"data": {"root": "x"}}), *map(config.parse_override, texts)]
    settings = resolve(method, layers)
    torch.manual_seed(0)
    made = build.make_method(settings, {"a": 3, "b": 3, "image": 3})
    names, count = made.domains, 8 if method == "dcgan" else 1
    return made, settings, {name: picture(i, count, side) for i, name in enumerate(names)}


def measured(method: str, side: int, *overrides: str) -> list[Row]:
    made, settings, real = built(method, side, *overrides)
    return check_start(made, settings, CPU, real)


@pytest.mark.parametrize(
    ("method", "side"),
    [*((method, 64) for method in METHODS), ("pix2pix", 256), ("cyclegan", 256), ("cut", 256)],
)
def test_published_settings_start_within_the_bounds(method: str, side: int) -> None:
    rows = measured(method, side)
    assert [row.fault for row in rows] == [""] * len(rows)
    translators = {"cyclegan": ["a2b", "b2a"], "dcgan": ["generate"]}.get(method, ["a2b"])
    discriminators = DISCRIMINATORS.get(method, ["D"])
    assert [row.name for row in rows] == [*translators, *discriminators]


@pytest.mark.parametrize(
    ("method", "bad", "good", "words"),
    [
        (
            "cyclegan",
            ["discriminator.norm=none"],
            "train.init_discriminator=kaiming",
            "layer makes",
        ),
        ("dcgan", ["discriminator.norm=none"], "train.init_discriminator=kaiming", "layer makes"),
        (
            "cyclegan",
            ["train.init_gain_discriminator=5", "discriminator.norm=none"],
            "train.init_discriminator=kaiming train.init_gain_discriminator=null",
            "layer makes",
        ),
    ],
)
def test_discriminator_that_starts_at_a_bad_scale_is_named_with_settings_that_help(
    method: str, bad: list[str], good: str, words: str
) -> None:
    faults = [row.fault for row in measured(method, 64, *bad) if row.fault]
    assert len(faults) == 1 + (method == "cyclegan")
    assert all(words in fault and good.replace(" ", " and ") in fault for fault in faults)
    assert not any(row.fault for row in measured(method, 64, *bad, *good.split()))


def test_generator_whose_output_is_saturated_or_constant_is_named() -> None:
    (fault, *_) = [row.fault for row in measured("cyclegan", 64, "train.init_gain=20")]
    assert fault.startswith("a2b: an image is at the ends of the range")
    assert "To try: train.init_gain=null." in fault
    (fault, *_) = [row.fault for row in measured("cut", 64, "train.init_gain=1e-6")]
    assert fault.startswith("a2b: its images are constant")


def test_numbers_are_those_of_a_network_computed_by_hand() -> None:
    made, settings, real = built("cyclegan", 64, "discriminator.width=8", "discriminator.layers=1")
    line = str(check_start(made, settings, CPU, real)[-1])
    fake = made.G_ab(real["a"]).detach().requires_grad_()
    features, x = [], fake
    for layer in made.D_b.net.layers:
        x = leaky_relu(layer(x), 0.2)
        features.append(x.square().mean().sqrt().item())
    logits = made.D_b.net.head(x)
    logits.mean().backward()
    assert fake.grad is not None
    gradient = fake.grad.norm().item() * fake.numel() ** 0.5
    hidden = " ".join(f"{rms:.2g}" for rms in features)
    assert line == (
        f"D_b: RMS of input {fake.square().mean().sqrt():.2g}, of hidden layers {hidden}; "
        f"std of logits {logits.std(correction=0):.2g}; gradient at the fake {gradient:.2g}"
    )


def test_nothing_of_the_method_and_no_random_state_changes() -> None:
    options = ["discriminator.spectral=true", "method.augment=ada", "method.feature_matching=1"]
    made, settings, real = built("pix2pix", 64, *options, "method.label_flip=0.1")
    state, random = copy.deepcopy(made.state_dict()), torch.get_rng_state()
    assert len(check_start(made, settings, CPU, real)) == 2
    assert equal(made.state_dict(), state)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.requires_grad and p.grad is None for p in made.parameters())
    assert not made.pop_metrics()


def test_method_that_trains_no_discriminator_has_rows_of_generators_only() -> None:
    assert [row.name for row in measured("pix2pix", 64, "method.lambda_gan=0")] == ["a2b"]


@pytest.mark.parametrize("penalty", ["method.objective=wgan-gp", "method.r1=1"])
def test_discriminator_with_a_penalty_and_several_scales_is_measured(penalty: str) -> None:
    names = ["discriminator.name=multiscale", "discriminator.width=8", "discriminator.layers=1"]
    assert [row.name for row in measured("cut", 64, penalty, *names)] == ["a2b", "D"]


# -- runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pix2pix", "cut", "dcgan"])
def test_run_is_the_same_bit_for_bit_as_without_the_check(
    method: str, scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*given: Any) -> list[Row]:
        calls.append(given)
        return check_start(*given)

    for name, check in (("with", counted), ("without", lambda *_: [])):
        monkeypatch.setattr(train_module, "check_start", check)
        assert here(*train_words(method, scenes, tmp_path / name, "--images", 4)).status == 0
    assert len(calls) == 1
    assert equal(final_state(tmp_path / "with"), final_state(tmp_path / "without"))


def test_resumed_run_is_not_checked(
    scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = train_words("pix2pix", scenes, tmp_path / "run", "--images", 2)
    assert here(*words).status == 0
    monkeypatch.delattr(train_module, "check_start")
    assert here("resume", tmp_path / "run", "--images", 4, "--device", "cpu").status == 0


def test_fault_is_the_first_event_of_its_run(scenes: dict[str, Path], tmp_path: Path) -> None:
    words = train_words(
        "cut", scenes, tmp_path / "run", "--images", 4, "--set", "train.init_gain=1e-6"
    )
    ended = here(*words)
    assert ended.status == 0
    assert "start, after 0 images: a2b: its images are constant" in ended.err
    first = next(row for row in read_rows(tmp_path / "run" / EVENTS) if row["kind"] != "data")
    assert first["kind"] == "start"


def test_dry_run_shows_a_line_for_every_network_and_the_faults(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    for method in METHODS:
        words = train_words(method, scenes, tmp_path / "run", "--images", 4, "--dry-run")
        ended = here(*words)
        assert ended.status == 0, ended.err
        lines = ended.out.partition("before the first step, on the first batch:\n")[2].splitlines()
        assert sum("std of output" in line for line in lines) == 1 + (method == "cyclegan")
        discriminators = DISCRIMINATORS.get(method, ["D"])
        assert sum("gradient at the fake" in line for line in lines) == len(discriminators)
        assert not (tmp_path / "run").exists()
