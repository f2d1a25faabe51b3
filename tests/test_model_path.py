"""Weights by the name of their run: RUN@best, RUN@last and RUN@IMAGES, wherever a model is accepted."""

import shutil
from pathlib import Path

import pytest
import torch
from commands import here
from models import write_model, write_pictures

from i2i import load
from i2i.checkpoint import CHECKPOINTS, WEIGHTS
from i2i.files import BEST
from i2i.model_file import ModelFileError, load_model, model_bytes
from i2i.model_path import model_path


def write_run(folder: Path, kind: str = "resnet") -> Path:
    """Write a run whose last, best and one checkpoint have weights that differ."""
    write_model(folder, kind)
    model = load_model(folder)
    for number, part in enumerate((BEST, f"{CHECKPOINTS}/step-00000008"), 2):
        tensors = {
            key: each / number if each.is_floating_point() else each
            for key, each in model.tensors.items()
        }
        (folder / part).mkdir(parents=True)
        (folder / part / WEIGHTS).write_bytes(model_bytes(model.info, tensors))
    return folder


def weights(model: Path | str) -> torch.Tensor:
    return next(load(model, device="cpu").network.parameters())


@pytest.mark.parametrize(
    ("name", "part"), [("best", BEST), ("last", "."), ("8", f"{CHECKPOINTS}/step-00000008")]
)
def test_weights_are_found_by_the_name_of_their_run(name: str, part: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert torch.equal(weights(f"{run}@{name}"), weights(run / part))
    assert torch.equal(weights(f"{run}/@{name}"), weights(run / part))
    others = {"best", "last", "8"} - {name}
    assert not any(torch.equal(weights(f"{run}@{name}"), weights(f"{run}@{o}")) for o in others)


def test_every_command_that_takes_a_model_takes_the_best_of_a_run(tmp_path: Path) -> None:
    run, noise = write_run(tmp_path / "run"), write_run(tmp_path / "noise", "dcgan")
    pictures = write_pictures(tmp_path / "pictures", 2, side=32)
    for folder in ("a", "b"):
        shutil.copytree(pictures, tmp_path / "data/test" / folder)
    out = tmp_path / "out"
    for words in (
        ["show", f"{run}@best"],
        ["translate", f"{run}@best", pictures, out / "translated"],
        ["evaluate", f"{run}@best", tmp_path / "data"],
        ["generate", f"{noise}@8", out / "generated", "--count", "1"],
    ):
        ended = here(*words)
        assert ended.status == 0, (words, ended.err)
    expected = load(run / BEST, device="cpu").fingerprint
    assert load(f"{run}@best", device="cpu").fingerprint == expected
    assert load(run, device="cpu").fingerprint != expected


def test_weights_that_a_run_does_not_have_are_an_error_that_lists_those_it_has(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "run")
    shutil.rmtree(run / BEST)
    with pytest.raises(ModelFileError, match="no such weights in this run") as caught:
        load(f"{run}@best")
    assert f"there are {run}@last, {run}@8" in caught.value.reason
    assert "validate.every_images" in caught.value.hint
    ended = here("show", f"{run}@9")
    assert ended.status == 2
    assert f"{run}@9: no such weights in this run" in ended.err
    with pytest.raises(ModelFileError, match="no such model"):
        load(tmp_path / "nothing@best")


def test_folder_whose_name_holds_the_mark_is_itself(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    other = write_run(tmp_path / "run@best")
    assert model_path(other) == other
    assert model_path(Path(f"{other}@best")) == other / BEST
    assert torch.equal(weights(other), weights(run)), "its last, not the best of run"
