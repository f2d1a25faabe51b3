"""Grids of period 2: spectra against numpy, known amplitudes in dB, and what is no grid."""

import io
import itertools
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import here
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from i2i import images
from i2i.config import ConfigError, Layer, parse_override
from i2i.evaluation.metric import Interval
from i2i.evaluation.sets import SetError, compare, describe, set_scores
from i2i.images.spectrum import grid_excess
from i2i.run.contradictions import check_metrics
from i2i.run.settings import resolve
from i2i.scenes import facades

Picture = NDArray[np.uint8]
GAIN = (16**2 / 12) ** 2  # of 1/2 over white noise in windows
FLOOR = GAIN * (0.5 / 255) ** 2


def noise(count: int, side: int = 64, seed: int = 0, deviation: float = 20) -> list[Picture]:
    values = np.random.default_rng(seed).normal(128, deviation, (count, side, side, 1))
    return list(values.round().clip(0, 255).repeat(3, 3).astype(np.uint8))


def scenes(count: int, side: int = 64, seed: int = 0) -> list[Picture]:
    return [facades.draw(seed, number, side, "day") for number in range(count)]


def gridded(
    pictures: Iterable[Picture], amplitude: float, rows: bool, columns: bool
) -> list[Picture]:
    """Add a wave of period 2 along rows, columns or both."""
    result = []
    for picture in pictures:
        y, x = np.indices(picture.shape[:2])
        wave = amplitude * (-1.0) ** (rows * y + columns * x)
        result.append((picture + wave[..., None]).clip(0, 255).astype(np.uint8))
    return result


def grid(reals: Iterable[Picture], fakes: Iterable[Picture]) -> Interval:
    return set_scores(reals, fakes, ["grid"])["grid"]


def by_fft(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the excess [3] of [C, H, W] in windows 16 apart by numpy's Fourier transform."""
    taper = np.outer(*2 * [np.hanning(33)[:32]])
    _, height, width = image.shape
    levels = []
    for top, left in itertools.product(range(0, height - 31, 16), range(0, width - 31, 16)):
        f = np.fft.fft2(taper * image[:, top : top + 32, left : left + 32])
        f /= np.sqrt((taper**2).sum())
        plus, minus = f[:, 14, 14], f[:, 14, 18]
        powers = [f[:, 16, 0].real, f[:, 0, 16].real, f[:, 16, 16].real]
        powers += [f[:, 14, 0].real * 2**0.5, f[:, 14, 0].imag * 2**0.5]
        powers += [f[:, 0, 14].real * 2**0.5, f[:, 0, 14].imag * 2**0.5]
        powers += [
            (plus + minus).real,
            (plus - minus).real,
            (plus + minus).imag,
            (plus - minus).imag,
        ]
        levels.append(10 * np.log10(np.square(powers).mean(1) + FLOOR))
    level = np.mean(levels, 0)
    beside = [level[3:5].mean(), level[5:7].mean(), level[7:].mean()]
    return np.asarray(level[:3] - beside)


def test_excess_equals_that_of_a_fourier_transform() -> None:
    image = np.random.default_rng(0).normal(scale=0.02, size=(3, 64, 80))
    got = grid_excess(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(got, by_fft(image), rtol=1e-9)


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (61, 100), (255, 32)])
@pytest.mark.parametrize("deviation", [1e-4, 0.01, 1.0])
def test_noise_has_no_excess_in_any_shape_and_strength(
    shape: tuple[int, int], deviation: float
) -> None:
    rng = torch.Generator().manual_seed(0)
    excess = grid_excess(deviation * torch.randn(500, 2, *shape, generator=rng))
    error = excess.std(0) / 500**0.5
    assert (excess.mean(0).abs() < 3.5 * error).all()


@pytest.mark.parametrize("amplitude", [0.25, 1, 16])
def test_a_grid_on_a_plain_image_has_its_own_direction_and_known_decibels(amplitude: float) -> None:
    wave = (-1.0) ** torch.arange(40, dtype=torch.float64).expand(1, 3, 35, 40)
    expected = 10 * math.log10(1 + amplitude**2 / 0.25**2)
    excess = grid_excess(0.3 + amplitude * 2 / 255 * wave)[0].tolist()
    assert excess == pytest.approx([0, expected, 0], abs=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(True, False), (False, True), (True, True)])
def test_scores_of_sets_grow_with_the_amplitude_of_a_grid(rows: bool, columns: bool) -> None:
    reals, others = noise(30), noise(30, seed=1)
    scores = [grid(reals, gridded(others, a, rows, columns)).mean for a in (2, 4, 8, 16, 32)]
    assert scores == sorted(scores)
    assert scores[0] > 0.5
    assert scores[-1] == pytest.approx(33.6 / 3, abs=1)


def test_a_grid_in_noise_has_the_decibels_of_its_power_over_the_noise() -> None:
    rng = np.random.default_rng(0)
    levels = rng.normal(scale=20, size=(2000, 1, 48, 48)) + 32 * (-1.0) ** np.arange(48)
    excess = grid_excess(torch.from_numpy(levels) * 2 / 255).mean(0).tolist()
    beside = 20**2 * rng.chisquare(1, 10**6)
    expected = np.log10(GAIN * 32**2 + GAIN / 16) - np.log10(beside + GAIN / 16).mean()
    assert excess == pytest.approx([0, 10 * expected, 0], abs=0.25)


def test_noise_has_no_grid_whatever_its_strength_and_color() -> None:
    for deviation in (3, 20, 60):
        score = grid(noise(60), noise(60, seed=1, deviation=deviation))
        assert score.low < 0 < score.high
        assert score.high - score.low < 1.5


def jpeg(quality: int) -> Callable[[Picture], Picture]:
    def compressed(picture: Picture) -> Picture:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return compressed


def scaled(factor: float) -> Callable[[Picture], Picture]:
    def resized(picture: Picture) -> Picture:
        height, width = (round(side * factor) for side in picture.shape[:2])
        return np.asarray(
            Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        )

    return resized


HARMLESS = {
    "jpeg 95": jpeg(95),
    "jpeg 75": jpeg(75),
    "smaller": scaled(0.8),
    "a little larger": scaled(1.1),
    "blurred": lambda picture: gaussian_filter(picture, (0.7, 0.7, 0)),
}


def test_compression_sizes_and_blur_are_no_grid_and_a_grid_shows_through_them() -> None:
    reals, others = scenes(30), scenes(30, seed=1)
    assert abs(grid(reals, others).mean) < 1.5
    for name, change in HARMLESS.items():
        assert -6 < grid(reals, map(change, others)).mean < 2, name
    for name in ("jpeg 95", "blurred"):
        faint = gridded(map(HARMLESS[name], others), 4, False, True)
        assert grid(reals, faint).mean > 3, name


def test_compression_and_sizes_of_photographs_are_no_grid(real_data: Path) -> None:
    files = sorted((real_data / "monet2photo/trainB").glob("*.jpg"))[:40]
    pictures = [np.asarray(Image.open(file).convert("RGB"))[:96, :96] for file in files]
    reals, others = pictures[::2], pictures[1::2]
    assert abs(grid(reals, others).mean) < 1.5
    for name, change in HARMLESS.items():
        assert -6 < grid(reals, map(change, others)).mean < 2, name
    assert grid(reals, gridded(others, 4, True, True)).mean > 6


def test_doubling_by_repetition_has_no_grid_and_by_an_uneven_kernel_a_strong_one() -> None:
    reals = noise(40)
    repeated = [each[::2, ::2].repeat(2, 0).repeat(2, 1) for each in noise(40, seed=1)]
    uneven = np.tile([[1.0, 0.9], [0.9, 0.8]], (32, 32))[..., None]
    assert -6 < grid(reals, repeated).mean < 0
    assert grid(reals, [(each * uneven).astype(np.uint8) for each in repeated]).mean > 5


def test_parts_of_a_set_merge_into_the_score_of_the_complete_set() -> None:
    sets = []
    for pictures in (noise(9), noise(7, seed=1)):
        first = describe(pictures[::2], ["grid"], {}, numbers=range(0, len(pictures), 2))
        second = describe(pictures[1::2], ["grid"], {}, numbers=range(1, len(pictures), 2))
        second.merge(first)
        sets.append(second)
    assert compare(*sets, ["grid"])["grid"] == grid(noise(9), noise(7, seed=1))


def test_images_of_many_sizes_and_too_small_ones() -> None:
    sizes = [*noise(3, 32), *noise(3, 45)]
    assert math.isfinite(grid(sizes, noise(2, 64)).mean)
    with pytest.raises(SetError, match=r"grid: image 1 has 31x31 pixels, .* at least 32"):
        grid(noise(2), [*noise(1), *noise(1, 31)])
    with pytest.raises(SetError, match="grid: 2 reals and 1 fakes, needs at least 2 of each"):
        grid(noise(2), noise(1))


def test_command_measures_two_folders_under_a_protocol_that_names_it(tmp_path: Path) -> None:
    for name, pictures in {"reals": noise(4), "fakes": gridded(noise(4), 9, True, True)}.items():
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures):
            images.encode(picture, tmp_path / name / f"{number}.png")
    folders = (tmp_path / "fakes", tmp_path / "reals")
    done = here("evaluate", *folders, "--metrics", "swd,grid", "--json")
    content = json.loads(done.out)
    expected = grid(noise(4), gridded(noise(4), 9, True, True))
    assert content["scores"]["outputs"]["grid"]["mean"] == pytest.approx(expected.mean)
    assert "Hann windows of 32x32" in content["protocol"]["features"]["grid"]
    assert "Grid, dB" in here("evaluate", *folders, "--metrics", "grid").out
    plain = json.loads(here("evaluate", *folders, "--json").out)
    assert "grid" not in json.dumps(plain["scores"]) + json.dumps(plain["protocol"])


def test_a_validation_of_images_that_are_too_small_is_refused() -> None:
    texts = ["data.crop_size=16", "data.load_size=16", "validate.every_images=10"]
    layers = [parse_override(text) for text in (*texts, 'validate.metrics=["grid"]')]
    config = resolve("pix2pix", [Layer("test", {"data": {"root": "x"}}), *layers])
    with pytest.raises(ConfigError, match=r"grid needs sides of at least 32 pixels, .* 16"):
        check_metrics(config, "paired")


@pytest.mark.parametrize("text", ["validate.metric=grid", 'validate.metrics=["grid"]'])
def test_the_grid_which_is_best_at_0_cannot_choose_the_best_weights(text: str) -> None:
    layers = [parse_override(text), parse_override("validate.every_images=10")]
    config = resolve("dcgan", [Layer("test", {"data": {"root": "x"}}), *layers])
    with pytest.raises(ConfigError, match=r"validate.metric: grid is best at 0"):
        check_metrics(config, "unconditional")
