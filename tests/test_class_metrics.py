"""Scores of class maps against confusion matrices that are counted pixel by pixel."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from class_maps import GRAY, RANDOM, write, write_pairs
from commands import here
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i.config import ConfigError, Layer
from i2i.evaluation.baselines import FREQUENT, INPUT
from i2i.evaluation.class_maps import ClassScorer
from i2i.evaluation.evaluate import evaluate
from i2i.evaluation.paired import drawn
from i2i.evaluation.pairs import EvaluationError
from i2i.evaluation.tables import table
from i2i.files import VALIDATIONS
from i2i.images.spec import ImageSpec
from i2i.run.contradictions import check_metrics
from i2i.run.settings import resolve
from i2i.translation.translator import Translator

Maps = NDArray[Any]
Pair = tuple[Maps, Maps]


def confusion(pairs: list[Pair], classes: int) -> NDArray[np.int64]:
    """Return how many pixels of each class of targets (row) have each class in outputs."""
    matrix = np.zeros((classes, classes), np.int64)
    for output, target in pairs:
        for made, wanted in zip(output.ravel().tolist(), target.ravel().tolist(), strict=True):
            matrix[wanted, made] += 1
    return matrix


def expected(matrix: NDArray[np.int64]) -> tuple[float, float]:
    """Return pixel accuracy and mean IoU of a confusion matrix."""
    ious = []
    for one in range(len(matrix)):
        either = matrix[one].sum() + matrix[:, one].sum() - matrix[one, one]
        if either:
            ious.append(matrix[one, one] / either)
    return np.trace(matrix) / matrix.sum(), sum(ious) / len(ious)


def some_pairs(count: int, classes: int, highest: int) -> list[Pair]:
    """Return pairs of maps of a few classes each, half of whose pixels agree."""
    pairs = []
    for number in range(count):
        used = RANDOM.choice(classes, 3, replace=False)
        target = RANDOM.choice(used, (9 + number, 11, 1)).astype(np.uint16)
        other = RANDOM.choice(used[:2], target.shape).astype(np.uint16)
        pairs.append((np.where(RANDOM.random(target.shape) < 0.5, target, other), target))
    pairs[0][1][0, 0] = highest  # of a class that is in one target, and in no output
    return pairs


@pytest.mark.parametrize(("count", "classes"), [(5, 7), (1, 4), (3, 65536)])
def test_scores_and_intervals_are_those_of_confusion_matrices(count: int, classes: int) -> None:
    pairs, scorer = some_pairs(count, min(classes, 6), classes - 1), ClassScorer()
    small = [(np.minimum(one, 6), np.minimum(other, 6)) for one, other in pairs]  # equal scores
    matrices = [confusion([pair], 7) for pair in small]
    for pair, matrix in zip(pairs, matrices, strict=True):
        own = scorer.add(*pair)
        assert tuple(own.values()) == pytest.approx(expected(matrix))
    scores = scorer.scores()
    means = [scores[name].mean for name in ("pixel_accuracy", "miou")]
    assert means == pytest.approx(expected(sum(matrices)))  # type: ignore[arg-type]
    draws = torch.cat([*drawn(count)]).tolist()
    again = [expected(sum(matrices[image] for image in draw)) for draw in draws]  # type: ignore[arg-type]
    for column, name in enumerate(scores):
        limits = np.quantile([row[column] for row in again], [0.025, 0.975])
        assert scores[name][1:] == pytest.approx(tuple(limits))


def test_only_pixels_inside_of_a_mask_count() -> None:
    ((output, target),) = some_pairs(1, 5, 4)
    inside = RANDOM.random(target.shape[:2]) < 0.5
    scorer = ClassScorer()
    scorer.add(output, target, inside)
    (accuracy, miou) = (each.mean for each in scorer.scores().values())
    wanted = expected(confusion([(output[inside], target[inside])], 5))
    assert (accuracy, miou) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="one shape"):
        scorer.add(output, target[1:])


class Rotated(nn.Module):
    """Takes every fifth row of classes for the next class."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, ::5] = x[:, :, ::5].roll(1, 1)
        return y


def rotating(classes: int) -> Translator:
    spec = ImageSpec(GRAY, depth=8, mask=True, classes=classes)
    return Translator(Rotated(), classes, classes, source=spec, target=spec, device="cpu")


def test_a_model_of_class_maps_is_scored_beside_the_input_and_the_most_frequent_class(
    tmp_path: Path,
) -> None:
    maps = write_pairs(tmp_path, 5, count=3)
    (tmp_path / "train").rename(tmp_path / "test")
    for number, values in enumerate(maps):
        write(tmp_path / "test" / "b" / f"{number}.png", values)
        write(tmp_path / "train" / "a" / f"{number}.png", values)
        write(tmp_path / "train" / "b" / f"{number}.png", np.full_like(values, 3))
    result = evaluate(rotating(5), tmp_path, examples=1)
    rotated = [values.copy() for values in maps]
    for values in rotated:
        values[::5] = (values[::5] + 1) % 5
    for row, outputs in (
        ("model", rotated),
        (INPUT, maps),
        (FREQUENT, [np.full_like(values, 3) for values in maps]),
    ):
        pairs = list(zip(outputs, maps, strict=True))
        means = tuple(each.mean for each in result.scores[row].values())
        assert means == pytest.approx(expected(confusion(pairs, 5)))
    assert table(result)[0] == ["", "Pixel accuracy", "Mean IoU"]
    assert (result.ordered_by, result.protocol.channels, result.value_range) == ("miou", 5, (0, 4))
    assert result.examples[0][2].max() == 128  # colors of classes
    for names in (("psnr",), ("miou", "swd")):
        with pytest.raises(EvaluationError, match="compares shades, and targets hold class"):
            evaluate(rotating(5), tmp_path, metrics=names)
    with pytest.raises(EvaluationError, match="class maps are compared in pairs"):
        evaluate(rotating(5), tmp_path, paired=False)


def test_two_folders_of_class_maps_are_scored_by_command(tmp_path: Path) -> None:
    pairs = [(np.minimum(one, 8), np.minimum(other, 8)) for one, other in some_pairs(3, 9, 8)]
    for number, pair in enumerate(pairs):
        for folder, values in zip("xy", pair, strict=True):
            write(tmp_path / folder / f"{number}.png", values.astype(np.uint8))
    words = ["evaluate", tmp_path / "x", tmp_path / "y", "--classes"]
    ended = here(*words, 9, "--json", "--csv", tmp_path / "each.csv")
    assert ended.status == 0, ended.err
    scores = json.loads(ended.out)["scores"]["outputs"]
    means = tuple(scores[name]["mean"] for name in ("pixel_accuracy", "miou"))
    assert means == pytest.approx(expected(confusion(pairs, 9)))
    with (tmp_path / "each.csv").open() as file:
        rows = {Path(row["name"]).stem: float(row["miou"]) for row in csv.DictReader(file)}
    wanted = {str(n): expected(confusion([pair], 9))[1] for n, pair in enumerate(pairs)}
    assert rows == pytest.approx(wanted)
    assert list(rows) == sorted(wanted, key=lambda name: wanted[name])  # the worst first
    text = here(*words, 9).out
    assert "8-bit values from 0 to 8" in text
    assert "PSNR" not in text
    for more, reason in (
        ((5,), "holds 8, and the 5 classes are 0 to 4"),
        ((9, "--metrics", "ssim"), "--metrics ssim: compares shades, and targets hold class num"),
        ((9, "--unpaired"), "class maps are compared in pairs"),
        ((9, "--value-range", 0, 1), "class numbers have no range"),
        ((1,), "1 is not in the range"),
    ):
        ended = here(*words, *more)
        assert ended.status == 2, ended.err
        assert reason in ended.err
    ended = here(*words[:-1], "--metrics", "miou")
    assert "--metrics miou: compares class numbers, and targets hold shades" in ended.err
    Image.fromarray(pairs[0][0][..., 0].astype(np.uint8)).save(tmp_path / "x" / "0.jpg")
    (tmp_path / "x" / "0.png").unlink()
    assert "0.jpg: JPEG, whose compression mixes class numbers" in here(*words, 9).err


def test_a_run_that_makes_class_maps_keeps_the_weights_of_the_best_mean_iou(tmp_path: Path) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    write_pairs(root, 6, count=10, side=32)
    settings = [
        *("data.load_size=36", "data.crop_size=32", "data.workers=0", "data.classes.a=6"),
        *("generator.name=unet", "generator.depth=5", "generator.width=2", "discriminator.width=2"),
        *("discriminator.layers=1", "log.tensorboard=false", "data.direction=b2a"),
        *("validate.every_images=2", "validate.share=0.3"),
    ]
    sets = [word for setting in settings for word in ("--set", setting)]
    words = ["train", "pix2pix", "--data", root, "--out", run, "--device", "cpu", *sets]
    ended = here(*words, "--images", 4)
    assert ended.status == 0, ended.err
    rows = [json.loads(line) for line in (run / VALIDATIONS).read_text("utf-8").splitlines()]
    assert len(rows) == 2
    assert '"miou"' in json.dumps(rows[0])
    assert "psnr" not in json.dumps(rows[0])
    picture = np.asarray(Image.open(next((run / "validation").glob("*/b2a/*.target.png"))))
    assert {*np.unique(picture).tolist()} <= {0, 64, 128, 192}  # colors of classes


def test_metrics_that_do_not_fit_what_is_made_are_refused_before_training() -> None:
    for classes, name, reason in (
        ({"b": 5}, "psnr", "psnr compares shades, and the target holds class numbers"),
        ({"b": 5}, "swd", "swd compares shades, and the target holds class numbers"),
        ({}, "miou", "miou compares class numbers, and the target holds shades"),
    ):
        validate = {"every_images": 10, "metrics": [name]}
        layer = Layer("", {"data": {"root": "x", "classes": classes}, "validate": validate})
        with pytest.raises(ConfigError, match=rf"validate\.metrics: {reason}"):
            check_metrics(resolve("pix2pix", [layer]), "paired")
