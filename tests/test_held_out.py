"""Images held out of training for validation: the split val, or a share that training does not see."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i import images
from i2i.config import Config, ConfigError, Layer
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError
from i2i.run.build import open_data, open_validation
from i2i.run.settings import resolve

FOLDERS = {"pix2pix": "ab", "cyclegan": "ab", "dcgan": ("",)}
SIZES = {"load_size": 16, "crop_size": 16}


def settings(method: str, root: Path, every_images: int | None = 8, **more: Any) -> Config:
    values = {"data": {"root": str(root), **SIZES}, "train": {"seed": more.pop("seed", 0)}}
    values["data"] |= more.pop("data", {})
    validate = {"every_images": every_images, **more}
    return resolve(method, [Layer("test", {**values, "validate": validate})])


def draw(root: Path, *folders: str, count: int = 20) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([number, *folder.encode()])
            path = root / folder / f"{number:02d}.png"
            images.encode(rng.integers(0, 256, (18, 18, 3), np.uint8), path)
    return root


def files(dataset: Dataset) -> set[str]:
    return {
        file for epoch in range(3) for i in range(len(dataset)) for file in dataset.files(epoch, i)
    }


@pytest.mark.parametrize("method", FOLDERS)
def test_training_does_not_see_the_share_that_is_held_out_whatever_the_seed_and_both_are_the_whole(
    method: str, tmp_path: Path
) -> None:
    draw(tmp_path, *FOLDERS[method])
    config = settings(method, tmp_path, share=0.25)
    training, held_out = open_data(config), open_validation(config)
    assert (training.count, held_out.count) == (15, 5)
    assert not files(training) & files(held_out)
    assert files(training) | files(held_out) == {str(path) for path in tmp_path.rglob("*.png")}
    assert "5 of 20" in "".join(training.notes)
    assert files(open_validation(config)) == files(held_out)
    assert files(open_validation(settings(method, tmp_path, seed=1, share=0.25))) == files(held_out)
    assert files(open_data(settings(method, tmp_path, None))) == files(training) | files(held_out)


def test_pairs_are_held_out_together_also_those_that_share_an_input(tmp_path: Path) -> None:
    draw(tmp_path, "a", "b")
    rows = [f"a/{number // 2:02d}.png,b/{number:02d}.png" for number in range(20)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    config = settings("pix2pix", tmp_path, share=0.3, data={"pairs": "pairs.csv"})
    training, held_out = open_data(config), open_validation(config)
    assert (training.count, held_out.count) == (14, 6)
    assert not files(training) & files(held_out)


@pytest.mark.parametrize("method", FOLDERS)
@pytest.mark.parametrize("name", ["val", "valid"])
def test_where_there_is_a_split_val_training_keeps_all_its_images(
    method: str, name: str, tmp_path: Path
) -> None:
    draw(tmp_path, *(f"train/{folder}" for folder in FOLDERS[method]))
    draw(tmp_path, *(f"{name}/{folder}" for folder in FOLDERS[method]), count=3)
    config = settings(method, tmp_path)
    assert open_data(config).count == 20
    assert {Path(file).relative_to(tmp_path).parts[0] for file in files(open_data(config))} == {
        "train"
    }
    assert files(open_validation(config)) == {
        str(path) for path in (tmp_path / name).rglob("*.png")
    }


def test_too_few_images_to_hold_some_out_are_an_error_that_names_the_share(tmp_path: Path) -> None:
    config = settings("pix2pix", draw(tmp_path, "a", "b", count=3))
    with pytest.raises(DataError, match="of 3 pairs, 2 are held out") as caught:
        open_data(config)
    assert caught.value.subject == "validate.share"


@pytest.mark.parametrize(
    ("validate", "subject", "reason"),
    [
        ({"patience": 3}, "validate.patience", "nothing is validated"),
        ({"metrics": ["ssim"]}, "validate.metrics", "nothing is validated"),
        ({"metric": "ssim"}, "validate.metric", "nothing is validated"),
        (
            {"every_images": 8, "metrics": ["psnr", "l1"], "metric": "ssim"},
            "validate.metric",
            "ssim is not one of validate.metrics, psnr, l1",
        ),
        ({"every_images": 8, "metrics": []}, "validate.metrics", "is empty"),
        ({"every_images": 8, "share": 1.0}, "validate.share", "less than 1"),
        ({"every_images": 0}, "validate.every_images", "at least 1"),
    ],
)
def test_contradictory_settings_of_validation_are_refused_by_name(
    validate: dict[str, Any], subject: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings("pix2pix", tmp_path, **({"every_images": None} | validate))
    assert (caught.value.subject, reason in caught.value.reason) == (subject, True), caught.value
