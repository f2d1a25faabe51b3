"""The files of docs/extending.md, written into a folder of plugins and used from the command line."""

import re
from pathlib import Path

import numpy as np
import pytest
from commands import Ended, i2i
from PIL import Image

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
FILES = re.compile(r"Save as `([a-z]+/[a-z]+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)
COMMON = ["data.load_size=16", "data.crop_size=16", "data.workers=0", "generator.width=4"]
COMMON += ["discriminator.width=4", "train.batch=2", "log.samples=2", "log.tensorboard=false"]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, named by I2I_PLUGINS."""
    root = tmp_path / "my_gans"
    for name, text in FILES.findall(PAGE.read_text("utf-8")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    monkeypatch.setenv("I2I_PLUGINS", str(root))
    return root


def noise(folder: Path, count: int = 4) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def run(tmp_path: Path, *arguments: object) -> str:
    ended: Ended = i2i(tmp_path / "streams", *arguments)
    assert ended.status == 0, ended.err
    return ended.out


def train(tmp_path: Path, method: str, data: Path, *settings: str) -> Path:
    """Train two steps."""
    sets = [word for text in (*COMMON, *settings) for word in ("--set", text)]
    out = tmp_path / "run"
    run(tmp_path, "train", method, "--data", data, "--out", out, "--images", 4, *sets)
    return out


def test_method_and_generator_of_the_page_are_listed_shown_trained_and_used(
    plugins: Path, tmp_path: Path
) -> None:
    listed = run(tmp_path, "list")
    assert "GcGAN: one-sided unpaired translation" in listed
    assert {"gcgan", "msgan", "flat", "flat_16blocks"} <= set(listed.split())
    assert "of the geometry consistency" in run(tmp_path, "show", "gcgan")
    noise(tmp_path / "photos" / "trainA")
    noise(tmp_path / "photos" / "trainB")
    settings = ("generator.name=flat", "discriminator.layers=1")
    model = train(tmp_path, "gcgan", tmp_path / "photos", *settings)
    assert "geometry" in (model / "metrics.jsonl").read_text()
    run(tmp_path, "translate", model, tmp_path / "photos" / "trainA", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


def test_unconditional_method_of_the_page_is_trained_and_draws_images(
    plugins: Path, tmp_path: Path
) -> None:
    settings = ("method.latent=5", "discriminator.layers=1")
    model = train(tmp_path, "msgan", noise(tmp_path / "faces"), *settings)
    assert "modes" in (model / "metrics.jsonl").read_text()
    run(tmp_path, "generate", model, tmp_path / "out", "--count", 3)
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("methods/pix2pix.py", '"""Mine."""', "pix2pix is also a name in "),
        ("methods/broken.py", "def", "not readable as Python"),
        ("methods/gcgan.py", '"""Nothing."""', "defines 0 public classes. Define exactly one"),
    ],
)
def test_plugin_that_cannot_be_used_is_refused_with_its_path(
    name: str, text: str, reason: str, plugins: Path, tmp_path: Path
) -> None:
    (plugins / name).write_text(text, "utf-8")
    ended = i2i(tmp_path / "streams", "train", "gcgan", "--data", tmp_path)
    assert ended.status == 2
    assert f"i2i: {plugins / name}: {reason}" in ended.err


def test_generator_without_the_attributes_of_the_contract_is_refused(
    plugins: Path, tmp_path: Path
) -> None:
    flat = plugins / "generators" / "flat.py"
    flat.write_text(
        flat.read_text("utf-8")
        .replace("size_divisor = 1", "")
        .replace("x, self.size_divisor", "x, 1")
    )
    noise(tmp_path / "photos" / "trainA")
    noise(tmp_path / "photos" / "trainB")
    sets = [word for text in (*COMMON, "generator.name=flat") for word in ("--set", text)]
    data, out = tmp_path / "photos", tmp_path / "run"
    ended = i2i(tmp_path / "streams", "train", "cyclegan", "--data", data, "--out", out, *sets)
    assert ended.status == 2
    assert "i2i: Flat: lacks attributes of a generator. See i2i.networks.contract" in ended.err
    assert not out.exists()


def test_folder_of_plugins_that_does_not_exist_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2I_PLUGINS", str(tmp_path / "nowhere"))
    ended = i2i(tmp_path / "streams", "list")
    assert ended.status == 2
    assert f"I2I_PLUGINS: {tmp_path / 'nowhere'} is not a folder" in ended.err
