"""The best recipes: which one `--config best` means, and that each of them trains."""

from pathlib import Path

import pytest
from commands import Ended, here
from runs import draw_scenes, final_state

from i2i import recipes
from i2i.cli.train import read_layers
from i2i.config import read_yaml

BEST = {
    "pix2pix": "best_paired",
    "cut": "best_unpaired",
    "cyclegan": "best_both_ways",
    "dcgan": "best_faces",
}
SCENES = {"pix2pix": "facades", "cut": "orchard", "cyclegan": "orchard", "dcgan": "portraits"}
SMALL = {  # the smallest networks that stand for those of the recipe
    "pix2pix": ["generator.name=unet", "generator.depth=5", "generator.width=4"],
    "cut": ["generator.name=resnet", "generator.blocks=1", "generator.width=4"],
    "cyclegan": ["generator.name=resnet", "generator.blocks=1", "generator.width=4"],
    "dcgan": ["generator.width=4"],
}
COMMON = ["data.load_size=64", "data.crop_size=64", "data.workers=0", "train.batch=2"]
COMMON += ["discriminator.width=4", "log.samples=2", "log.tensorboard=false"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"), 6)


@pytest.mark.parametrize("method", BEST)
def test_best_recipe_of_a_method_is_the_one_that_names_it_and_trains(
    method: str, scenes: dict[str, Path], tmp_path: Path
) -> None:
    path = recipes.recipe_path("best", method)
    assert path.stem == BEST[method]
    flags = {"config_file": "best", "overrides": ()}
    assert read_layers(flags, method)[0] == read_yaml(path)
    sets = [word for text in (*COMMON, *SMALL[method]) for word in ("--set", text)]
    words = ["--data", scenes[SCENES[method]], "--images", 4, "--device", "cpu", *sets]
    ended: Ended = here("train", method, "--config", "best", "--out", tmp_path / "run", *words)
    assert ended.status == 0, ended.err
    assert final_state(tmp_path / "run")["images"] == 4


def test_best_means_nothing_for_a_method_without_a_recipe_and_without_a_method(
    tmp_path: Path,
) -> None:
    ended = here("train", "regress", "--config", "best", "--data", tmp_path)
    assert ended.status == 2
    assert "--config best: there is no best recipe for regress" in ended.err
    assert "best_unpaired for cut" in ended.err
    ended = here("resume", tmp_path, "--config", "best")
    assert ended.status == 2
    assert "--config best: it is that of a method" in ended.err


def test_a_further_recipe_is_that_of_the_method_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = recipes.recipe_files()
    own = tmp_path / "best_regression.yaml"
    own.write_text("method: {name: regress}\n")
    monkeypatch.setattr(recipes, "recipe_files", lambda: files | {own.stem: own})
    assert recipes.recipe_path("best", "regress") == own
    assert recipes.recipe_path("best", "cut") == files["best_unpaired"]
