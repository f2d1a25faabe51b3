"""The command line from end to end, as a user types it, on small drawn scenes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from runs import draw_scenes, rows, train_words

from i2i import load, registry
from i2i.checkpoint import steps
from i2i.cli import group, main
from i2i.config import read_yaml
from i2i.evaluation.baselines import COLORS, INPUT, MEAN

FACADES = "facades"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def i2i(*arguments: object, code: int = 0) -> Result:
    """Run the command in this process; errors of the package become exit status 2, as `main` makes them."""
    result = CliRunner().invoke(
        group, [str(argument) for argument in arguments], standalone_mode=False
    )
    status = (
        result.return_value
        if result.exception is None
        else getattr(result.exception, "exit_code", 2)
    )
    if result.exception is not None and not type(result.exception).__module__.startswith(
        ("i2i.", "click.")
    ):
        raise result.exception
    assert (status or 0) == code, f"{result.output}\n{result.exception}"
    return result


def train(method: str, scenes: dict[str, Path], out: Path, *more: object, code: int = 0) -> Result:
    return i2i(*train_words(method, scenes, out, *more), code=code)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_run_writes_all_that_the_design_promises(
    accumulate: int, scenes: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(
        "pix2pix",
        scenes,
        run,
        "--epochs",
        2,
        "--set",
        f"train.accumulate={accumulate}",
        "--set",
        "log.tensorboard=true",
    )
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "weights.safetensors", "checkpoints", "samples", "README.md"} <= names
    assert {"metrics.jsonl", "events.jsonl", "report.html"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    sheets = sorted((run / "samples").iterdir())
    assert [sheet.name for sheet in sheets] == ["00000000.png", "00000024.png"]
    assert json.loads((run / "checkpoints" / "latest.json").read_text()) == {
        "step": "step-00000024"
    }
    assert rows(run)[-1]["images"] == 24


def test_existing_run_is_refused_without_resume_and_a_finished_one_has_nothing_left_to_do(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train("pix2pix", scenes, run, "--images", 4)
    before = (run / "metrics.jsonl").read_bytes()
    assert "--resume" in str(train("pix2pix", scenes, run, "--images", 4, code=2).exception)
    assert "has seen all its 4 images" in i2i("train", "pix2pix", "--out", run, "--resume").output
    assert (run / "metrics.jsonl").read_bytes() == before
    i2i("train", "pix2pix", "--out", run, "--resume", "--images", 8)
    assert rows(run)[-1]["images"] == 8
    changed = i2i(
        "train", "pix2pix", "--out", run, "--resume", "--set", "generator.width=8", code=2
    )
    assert "generator.width" in str(changed.exception)


def test_run_is_resumed_by_its_folder_alone_and_takes_what_may_change(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train("cyclegan", scenes, run, "--images", 4)
    assert "has seen all its 4 images" in i2i("resume", run).output
    more = ["--images", 8, "--set", "optim.lr=1e-3", "--seed", 0, "--set", "train.keep=2"]
    output = i2i("resume", run, "--device", "cpu", *more).output
    assert output.count("note: train.keep is now train.keep_checkpoints (in --set)") == 1
    assert rows(run)[-1]["images"] == 8
    saved = read_yaml(run / "config.yaml").values
    assert (saved["optim"]["lr"], saved["train"]["keep_checkpoints"]) == (1e-3, 2)
    refused = str(i2i("resume", run, "--seed", 1, "--set", "data.alpha=keep", code=2).exception)
    assert "train.seed: cannot change in a resumed run from 0 to 1" in refused
    assert 'data.alpha: cannot change in a resumed run from "drop" to "keep"' in refused
    assert "cyclegan, the command for cut" in str(
        i2i("train", "cut", "--resume", run, code=2).exception
    )
    assert "no run to resume" in str(i2i("resume", tmp_path / "nothing", code=2).exception)


def test_old_names_in_a_file_are_noted_once_each_with_the_file(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    recipe = tmp_path / "old.yaml"
    recipe.write_text("version: 1\ntrain: {images: 36, sample_images: 9}\n")
    output = train("pix2pix", scenes, tmp_path / "run", "--config", recipe, "--dry-run").output
    assert f"note: train.images is now train.total_images (in {recipe})\n" in output
    assert f"note: train.sample_images is now log.sample_every_images (in {recipe})\n" in output
    assert output.count("note: train.") == 2
    assert "36 images = 3 epochs" in output


def test_train_without_a_method_lists_the_methods_with_their_complete_summaries() -> None:
    arguments = {"args": ["train"], "terminal_width": 80}
    text = " ".join(CliRunner().invoke(group, **arguments).output.split())  # type: ignore[arg-type]
    for method in registry.names("methods"):
        assert f"{method} {registry.summary('methods', method)}" in text


def test_folder_that_holds_something_else_or_lies_in_the_data_is_refused(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert "holds no run" in str(
        train("pix2pix", scenes, tmp_path, "--images", 4, code=2).exception
    )
    inside = scenes[FACADES] / "train" / "run"
    assert "inside the data" in str(
        train("pix2pix", scenes, inside, "--images", 4, code=2).exception
    )
    assert not inside.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_dry_run_tells_everything_and_writes_nothing(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    result = train("pix2pix", scenes, tmp_path / "run", "--epochs", 3, "--dry-run")
    assert not (tmp_path / "run").exists()
    for expected in (
        "lambda_l1: 100.0",
        "G: ",
        "receptive field",
        "12 pairs",
        "36 images = 3 epochs = 18 steps",
    ):
        assert expected in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optim.lrr=1"], "Did you mean optim.lr?"),
        (["--set", "data.crop_size=48"], "larger than load_size"),
        (["--set", "data.load_size=48", "--set", "data.crop_size=40"], "multiples of 32"),
        (["--set", "method.objective=wgan-gp"], "batch norm"),
        (
            ["--set", "method.label_smoothing=0.1", "--set", "method.objective=hinge"],
            "no labels to smooth",
        ),
        (["--set", "discriminator.layers=0"], "discriminator.layers"),
        (["--config", "no-such-recipe"], "Recipes:"),
        (["--set", "discriminator.layers=4"], "at least 48 pixels"),
        (["--set", "method.lambda_l1=NaN"], "lambda_l1"),
        (["--set", "method.augment_images=100"], "no effect without augment=ada"),
        (["--epochs", 1, "--images", 1], "both set the length"),
        (["--device", "cuda:7"], "CUDA"),
        (["--precision", "fp16"], "not on a CPU"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(
    arguments: list[object], message: str, scenes: dict[str, Path], tmp_path: Path
) -> None:
    result = train("pix2pix", scenes, tmp_path / "run", *arguments, code=2)
    assert message in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def model(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("model") / "run"
    train("pix2pix", scenes, run, "--images", 4)
    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (33, 50, 3), dtype=np.uint8)).save(folder / "one.jpg")
    Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
        folder / "sub" / "two.png"
    )
    (folder / "broken.png").write_bytes((folder / "sub" / "two.png").read_bytes()[:500])
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_folder_is_mirrored_and_a_broken_file_is_listed_with_status_1(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = i2i("translate", model, photos, out, code=1)
    assert "broken.png" in result.output
    assert "2 written" in result.output
    for name in ("one.jpg", "sub/two.png"):
        with Image.open(out / name) as made, Image.open(photos / name) as given:
            assert (made.size, made.format) == (given.size, given.format)
    assert not (out / "broken.png").exists()
    again = i2i("translate", model, photos, out, code=1)
    assert "2 already done" in again.output


def test_load_translates_pil_numpy_and_tensor_alike(model: Path) -> None:
    translator = load(model)
    array = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    from_array = translator(array)
    from_pil = np.asarray(translator(Image.fromarray(array)))
    from_tensor = translator(torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1)
    assert np.array_equal(from_array, from_pil)
    expected = ((from_tensor.permute(1, 2, 0).numpy() + 1) * 127.5).round()
    assert np.abs(expected - from_array).max() <= 1


def test_model_of_one_direction_names_it_when_asked_for_the_other(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    result = i2i("translate", model, photos, tmp_path / "out", "--direction", "b2a", code=2)
    assert "a2b" in str(result.exception)


def test_checkpoint_folder_and_weights_file_are_models_too(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    outputs = []
    checkpoint = steps(model / "checkpoints")[-1][1]
    for number, path in enumerate((model, model / "weights.safetensors", checkpoint)):
        i2i("translate", path, photos / "one.jpg", tmp_path / f"{number}.png")
        outputs.append((tmp_path / f"{number}.png").read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


def test_show_prints_the_settings_of_a_method_and_the_description_of_a_model(model: Path) -> None:
    lines = i2i("show", "pix2pix").output.splitlines()
    assert any(line.split()[:3] == ["*", "lambda_l1", "100.0"] for line in lines)
    assert any(line.split()[:3] == ["*", "lr", "0.0002"] for line in lines)
    assert not any(line.split()[:2] == ["*", "seed"] for line in lines)
    schema = json.loads(i2i("show", "pix2pix", "--schema").output)
    assert schema["properties"]["train"]["properties"]["batch"]["default"] == 1
    assert "in_channels: 3" in i2i("show", model).output
    assert "cyclegan" in str(i2i("show", "nothing", code=2).exception)


def test_list_names_everything_that_can_be_chosen() -> None:
    output = i2i("list").output
    for name in (
        "pix2pix",
        "cyclegan",
        "resnet_9blocks",
        "unet_256",
        "patchgan",
        "pixel",
        "pix2pix_facades",
    ):
        assert name in output
    assert "unet_256" not in i2i("list", "methods").output


def test_evaluation_of_a_model_stands_beside_what_costs_nothing(
    model: Path, scenes: dict[str, Path], tmp_path: Path
) -> None:
    result = i2i("evaluate", model, scenes[FACADES], "--json", "--sheet", tmp_path / "sheet.png")
    found = json.loads(result.output)
    assert found["images"] == 3
    assert list(found["scores"]) == ["model", INPUT, MEAN, COLORS]
    interval = found["scores"]["model"]["psnr"]
    assert interval["low"] <= interval["mean"] <= interval["high"]
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_same_seed_generates_the_same_bytes_however_many_are_made(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "faces"
    train("dcgan", scenes, run, "--images", 4)
    i2i("generate", run, tmp_path / "three", "--count", 3, "--seed", 7, "--score")
    i2i("generate", run, tmp_path / "five", "--count", 5, "--seed", 7)
    for number in range(3):
        name = f"{number:06d}.png"
        assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "five" / name).read_bytes()
    scores = (tmp_path / "three" / "scores.csv").read_text().splitlines()
    assert len(scores) == 4
    assert all(0 <= float(line.split(",")[1]) <= 1 for line in scores[1:])
    i2i("generate", run, tmp_path / "sheet.png", "--grid", "2x3", "--truncate", 1.0)
    i2i("generate", run, tmp_path / "strip.png", "--interpolate", "1:2:4")
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size[0] > 4 * 32
    assert "from noise" in str(
        i2i("translate", run, tmp_path / "three", tmp_path / "x", code=2).exception
    )
    assert "exclude" in str(
        i2i("generate", run, tmp_path / "x", "--count", 2, "--grid", "1x1", code=2).exception
    )


def test_side_by_side_pairs_and_two_folders_give_the_same_training(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    joined = tmp_path / "joined" / "train"
    joined.mkdir(parents=True)
    for path in sorted((scenes[FACADES] / "train" / "a").iterdir()):
        both = [
            np.asarray(Image.open(scenes[FACADES] / "train" / domain / path.name))
            for domain in "ab"
        ]
        Image.fromarray(np.concatenate(both, 1)).save(joined / path.name)
    runs = [tmp_path / "folders", tmp_path / "sides"]
    train("pix2pix", scenes, runs[0], "--images", 4)
    train(
        "pix2pix", {FACADES: tmp_path / "joined"}, runs[1], "--images", 4, "--set", "data.layout=ab"
    )
    assert rows(runs[0]) == rows(runs[1])


def test_main_turns_errors_into_messages_and_exit_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["i2i", "translate", str(tmp_path / "nothing"), str(tmp_path), "out"]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "no such model" in capsys.readouterr().err
