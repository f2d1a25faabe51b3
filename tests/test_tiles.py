"""Tiles: the result is that of the whole image, from any row on, and without seams where it is approximate."""

import inspect
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from i2i import registry
from i2i.translation import TranslationError
from i2i.translation.tiles import image_statistics, translate_rows
from i2i.translation.tiling import Tiling, automatic_tile, tile_bytes
from i2i.translation.translator import Translator

NORMS = ["instance", "batch", "group", "none"]
UPSAMPLES = ["deconv", "deconv_blur", "nearest", "bilinear", "pixelshuffle"]
LEVEL = 1 / 255  # of 8 bits, in [0, 1]
SMALL = {"width": 4, "blocks": 1, "depth": 3}
TILE = {"resnet": 80, "unet": 64}  # pixels a side, with a core of half of that at least


def small(name, in_channels=3, **options):
    factory = registry.find("generators", name).factory
    chosen = {**SMALL, **options}
    known = inspect.signature(factory).parameters
    return factory(in_channels, 2, **{key: value for key, value in chosen.items() if key in known})


NAMES = [
    name
    for name in registry.names("generators")
    if not registry.find("generators", name).preset and small(name).size is None
]


@cache
def translator(name, norm="instance", **options):
    statistics = options.pop("statistics", "image")
    torch.manual_seed(0)
    options = {"width": 9, **options} if norm == "group" else options  # groups of two channels
    net = small(name, norm=norm, **options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, *((0, 0.1) if parameter.ndim > 1 else (0.5, 0.2)))
    return Translator(net, 3, 2, statistics=statistics, device="cpu", precision="fp32")


@cache
def picture(height=150, width=131, noise=0.05):
    """Objects, a bright half and noise, which a part does not have as the whole has it: uint16."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 19 + channel) * np.cos(x / 13 - channel) for channel in range(3)]
    values = 0.4 + 0.2 * np.stack(waves, 2) + random.normal(0, noise, (height, width, 3))
    values[:, width // 2 :] += 0.25
    values[height // 2 :, : width // 3] = 0.1
    return (values.clip(0, 1) * 65535).astype(np.uint16)


def reader(array):
    return lambda top, left, height, width: array[top : top + height, left : left + width]


def tiled(model, array, tile, overlap=None, depth=32, **options):
    sides = array.shape[:2]
    return np.concatenate(
        list(translate_rows(model, reader(array), *sides, depth, tile, overlap, **options))
    )


# -- what the network sees -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {"upsample": upsample}) for name in NAMES for upsample in UPSAMPLES),
        ("resnet", {"antialias": True, "upsample": "bilinear"}),
        ("resnet", {"skips": True}),
        ("unet", {"head_layers": 2}),
        ("unet", {"depth": 5}),
    ],
    ids=str,
)
def test_halo_is_the_extent_of_the_gradient_of_an_aligned_square(name, options):
    net = small(name, 1, norm="none", width=2, **options).double()
    for parameter in net.parameters():  # positive: nothing cancels, and no ReLU is off
        nn.init.constant_(parameter, 1e-2 if parameter.ndim > 1 else 1e-3)
    first, side = 96, net.size_divisor
    x = torch.ones(1, 1, 224, 224, dtype=torch.float64, requires_grad=True)
    square = slice(first, first + side)
    net(x)[..., square, square].sum().backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    extent = first - int(rows.min()), int(rows.max()) + 1 - (first + side)
    assert max(extent) == net.halo


def test_halo_of_the_published_networks_is_that_of_their_layers():
    factory = {name: registry.find("generators", name) for name in ("resnet", "unet")}
    # 9 blocks: 3 + 2 + 1 + 9 * 2 * 4 + …; 8 levels: 2 * (2^8 - 1) + 1 of the innermost pixel beside
    assert factory["unet"].factory(3, 3, width=1, depth=8).halo == 511
    assert 72 < factory["resnet"].factory(3, 3, width=1, blocks=9).halo < 96


# -- exact tiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(150, 131), (139, 37)], ids=str)
def test_tiled_is_untiled(name, norm, size):
    model, image = translator(name, norm), picture(*size)
    whole = model.pixels(image[None], 32)[0]
    result = tiled(model, image, TILE[name])
    assert whole.std() > 20 * LEVEL  # there is something to lose
    assert np.abs(result - whole).max() < (LEVEL / 20 if norm != "none" else 1e-6)


def test_tiled_is_untiled_with_skips_around_the_blocks():
    model, image = translator("resnet", skips=True), picture()
    whole = model.pixels(image[None], 32)[0]
    assert np.abs(tiled(model, image, TILE["resnet"]) - whole).max() < LEVEL / 20


@pytest.mark.parametrize("name", NAMES)
def test_running_statistics_need_no_pass(name):
    model, image = translator(name, "batch", statistics="running"), picture()
    assert image_statistics(model, reader(image), *image.shape[:2], TILE[name]) == {}
    whole = model.pixels(image[None], 32)[0]
    np.testing.assert_allclose(tiled(model, image, TILE[name]), whole, atol=1e-6)


@pytest.mark.parametrize("depth", [8, 16, 32])
def test_strips_are_what_the_translator_returns_for_these_rows(depth):
    model, image = translator("unet", "none"), picture()
    whole = model.pixels(image[None], depth)[0]
    result = tiled(model, image, 64, depth=depth)
    assert result.dtype == whole.dtype
    assert np.abs(result.astype(float) - whole).max() <= (1e-6 if depth == 32 else 1)


@pytest.mark.parametrize("norm", NORMS)
def test_statistics_are_those_of_the_inputs_of_norms_on_the_whole_image(norm):
    model, image = translator("resnet", norm), picture()
    inputs = {}
    kinds = {"InstanceNorm", "PerImageNorm", "GroupNorm"}
    for name, module in model.network.named_modules():
        if type(module).__name__ in kinds:
            record = lambda one, x, _, name=name: inputs.update({name: (one, x[0])})  # noqa: E731
            module.register_forward_hook(record)
    model.pixels(image[None])
    for module in model.network.modules():
        module._forward_hooks.clear()
    statistics = image_statistics(model, reader(image), *image.shape[:2], TILE["resnet"])
    assert statistics.keys() == inputs.keys()
    for name, (module, x) in inputs.items():
        groups = getattr(module, "num_groups", x.shape[1])
        grouped = x.double().reshape(groups, -1)
        mean = grouped.mean(1).repeat_interleave(x.shape[1] // groups)
        variance = grouped.var(1, correction=0).repeat_interleave(x.shape[1] // groups)
        scale = (variance + 1e-5).sqrt()
        assert ((statistics[name][0] - mean).abs() / scale).max() < 2e-3, name
        assert ((statistics[name][1] - variance).abs() / scale.square()).max() < 4e-3, name


def test_statistics_that_are_given_back_are_used_and_nothing_is_measured_again():
    model, image = translator("resnet"), picture()
    sides, reads = image.shape[:2], []
    statistics = image_statistics(model, reader(image), *sides, 80)
    copy = {name: tensor.clone() for name, tensor in statistics.items()}

    def read(*part):
        reads.append(part)
        return reader(image)(*part)

    result = np.concatenate(
        list(translate_rows(model, read, *sides, 32, 80, statistics=statistics))
    )
    tiling = Tiling(model, *sides, 80)
    assert len(reads) == len(tiling.rows) * len(tiling.columns)
    assert np.array_equal(result, tiled(model, image, 80))
    copy["stem.norm"][0] += 1
    assert not np.allclose(result, tiled(model, image, 80, statistics=copy), atol=LEVEL)
    with pytest.raises(Exception, match="another network"):
        tiled(model, image, 80, statistics={"else": copy["stem.norm"]})


@pytest.mark.parametrize("overlap", [None, 8], ids=["exact", "blended"])
def test_rows_from_any_row_on_are_those_of_a_translation_from_the_first(overlap):
    model, image = translator("resnet"), picture()
    statistics = image_statistics(model, reader(image), *image.shape[:2], 80, overlap)
    whole = tiled(model, image, 80, overlap, statistics=statistics)
    for start in (1, 57, 58, 99, 149):
        rest = tiled(model, image, 80, overlap, start=start, statistics=statistics)
        assert np.array_equal(rest, whole[start:])


def test_an_image_of_one_tile_is_translated_untiled():
    model, image = translator("resnet"), picture(77, 70)
    assert np.array_equal(tiled(model, image, 80, start=7), model.pixels(image[None], 32)[0, 7:])


# -- seams -----------------------------------------------------------------------------------------


def seam_index(values, tiling):
    """Mean gradient across the borders of cores over that elsewhere; less than 1/100 of a level of 8 bits is none."""
    rows = [row.core_first - tiling.top for row in tiling.rows[1:]]
    columns = [column.core_first - tiling.left for column in tiling.columns[1:]]
    at, elsewhere = [], []
    for axis, borders in ((0, rows), (1, columns)):
        steps = np.abs(np.diff(values.astype(float), axis=axis)).mean((1 - axis, 2))
        before = [border - 1 for border in borders]
        at += list(steps[before])
        elsewhere += list(np.delete(steps, before))
    return max(np.mean(at), LEVEL / 100) / max(np.mean(elsewhere), LEVEL / 100)


def naive(model, image, tiling):
    """Tiles with statistics of their own, and no halo."""
    result = np.zeros((*image.shape[:2], 2), np.float32)
    for row in tiling.rows:
        for column in tiling.columns:
            top, left = row.core_first - tiling.top, column.core_first - tiling.left
            part = (
                slice(max(top, 0), top + row.core_end - row.core_first),
                slice(max(left, 0), left + column.core_end - column.core_first),
            )
            result[part] = model.pixels(image[part][None], 32)[0]
    return result


@pytest.mark.parametrize("name", NAMES)
def test_tiles_have_no_seams_and_naive_tiles_have(name):
    model, image = translator(name, upsample="nearest"), picture(noise=0)
    whole, tiling = model.pixels(image[None], 32)[0], Tiling(model, 150, 131, 96)
    assert tiling.is_exact
    assert seam_index(naive(model, image, tiling) - whole, tiling) > 1.5
    assert seam_index(tiled(model, image, 96) - whole, tiling) <= 1.02


def test_blended_tiles_are_approximate_and_have_no_seams_of_their_own_and_naive_tiles_have():
    model, image = translator("resnet", upsample="nearest"), picture(noise=0)
    whole, tiling = model.pixels(image[None], 32)[0], Tiling(model, 150, 131, 80, 16)
    assert model.network.halo > tiling.overlap
    assert "approximate" in tiling.note
    own = seam_index(whole, tiling)
    result = tiled(model, image, 80, 16)
    assert LEVEL < np.abs(result - whole).max() < 0.2
    assert np.abs(result - whole).mean() < LEVEL
    assert (
        seam_index(result, tiling) / own <= 1.02
    )  # of the output: the difference is at borders alone
    assert seam_index(naive(model, image, tiling), tiling) / own > 1.5


@pytest.mark.parametrize("overlap", [0, 4, 20, 38])
@pytest.mark.parametrize("side", [81, 84, 100, 333, 1000])
def test_tiles_are_as_few_as_there_must_be_and_no_larger_than_asked(side, overlap):
    tiling = Tiling(translator("resnet"), side, 90, 80, overlap)
    rows, padded = tiling.rows, tiling.padded[0]
    assert len(rows) == -(-(padded - 2 * overlap) // (80 - 2 * overlap))
    assert len({row.end - row.first for row in rows}) == 1
    assert rows[0].end <= 80
    for row in rows:
        assert row.first % 4 == row.end % 4 == 0
        assert row.core_first - row.first >= overlap or row.first == row.core_first == 0
        assert row.end - row.core_end >= overlap or row.end == row.core_end == padded
    borders = [(row.core_first, row.core_end) for row in rows]
    assert all(above[1] == below[0] for above, below in pairwise(borders))


class Mean(nn.Module):
    """The mean of all pixels that it is given, at every pixel: tiles could not differ more."""

    def forward(self, x):
        return x.mean((2, 3), keepdim=True).expand_as(x)


def test_approximate_tiles_are_blended_by_a_raised_cosine():
    model = Translator(Mean(), 1, 1, device="cpu", precision="fp32")
    image = np.zeros((60, 80, 1), np.uint8)
    image[:, 50:] = 255
    row = tiled(model, image, 60, 20)[30, :, 0].astype(float)  # cores of 0 to 40, and 40 to 80
    assert (row[0], row[-1]) == pytest.approx((1 / 6, 1 / 2), abs=1e-6)
    assert (row[:30] == row[0]).all()
    assert (row[50:] == row[-1]).all()
    middles = (np.arange(30, 50) + 0.5 - 30) / 20
    expected = 1 / 6 + (1 - np.cos(np.pi * middles)) / 2 * (1 / 3)
    np.testing.assert_allclose(row[30:50], expected, atol=1e-6)


@pytest.mark.parametrize("blend", [0, 4, 20])
def test_weights_of_all_tiles_sum_to_one(blend):
    tiling = Tiling(translator("resnet"), 333, 90, 80, 20)
    total = torch.zeros(tiling.padded[0])
    for row in tiling.rows:
        first, weights = row.weights(blend, tiling.padded[0])
        assert row.first <= first
        assert first + len(weights) <= row.end
        total[first : first + len(weights)] += weights
    torch.testing.assert_close(total, torch.ones_like(total))


# -- options ---------------------------------------------------------------------------------------


def test_a_translator_translates_arrays_in_tiles():
    model, image = translator("resnet"), picture()
    result = model.tiled(image, 80)
    assert result.dtype == np.uint16
    assert np.abs(result.astype(float) - model(image)).max() < 65535 * LEVEL / 20
    with pytest.warns(UserWarning, match="approximate"):
        model.tiled(image, 80, 4)
    with pytest.raises(TranslationError, match="tensors are not translated in tiles"):
        model.tiled(torch.zeros(3, 8, 8), 80)


@pytest.mark.parametrize(
    ("tile", "overlap", "words"),
    [
        (82, None, "--tile: 82 pixels, but the network takes multiples of 4 from 8 on. Choose 80 or 84"),
        (4, None, "--tile: 4 pixels, .* Choose 8 or 12"),
        (0, None, "--tile: 0 pixels, .* Choose 8 or 12"),
        (80, 40, "--overlap: 40 pixels, but tiles of 80 take multiples of 2 up to 38. .* sees 20"),
        (80, 3, "--overlap: 3 pixels, .* multiples of 2"),
        (80, -2, "--overlap: -2 pixels"),
    ],
)  # fmt: skip
def test_senseless_tiles_are_refused_with_the_numbers_that_work(tile, overlap, words):
    with pytest.raises(TranslationError, match=words):
        Tiling(translator("resnet"), 500, 500, tile, overlap)


def test_default_overlap_is_what_the_network_sees_and_at_most_a_quarter_of_the_tile():
    assert Tiling(translator("resnet"), 500, 500, 80).overlap == 20  # sees 19
    assert Tiling(translator("resnet"), 500, 500, 80).is_exact
    small = Tiling(translator("resnet"), 500, 500, 64)
    assert (small.overlap, small.is_exact) == (16, False)
    unet = Tiling(translator("unet"), 500, 500, 64)
    assert (unet.overlap, unet.is_exact) == (16, True)  # sees 15
    with pytest.raises(TranslationError, match=r"no room for an overlap.*Choose 16"):
        Tiling(translator("unet"), 500, 500, 8)


def test_a_network_that_does_not_say_what_it_sees_is_approximate():
    net = nn.Conv2d(3, 3, 3, padding=1)
    model = Translator(net, 3, 3, device="cpu", precision="fp32")
    tiling = Tiling(model, 90, 90, 40)
    assert (tiling.overlap, tiling.is_exact) == (10, False)
    assert "an unknown number of pixels" in tiling.note


def test_automatic_tiles_are_the_largest_that_fit():
    model = translator("resnet")
    large = automatic_tile(model, 2**40)
    small = automatic_tile(model, 2**26)
    assert large == 2048
    assert 8 <= small < large
    assert tile_bytes(model, small) <= 2**25 < tile_bytes(model, small * 2)
    assert tile_bytes(model, small, 1000) == tile_bytes(model, small) + 4 * 2 * small * 1000
    assert automatic_tile(model, 2**26, 100_000) < small  # rows of a wide image are held too
    assert automatic_tile(model, 1) == 8
