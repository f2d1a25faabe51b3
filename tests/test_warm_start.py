"""Starting from trained weights, freezing parts, regression without D, and changing a run on resume."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import Ended, i2i
from runs import draw_scenes, final_state, train_words

from i2i.checkpoint import STATE
from i2i.config import Layer
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, load_model, named_tensors, save_model
from i2i.networks.generators.resnet import ResNet
from i2i.networks.generators.unet import UNet
from i2i.run.build import make_method
from i2i.run.settings import resolve
from i2i.run.warm_start import init_from_layers, load_weights

UNET = {"width": 4, "depth": 3, "norm": "batch"}


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ended]:
    """Run a command of i2i to its end."""
    return lambda *words: i2i(tmp_path_factory.mktemp("command"), *words)


def unet_file(folder: Path, in_channels: int = 3, out_channels: int = 3) -> Path:
    """Write a weights file of a random U-Net a2b."""
    net = UNet(in_channels, out_channels, **UNET)
    part = GeneratorInfo(
        name="unet", options=UNET, in_channels=in_channels, out_channels=out_channels
    )
    info = ModelInfo(method="pix2pix", generators={"a2b": part}, direction="a2b")
    save_model(folder / WEIGHTS, info, named_tensors({"a2b": net}))
    return folder / WEIGHTS


def small_method(name: str, channels: dict[str, int], **train: object) -> torch.nn.Module:
    generator = {"name": "unet", **UNET, "dropout": True}
    layer = {"generator": generator, "discriminator": {"width": 4, "layers": 1}, "train": train}
    layer["data"] = {"root": "x", "load_size": 32, "crop_size": 32}
    return make_method(resolve(name, [Layer("test", layer)]), channels)


def test_cyclegan_takes_the_generator_of_pix2pix_and_says_what_stays_random(tmp_path: Path) -> None:
    file = unet_file(tmp_path)
    method = small_method("cyclegan", {"a": 3, "b": 3})
    before = {name: value.clone() for name, value in method.G_ba.state_dict().items()}
    notes = load_weights(method, file)
    for name, value in load_model(file).generator("a2b").state_dict().items():
        assert torch.equal(method.G_ab.state_dict()[name], value)
    assert all(torch.equal(value, before[name]) for name, value in method.G_ba.state_dict().items())
    assert [note.split()[0] for note in notes] == ["b2a", "D_a", "D_b"]


def test_cut_takes_a_generator_that_is_older_than_its_filters_as_it_was_and_no_discriminator(
    tmp_path: Path,
) -> None:
    own = {"width": 2, "blocks": 1}
    plain = {"antialias": False, "upsample": "deconv"}
    old = {"generator": {"name": "resnet", **own, **plain}, "data": {"root": "x"}}
    old["discriminator"] = {"width": 2, "layers": 1, "antialias": False}
    method = make_method(resolve("cut", [Layer("test", old)]), {"a": 3, "b": 3})
    part = GeneratorInfo(name="resnet", options=own, in_channels=3, out_channels=3)
    info = ModelInfo(method="cut", generators={"a2b": part}, direction="a2b")
    save_model(tmp_path / WEIGHTS, info, named_tensors({"a2b": method.G}))
    torch.save({"method": method.state_dict()}, tmp_path / STATE)

    new = {"data": {"root": "x"}, "train": {"init_from": str(tmp_path)}}
    new["discriminator"] = {"width": 2, "layers": 1}
    settings = resolve("cut", init_from_layers([Layer("test", new)]))
    assert (settings.generator.antialias, settings.generator.upsample) == (False, "deconv")
    filtered = make_method(settings, {"a": 3, "b": 3})
    notes = load_weights(filtered, tmp_path)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(filtered.G(x), method.G(x))
    assert [note.split()[0] for note in notes] == ["D"]
    assert not load_weights(method, tmp_path)


def test_weights_for_other_channels_are_the_mean_and_keep_the_sum_over_inputs(
    tmp_path: Path,
) -> None:
    file = unet_file(tmp_path, in_channels=3, out_channels=3)
    saved = load_model(file).generator("a2b")
    method = small_method("pix2pix", {"a": 5, "b": 1})
    notes = load_weights(method, file)
    assert notes[0] == "a2b: weights of the first or last layer are adapted to other channels."
    first, last = method.G.downs[0], method.G.ups[-1]
    old_first, old_last = saved.downs[0], saved.ups[-1]
    convolution = next(m for m in first.modules() if isinstance(m, torch.nn.Conv2d))
    old_convolution = next(m for m in old_first.modules() if isinstance(m, torch.nn.Conv2d))
    expected = old_convolution.weight.sum(1) / 5
    for channel in range(5):
        torch.testing.assert_close(convolution.weight[:, channel], expected)
    deconvolution = next(m for m in last.modules() if isinstance(m, torch.nn.ConvTranspose2d))
    old_deconvolution = next(
        m for m in old_last.modules() if isinstance(m, torch.nn.ConvTranspose2d)
    )
    torch.testing.assert_close(deconvolution.weight[:, 0], old_deconvolution.weight.mean(1))
    torch.testing.assert_close(deconvolution.bias[0], old_deconvolution.bias.mean())
    # a gray image in all five channels gives the mean of what it gave in three
    gray = torch.rand(1, 1, 32, 32)
    new, old = method.G.eval(), saved.eval()
    torch.testing.assert_close(
        first(gray.expand(1, 5, 32, 32)), old_first(gray.expand(1, 3, 32, 32))
    )
    assert new(gray.expand(1, 5, 32, 32)).shape == old(gray.expand(1, 3, 32, 32))[:, :1].shape


def test_weights_of_another_network_or_direction_are_refused_by_name(tmp_path: Path) -> None:
    net = ResNet(3, 3, width=4, blocks=1)
    part = GeneratorInfo(
        name="resnet", options={"width": 4, "blocks": 1}, in_channels=3, out_channels=3
    )
    info = ModelInfo(method="cut", generators={"b2a": part}, direction="b2a")
    save_model(tmp_path / WEIGHTS, info, named_tensors({"b2a": net}))
    with pytest.raises(ValueError, match=r"train.init_from: .* has b2a, this run trains a2b"):
        load_weights(small_method("pix2pix", {"a": 3, "b": 3}), tmp_path)
    with pytest.raises(ValueError, match=r"b2a is another network .*generator.name=resnet"):
        load_weights(small_method("cyclegan", {"a": 3, "b": 3}), tmp_path)


def test_freeze_refuses_what_is_not_there_and_a_run_without_a_generator_to_train() -> None:
    with pytest.raises(
        ValueError, match=r"train.freeze: no weights in 'G.encoder'. There are .*G.downs"
    ):
        small_method("pix2pix", {"a": 3, "b": 3}, freeze=["G.encoder"])
    with pytest.raises(ValueError, match=r"train.freeze: leaves no generator to train"):
        small_method("cyclegan", {"a": 3, "b": 3}, freeze=["G_ab", "G_ba"])


def test_run_starts_from_a_run_keeps_frozen_parts_and_needs_the_model_no_more(
    tmp_path: Path, run: Callable[..., Ended]
) -> None:
    scenes = draw_scenes(tmp_path / "scenes", 6)
    first = tmp_path / "first"
    assert run(*train_words("pix2pix", scenes, first, "--images", 8)).status == 0
    words = ["--init-from", str(first), "--set", 'train.freeze=["G.downs", "D"]', "--images", "8"]
    words += ["--set", "train.checkpoint_every_images=4"]
    tuned = tmp_path / "tuned"
    architecture = train_words("pix2pix", scenes, tuned, *words)
    for setting in ("generator.name=unet", "generator.depth=5", "generator.width=4"):
        at = architecture.index(setting)
        del architecture[at - 1 : at + 1]  # they come from the model
    ended = run(*architecture)
    assert ended.status == 0, ended.err
    old, new = final_state(first)["method"], final_state(tuned)["method"]
    frozen = {name for name in old if name.startswith(("G.downs.", "D."))}
    for name in frozen - {n for n in frozen if "running" in n or "tracked" in n or "extra" in n}:
        assert torch.equal(old[name], new[name]), name
    assert any(not torch.equal(old[name], new[name]) for name in old if name.startswith("G.ups."))
    for file in first.rglob("*"):
        if file.is_file():
            file.unlink()
    ended = run("resume", tuned, "--images", 12)
    assert ended.status == 0, ended.err


def test_regression_trains_no_discriminator_and_is_refused_without_pairs(
    tmp_path: Path, run: Callable[..., Ended]
) -> None:
    scenes = draw_scenes(tmp_path / "scenes", 6)
    words = ("--set", "method.lambda_gan=0", "--images")
    out = tmp_path / "run"
    ended = run(*train_words("pix2pix", scenes, out, *words, 8))
    assert ended.status == 0, ended.err
    untrained = tmp_path / "untrained"
    assert run(*train_words("pix2pix", scenes, untrained, *words, 1)).status == 0
    # after one step and after many D is the same: its initial one
    one, many = final_state(untrained)["method"], final_state(out)["method"]
    assert all(
        torch.equal(one[name], many[name])
        for name in one
        if name.startswith("D.net.") and "weight" in name
    )
    metrics = (out / "metrics.jsonl").read_text()
    assert '"G/l1"' in metrics
    assert '"D/' not in metrics
    for more, reason in (
        (
            ["method.r1=1", "discriminator.norm=none"],
            "r1, r2, gradient_penalty: has no effect with lambda_gan=0",
        ),
        (["method.augment=ada"], "augment: has no effect with lambda_gan=0"),
        (["method.lambda_l1=0"], "leaves nothing to learn"),
    ):
        sets = [word for text in more for word in ("--set", text)]
        ended = run(*train_words("pix2pix", scenes, tmp_path / "no", *words, 8, *sets))
        assert ended.status == 2
        assert reason in ended.err
    ended = run(*train_words("cut", scenes, tmp_path / "no", *words, 8))
    assert ended.status == 2
    assert "learns its target from the discriminator alone" in ended.err


def test_changes_of_a_resumed_run_and_the_jump_of_its_learning_rate_are_reported(
    tmp_path: Path, run: Callable[..., Ended]
) -> None:
    scenes = draw_scenes(tmp_path / "scenes", 6)
    out = tmp_path / "run"
    assert run(*train_words("cyclegan", scenes, out, "--images", 16)).status == 0
    more = ["--set", "method.lambda_a=5", "--set", "train.batch=3", "--set", "data.crop_size=24"]
    ended = run("resume", out, "--images", 64, *more)
    assert ended.status == 0, ended.err
    assert "note: method.lambda_a is 5.0 from here on, it was 10.0" in ended.err
    assert "note: train.batch is 3 from here on, it was 2" in ended.err
    # after 16 of 16 images the rate was 1/8 of lr; after 16 of 64 it is all of it
    assert "note: the learning rate is 0.0002 from here on, it was 2.5e-05" in ended.err
    assert final_state(out)["images"] == 64
