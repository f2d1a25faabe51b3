"""Inputs that are unlike the images of training are noted where the model is used."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from commands import here
from numpy.typing import NDArray
from PIL import Image
from runs import draw_scenes, train_words
from torch import Tensor, nn

from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.images.statistics import LEAST, ChannelStatistics, is_far, measure, summarize
from i2i.model_file import ModelInfo, load_model, read_info
from i2i.translation.folder import translate_folder
from i2i.translation.translator import Translator

RANDOM = np.random.default_rng(0)


def pictures(count: int, mean: float = 128, spread: float = 40) -> list[NDArray[np.uint8]]:
    """Noise whose brightness and contrast vary by a tenth."""
    scale = RANDOM.normal(1, 0.1, (count, 2))
    noise = RANDOM.normal(0, 1, (count, 48, 40, 3))
    values = mean * scale[:, :1, None, None] + spread * scale[:, 1:, None, None] * noise
    return list(values.clip(0, 255).round().astype(np.uint8))


def test_statistics_are_means_and_deviations_over_images() -> None:
    images = [picture[..., :2] for picture in pictures(30)]
    unit = np.stack(images).reshape(30, -1, 2) / 255
    expected = [unit.mean(1), np.log(unit.std(1) + 1 / 255)]
    result = summarize([measure(image) for image in images])
    for channel, statistics in enumerate(result):
        wanted = [f(each[:, channel]) for each in expected for f in (np.mean, np.std)]
        np.testing.assert_allclose(
            [
                statistics.brightness,
                statistics.brightness_std,
                statistics.contrast,
                statistics.contrast_std,
            ],
            wanted,
            atol=2e-6,
        )


def test_few_images_say_nothing_and_nothing_is_far_from_them() -> None:
    assert summarize([measure(picture) for picture in pictures(LEAST - 1)]) == ()
    assert not is_far(np.zeros((8, 8, 3), np.uint8), ())


def test_images_of_the_kind_are_near_and_dark_flat_or_bright_ones_are_far() -> None:
    statistics = summarize([measure(picture) for picture in pictures(100)])
    withheld = pictures(300)
    assert sum(is_far(picture, statistics) for picture in withheld) <= 1
    for change in (lambda x: x // 16, lambda x: x // 8 + 112, lambda x: x // 3 + 170):
        assert all(is_far(change(picture), statistics) for picture in withheld)


def test_a_large_image_is_measured_by_a_part_of_its_pixels() -> None:
    image = RANDOM.integers(0, 256, (700, 900, 3)).astype(np.uint8)
    np.testing.assert_allclose(measure(image)[0], image.mean((0, 1)) / 255, atol=0.02)


class Same(nn.Module):
    """Returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def translator() -> Translator:
    statistics = summarize([measure(picture) for picture in pictures(100)])
    spec = ImageSpec((ChannelSpec(3, alpha=False),), depth=8, statistics=statistics)
    return Translator(Same(), 3, 3, source=spec, target=spec, device="cpu")


def test_a_folder_job_notes_them_once_with_a_count_and_the_first(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, picture in enumerate(pictures(6)):
        dark = picture // 16 if number in (2, 5) else picture
        Image.fromarray(dark).save(tmp_path / "in" / f"{number}.png")
    report = translate_folder(translator(), tmp_path / "in", tmp_path / "out")
    note = "inputs whose brightness or contrast is far from that of the training images"
    assert report.notes == [f"{note} (2, first: 2.png)"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "out" / "2.png")),
        np.asarray(Image.open(tmp_path / "in" / "2.png")),
    )


def test_python_warns_of_them() -> None:
    like, model = pictures(1)[0], translator()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(like)
    for unlike in (like // 16, Image.fromarray(like // 16)):
        with pytest.warns(UserWarning, match="far from that of the training images"):
            model(unlike)


def test_a_run_keeps_the_statistics_of_its_inputs_and_a_resumed_one_the_same(
    tmp_path: Path,
) -> None:
    scenes = draw_scenes(tmp_path, 60)
    for method, domains in (("pix2pix", {"a"}), ("cyclegan", {"a", "b"})):
        run = tmp_path / method
        ended = here(*train_words(method, scenes, run, "--images", 2))
        assert ended.status == 0, ended.err
        kept = {name: spec.statistics for name, spec in read_info(run).domains.items()}
        assert {name for name, statistics in kept.items() if statistics} == domains
        assert [len(kept[name]) for name in domains] == [3] * len(domains)
        ended = here(*train_words(method, scenes, run, "--images", 4, "--resume"))
        assert ended.status == 0, ended.err
        assert {name: spec.statistics for name, spec in read_info(run).domains.items()} == kept


def test_a_file_without_statistics_loads(tmp_path: Path) -> None:
    scenes = draw_scenes(tmp_path)  # too few images
    run = tmp_path / "run"
    assert here(*train_words("pix2pix", scenes, run, "--images", 2)).status == 0
    info = load_model(run).info
    assert info.domains["a"].statistics == ()
    fields = json.loads(info.model_dump_json())
    for domain in fields["domains"].values():
        del domain["statistics"], domain["clips"]
    assert ModelInfo.model_validate_json(json.dumps(fields)) == info
    fields["domains"]["a"]["statistics"] = [vars(ChannelStatistics(0.5, 0.1, -1.0, 0.2))] * 3
    again = ModelInfo.model_validate_json(json.dumps(fields))
    assert again.domains["a"].statistics == (ChannelStatistics(0.5, 0.1, -1.0, 0.2),) * 3
