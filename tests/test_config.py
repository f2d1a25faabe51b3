"""Settings: layers, types, and errors that carry their mend."""

import random
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from i2i import config
from i2i.config import Config, ConfigError, Layer
from i2i.run.settings import resolve, with_length


def resolved(*overrides: str, method: str = "pix2pix") -> Config:
    layers = [
        Layer("test", {"data": {"root": "somewhere"}}),
        *map(config.parse_override, overrides),
    ]
    return resolve(method, layers)


def test_later_layers_win_over_earlier_ones_and_over_the_published_defaults() -> None:
    file = Layer("file", {"data": {"root": "x"}, "optim": {"lr": 1}, "generator": {"width": 8}})
    settings = resolve("pix2pix", [file, config.parse_override("optim.lr=1e-4")])
    assert settings.optim.lr == 1e-4
    assert settings.generator.options()["width"] == 8
    assert settings.generator.name == "unet_256"
    assert settings.generator.options()["depth"] == 8


def test_number_in_scientific_notation_in_yaml_is_a_number() -> None:
    values = yaml.safe_load("{data: {root: x}, optim: {lr: 1e-4}}")
    assert isinstance(values["optim"]["lr"], str)  # the parser's trap
    assert resolve("pix2pix", [Layer("file", values)]).optim.lr == 1e-4


def test_all_errors_are_reported_at_once_each_with_its_mend() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(
            "optim.lr=-1", "optim.lrr=1", "generator.widht=3", "data.direction=AtoB", "nonsense.x=1"
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert any("optim.lr:" in line and "greater than 0" in line for line in lines)
    assert any("Did you mean optim.lr?" in line for line in lines)
    assert any("Did you mean generator.width?" in line for line in lines)
    assert any("a2b" in line and "AtoB" in line for line in lines)


def test_error_of_a_file_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"optim.lrr: unknown setting in my.yaml"):
        resolve("pix2pix", [Layer("my.yaml", {"data": {"root": "x"}, "optim": {"lrr": 1}})])


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "cut", "dcgan"])
def test_resolved_settings_survive_the_way_through_yaml(method: str) -> None:
    settings = resolved(method=method)
    again = resolve(method, [Layer("saved", yaml.safe_load(settings.to_yaml()))])
    assert again.to_dict() == settings.to_dict()


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "cut", "dcgan"])
def test_every_setting_can_be_set_to_its_own_value_on_the_command_line(method: str) -> None:
    import json

    settings = resolved(method=method)
    keys = [
        (section, key)
        for section, values in settings.to_dict().items()
        if section != "version"
        for key in values
    ]
    for section, key in keys:
        value = settings.to_dict()[section][key]
        again = resolved(f"{section}.{key}={json.dumps(value)}", method=method)
        assert again.to_dict()[section][key] == value


def test_misspelled_keys_are_all_refused_and_the_right_one_is_suggested() -> None:
    rng = random.Random(0)
    known = [
        f"{s}.{k}"
        for s, v in resolved().to_dict().items()
        if s != "version"
        for k in v
        if k != "name"
    ]
    right = 0
    for _ in range(60):
        key = rng.choice(known)
        place = rng.randrange(key.index(".") + 1, len(key))
        wrong = key[:place] + rng.choice(string.ascii_lowercase) + key[place:]
        if wrong in known:
            continue
        with pytest.raises(ConfigError) as caught:
            resolved(f"{wrong}=1")
        right += f"Did you mean {key}?" in str(caught.value)
    assert right >= 54


def test_option_that_has_no_effect_in_a_mode_is_an_error() -> None:
    for method, override in [
        ("dcgan", "data.direction=a2b"),
        ("cyclegan", "data.layout=ab"),
        ("pix2pix", "method.history=50"),
        ("cyclegan", "method.lambda_l1=1"),
        ("pix2pix", "generator.blocks=6"),
    ]:
        with pytest.raises(ConfigError, match="unknown setting"):
            resolved(override, method=method)


def test_options_of_the_published_network_do_not_follow_to_another_one() -> None:
    settings = resolved("generator.name=resnet_6blocks")
    assert settings.generator.options()["blocks"] == 6
    assert "depth" not in settings.generator.options()


def test_length_in_images_replaces_a_length_in_epochs_and_the_other_way_round() -> None:
    assert with_length(resolved("train.total_images=10"), 7).train.total_images == 10
    assert (
        with_length(resolved("train.total_images=10", "train.epochs=2"), 7).train.total_images == 14
    )


def test_empty_section_of_a_file_says_nothing_and_both_lengths_at_once_are_refused() -> None:
    root = Layer("data", {"data": {"root": "x"}})
    empty = resolve("dcgan", [Layer("file", {"train": None, "data": None}), root])
    assert (empty.train.batch, empty.data.load_size) == (128, 64)
    with pytest.raises(ConfigError, match="one of them"):
        resolve("dcgan", [root, Layer("file", {"train": {"total_images": 5, "epochs": 5}})])


@pytest.mark.parametrize(
    "values", [{"method": 3}, {"generator": {"name": 7}}, {"data": []}, {"train": 5}]
)
def test_section_of_the_wrong_form_is_an_error_and_not_a_crash(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        resolve("pix2pix", [Layer("file", {"data": {"root": "x"}}), Layer("file", values)])


def test_unknown_component_names_the_closest_one() -> None:
    with pytest.raises(ValueError, match="unet_256"):
        resolved("generator.name=unet256")


def test_settings_for_another_method_are_refused() -> None:
    with pytest.raises(ConfigError, match="cyclegan"):
        resolved("method.name=cyclegan")


@pytest.mark.parametrize("first", ["{x: *a0}", "{x: 1}", "[1]"])
def test_file_whose_aliases_never_end_is_refused(first: str, tmp_path: Path) -> None:
    twice = "[*a{0}, *a{0}]" if first == "[1]" else "{{x: *a{0}, y: *a{0}}}"
    lines = [
        f"k0: &a0 {first}",
        *(f"k{n}: &a{n} {twice.format(n - 1)}" for n in range(1, 25)),
        "train: *a24",
    ]
    (tmp_path / "laugh.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"laugh\.yaml: holds more than"):
        config.read_yaml(tmp_path / "laugh.yaml")


def test_override_that_nests_without_end_is_refused() -> None:
    for text in ("train" + ".a" * 5_000 + "=1", "train.batch=" + '{"a":' * 400 + "1" + "}" * 400):
        with pytest.raises(ConfigError, match="nests more than"):
            config.parse_override(text)
