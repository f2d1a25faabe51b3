"""Every command on every missing, foreign or absurd argument answers at once, in one line, with status 2."""

import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from commands import Ended, here
from models import write_model, write_pictures
from pages import write_run

from i2i.cli import group
from i2i.config import ConfigError, Layer, parse_override
from i2i.networks import generators
from i2i.registry import UnknownComponentError
from i2i.run.build import make_method
from i2i.run.settings import resolve
from i2i.scenes import write_dataset
from i2i.translation import TranslationError
from i2i.translation.sampling import check_sheet, load_sampler

Words = list[str]


def walk(command: click.Command, name: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands without subcommands below `command`, by their words."""
    if not isinstance(command, click.Group):
        yield " ".join(name), command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        child = command.get_command(context, word)
        assert child is not None
        yield from walk(child, (*name, word))


COMMANDS = dict(walk(group))
SINKS = {"out", "fix", "sheet", "json_file", "csv_file"}  # where something new is written
PATHS = {
    "init_from",
    "pairs",
    "folder",
    "model",
    "paths",
    "data",
    "path",
    "archive",
    "source",
    "what",
    "config_file",
    "run",
    "resume",
    "runs",
    "mask",
    "explain",
    "inception_weights",
    "lpips_weights",
    "summary",
} | SINKS
SIZES = {"size", "grid", "interpolate", "shard"}
TEXTS = {
    "generator",
    "method",
    "methods",
    "pair_pattern",
    "window",
    "classes",
    "address",
    "network",
    "device",
    "split",
    "inputs",
    "target",
    "overrides",
    "metrics",
    "value_range",
}
HARMLESS = {"help", "version"}

NUMBERS = ["-1", "0", "0.5", "nan", "inf", "-inf", "1e400", "true", "", "x", "1e9", str(2**31), str(2**32), str(2**63), str(2**64),
           "1" + "0" * 400, "9" * 5_000, "0x10", "-" + "9" * 5_000]  # fmt: skip
FORMS = ["", "x", "0x0", "0", "-1x5", "30000x30000", "1e9x1", "1x1000000000", "9" * 5_000, "9" * 5_000 + "x1", "1x" + "9" * 5_000,
         "1:2:1", "1:2:0", "1:2:10001", "9" * 5_000 + ":1:2", f"{2**64}:1:2", "1:2:" + "9" * 5_000, "nan", "1000000", "1x1x1",
         "0/0", "1/1", "5/2", "9" * 5_000 + "/1", "0/" + "9" * 5_000, "１x１"
]  # fmt: skip
WORDS = [
    "",
    "x" * 10**6,
    "\0",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "\udcff",
    "../..",
    "cuda:99999999999999999999",
    "cuda:-1",
    "meta",
    "a" * 300,
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every command takes, and with what none can take."""
    root = tmp_path_factory.mktemp("stage")
    write_model(root / "model", "resnet")
    write_model(root / "faces", "dcgan")
    write_pictures(root / "photos", 1)
    write_dataset("facades", root / "pairs", 5, 32, seed=0)
    for name in ("run", "other"):
        write_run(root / name, sampled=False)
    (root / "photos.zip").write_bytes(b"PK")
    (root / "empty").write_bytes(b"")
    (root / "noise").write_bytes(random.Random(0).randbytes(4_000))
    (root / "noise.pth").write_bytes(random.Random(1).randbytes(4_000))
    (root / "noise.safetensors").write_bytes(random.Random(2).randbytes(4_000))
    (root / "huge.yaml").write_bytes(b"train: " + b"x" * 10**7)
    (root / "closed").mkdir(mode=0)
    (root / "folder" / "x").mkdir(parents=True)
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root / "loop")
    (root / "dangling").symlink_to(root / "nowhere")
    return root


BASES: dict[str, str] = {  # words that succeed, or nearly: {} is a name that nothing has
    "bench data": "{stage}/missing",  # to be measured takes long
    "bench scale": "--method nothing",
    "bench train": "--method nothing",
    "bench translate": "{stage}/missing",
    "compare": "{stage}/run {stage}/other --out {}.html",
    "data check": "{stage}/pairs",
    "data preview": "{stage}/pairs pix2pix --out {}.png --count 1 --draws 1 --set data.load_size=32 --set data.crop_size=32",
    "data synth": "portraits {} --count 1 --size 16",
    "data unpack": "{stage}/photos.zip {}",
    "demo": "--out {stage}/folder",
    "evaluate": "{stage}/model {stage}/pairs",
    "generate": "{stage}/faces {}",
    "import": "{stage}/noise.pth --out {}",
    "list": "methods",
    "report": "{stage}/run --out {}.html",
    "resume": "{stage}/folder",
    "show": "pix2pix",
    "translate": "{stage}/model {stage}/photos {}",
    "train": "--data {stage}/pairs --out {} --dry-run --set generator.width=1 --set discriminator.width=1",
}
BAD_PATHS = ["{stage}/missing", "{stage}/folder", "{stage}/empty", "{stage}/noise", "{stage}/noise.pth", "{stage}/noise.safetensors",
             "{stage}/huge.yaml", "{stage}/closed", "{stage}/pipe", "/dev/zero", "{stage}/" + "n" * 300, "{stage}/a\nb\x1b", "{stage}/a\0b",
             "{stage}/loop", "{stage}/dangling", "{stage}/noise/x", "", "\udcff", "{stage}/" + "d/" * 3_000, "~nobody/x", "http://x/y"]  # fmt: skip
BAD_SINKS = ["{stage}/folder", "{stage}/noise", "{stage}/pipe", "/dev/full", "{stage}/" + "n" * 300, "{stage}/a\0b",
             "{stage}/loop", "{stage}/dangling", "{stage}/noise/x", "", "{stage}/" + "d/" * 3_000, "/proc/x", "/dev/null/x"]  # fmt: skip


def attacks(command: click.Command) -> Iterator[tuple[str, click.Parameter, list[str]]]:
    """Yield (kind, parameter, values) for each parameter; one of no kind is an error."""
    for parameter in command.params:
        assert parameter.name is not None
        kind: str
        values: list[str]
        if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType):
            kind, values = "number", NUMBERS
        elif parameter.name in SINKS:
            kind, values = "sink", BAD_SINKS
        elif parameter.name in PATHS:
            kind, values = "path", BAD_PATHS
        elif parameter.name in SIZES:
            kind, values = "form", FORMS
        elif parameter.name in TEXTS or isinstance(parameter.type, click.Choice):
            kind, values = "text", WORDS
        else:
            assert getattr(parameter, "is_flag", False), f"{parameter.name} is of no kind"
            continue
        yield kind, parameter, values


def replaced(base: Words, command: click.Command, parameter: click.Parameter, value: str) -> Words:
    """Return the words of `base` with `value` for `parameter`."""
    if isinstance(parameter, click.Argument):
        position = [p for p in command.params if isinstance(p, click.Argument)].index(parameter)
        return (
            [*base[:position], value, *base[position + 1 :]] if value[:1] != "-" else ["--", value]
        )
    flag = parameter.opts[0]
    if flag in base:
        del base[base.index(flag) : base.index(flag) + 2]
    return [*base, flag, *[value] * parameter.nargs]


def check_answer(done: Ended, words: Words, refused: bool) -> None:
    lines = [line for line in done.err.rstrip("\n").split("\n") if not line.startswith("note: ")]
    shown = [word[:60] for word in words]
    if done.status == 2:
        usage = lines[0].startswith("Usage: ") and lines[-1].startswith("Error: ")
        assert usage or (len(lines) == 1 and lines[0].startswith("i2i: ")), (shown, done.err[:2000])
        assert len(done.err) < 3_000, shown
    else:
        assert not refused, (shown, done.status, done.out[-300:], done.err[-300:])


def test_words_that_are_attacked_succeed_by_themselves(
    stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "compare",
        "data check",
        "data preview",
        "data synth",
        "evaluate",
        "generate",
        "list",
        "report",
        "show",
        "translate",
    ):
        words = [word.format(f"new {name}", stage=stage) for word in BASES[name].split()]
        done = here(*name.split(), *words)
        assert done.status == 0, (name, done)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--grid 3000x3000", "a sheet has 1 to 10,000 images, not 9,000,000"),
        ("--grid 0x4", "a sheet has 1 to 10,000 images, not 0"),
        ("--interpolate 1:2:10001", "steps from 2 to 10,000"),
        ("--seed 18446744073709551616", "0<=x<=2147483647"),
    ],
)
def test_sheet_of_too_many_images_is_refused_with_their_number(
    words: str, reason: str, stage: Path, tmp_path: Path
) -> None:
    done = here("generate", stage / "faces", tmp_path / "x.png", *words.split())
    assert done.status == 2
    assert reason in done.err


def test_sheet_larger_than_an_image_may_be_is_refused_with_its_size(stage: Path) -> None:
    sampler = load_sampler(stage / "faces")  # of 16 x 16 pixels
    check_sheet(sampler, 390_625, "--grid")  # 100 megapixels
    with pytest.raises(TranslationError, match="390,626 images of 16x16 are 100 megapixels"):
        check_sheet(sampler, 390_626, "--grid")


# the commands of other methods share all options
WALKED = sorted(COMMANDS.keys() - {"train cut", "train cyclegan", "train regress"})


@pytest.mark.parametrize("name", WALKED)
def test_command_refuses_every_absurd_argument(
    name: str, stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    fresh = (str(tmp_path / f"new{number}") for number in itertools.count())
    template = BASES[name.partition(" ")[0] if name.startswith("train") else name]
    attacked = [(*attack[:2], value) for attack in attacks(COMMANDS[name]) for value in attack[2]]
    for kind, parameter, value in attacked if thorough else attacked[::13]:
        base = [word.format(next(fresh), stage=stage) for word in template.split()]
        if kind == "sink" and "--dry-run" in base:
            base.remove("--dry-run")
        value = value.replace("{stage}", str(stage))
        words = [*name.split(), *replaced(base, COMMANDS[name], parameter, value)]
        check_answer(here(*words), words, kind in ("path", "sink", "form"))


# -- settings --------------------------------------------------------------------------------------

VALUES = ["-1", "0", "true", "null", "NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 400, "9" * 5_000, "18446744073709551616", "65536", "1000",
          "30", "1e-300", '"inf"', '"nan"', '""', "[]", "{}", "[true, true]", "[1e400, 1]", '"a\\u0000b"', '{"a": 1, "a": 2}', "x" * 10**6,
          "[" * 5_000, "[[[[1]]]]", "0x" + "f" * 5_000]  # fmt: skip


@pytest.mark.parametrize("method", ["pix2pix", "dcgan"])
def test_setting_is_refused_in_one_line_or_gives_finite_settings(
    method: str, thorough: bool
) -> None:
    root = Layer("x", {"data": {"root": "x"}})
    defaults = resolve(method, [root]).to_dict()
    keys = [f"{s}.{key}" for s, part in defaults.items() if s != "version" for key in part]
    tries = [(key, value) for key in keys for value in VALUES]
    for key, value in tries if thorough else tries[::67]:
        try:
            settings = resolve(method, [root, parse_override(f"{key}={value}")])
        except (ConfigError, UnknownComponentError) as error:
            refusal = str(error)
        else:
            refusal = ""
            json.dumps(settings.to_dict(), allow_nan=False)
            section, _, name = key.partition(".")
            given = settings.to_dict()[section][name]
            was = defaults[section][name]
            assert type(given) is not bool or type(was) in (bool, type(None)), (key, value)
        assert len(refusal) < 2_000
        lines = refusal.split(
            "\n"
        )  # one about each setting; networks take their size from the crop
        assert len({line.partition(":")[0] for line in lines}) == len(lines), (key, value)


@pytest.mark.parametrize(
    "options",
    [
        ("generator.width=65536",),
        ("generator.name=resnet", "generator.blocks=100", "generator.width=4096"),
        ("generator.depth=30", "generator.width=65536"),
        ("discriminator.width=65536",),
        ("discriminator.name=multiscale", "discriminator.scales=100", "discriminator.width=4096"),
        ("discriminator.layers=100", "discriminator.width=65536"),
    ],
    ids=lambda options: " ".join(options),
)
def test_network_larger_than_memory_is_refused_with_its_size(options: tuple[str, ...]) -> None:
    layers = [Layer("x", {"data": {"root": "x"}}), *map(parse_override, options)]
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"weights take [\d,]+ GB to train, this machine has"):
        make_method(resolve("pix2pix", layers), {"a": 3, "b": 3})
    assert time.monotonic() - began < 30


# -- environments ----------------------------------------------------------------------------------

DRY = "train pix2pix --data {stage}/pairs --dry-run --out x --set generator.width=1 --set discriminator.width=1"
ENVIRONMENTS = [
    ({"WORLD_SIZE": "abc"}, DRY, 2),
    ({"WORLD_SIZE": "2"}, DRY, 2),
    ({"WORLD_SIZE": "0"}, DRY, 2),
    ({"WORLD_SIZE": "-1"}, DRY, 2),
    ({"WORLD_SIZE": "9" * 5_000}, DRY, 2),
    ({"WORLD_SIZE": "2", "RANK": "5", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}, DRY, 2),
    ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "x"}, DRY, 2),
    ({"LOCAL_RANK": "x"}, f"{DRY} --device cuda", 2),
    ({"I2I_PLUGINS": "/nowhere"}, "list", 2),
    ({"I2I_PLUGINS": "/dev/zero"}, "list", 2),
    ({"I2I_PLUGINS": "{stage}/noisy"}, "list", 2),
    ({"I2I_PLUGINS": "{stage}/failing"}, f"{DRY} --set generator.name=failing", 2),
    ({"I2I_PLUGINS": "{stage}/presets"}, "list", 2),
    ({"COLUMNS": "0"}, "show pix2pix", 0),
    ({"COLUMNS": "1"}, "show pix2pix", 0),
    ({"COLUMNS": "-5"}, "show pix2pix", 0),
    ({"COLUMNS": "x"}, "show pix2pix", 0),
    ({"COLUMNS": "9" * 5_000}, "show pix2pix", 0),
    ({"COLUMNS": "0"}, "train pix2pix --help", 0),
    ({"WORLD_SIZE": "x", "RANK": "y"}, "translate {stage}/model {stage}/photos x --shard auto", 2),
]  # fmt: skip


@pytest.fixture(scope="module")
def plugins(stage: Path) -> Path:
    """Folders of components that are no components."""
    texts = {
        "noisy": b"\xff\0",
        "failing": b"import nothing_here",
        "presets": b"PRESETS: dict = {1: open}",
    }
    for name, text in texts.items():
        (stage / name / "generators").mkdir(parents=True)
        (stage / name / "generators" / f"{name}.py").write_bytes(text)
    return stage


@pytest.mark.parametrize("number", range(len(ENVIRONMENTS)))
def test_absurd_environment_is_answered_in_one_line(
    number: int, plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(generators, "__path__", list(generators.__path__))  # plug-ins are added
    values, words, status = ENVIRONMENTS[number]
    for name, value in values.items():
        monkeypatch.setenv(name, value.format(stage=plugins))
    monkeypatch.setattr(os, "_exit", sys.exit)  # of one of several processes
    done = here(*words.format(stage=plugins).split())
    assert done.status == status, done
    check_answer(done, words.split(), status == 2)


@pytest.mark.parametrize(
    "words",
    ["data check x", "translate {stage}/model {stage}/photos out", "train pix2pix --data x", "evaluate x y", "list",
     "data synth portraits x --count 1", "generate {stage}/faces x", "import x --out y", "show x", "resume x"],
)  # fmt: skip
def test_deleted_working_folder_is_answered_in_one_line(
    words: str, stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = here(*words.format(stage=stage).split())
    assert done.status == (0 if words == "list" else 2)
    check_answer(done, words.split(), words != "list")


def test_missing_home_is_answered_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    for words in (
        ["data", "check", "~nobody-at-all/x"],
        ["train", "pix2pix", "--data", "~nobody-at-all"],
    ):
        check_answer(here(*words), words, refused=True)
