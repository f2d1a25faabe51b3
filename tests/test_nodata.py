"""Pixels without data: whatever a file has under its mask changes no weight, no score and no output."""

import json

import numpy as np
import pytest
import rasterio
import torch
from commands import here
from rasterio.transform import from_origin
from runs import COMMON, fitting
from test_metadata import identity
from test_trainer import trainer_for

from i2i import images
from i2i.config import PairedData, UnpairedData
from i2i.data.dataset import PairedImages, UnpairedImages
from i2i.data.folders import list_split
from i2i.data.inspect import inspect
from i2i.data.nodata import only_data
from i2i.evaluation.baselines import COLORS, INPUT, MEAN, color_fit, mean_picture
from i2i.evaluation.evaluate import evaluate
from i2i.images import ImageError
from i2i.images.spec import VALID
from i2i.training.fakes import only_data as composite
from i2i.translation.loading import load

GAPS = {"a": (slice(8, 20), slice(0, 14)), "b": (slice(30, 40), slice(25, 40))}
SIDE = 48


def write(path, array, valid):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"height": SIDE, "width": SIDE, "count": array.shape[2], "dtype": array.dtype.name}
    place = {"crs": "EPSG:32632", "transform": from_origin(0, 0, 10, 10)}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(path, "w", driver="GTiff", **options, **place) as file,
    ):
        file.write(array.transpose(2, 0, 1))
        file.write_mask(valid)


def smooth(rng):
    x, y = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
    waves = [np.sin(6 * (x * rng.random() + y * rng.random() + rng.random())) for _ in range(3)]
    return (np.stack(waves, axis=2) * 100 + 128).astype(np.uint8)


def write_pairs(root, hidden, gaps=GAPS, splits=("train", "test"), count=4):
    """Write pairs with gaps, under which there are `hidden` values."""
    rng, under = np.random.default_rng(0), np.random.default_rng(hidden)
    for split in splits:
        for number in range(count):
            for domain in ("a", "b"):
                array, valid = smooth(rng), np.ones((SIDE, SIDE), np.bool_)
                valid[gaps[domain]] = number == 3  # which has no gap
                array[~valid] = under.integers(0, 256, (int((~valid).sum()), 3))
                write(root / split / domain / f"{number}.tif", array, valid)
    return root


def data_of(root, **settings):
    usual = {"root": str(root), "load_size": 40, "crop_size": 32, "workers": 0, "cache": "off"}
    return PairedData(**usual | settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"rotate_degrees": 20}, {"elastic_pixels": 3}, {"color_jitter": 0.3}, {"resize": "none"}],
    ids=str,
)
def test_samples_do_not_depend_on_what_is_under_the_mask(tmp_path, settings):
    one, other = (
        PairedImages(data_of(write_pairs(tmp_path / str(h), h), **settings)) for h in (1, 2)
    )
    masked = 0
    for index in range(8):
        for make in ("sample", "fixed"):
            arguments = (0, index) if make == "sample" else (index % 4,)
            (left, right) = (getattr(data, make)(*arguments) for data in (one, other))
            assert left.keys() == right.keys() == {"a", "b", VALID}
            for name in left:
                torch.testing.assert_close(left[name], right[name], rtol=0, atol=0)
                assert torch.isfinite(left[name]).all()
            assert left[VALID].shape == (1, 32, 32)
            masked += int((left[VALID] < 0).sum())
    assert masked > 1000


def test_losses_pass_no_gradient_to_pixels_without_data():
    raw = torch.randn(2, 3, 8, 8, requires_grad=True)
    valid = torch.ones(2, 1, 8, 8)
    valid[:, :, 2:5, 3:6] = -1
    real = {"a": torch.randn(2, 3, 8, 8), "b": torch.randn(2, 3, 8, 8), VALID: valid}
    fakes = composite({"b": raw, "latent": torch.zeros(2)}, real)
    (fakes["b"] - real["b"]).square().sum().backward()
    assert (raw.grad[:, :, 2:5, 3:6] == 0).all()
    assert (raw.grad[:, :, :2] != 0).all()
    assert composite({"b": raw}, {"b": real["b"]})["b"] is raw


@pytest.mark.parametrize("method", ["pix2pix", "regress"])
def test_trainer_gives_losses_fakes_that_equal_the_reals_in_gaps(method):
    trainer = trainer_for(method)
    valid = torch.ones(2, 1, 32, 32)
    valid[:, :, 4:20, 8:30] = -1
    real = {"a": torch.rand(2, 3, 32, 32), "b": torch.rand(2, 3, 32, 32), VALID: valid}
    fake, gap = trainer._generate(real)["b"], valid.expand(2, 3, 32, 32) < 0
    torch.testing.assert_close(fake[gap], real["b"][gap], rtol=0, atol=0)
    assert (fake != real["b"])[~gap].all()
    trainer.step([real])


def test_training_and_validation_do_not_depend_on_what_is_under_the_mask(tmp_path):
    method, weights, scores = "pix2pix", [], []
    for hidden in (1, 2):
        data = write_pairs(tmp_path / f"data{hidden}", hidden, splits=("train", "val"))
        out = tmp_path / f"run{hidden}"
        settings = [*COMMON, "generator.name=unet", "generator.depth=5", "generator.width=4"]
        settings += ["validate.every_images=8", "data.cache=off"]
        words = [word for text in fitting(method, settings) for word in ("--set", text)]
        ended = here("train", method, "--data", data, "--images", 8, "--out", out, *words)
        assert ended.status == 0, ended.err
        weights.append(load(out).network.state_dict())
        lines = (out / "validation.jsonl").read_text().splitlines()
        scores.append([json.loads(line)["scores"] for line in lines])
    assert scores[0] == scores[1] != []
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_scores_count_pixels_with_data_only(tmp_path):
    reports = []
    for hidden in (1, 2):
        data = write_pairs(tmp_path / str(hidden), hidden)
        metrics = ("psnr", "l1", "ssim", "swd", "grid")
        reports.append(evaluate(identity(3), data, layout="folders", metrics=metrics))
    assert str(reports[0].scores) == str(reports[1].scores)
    assert reports[0].scores.keys() == {"model", INPUT, MEAN, COLORS}
    errors = []
    for number in range(4):
        a, b = (rasterio.open(tmp_path / f"1/test/{domain}/{number}.tif") for domain in "ab")
        valid = (a.dataset_mask() > 0) & (b.dataset_mask() > 0)
        difference = np.abs(a.read().astype(float) - b.read().astype(float)) / 255
        errors.append(difference[:, valid].mean())
    (own,) = (scores for row, scores in reports[0].scores.items() if row == "model")
    assert own["l1"].mean == pytest.approx(np.mean(errors), rel=1e-5)


def test_baselines_are_fitted_to_pixels_with_data():
    rng = np.random.default_rng(0)
    targets, inputs = rng.random((2, 3, 8, 8, 2)).astype(np.float32)
    gaps = rng.random((3, 8, 8)) < 0.3
    gaps[:, 0, 0] = True
    targets[gaps] = np.nan
    mean = mean_picture(targets)
    expected = np.nanmean(targets, axis=0, where=~np.isnan(targets))
    np.testing.assert_allclose(mean[~gaps.all(axis=0)], expected[~gaps.all(axis=0)], rtol=1e-6)
    assert (mean[0, 0] == 0.5).all()
    linear = [(one, one @ np.array([[0.5, 0.1], [0.2, 0.3]], np.float32)) for one in inputs]
    for (_, target), gap in zip(linear, gaps, strict=True):
        target[gap] = np.nan
    np.testing.assert_allclose(color_fit(linear), [[0.5, 0.1], [0.2, 0.3], [0, 0]], atol=1e-5)


def test_crops_that_are_almost_all_gap_are_drawn_again(tmp_path):
    gaps = {"a": (slice(0, 48), slice(6, 48)), "b": (slice(0, 0), slice(0, 0))}
    data = PairedImages(data_of(write_pairs(tmp_path, 1, gaps), resize="none", crop_size=16))
    shares = [float((data.sample(0, index)[VALID] > 0).float().mean()) for index in range(4)]
    assert min(shares) >= 0.1


def test_unpaired_crops_have_no_gaps_or_the_file_is_refused(tmp_path):
    root = write_pairs(tmp_path, 1)
    settings = {"root": str(root), "load_size": 48, "crop_size": 16, "workers": 0, "cache": "off"}
    data = UnpairedImages(UnpairedData(**settings))
    for index in range(4):
        sample = data.sample(0, index)
        assert sample.keys() == {"a", "b"}
        assert all(torch.isfinite(image).all() for image in sample.values())
    data = UnpairedImages(UnpairedData(**settings | {"crop_size": 48}))
    with pytest.raises(ImageError, match="none of 20 crops has nothing but data"):
        list(map(data.sample, [0] * 4, range(4)))


def test_facts_of_files_leave_out_what_has_no_data(tmp_path):
    valid, array = np.ones((SIDE, SIDE), np.bool_), smooth(np.random.default_rng(0)) // 2 + 20
    valid[:9] = False
    array[:9, :, :] = 255
    array[0, 0] = 0
    write(tmp_path / "train/a/x.tif", array, valid)
    write(tmp_path / "train/b/x.tif", array, np.zeros_like(valid))
    facts = [inspect(one, "pixels") for one in list_split(tmp_path, "train", "unpaired")]
    assert facts[0].facts["top"][0, 0] == array[9:].max() < 255
    assert facts[0].facts["bottom"][0, 0] == array[9:].min() > 0
    assert "none of its pixels has data" in facts[1].errors[0, 0]


def test_nan_becomes_a_mask_and_the_middle_of_the_range():
    a, b = np.ones((4, 4, 2), np.float32), np.full((4, 4, 1), 7, np.uint8)
    a[1, 2, 1] = np.nan
    made = only_data({"a": a, "b": b})
    assert made["b"] is b
    assert made["a"][1, 2].tolist() == [1, 0.5]
    assert (made[VALID][..., 0] == 0).nonzero() == (1, 2)
    assert images.to_tensor(made[VALID]).unique().tolist() == [-1, 1]
