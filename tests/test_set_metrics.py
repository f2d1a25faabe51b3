"""Sliced Wasserstein distance against scipy, and scores of sets: intervals, parts, errors."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter
from scipy.stats import wasserstein_distance

from i2i.evaluation.features import available
from i2i.evaluation.metric import METRICS
from i2i.evaluation.sets import SetError, compare, describe, set_scores
from i2i.evaluation.wasserstein import PatchStore, distances, pyramid, sliced
from i2i.seeds import key

Picture = NDArray[np.uint8]


def pictures(count: int, height: int = 40, width: int = 32, seed: int = 0) -> list[Picture]:
    """Smooth random colors with some noise."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(count, height, width, 3)), (0, 4, 4, 0))
    noisy = 128 + 400 * smooth + 10 * rng.normal(size=smooth.shape)
    return list(noisy.clip(0, 255).astype(np.uint8))


def blurred(images: list[Picture], sigma: float) -> list[Picture]:
    return [gaussian_filter(image, (sigma, sigma, 0)) for image in images]


def scipy_pyramid(image: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Laplacian levels of [H, W] as in the code of Karras et al.; the last is a low-pass image."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    lows = [image]
    while min(lows[-1].shape) // 2 >= 16:
        lows.append(convolve(lows[-1], kernel, mode="mirror")[::2, ::2])
    bands = []
    for low, smaller in pairwise(lows):
        stuffed = np.zeros_like(low)
        stuffed[::2, ::2] = smaller
        bands.append(low - convolve(stuffed, 4 * kernel, mode="mirror"))
    return [*bands, lows[-1]]


def test_pyramid_equals_that_of_scipy() -> None:
    image = np.random.default_rng(0).random((64, 80, 3))
    levels = pyramid(torch.from_numpy(image).movedim(-1, 0))
    for channel in range(3):
        expected = scipy_pyramid(image[..., channel])
        assert [band.shape[1:] for band, _ in levels] == [level.shape for level in expected]
        got = [band[channel] for band, _ in levels[:-1]] + [levels[-1][1][channel]]
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_patches_are_windows_of_the_levels_with_channels_kept_together() -> None:
    image = np.random.default_rng(0).random((40, 36, 3))
    store = PatchStore()
    store.add(torch.from_numpy(image).movedim(-1, 0), 0)
    planes = [scipy_pyramid(image[..., channel]) for channel in range(3)]
    for level in range(2):
        stacked = np.stack([levels[level] for levels in planes])
        windows = np.lib.stride_tricks.sliding_window_view(stacked, (3, 7, 7)).reshape(-1, 147)
        patches = store.level(level, coarsest=level == 1)[0].numpy()
        assert patches.shape == (128, 147)
        gaps = np.abs(patches[:, None] - windows[None]).max(2).min(1)
        assert gaps.max() < 1e-12


def by_scipy(reals: NDArray[np.float64], fakes: NDArray[np.float64], seed: int) -> float:
    """Mean distance of projections on the seeded directions; descriptors [N, D] and [M, D]."""
    rng = torch.Generator().manual_seed(key(seed, "directions") >> 1)
    directions = torch.randn(512, reals.shape[1], generator=rng).double().numpy()
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    values = [wasserstein_distance(reals @ each, fakes @ each) for each in directions]
    return float(np.mean(values))


@pytest.mark.parametrize("seed", [0, 3])
def test_distance_equals_that_of_scipy_for_unequal_numbers_of_images(seed: int) -> None:
    sets = [pictures(3), pictures(5, seed=1)]
    expected = []
    stores = [PatchStore(seed), PatchStore(seed)]
    for store, images in zip(stores, sets, strict=True):
        for number, image in enumerate(images):
            store.add(torch.from_numpy(image).movedim(-1, 0) / 255, number)
    for level in range(2):
        one, other = (
            store.level(level, level == 1).double().numpy().reshape(-1, 3, 49) for store in stores
        )
        mean, deviation = one.mean((0, 2), keepdims=True), one.std((0, 2), keepdims=True)
        one, other = (((x - mean) / deviation).reshape(-1, 147) for x in (one, other))
        expected.append(1000 * by_scipy(one, other, seed))
    got = [influence.score for influence in distances(*stores)]
    assert got == pytest.approx(expected, rel=1e-6)
    scores = set_scores(*sets, ["swd"], seed=seed)
    assert scores["swd"].mean == pytest.approx(np.mean(expected), rel=1e-6)


def test_equal_sets_have_distance_zero_and_it_grows_with_blur_noise_and_color() -> None:
    reals = pictures(4)
    assert set_scores(reals, list(reals), ["swd"])["swd"] == (0, 0, 0)
    blurs = [set_scores(reals, blurred(reals, s), ["swd"])["swd"].mean for s in (0.5, 1, 2)]
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(4, 40, 32, 3))
    noisy = [
        [
            (image + s * n).clip(0, 255).astype(np.uint8)
            for image, n in zip(reals, noise, strict=True)
        ]
        for s in (2, 10, 40)
    ]
    noises = [set_scores(reals, images, ["swd"])["swd"].mean for images in noisy]
    darker = [[(image * s).astype(np.uint8) for image in reals] for s in (0.9, 0.6, 0.3)]
    shades = [set_scores(reals, images, ["swd"])["swd"].mean for images in darker]
    for values in (blurs, noises, shades):
        assert values == sorted(values)
        assert values[0] > 0


def test_interval_is_as_wide_as_that_of_recomputed_distances() -> None:
    rng = torch.Generator().manual_seed(0)
    reals = torch.randn(60, 1, 4, generator=rng)
    fakes = 1.5 * torch.randn(80, 1, 4, generator=rng) + 0.5
    influence = sliced(reals, fakes)
    again = []
    for _ in range(40):
        some = torch.randint(60, (60,), generator=rng), torch.randint(80, (80,), generator=rng)
        one, other = sliced(reals[some[0]], fakes[some[1]])
        again.append(float(one.mean() - other.mean()))
    error = (influence[0].var() / 60 + influence[1].var() / 80) ** 0.5
    assert float(error) == pytest.approx(np.std(again), rel=0.25)


def test_parts_of_a_set_merge_into_the_scores_of_the_complete_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("i2i.evaluation.wasserstein._STORE", 500)  # patches are thinned
    reals, fakes = pictures(9), pictures(7, seed=1)
    complete = set_scores(reals, fakes, ["swd"])
    sets = []
    for images in (reals, fakes):
        first = describe(images[::2], ["swd"], {}, numbers=range(0, len(images), 2))
        second = describe(images[1::2], ["swd"], {}, numbers=range(1, len(images), 2))
        second.merge(first)
        sets.append(second)
    assert sets[0].patches
    assert sets[0].patches.per_image == 32
    assert compare(*sets, ["swd"]) == complete


def test_images_of_many_sizes_are_compared_at_the_levels_that_all_have() -> None:
    reals = [*pictures(3, 70, 64), *pictures(3, 35, 32)]
    stores = [PatchStore(), PatchStore()]
    for store, images in zip(stores, (reals, pictures(3, 20, 16)), strict=True):
        for number, image in enumerate(images):
            store.add(torch.from_numpy(image).movedim(-1, 0) / 255, number)
    assert len(distances(stores[0], stores[0])) == 2
    assert len(distances(*stores)) == 1


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(SetError, match=r"swd: image 1 has 32x15 pixels, SWD needs .* at least 16"):
        set_scores([*pictures(1), *pictures(1, 15)], pictures(2), ["swd"])
    with pytest.raises(SetError, match="swd: 2 reals and 1 fakes, needs at least 2 of each"):
        set_scores(pictures(2), pictures(1), ["swd"])
    with pytest.raises(SetError, match=r"psnr: no metric of sets of images. Choose among swd"):
        set_scores(pictures(2), pictures(2), ["psnr"])


def test_progress_counts_the_images_of_both_sets() -> None:
    calls: list[tuple[int, int]] = []
    set_scores(pictures(2), iter(pictures(3)), ["swd"], progress=lambda *call: calls.append(call))
    assert calls == [(n, 5) for n in range(1, 6)]
    calls.clear()
    generator = (image for image in pictures(2))
    set_scores(pictures(2), generator, ["swd"], progress=lambda *call: calls.append(call))
    assert calls[-1] == (4, 0)


def test_every_metric_has_its_row_under_its_own_name() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    assert "swd" in available("set")
    assert "ssim" in available("paired")
