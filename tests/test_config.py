"""Settings: layers, types, descriptions, old names, resuming, and errors that say what to do."""

import importlib.util
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import here

from i2i import config, registry
from i2i.config import RENAMED, Config, ConfigError, Layer, combine, parse_override, read_yaml
from i2i.run.settings import json_schema, resolve, resume, with_absolute_paths, with_length

METHODS = registry.names("methods")


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


def test_all_errors_are_reported_at_once_each_with_its_fix() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(
            "optim.lr=-1", "optim.lrr=1", "generator.widht=3", "data.direction=AtoB", "nonsense.x=1"
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.errors) == 5
    assert {error.subject for error in caught.value.errors} == {
        "optim.lr",
        "optim.lrr",
        "generator.widht",
        "data.direction",
        "nonsense",
    }
    assert any("optim.lr:" in line and "greater than 0" in line for line in lines)
    assert any("Did you mean optim.lr?" in line for line in lines)
    assert any("Did you mean generator.width?" in line for line in lines)
    assert any("a2b" in line and "AtoB" in line for line in lines)


def test_contradictions_are_reported_together_with_errors_of_other_sections() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved("data.crop_size=300", 'data.inputs=["x"]', "train.batch=0", "train.epochs=null")
    subjects = [error.subject for error in caught.value.errors]
    assert subjects == ["data.crop_size", "data.inputs, data.target", "train.batch"]
    with pytest.raises(ConfigError, match="must set the length"):
        resolved("train.epochs=null")


def test_error_of_a_file_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"optim.lrr: unknown setting in my.yaml"):
        resolve("pix2pix", [Layer("my.yaml", {"data": {"root": "x"}, "optim": {"lrr": 1}})])


@pytest.mark.parametrize("method", METHODS)
def test_resolved_settings_survive_the_way_through_yaml(method: str) -> None:
    settings = resolved(method=method)
    again = resolve(method, [Layer("saved", yaml.safe_load(settings.to_yaml()))])
    assert again.to_dict() == settings.to_dict()


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["init=kaiming", "init_gain=0.02"], "init_gain"),
        (["init_discriminator=kaiming", "init_gain_discriminator=1"], "init_gain_discriminator"),
        (["init=kaiming", "init_gain_discriminator=1"], "init_gain_discriminator"),
    ],
)
def test_gain_of_a_scheme_that_takes_none_is_refused(settings: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{key}: has no effect with kaiming"):
        resolved(*(f"train.{text}" for text in settings))


def test_gain_is_that_of_the_scheme_and_the_one_that_all_runs_once_saved_is_the_same() -> None:
    for scheme in ("normal", "xavier"):
        settings = resolved(f"train.init={scheme}", "train.init_gain=0.02")
        assert settings.to_dict() == resolved(f"train.init={scheme}").to_dict()
        assert settings.train.init_gain is None
    assert resolved("train.init=orthogonal", "train.init_gain=0.02").train.init_gain == 0.02


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


# -- descriptions ----------------------------------------------------------------------------------


def documented(method: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of a method and of all networks, with its schema."""
    for section, schema in json_schema(method)["properties"].items():
        for variant in schema.get("anyOf", [schema]):
            for key, setting in variant.get("properties", {}).items():
                yield f"{section}.{key}", setting


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_has_a_description_that_says_what_null_means(method: str) -> None:
    for name, setting in documented(method):
        assert setting.get("description"), f"{name} has no description"
        if setting.get("default", "") is None:
            text = setting["description"]
            assert re.search("null|None", text), f"{name}: {text!r} does not say what null means"


@pytest.mark.parametrize("method", METHODS)
def test_schema_has_every_setting_with_the_default_of_the_method(method: str) -> None:
    schema = json_schema(method)
    for section, values in resolved(method=method).to_dict().items():
        if section == "version":
            continue
        published = schema["properties"][section].get("anyOf", [schema["properties"][section]])[0]
        settings = published["properties"]
        assert settings.keys() == values.keys()
        for key, value in values.items():
            if (section, key) != ("data", "root"):
                assert settings[key]["default"] == value
    names = [
        net["properties"]["name"]["const"] for net in schema["properties"]["generator"]["anyOf"]
    ]
    assert sorted(names) == registry.names("generators")


def test_page_of_settings_is_what_the_code_generates() -> None:
    path = Path(__file__).resolve().parent.parent / "tools" / "settings_page.py"
    spec = importlib.util.spec_from_file_location("settings_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, mark, tables = module.PAGE.read_text("utf-8").partition(module.MARK)
    assert mark
    assert tables.lstrip("\n") == module.tables(), "run python tools/settings_page.py --write"


# -- old names -------------------------------------------------------------------------------------


def test_settings_under_their_old_names_are_read_as_the_new_ones(tmp_path: Path) -> None:
    now = {new: old for old, new in RENAMED.items()}
    checked = set()
    for method in METHODS:
        values = resolved(method=method).to_dict()
        for section, key in ((s, k) for s in values if s != "version" for k in values[s]):
            old = now.get(f"{section}.{key}")
            if old is None:
                continue
            old_section, old_key = old.split(".")
            given = {"version": 1, old_section: {old_key: values[section][key]}}
            (tmp_path / "old.yaml").write_text(yaml.safe_dump(given))
            layer = config.read_yaml(tmp_path / "old.yaml")
            assert layer.values == {"version": 2, section: {key: values[section][key]}} | (
                {old_section: {}} if old_section != section else {}
            )
            assert layer.renamed == (old,)
            assert resolve(method, [Layer("", {"data": {"root": "x"}}), layer])
            assert config.parse_override(f"{old}=1").values[section] == {key: 1}
            checked.add(old)
    assert checked == set(RENAMED)


def test_setting_under_both_its_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("train: {images: 4, total_images: 4}")
    with pytest.raises(
        ConfigError, match=r"both.yaml: train.images is now train.total_images, and"
    ):
        config.read_yaml(tmp_path / "both.yaml")


def test_old_name_moves_into_an_empty_section(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("log:\ntrain: {sample_images: 4}")
    assert config.read_yaml(tmp_path / "old.yaml").values["log"] == {"sample_every_images": 4}


def test_settings_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text("version: 4")
    with pytest.raises(ConfigError, match=r"new.yaml: written by a newer i2i.*Update i2i"):
        config.read_yaml(tmp_path / "new.yaml")


FILTERS = [("generator", "antialias"), ("generator", "upsample"), ("discriminator", "antialias")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", [True, "bilinear", True]),
        ("version: 3", [True, "bilinear", True]),
        ("version: 2", [False, "deconv", False]),
        ("version: 1", [False, "deconv", False]),
        ("{version: 2, discriminator: {antialias: true}}", [False, "deconv", True]),
        ("generator: {antialias: false}", [False, "bilinear", True]),
        ("{version: 2, generator: {name: unet, depth: 4}}", [None, "deconv", False]),
        ("generator: {name: resnet_6blocks}", [True, "bilinear", True]),
        ("generator: {name: unet, depth: 4}", [None, "deconv", True]),  # they fit a ResNet
        ("discriminator: {name: multiscale}", [True, "bilinear", None]),
    ],
)
def test_cut_has_the_filters_of_its_authors_unless_its_file_is_older_than_they(
    text: str, expected: list[object], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    layers = [Layer("", {"data": {"root": "x"}}), config.read_yaml(tmp_path / "a.yaml")]
    settings = resolve("cut", layers).to_dict()
    assert [settings[section].get(key) for section, key in FILTERS] == expected
    assert settings["version"] == 3
    again = resolve("cut", [Layer("saved", settings)]).to_dict()
    assert again == settings


def test_newer_file_over_the_settings_of_an_older_run_adds_no_filters() -> None:
    old = Layer("run", {"version": 2, "data": {"root": "x"}})
    settings = resolve("cut", [old, Layer("file", {"version": 3, "optim": {"lr": 1e-4}})]).to_dict()
    assert [settings[section].get(key) for section, key in FILTERS] == [False, "deconv", False]
    assert settings["version"] == 3


def test_misspelled_old_name_leads_to_the_new_one() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean train.keep_checkpoints\?"):
        resolved("train.kep=2")
    with pytest.raises(ConfigError, match=r"Did you mean optim.lr_decay_start\?"):
        resolved("optim.decay_frm=1")


# -- resuming --------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A run folder with nothing but settings."""
    settings = with_length(resolved("train.seed=3", "generator.width=8"), 10)
    (tmp_path / "config.yaml").write_text(settings.to_yaml())
    return tmp_path


def test_resumed_run_may_change_what_is_resumable_and_nothing_else(saved: Path) -> None:
    for key, setting in documented("pix2pix"):
        if setting.get("resumable"):
            assert key.startswith(("method.", "optim.", "log.", "train.", "data.", "validate."))
    resumable = {key for key, setting in documented("pix2pix") if setting.get("resumable")}
    fixed = {"seed", "init", "init_gain", "ema_halflife_images", "init_from", "freeze"}
    fixed |= {"init_discriminator", "init_gain_discriminator"}
    weights = (
        "lambda_l1",
        "lambda_focal_frequency",
        "lambda_gradient",
        "lambda_gan",
        "instance_noise",
        "r1",
        "r2",
        "feature_matching",
    )
    images = ("load_size", "crop_size", "flip", "rotate_degrees", "elastic_pixels", "color_jitter")
    values = resolved().to_dict()
    assert resumable == {
        *(f"optim.{key}" for key in values["optim"]),
        *(f"log.{key}" for key in values["log"]),
        *(f"train.{key}" for key in values["train"] if key not in fixed),
        *(f"validate.{key}" for key in values["validate"] if key != "share"),
        *("data.root", "data.workers", "data.cache", "data.on_bad_file", "data.max_pixels"),
        *(f"data.{key}" for key in images),
        *(f"method.{key}" for key in weights),
    }
    changes = ["optim.lr=0.1", "data.root=y", "train.epochs=7", "log.samples=3"]
    settings = resume(saved, "pix2pix", list(map(config.parse_override, changes)))
    assert (settings.optim.lr, settings.data.root, settings.log.samples) == (0.1, "y", 3)
    assert (settings.train.epochs, settings.train.total_images) == (7, None)


def test_fixed_settings_may_be_repeated_with_their_old_values(saved: Path) -> None:
    again = ["train.seed=3", "generator.width=8", "data.crop_size=256", "method.lambda_l1=100"]
    again += ["method.gradient_penalty=null", "data.masks=[]", "train.init_gain=2e-2"]
    before = resume(saved, None, []).to_dict()
    assert resume(saved, None, list(map(config.parse_override, again))).to_dict() == before
    complete = config.read_yaml(saved / "config.yaml")
    assert resume(saved, "pix2pix", [complete]).to_dict() == before


def test_gain_that_an_old_run_saved_and_its_scheme_never_used_is_left_out(tmp_path: Path) -> None:
    text = with_length(resolved("train.init=kaiming"), 10).to_yaml()
    assert "init_gain: null" in text
    for gain in ("0.02", "0.5"):
        old = text.replace("init_gain: null", f"init_gain: {gain}")
        (tmp_path / "config.yaml").write_text(old)
        assert resume(tmp_path, None, []).train.init_gain is None
    (tmp_path / "config.yaml").write_text(old.replace("init: kaiming", "init: xavier"))
    assert resume(tmp_path, None, []).train.init_gain == 0.5


def test_changes_of_fixed_settings_are_all_refused_with_old_and_new_value(saved: Path) -> None:
    changes = ["train.seed=4", "generator.width=16", "method.label_flip=0.1", "data.alpha=keep"]
    with pytest.raises(ConfigError) as caught:
        resume(saved, None, list(map(config.parse_override, [*changes, "optim.lr=1"])))
    reasons = {error.subject: error.reason for error in caught.value.errors}
    assert reasons.keys() == {"train.seed", "generator.width", "method.label_flip", "data.alpha"}
    assert "from 3 to 4" in reasons["train.seed"]
    assert 'from "drop" to "keep"' in reasons["data.alpha"]
    with pytest.raises(ConfigError, match=r'generator.name: .*from "unet_256" to "resnet"'):
        resume(saved, None, [config.parse_override("generator.name=resnet")])


def test_run_whose_settings_name_no_method_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("train: {batch: 1}")
    with pytest.raises(ConfigError, match=r"config.yaml: names no method"):
        resume(tmp_path, None, [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"train:\n  batch: 1\n  seed: 1\n  batch: 2\n", r"line 4: batch is given twice"),
        (b"train: {batch: 1}\ntrain: {seed: 2}\n", r"line 2: train is given twice"),
        (b"train:\n\tbatch: 1\n", r"not valid YAML \(line 2: "),
        (b"train: " + b"x" * 10**7, "more than 128 KiB"),
        (b"[" * 5_000, "not valid YAML"),
        (b"train: {batch: \xff}", "not UTF-8 at byte 15"),
        (b"train: !!python/object/apply:os.abort []", "not valid YAML"),
        (b"train: {batch: 0x" + b"f" * 5_000 + b"}", r"train\.batch: a number of 20,000 bits"),
        (b"train: {batch: " + b"9" * 5_000 + b"}", "not valid YAML"),
        (b'data: {root: "a\\0b"}', r"data\.root: holds NUL"),
    ],
)
def test_absurd_file_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_keys_merged_from_an_alias_are_no_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("x: &base {batch: 1, seed: 1}\ntrain:\n  <<: *base\n  batch: 2\n", "utf-8")
    assert read_yaml(path).values["train"] == {"batch": 2, "seed": 1}


@pytest.mark.parametrize("setting", ["train.batch=true", "optim.lr=true", "optim.betas=[false, 0.9]", "data.load_size=true"])  # fmt: skip
def test_true_and_false_are_no_numbers(setting: str) -> None:
    with pytest.raises(ConfigError, match="must not be true or false"):
        resolved(setting)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", '"inf"'])
@pytest.mark.parametrize("key", ["optim.lr", "method.lambda_l1", "data.elastic_pixels"])
def test_numbers_of_settings_are_finite(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: must be a finite number"):
        resolved(f"{key}={value}")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--data", "x", "--set", "data.root=y"], 'data.root: given twice, as "y" and "x"'),
        (["--seed", "1", "--set", "train.seed=2"], "train.seed: given twice, as 2 and 1"),
        (["--set", 'data.value_range={"a": [0, 1], "a": [0, 2]}'], "a is given twice"),
    ],
)
def test_contradiction_on_the_command_line_is_refused(words: list[str], reason: str) -> None:
    done = here("train", "pix2pix", "--dry-run", *words)
    assert done.status == 2
    assert reason in done.err


def test_command_line_wins_over_a_file_and_may_repeat_a_value(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("data: {root: x}\noptim: {lr: 1}\n", "utf-8")
    given = [parse_override("optim.lr=2"), parse_override("optim.lr=2.0")]
    settings = resolve("pix2pix", [read_yaml(path), combine(given, "the command line")])
    assert settings.optim.lr == 2


def test_tables_and_folders_outside_of_the_data_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("data/train/x", "x", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pairs.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    settings = resolved(
        "data.root=data",
        'data.inputs=["x", "elsewhere"]',
        "data.target=missing",
        "data.pairs=pairs.csv",
    )
    data = with_absolute_paths(settings).data
    assert data.inputs == ("x", str(tmp_path / "elsewhere"))  # x is a folder of the data
    assert (data.target, data.pairs) == ("missing", str(tmp_path / "pairs.csv"))
