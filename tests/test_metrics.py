"""PSNR, SSIM, MS-SSIM and L1 against plain loops, torchmetrics, scikit-image and known values; intervals against theory."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image import (
    peak_signal_noise_ratio as torchmetrics_psnr,
)

from i2i.evaluation.paired import bootstrap, l1, ms_ssim, psnr, ssim


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def score_pairs(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {metric.__name__: metric(outputs, targets) for metric in (psnr, ssim, l1)}


def levels(image: Tensor) -> list[list[float]]:
    """One channel [H, W] in [-1, 1] as 8-bit levels over 255."""
    return [[round((float(value) + 1) * 127.5) / 255 for value in row] for row in image]


def ssim_by_loops(one: Tensor, other: Tensor) -> float:
    """Wang et al. 2004, Eqn. (13)-(16), of one channel [H, W], by visiting every window."""
    weights = [math.exp(-((n - 5) ** 2) / (2 * 1.5**2)) for n in range(11)]
    total = sum(weights) ** 2
    x, y = levels(one), levels(other)
    scores = []
    for top in range(len(x) - 10):
        for left in range(len(x[0]) - 10):
            window = [
                (weights[i] * weights[j] / total, x[top + i][left + j], y[top + i][left + j])
                for i in range(11)
                for j in range(11)
            ]
            mx, my = sum(w * a for w, a, _ in window), sum(w * b for w, _, b in window)
            vx, vy = (
                sum(w * (a - mx) ** 2 for w, a, _ in window),
                sum(w * (b - my) ** 2 for w, _, b in window),
            )
            cov = sum(w * (a - mx) * (b - my) for w, a, b in window)
            c1, c2 = 0.01**2, 0.03**2
            scores.append(
                (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return sum(scores) / len(scores)


def test_ssim_equals_a_loop_over_windows() -> None:
    one = noise(2, 2, 15, 13)
    other = (0.7 * one + 0.3 * noise(2, 2, 15, 13, seed=1)).clamp(-1, 1)
    expected = [sum(ssim_by_loops(one[n, c], other[n, c]) for c in range(2)) / 2 for n in range(2)]
    assert ssim(one, other).tolist() == pytest.approx(expected, abs=1e-10)


def test_psnr_and_l1_equal_a_loop_over_pixels() -> None:
    one, other = noise(2, 3, 5, 4), noise(2, 3, 5, 4, seed=1)
    for n in range(2):
        pairs = [
            (a, b)
            for c in range(3)
            for p, q in zip(levels(one[n, c]), levels(other[n, c]), strict=True)
            for a, b in zip(p, q, strict=True)
        ]
        mse = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
        assert float(psnr(one, other)[n]) == pytest.approx(10 * math.log10(1 / mse), abs=1e-9)
        assert float(l1(one, other)[n]) == pytest.approx(
            sum(abs(a - b) for a, b in pairs) / len(pairs), abs=1e-12
        )


def test_known_pairs_have_known_scores() -> None:
    black, white = -torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    step = black + 2 / 255
    assert psnr(black, white).item() == pytest.approx(0)
    assert l1(black, white).item() == 1
    assert ssim(black, white).item() == pytest.approx(
        1e-4 / (1 + 1e-4)
    )  # means 0 and 1, no variance
    assert psnr(black, step).item() == pytest.approx(20 * math.log10(255))
    assert l1(black, step).item() == pytest.approx(1 / 255)


def test_equal_images_are_perfect_and_finite() -> None:
    images = noise(2, 3, 16, 16)
    scores = score_pairs(images, images.clone())
    assert scores["psnr"].tolist() == [100, 100]
    assert scores["ssim"].tolist() == pytest.approx([1, 1])
    assert scores["l1"].tolist() == [0, 0]


def test_scores_are_those_of_the_stored_picture_not_of_the_tensor() -> None:
    stored = (torch.arange(256).float() / 127.5 - 1).reshape(1, 1, 16, 16)
    assert l1(stored + 0.9 / 255, stored).item() == 0  # less than half a level away
    assert (
        l1(torch.full_like(stored, 3.0), torch.ones_like(stored)).item() == 0
    )  # beyond the range is clamped


def test_the_score_of_an_image_does_not_depend_on_its_batch() -> None:
    one, other = noise(3, 3, 16, 20), noise(3, 3, 16, 20, seed=1)
    whole = score_pairs(one, other)
    for n in range(3):
        alone = score_pairs(one[n : n + 1], other[n : n + 1])
        assert all(
            whole[name][n].item() == pytest.approx(alone[name].item(), rel=1e-12) for name in whole
        )


def test_no_images_have_no_scores() -> None:
    nothing = torch.empty(0, 3, 16, 16)
    assert all(values.shape == (0,) for values in score_pairs(nothing, nothing).values())


def test_images_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"of one shape \[N, C, H, W\], got \[1, 3, 16, 16\] and \[1, 1, 16, 16\]",
    ):
        score_pairs(noise(1, 3, 16, 16), noise(1, 1, 16, 16))
    with pytest.raises(ValueError, match="one shape"):
        l1(noise(3, 16, 16), noise(3, 16, 16))
    with pytest.raises(ValueError, match="images of 16x10 are smaller than its 11x11 window"):
        ssim(noise(1, 3, 10, 16), noise(1, 3, 10, 16))
    with pytest.raises(ValueError, match="not finite"):
        psnr(noise(1, 3, 16, 16) / 0, noise(1, 3, 16, 16))


def test_bootstrap_interval_agrees_with_the_normal_law_for_many_values() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(2)) + 5
    mean, low, high = bootstrap(values, seed=0)
    error = float(values.std()) / math.sqrt(len(values))
    assert mean == pytest.approx(float(values.double().mean()))
    assert low == pytest.approx(mean - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.25 * error)


def test_bootstrap_is_the_same_for_the_same_seed_and_leaves_global_randomness_alone() -> None:
    values = noise(30)
    state = torch.get_rng_state()
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)
    assert torch.equal(state, torch.get_rng_state())


def test_bootstrap_of_one_value_is_that_value_and_of_none_is_refused() -> None:
    assert bootstrap(torch.tensor([0.25])) == (0.25, 0.25, 0.25)
    with pytest.raises(ValueError, match=r"expected values \[N\], N > 0, got \[0\]"):
        bootstrap(torch.empty(0))
    with pytest.raises(ValueError, match="rounds: must be at least 1"):
        bootstrap(torch.ones(3), rounds=0)


def stored(image: Tensor, depth: int) -> Tensor:
    """[N, C, H, W] in [-1, 1] as levels of a depth in [0, 1], float64."""
    unit = (image.float() + 1) / 2
    top = {8: 255, 16: 65535}.get(depth)
    return unit.double() if top is None else (unit * top).round().double() / top


@pytest.mark.parametrize(("channels", "depth"), [(1, 8), (3, 16), (1, 32)])
def test_metrics_equal_torchmetrics_and_scikit_image(channels: int, depth: int) -> None:
    target = noise(2, channels, 177, 193)
    output = (0.8 * target + 0.3 * noise(2, channels, 177, 193, seed=1)).clamp(-1, 1)
    one, other = stored(output, depth), stored(target, depth)
    # whose mean is over an image padded by reflection, and scikit-image's over whole windows
    _, maps = structural_similarity_index_measure(
        one, other, data_range=1.0, return_full_image=True
    )
    inner = maps[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).tolist()
    similar = [
        structural_similarity(
            *(x[n].numpy() for x in (one, other)),
            channel_axis=0,
            gaussian_weights=True,
            use_sample_covariance=False,
            data_range=1.0,
        )
        for n in range(2)
    ]
    assert ssim(output, target, depth).tolist() == pytest.approx(inner, abs=1e-6)
    assert ssim(output, target, depth).tolist() == pytest.approx(similar, abs=1e-6)
    expected = multiscale_structural_similarity_index_measure(
        one, other, data_range=1.0, reduction="none"
    )
    assert ms_ssim(output, target, depth).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    for n in range(2):
        found = float(psnr(output, target, depth)[n])
        library = float(torchmetrics_psnr(one[n], other[n], data_range=1.0))
        assert found == pytest.approx(library, abs=1e-6)
        library = peak_signal_noise_ratio(other[n].numpy(), one[n].numpy(), data_range=1.0)
        assert found == pytest.approx(library, abs=1e-6)
        difference = np.abs(one[n].numpy() - other[n].numpy()).mean()
        assert float(l1(output, target, depth)[n]) == pytest.approx(difference, abs=1e-9)


def test_ms_ssim_of_opposite_images_is_0_and_of_small_ones_an_error() -> None:
    image = noise(1, 1, 176, 180)
    assert ms_ssim(image, image).item() == pytest.approx(1)
    assert ms_ssim(image, -image).item() == 0
    with pytest.raises(ValueError, match="ms_ssim: images of 180x175 are smaller than what its 5"):
        ms_ssim(image[:, :, 1:], image[:, :, 1:])


def test_only_pixels_inside_of_a_mask_count() -> None:
    one, other = noise(1, 3, 40, 30), noise(1, 3, 40, 30, seed=1)
    inside = torch.zeros(1, 40, 30, dtype=torch.bool)
    inside[:, 5:25, 8:20] = True
    part = [x[:, :, 5:25, 8:20] for x in (one, other)]
    assert psnr(one, other, inside=inside).item() == pytest.approx(psnr(*part).item())
    assert l1(one, other, inside=inside).item() == pytest.approx(l1(*part).item())
    (full,) = (stored(x, 8)[0].numpy() for x in (one,))
    _, maps = structural_similarity(
        full,
        stored(other, 8)[0].numpy(),
        channel_axis=0,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    assert ssim(one, other, inside=inside).item() == pytest.approx(
        maps[:, 5:25, 8:20].mean(), abs=1e-6
    )
    everything = torch.ones_like(inside)
    assert ssim(one, other, inside=everything).item() == pytest.approx(ssim(one, other).item())
