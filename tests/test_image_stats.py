"""Image statistics of fakes and reals equal plain computations, however images are batched."""

import math

import pytest
import torch
from torch import Tensor

from i2i.methods._base import Images
from i2i.training.image_stats import ImageStats


def images(seed: int, n: int = 8, size: int = 16) -> Tensor:
    """Return smooth images: noise has nearly equal means everywhere."""
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return coarse.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)


def measured(
    real: Images, fake: Images, batch: int = 8, unpaired: bool = False
) -> dict[str, float]:
    stats = ImageStats(unpaired)
    for start in range(0, 8, batch):
        part = slice(start, start + batch)
        stats.update({k: x[part] for k, x in real.items()}, {k: x[part] for k, x in fake.items()})
    return {name: float(value) for name, value in stats.compute().items()}


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_diversity_is_one_for_equal_sets_half_for_half_the_contrast_and_zero_for_one_image(
    batch: int,
) -> None:
    real = {"b": images(0)}
    assert measured(real, real, batch)["b/diversity"] == 1
    assert measured(real, {"b": real["b"] / 2}, batch)["b/diversity"] == pytest.approx(
        0.5, rel=1e-4
    )
    same = images(1, n=1).expand(8, -1, -1, -1)
    assert measured(real, {"b": same}, batch)["b/diversity"] < 1e-4
    assert measured({"b": same}, {"b": same}, batch)["b/diversity"] == 1, (
        "one image is all there is to learn"
    )


def test_diversity_estimates_the_ratio_of_standard_deviations() -> None:
    real, fake = images(0, n=2000), images(1, n=2000) * 0.7
    stats = ImageStats(False)
    stats.update({"b": real}, {"b": fake})
    assert float(stats.compute()["b/diversity"]) == pytest.approx(
        float(fake.std() / real.std()), rel=0.02
    )


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_drift_is_the_distance_of_mean_colors_in_units_of_the_range(batch: int) -> None:
    real = torch.zeros(8, 3, 16, 16)
    assert measured({"b": real}, {"b": real + 0.5}, batch)["b/drift"] == pytest.approx(0.25)
    assert measured({"b": real - 1}, {"b": real + 1}, batch)["b/drift"] == pytest.approx(1)
    red = torch.tensor([0.6, 0, 0]).view(1, 3, 1, 1)
    assert measured({"b": real}, {"b": real + red}, batch)["b/drift"] == pytest.approx(0.3 / 3**0.5)


def test_saturation_is_the_share_that_is_black_or_white_in_8_bits() -> None:
    levels = torch.arange(256).view(1, 1, 16, 16).expand(8, -1, -1, -1) / 127.5 - 1
    values = measured({"b": levels}, {"b": levels * 1e4}, batch=2)
    assert values["b/saturation_real"] == pytest.approx(2 / 256)
    assert values["b/saturation"] == 1


def test_correlation_with_the_source_separates_inverted_from_kept_and_mirroring_changes_nothing() -> (
    None
):
    real = {"a": images(0), "b": images(1)}

    def correlation(fake: Tensor) -> float:
        return measured(real, {"b": fake}, batch=2, unpaired=True)["b/correlation"]

    assert correlation(real["a"] * 0.5 + 0.2) == pytest.approx(1, abs=1e-4)
    assert correlation(-real["a"]) == pytest.approx(-1, abs=1e-4)
    assert correlation(-real["a"].flip(3)) == pytest.approx(-1, abs=1e-4)
    assert abs(correlation(images(7))) < 0.4
    assert correlation(torch.zeros_like(real["a"])) == 0
    assert not any("correlation" in name for name in measured(real, {"b": real["a"]}))


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_grid_is_the_excess_of_fakes_over_reals_in_decibels_whatever_the_batch(batch: int) -> None:
    flat = torch.full((8, 3, 32, 40), 0.3)
    wave = 2 / 255 * (-1.0) ** torch.arange(40.0)  # one 8-bit level, of columns
    expected = 10 / 3 * math.log10(1 + 1 / 0.25**2)
    assert measured({"b": flat}, {"b": flat + wave}, batch)["b/grid"] == pytest.approx(
        expected, abs=1e-3
    )
    assert measured({"b": flat + wave}, {"b": flat}, batch)["b/grid"] == pytest.approx(
        -expected, abs=1e-3
    )
    assert measured({"b": flat}, {"b": flat}, batch)["b/grid"] == 0
    assert "b/grid" not in measured({"b": images(0)}, {"b": images(0)}), "below 32 pixels"


def test_an_interval_that_an_earlier_version_began_has_no_grid_and_continues() -> None:
    stats = ImageStats(False)
    stats.update({"b": images(0)}, {"b": images(1)})  # as it was without the statistic
    assert "b/grid" not in stats.compute()
    stats.update({"b": images(0, size=32)}, {"b": images(1, size=32)})
    assert math.isfinite(float(stats.compute()["b/grid"]))


def test_only_domains_with_reals_are_measured_and_a_reset_starts_from_scratch() -> None:
    stats = ImageStats(False)
    stats.update({"b": images(0)}, {"b": images(1), "identity": images(2)})
    assert {name.split("/")[0] for name in stats.compute()} == {"b"}
    stats.reset()
    assert stats.compute() == {}
    stats.update({"b": images(0)}, {"b": images(0)})
    assert float(stats.compute()["b/drift"]) == 0


def test_restored_statistics_are_the_same_bits() -> None:
    reference, first, second = ImageStats(True), ImageStats(True), ImageStats(True)
    batches = [
        ({"a": images(n, 1), "b": images(n + 9, 1)}, {"b": images(n + 20, 1)}) for n in range(5)
    ]
    for batch in batches:
        reference.update(*batch)
    for batch in batches[:3]:
        first.update(*batch)
    second.restore(first.state(), torch.device("cpu"))
    for batch in batches[3:]:
        second.update(*batch)
    assert all(
        torch.equal(second.compute()[name], value) for name, value in reference.compute().items()
    )
