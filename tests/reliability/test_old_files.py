"""Runs, weights, settings and folder jobs of version 1 are used as they were.

What is in `fixtures/version-1`, and how it was made, its `make.py` says. The runs of `format-1` and
`format-2` are resumed in `test_run_folder.py`; here the pixels that they translate are compared.
"""

import json
import lzma
import os
import re
import shutil
from pathlib import Path
from typing import Any

import commands
import cv2
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from runs import rows
from safetensors.torch import load_file

from i2i import load
from i2i.run.settings import saved

Pictures = dict[str, NDArray[Any]]

FIXTURES = Path(__file__).parent / "fixtures"
OLD = FIXTURES / "version-1"
MODELS = sorted(
    path.parent.relative_to(FIXTURES).as_posix()
    for path in FIXTURES.glob("*/*/config.yaml")
    if path.parts[-3] in ("version-1", "format-1", "format-2")  # of which pixels were kept
)
OWN = [name for name in MODELS if name.startswith("version-1/")]
STOPPED = "version-1/cyclegan-stopped"  # killed after 8 of its 16 images
CONFIGS = sorted((OLD / "configs").glob("*.yaml"))
JOB = ("format-2/pix2pix", OLD / "job")  # a model, and the folder it translated input/plain into
JOB_TIME = 1_700_000_000_000_000_000  # when the inputs of the job were last changed, ns


# -- files -----------------------------------------------------------------------------------------


def draw_data(root: Path) -> None:
    """Write the images that the runs were trained on, and some for the settings."""
    for number in range(4):
        # computed, not drawn: random generators may change
        y, x, c = np.indices((16, 16, 6))
        picture = (y * (3 + number) + x * 5 + c * 70 + y * x * (1 + number % 3) + 40 * number) % 256
        a, b = picture[..., :3], 255 - picture[..., 3:]
        write(root / f"pairs/train/a/{number}.png", a.astype(np.uint8))
        write(root / f"pairs/train/b/{number}.png", b.astype(np.uint8))
        write(root / f"faces/{number}.png", a.astype(np.uint8))
        write(root / f"arrays/train/a/{number}.npy", (a[..., :2] / 51 - 1).astype(np.float32))
        write(root / f"arrays/train/b/{number}.png", (b[..., 0] * 257).astype(np.uint16))
        write(root / f"floats/train/a/{number}.npy", (a / 51 - 1).astype(np.float32))
        write(root / f"floats/train/b/{number}.npy", (b / 51 - 1).astype(np.float32))
        write(root / f"stacked/train/depth/{number}.png", (a[..., 0] * 257).astype(np.uint16))
        write(root / f"stacked/train/normals/{number}.npy", (a / 255).astype(np.float32))
        write(root / f"stacked/train/photo/{number}.png", b.astype(np.uint8))


def write(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def read(path: Path) -> NDArray[Any]:
    """Return the values of an image file in their own depth, colors in the order RGB."""
    if path.suffix == ".npy":
        return np.load(path)
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return np.ascontiguousarray(
        pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.ndim == 3 else pixels
    )


def read_folder(folder: Path, name: str) -> Pictures:
    """Return the values of every image file, by NAME/FILE."""
    files = sorted(path for path in folder.rglob("[!.]*.*") if path.suffix in (".png", ".npy"))
    return {f"{name}/{path.relative_to(folder).as_posix()}": read(path) for path in files}


def unpacked(name: str, run: Path) -> Path:
    """Copy a run to `run`; restore what was compressed, and what a checkpoint has too."""
    shutil.copytree(FIXTURES / name, run)
    for path in run.rglob("*.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    if not (run / "weights.safetensors").exists():
        shutil.copy(next(run.glob("checkpoints/*/weights.safetensors")), run)
    return run


# -- using them ------------------------------------------------------------------------------------


def i2i(folder: Path, *words: object) -> str:
    """Run a command in `folder` to its end, and return what it printed."""
    ended = commands.i2i(folder / "streams", *words, before=lambda: os.chdir(folder))
    assert ended.status == 0, ended.err
    return ended.out


def method_of(name: str) -> str:
    """Return the method of a run: folders are named METHOD, or METHOD-WHAT."""
    return name.rpartition("/")[2].split("-")[0]


def input_of(name: str) -> Path:
    """Return the folder of what a model is tried with."""
    return OLD / "input" / (name.partition("pix2pix-")[2] or "plain")


def directions(name: str) -> list[str]:
    return {"cyclegan": ["a2b", "b2a"], "dcgan": []}.get(method_of(name), ["a2b"])


def use(name: str, folder: Path) -> Pictures:
    """Translate with `folder`/run in each of its directions, or generate two images with it."""
    if method_of(name) == "dcgan":
        i2i(folder, "generate", "run", "generated", "--count", 2, "--seed", 5, "--device", "cpu")
        return read_folder(folder / "generated", name)
    source = input_of(name)
    inputs: list[object] = [source]
    if name.endswith("-stacked"):
        inputs = ["--input", source / "depth", "--input", source / "normals"]
    pictures: Pictures = {}
    for direction in directions(name):
        options = ["--direction", direction, "--device", "cpu"]
        i2i(folder, "translate", "run", *inputs, direction, *options)
        pictures |= read_folder(folder / direction, f"{name}/{direction}")
    return pictures


def machine() -> str:
    """Return what decides how sums are rounded."""
    info = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return f"torch {torch.__version__}, {cpu[1] if cpu else 'unknown CPU'}"


@pytest.fixture(scope="module")
def expected() -> Pictures:
    """What each model gave when the fixtures were made, and on which machine."""
    with np.load(OLD / "expected.npz") as file:
        return dict(file)


def assert_equal(pictures: Pictures, expected: Pictures, name: str) -> None:
    """Compare with what is expected under `name`.

    Bit for bit on a machine like the one that made the fixtures, elsewhere up to its rounding.
    """
    reference = {key: value for key, value in expected.items() if key.startswith(f"{name}/")}
    assert pictures.keys() == reference.keys()
    for key, pixels in pictures.items():
        assert (pixels.dtype, pixels.shape) == (reference[key].dtype, reference[key].shape), key
        rounding = 1 if pixels.dtype.kind == "u" else 1e-4
        if str(expected["machine"]) == machine():
            rounding = 0
        assert np.abs(pixels.astype(np.float64) - reference[key]).max() <= rounding, key


# -- tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_model_gives_the_pixels_that_it_gave_when_it_was_made(
    name: str, expected: Pictures, tmp_path: Path
) -> None:
    unpacked(name, tmp_path / "run")
    assert_equal(use(name, tmp_path), expected, name)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if directions(name) and not name.endswith("-stacked")]
)
def test_model_loaded_from_python_gives_the_same_pixels(
    name: str, expected: Pictures, tmp_path: Path
) -> None:
    run = unpacked(name, tmp_path / "run")
    for direction in directions(name):
        translate = load(run, direction, device="cpu")
        pictures: Pictures = {}
        for path in input_of(name).rglob("*.*"):
            relative = path.relative_to(input_of(name)).as_posix()
            pictures[f"{name}/{direction}/{relative}"] = translate(read(path))
        assert_equal(pictures, expected, f"{name}/{direction}")


@pytest.mark.parametrize("name", [name for name in OWN if name != STOPPED])
def test_run_is_resumed_for_two_more_images(name: str, tmp_path: Path) -> None:
    draw_data(tmp_path)
    run = unpacked(name, tmp_path / "run")
    before = rows(run)
    images = before[-1]["images"] + 2
    i2i(
        tmp_path, "train", method_of(name), "--resume", "run", "--images", images, "--device", "cpu"
    )
    assert rows(run)[: len(before)] == before
    assert (run / f"checkpoints/step-{images:08d}").is_dir()


def test_run_of_cut_is_read_without_the_filters_that_it_was_trained_without(tmp_path: Path) -> None:
    settings = saved(unpacked("version-1/cut", tmp_path / "run")).to_dict()
    assert settings["generator"]["antialias"] is settings["discriminator"]["antialias"] is False
    assert settings["generator"]["upsample"] == "deconv"


def test_run_that_was_killed_half_way_ends_as_if_it_had_not_been(
    expected: Pictures, tmp_path: Path
) -> None:
    draw_data(tmp_path)
    run = unpacked(STOPPED, tmp_path / "run")
    i2i(tmp_path, "train", method_of(STOPPED), "--resume", "run", "--device", "cpu")
    for row, reference in zip(rows(run), rows(OLD, "uninterrupted.jsonl"), strict=True):
        assert row == pytest.approx(reference, rel=1e-3, abs=1e-4)
    if str(expected["machine"]) == machine():
        weights = load_file(run / "weights.safetensors").items()
        assert_equal(
            {f"uninterrupted/{key}": value.numpy() for key, value in weights},
            expected,
            "uninterrupted",
        )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_settings_are_accepted_under_their_old_names_with_their_values(
    path: Path, tmp_path: Path
) -> None:
    draw_data(tmp_path)
    data = {"pix2pix": "floats", "cyclegan": "pairs", "dcgan": "faces"}[path.stem]
    plan = i2i(
        tmp_path,
        "train",
        path.stem,
        "--config",
        path,
        "--data",
        data,
        "--dry-run",
        "--device",
        "cpu",
    )
    for section, options in yaml.safe_load(path.read_text()).items():
        if section != "version":
            assert values_in(str([*options.values()])) <= values_in(plan), section


def values_in(text: str) -> set[str | float]:
    """Return the words and numbers of a text."""
    values: set[str | float] = set()
    for word in re.findall(r"[\w.-]+", text):
        try:
            values.add(float(word))
        except ValueError:
            values.add(word)
    return values


def test_folder_job_that_was_finished_is_not_begun_again_and_continues_with_what_is_missing(
    expected: Pictures, tmp_path: Path
) -> None:
    name, job = JOB
    unpacked(name, tmp_path / "run")
    shutil.copytree(job, tmp_path / "out")
    shutil.copytree(input_of(name), tmp_path / "in")
    for path in (tmp_path / "in").rglob("*.*"):
        os.utime(path, ns=(JOB_TIME, JOB_TIME))
    manifest = tmp_path / "out/.i2i-manifest.jsonl"
    before = manifest.read_text()
    again = ("translate", "run", "in", "out", "--device", "cpu")
    i2i(tmp_path, *again)
    after = manifest.read_text()
    assert after.startswith(before)
    added = [json.loads(line)["status"] for line in after[len(before) :].splitlines()]
    assert set(added) == {"job"}  # what this run was, and no image
    (tmp_path / "out/color.png").unlink()
    i2i(tmp_path, *again)
    added = [json.loads(line) for line in manifest.read_text().removeprefix(before).splitlines()]
    files = [line for line in added if "output" in line]  # and the head of the continued job
    assert [(line["output"], line["status"]) for line in files] == [
        ("color.png", "writing"),
        ("color.png", "written"),
    ]
    assert {line["job"] for line in added} == {json.loads(before.splitlines()[0])["job"]}
    assert_equal(read_folder(tmp_path / "out", f"{name}/a2b"), expected, f"{name}/a2b")
