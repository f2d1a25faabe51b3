"""Value ranges: percentiles of the training data, windows, and what is outside of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import here
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i.config import ConfigError, Layer, PairedData, UnconditionalData, parse_override
from i2i.data.check import check_folder
from i2i.data.dataset import PairedImages
from i2i.data.folders import DataError
from i2i.data.unconditional import UnconditionalImages
from i2i.evaluation.evaluate import evaluate
from i2i.images import Histogram, ImageError
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.images.stacks import read
from i2i.model_file import read_info
from i2i.run.build import open_data
from i2i.run.settings import resolve
from i2i.translation.folder import translate_folder
from i2i.translation.translator import Translator

GRAY = (ChannelSpec(1, alpha=False),)
PERCENTILES = "percentile(0.5, 99.5)"
WINDOWS = {  # ends in HU, from level and width
    "lung": (-1350, 150),
    "mediastinum": (-125, 225),
    "soft_tissue": (-150, 250),
    "liver": (-45, 105),
    "brain": (0, 80),
    "bone": (-500, 1300),
    "window(40, 400)": (-160, 240),
}


def write_arrays(folder: Path, count: int = 6, dtype: type = np.float32) -> NDArray[Any]:
    """Write arrays of whole numbers from -1000 to 3000, few of them at the ends; return all values."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).normal(40, 300, (count, 16, 16)).clip(-1000, 3000).round()
    for number, array in enumerate(values.astype(dtype)):
        np.save(folder / f"{number:03}.npy", array)
    return values


def write_pairs(root: Path, count: int = 6, dtype: type = np.float32) -> NDArray[Any]:
    values = write_arrays(root / "train" / "a", count, dtype)
    write_arrays(root / "train" / "b", count, dtype)
    return values


def small(root: Path, **settings: Any) -> PairedData:
    sizes: dict[str, Any] = {"load_size": 16, "crop_size": 16, "flip": False, "cache": "off"}
    return PairedData(root=str(root), **{**sizes, **settings})


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limits"), WINDOWS.items())
def test_a_window_is_its_level_plus_and_minus_half_of_its_width(
    tmp_path: Path, name: str, limits: tuple[float, float]
) -> None:
    write_arrays(tmp_path)
    dataset = UnconditionalImages(
        UnconditionalData(
            root=str(tmp_path), value_range={"image": name}, load_size=16, crop_size=16
        )
    )
    spec = dataset.specs["image"]
    assert (spec.value_range, spec.clips) == (limits, True)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("lungs", "or one of lung, mediastinum"),
        ("window(40)", "must be"),
        ("window(40, 0)", "above 0"),
        ("percentile(99, 1)", "must rise"),
        ("percentile(-1, 50)", "must rise"),
        ("percentile(1, 99) = [5, 2]", "low below high"),
        ("window(40, 400) = [0, 1]", "must be"),
        ([3, 2], "low below high"),
    ],
)
def test_a_range_that_is_none_is_refused_by_name(setting: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.value_range\.a: .*" + reason):
        resolve("pix2pix", [Layer("", {"data": {"root": "x", "value_range": {"a": setting}}})])


@pytest.mark.parametrize("setting", ["lung", PERCENTILES])
def test_clipping_that_is_asked_for_and_refused_is_a_contradiction(setting: str) -> None:
    data: dict[str, Any] = {"root": "x", "value_range": {"a": setting}, "outside_range": "fail"}
    with pytest.raises(ConfigError, match=r"data\.outside_range: fail contradicts"):
        resolve("pix2pix", [Layer("", {"data": data})])
    del data["outside_range"]
    with pytest.raises(ConfigError, match="would merge labels"):
        resolve("pix2pix", [Layer("", {"data": data | {"masks": ["a"]}})])


def test_clipping_without_a_range_is_an_error(tmp_path: Path) -> None:
    for domain in "ab":
        (tmp_path / "train" / domain).mkdir(parents=True)
        Image.fromarray(np.eye(16, dtype=np.uint8) * 200).save(tmp_path / f"train/{domain}/x.png")
    data = {"root": str(tmp_path), "outside_range": "clip"}
    settings = resolve("pix2pix", [Layer("", {"data": data})])
    with pytest.raises(DataError, match=r"data\.outside_range: has no effect"):
        open_data(settings)


# -- fitting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.uint8, np.uint16])
def test_percentiles_of_a_histogram_are_those_of_all_values(dtype: type) -> None:
    random = np.random.default_rng(1)
    limits = (-9000, 9000) if np.dtype(dtype).kind != "u" else (0, 256)
    parts = [random.integers(*limits, (40, 50)).astype(dtype) for _ in range(5)]
    histogram, wanted = Histogram(), (0, 0.5, 20, 50, 99.5, 100)
    for part in parts:
        histogram.add(part)
    expected = np.percentile(np.stack(parts), wanted, method="inverted_cdf")
    assert histogram.percentiles(wanted) == expected.tolist()


def test_percentiles_of_fractions_are_right_to_1_in_8192() -> None:
    values = np.random.default_rng(1).normal(0, 1e-3, 50_000)
    histogram, wanted = Histogram(), (0.5, 20, 60, 99.5)
    histogram.add(values)
    expected = np.percentile(values, wanted, method="inverted_cdf")
    np.testing.assert_allclose(histogram.percentiles(wanted), expected, rtol=1 / 8192)


@pytest.mark.parametrize(("seed", "dtype"), [(0, np.float32), (1, np.float64), (2, np.int16)])
def test_percentiles_are_fitted_to_the_training_data_whatever_the_seed(
    tmp_path: Path, seed: int, dtype: type
) -> None:
    values = write_pairs(tmp_path, dtype=dtype)
    dataset = PairedImages(small(tmp_path, value_range={"a": PERCENTILES, "b": "lung"}), seed=seed)
    low, high = np.percentile(values, (0.5, 99.5), method="inverted_cdf")
    assert dataset.specs["a"].value_range == (low, high)
    assert dataset.config.value_range["a"] == f"{PERCENTILES} = [{low}, {high}]"
    note = f"value range of a: {low:g} to {high:g}, {PERCENTILES} of the values of all 6 files."
    assert note in dataset.notes
    expected = (values[2].clip(low, high) - low) / (high - low)
    row = dataset.read_row(("a",), 2)["a"][..., 0]
    np.testing.assert_allclose(row, expected, atol=1e-6)


def test_many_files_are_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.data.ranges._FILES", 3)
    values = write_pairs(tmp_path, 6)[::2]
    dataset = PairedImages(
        small(tmp_path, value_range={"a": "percentile(1, 99)"}, outside_range="clip")
    )
    assert dataset.specs["a"].value_range == tuple(
        np.percentile(values, (1, 99), method="inverted_cdf")
    )
    assert any("of 3 of 6 files, an even sample" in note for note in dataset.notes)


def test_percentiles_of_deep_integers_spread_them(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(500, 1500, (4, 16, 16)).astype(np.uint16)
    for number, array in enumerate(values):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    config = UnconditionalData(
        root=str(tmp_path), value_range={"image": "percentile(2, 98)"}, load_size=16, crop_size=16
    )
    dataset = UnconditionalImages(config)
    spec, limits = dataset.specs["image"], np.percentile(values, (2, 98), method="inverted_cdf")
    assert (spec.value_range, spec.clips, spec.ranged_integers) == (tuple(limits), True, True)
    low, high = limits
    expected = (values[0].clip(low, high) - low) / (high - low)
    np.testing.assert_allclose(
        dataset.read_row(("image",), 0)["image"][..., 0], expected, atol=1e-6
    )


def test_percentiles_of_one_value_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.full((16, 16), 7.0, np.float32))
    config = UnconditionalData(root=str(tmp_path), value_range={"image": PERCENTILES})
    with pytest.raises(DataError, match=r"data\.value_range\.image: .* all 2 files are both 7"):
        UnconditionalImages(config)


# -- clipping --------------------------------------------------------------------------------------


def test_values_outside_of_two_numbers_are_an_error_unless_they_are_clipped(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    ranges = {"a": (-500.0, 500.0), "b": (-2000.0, 3000.0)}
    with pytest.raises(DataError, match=r"data\.outside_range=clip"):
        PairedImages(small(tmp_path, value_range=ranges))
    dataset = PairedImages(small(tmp_path, value_range=ranges, outside_range="clip"))
    assert dataset.specs["a"].clips
    assert any("outside of data.value_range, which are clipped" in note for note in dataset.notes)
    row = dataset.read_row(("a",), 0)["a"]
    assert (row.min(), row.max()) == (0, 1)


def test_what_reading_clips_is_counted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[-2.0, 0.5], [1.0, 7.0]], np.float32))
    np.save(tmp_path / "y.npy", np.array([[0, 100], [200, 50]], np.uint16))
    clipping = ImageSpec(GRAY, depth=32, clips=True)
    stack = read([str(tmp_path / "x.npy")], clipping)
    np.testing.assert_array_equal(stack.array[..., 0], [[0, 0.5], [1, 1]])
    assert stack.clipped == (2, 4)
    ranged = ImageSpec(GRAY, (50.0, 150.0), depth=16, ranged_integers=True, clips=True)
    stack = read([str(tmp_path / "y.npy")], ranged)
    np.testing.assert_array_equal(stack.array[..., 0], [[0, 0.5], [1, 0]])
    assert stack.clipped == (2, 4)
    with pytest.raises(ImageError, match="outside"):
        read([str(tmp_path / "x.npy")], ImageSpec(GRAY, depth=32))


class Same(nn.Module):
    """Returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def identity(limits: tuple[float, float]) -> Translator:
    spec = ImageSpec(GRAY, limits, depth=32, clips=True)
    return Translator(Same(), 1, 1, source=spec, target=spec, device="cpu")


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_a_folder_job_clips_as_training_did_and_says_how_much(tmp_path: Path, dtype: type) -> None:
    source = tmp_path / "in"
    source.mkdir()
    values = np.linspace(-1000, 400, 200).round().astype(dtype).reshape(10, 20)
    np.save(source / "within.npy", values)
    for name in ("p", "q"):
        np.save(source / f"{name}.npy", np.where(np.arange(200).reshape(10, 20) < 6, 900, values))
    report = translate_folder(identity((-1000.0, 400.0)), source, tmp_path / "out")
    note = (
        "3 % of the values of 2 inputs were outside of -1000 to 400 and were clipped (first: p.npy)"
    )
    assert report.notes == [note]
    output = np.load(tmp_path / "out" / "p.npy")[..., 0]
    np.testing.assert_allclose(output, np.load(source / "p.npy").clip(-1000, 400), atol=1e-3)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "within.npy")[..., 0], values, atol=1e-3)


def test_python_warns_of_values_that_are_clipped() -> None:
    values = np.array([[0.0, 5.0], [10.0, 20.0]], np.float32)
    with pytest.warns(UserWarning, match="25 % of the values of 1 input were outside of 0 to 10"):
        output = identity((0.0, 10.0))(values)
    np.testing.assert_allclose(output, values.clip(0, 10), atol=1e-5)
    with pytest.warns(UserWarning, match="25 % of the values of 1 input"):
        identity((0.0, 10.0))(Image.fromarray(values))


def test_targets_that_are_clipped_before_they_are_scored_are_noted(tmp_path: Path) -> None:
    write_pairs(tmp_path, 4)
    result = evaluate(identity((-500.0, 500.0)), tmp_path, split="train")
    (note,) = (note for note in result.notes if "clipped" in note)
    assert "of 4 targets were outside of -500 to 500" in note


# -- a run -----------------------------------------------------------------------------------------


def words(root: Path, out: Path, images: int) -> list[str]:
    settings = [
        *("data.load_size=16", "data.crop_size=16", "data.workers=0", "data.cache=off"),
        *("generator.name=unet", "generator.depth=3", "generator.width=2", "discriminator.width=2"),
        *("discriminator.layers=1", "log.tensorboard=false", "train.checkpoint_every_images=4"),
        *(f"data.value_range.a={PERCENTILES}", "data.value_range.b=soft_tissue"),
    ]
    pairs = [word for setting in settings for word in ("--set", setting)]
    return [
        "train",
        "pix2pix",
        "--data",
        str(root),
        "--images",
        str(images),
        "--out",
        str(out),
        *pairs,
    ]


def test_a_resumed_run_keeps_the_numbers_and_the_model_has_them(tmp_path: Path) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    values = write_pairs(root)
    limits = tuple(np.percentile(values, (0.5, 99.5), method="inverted_cdf"))
    ended = here(*words(root, run, 4))
    assert ended.status == 0, ended.err
    assert "value range of a:" in ended.err
    saved = yaml.safe_load((run / "config.yaml").read_text())["data"]["value_range"]
    assert saved == {"a": f"{PERCENTILES} = [{limits[0]}, {limits[1]}]", "b": "soft_tissue"}
    np.save(root / "train" / "a" / "000.npy", 3000 * np.eye(16, dtype=np.float32))  # later
    again = [*words(root, run, 8), "--resume"]
    ended = here(*again)
    assert ended.status == 0, ended.err
    info = read_info(run)
    assert (info.domains["a"].value_range, info.domains["a"].clips) == (limits, True)
    assert info.domains["b"].value_range == (-150, 250)
    other = [word.replace("percentile(0.5,", "percentile(1,") for word in again]
    assert "cannot change in a resumed run" in here(*other).err


# -- data check ------------------------------------------------------------------------------------


def test_data_check_reports_the_used_share_of_each_range(tmp_path: Path) -> None:
    values = write_pairs(tmp_path)
    for name, low, high in (("window(40, 1000)", -460, 540), ("percentile(2, 98)", None, None)):
        if low is None:
            low, high = np.percentile(values, (2, 98), method="inverted_cdf")
        group = check_folder(tmp_path, value_range=name).groups[0]
        assert group.values is not None
        first, last = np.percentile(values, (0.5, 99.5), method="inverted_cdf")
        assert (group.values.lowest, group.values.highest) == (values.min(), values.max())
        assert (group.values.low, group.values.high) == (low, high)
        share = (min(last, high) - max(first, low)) / (high - low)
        assert group.values.used == pytest.approx(share)
        outside = np.mean((values < low) | (values > high))
        assert group.values.outside == pytest.approx(outside)
        assert f"% of {low:g} to {high:g}, {100 * outside:.2g} % outside" in str(group)
    ended = here("data", "check", tmp_path, "--window", "lung")
    assert "% of -1350 to 150" in ended.out
    assert here("data", "check", tmp_path, "--window", "lungs").status == 2
    both = here("data", "check", tmp_path, "--window", "lung", "--value-range", 1, 2)
    assert (both.status, "give one" in both.err) == (2, True)


def test_text_of_a_range_needs_no_quotes_on_the_command_line() -> None:
    layer = parse_override("data.value_range.a=percentile(0.5, 99.5)")
    assert layer.values == {"data": {"value_range": {"a": PERCENTILES}}}


def test_values_of_a_file_that_is_refused_do_not_count_in_data_check(tmp_path: Path) -> None:
    for number in range(3):
        array = np.arange(1024, dtype=np.uint8).reshape(32, 32)
        Image.fromarray(array + np.uint8(number)).save(tmp_path / f"{number}.png")
    np.save(tmp_path / "x.npy", np.full((32, 32), -500, np.int16))
    (group,) = check_folder(tmp_path).groups
    assert group.values is not None
    assert (group.values.lowest, group.values.high) == (0, 255)
