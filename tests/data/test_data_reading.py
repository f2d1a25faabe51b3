"""Files of any channels and ranges as domains of data sets: what they are brought to, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from i2i import images, model_file
from i2i.cli import group
from i2i.config import ConfigError, DataConfig, Layer
from i2i.data.augment import Augment
from i2i.data.check import check_folder
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError
from i2i.images import ImageError
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.images.stacks import convert_channels, read
from i2i.run.build import open_data
from i2i.run.settings import resolve


def dataset_of(root: Path, method: str = "pix2pix", **data: object) -> Dataset:
    values = {"root": str(root), "load_size": 20, "crop_size": 16, **data}
    return open_data(resolve(method, [Layer("test", {"data": values})]))


def arrays(
    root: Path,
    channels: int,
    *folders: str,
    dtype: type[np.generic] = np.uint8,
    suffix: str = "npy",
) -> Path:
    for seed, folder in enumerate(folders or ("a", "b")):
        for number in range(3):
            (root / folder).mkdir(parents=True, exist_ok=True)
            random = np.random.default_rng([seed, number])
            array = random.random((20, 20, channels)) * (255 if dtype is np.uint8 else 1)
            images.encode(array.astype(dtype), root / folder / f"{number}.{suffix}")
    return root


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "dcgan"])
def test_any_number_of_channels_goes_through_every_data_set(
    tmp_path: Path, method: str, channels: int
) -> None:
    arrays(tmp_path, channels, *(["a", "b"] if method != "dcgan" else ["train"]))
    for policy in ("drop", "composite", "keep"):
        dataset = dataset_of(tmp_path, method, alpha=policy, rotate_degrees=10, elastic_pixels=2)
        assert set(dataset.channels.values()) == {channels}
        assert not any(reading.alpha for reading in dataset.specs.values())
        for image in dataset.sample(0, 1).values():
            assert image.shape == (channels, 16, 16)
            assert -1 <= image.min() < image.max() <= 1


@pytest.mark.parametrize("channels", [5, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("masks", [(), ("a", "b")])
def test_geometry_is_the_same_in_every_channel(
    channels: int, dtype: type[np.generic], masks: tuple[str, ...]
) -> None:
    config = DataConfig(root="x", load_size=40, crop_size=32, rotate_degrees=20, elastic_pixels=4)
    one = np.random.default_rng(0).random((50, 60, 1)) * (255 if dtype is np.uint8 else 1)
    array = np.repeat(one.astype(dtype), channels, axis=2)
    done = Augment(config, ("a", "b"), masks=masks)({"a": array, "b": array}, 3)
    assert done["a"].shape == (32, 32, channels)
    np.testing.assert_allclose(
        done["a"], np.repeat(done["a"][..., :1], channels, axis=2), atol=1e-6
    )


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "dcgan"])
def test_color_jitter_of_channels_that_are_no_color_is_refused(
    tmp_path: Path, method: str, channels: int
) -> None:
    arrays(tmp_path, channels, *(["a", "b"] if method != "dcgan" else ["train"]))
    with pytest.raises(
        DataError, match=rf"data.color_jitter: .*have {channels} channels. Set data.color_jitter=0"
    ):
        dataset_of(tmp_path, method, color_jitter=0.2)


def test_of_a_pair_only_the_input_must_be_fit_for_color(tmp_path: Path) -> None:
    arrays(tmp_path, 3, "a")
    arrays(tmp_path, 5, "b")
    assert dataset_of(tmp_path, color_jitter=0.2).channels == {"a": 3, "b": 5}
    with pytest.raises(DataError, match="images of domain b have 5 channels"):
        dataset_of(tmp_path, color_jitter=0.2, direction="b2a")
    with pytest.raises(ConfigError, match="has no effect: domain b holds labels"):
        dataset_of(tmp_path, color_jitter=0.2, direction="b2a", masks=["b"])


def test_channels_that_have_no_relation_are_refused_by_name(tmp_path: Path) -> None:
    arrays(tmp_path, 3)
    np.save(
        tmp_path / "a/1.npy",
        np.random.default_rng(0).integers(0, 255, (20, 20, 5)).astype(np.uint8),
    )
    with pytest.raises(
        DataError,
        match=r"1 of 6 files have channels that cannot .*\n .*a/1.npy is 20x20 with 5 channels",
    ):
        dataset_of(tmp_path)


def test_two_or_four_channels_of_arrays_never_meet_alpha(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4, 4), np.uint8))
    images.encode(np.zeros((4, 4, 4), np.uint8), tmp_path / "x.png")
    with pytest.raises(ImageError, match=r"x\.npy: has 4 channels, not 3, of which none is alpha"):
        read([str(tmp_path / "x.npy")], ImageSpec((ChannelSpec(3, alpha=False),)))
    with pytest.raises(ImageError, match=r"x\.png: has 3 channels, not 4, of which none is alpha"):
        read([str(tmp_path / "x.png")], ImageSpec((ChannelSpec(4, alpha=False),)))
    for have, to in (
        (2, ChannelSpec(4, True)),
        (1, ChannelSpec(2, False)),
        (3, ChannelSpec(4, False)),
    ):
        with pytest.raises(ImageError, match="of which none is alpha"):
            convert_channels(np.zeros((2, 2, have), np.uint8), to, alpha=False)
    assert read(
        [str(tmp_path / "x.png")], ImageSpec((ChannelSpec(4, alpha=True),))
    ).array.shape == (4, 4, 4)


def test_an_image_spec_is_read_back_also_from_the_former_key_of_its_range() -> None:
    spec = ImageSpec((ChannelSpec(3, False, "x"), ChannelSpec(2, True)), (-1.0, 3.0))
    adapter = TypeAdapter(ImageSpec)
    values = adapter.dump_python(spec, mode="json")
    assert adapter.validate_python(values) == spec
    fields = {"format": 2, "domains": {"a": {**values, "range": values["value_range"]}}}
    del fields["domains"]["a"]["value_range"]
    model_file._migrate(fields)
    assert adapter.validate_python(fields["domains"]["a"]) == spec


def test_inputs_of_different_sizes_are_refused_by_name(tmp_path: Path) -> None:
    for name, side in (("a", 4), ("b", 5)):
        images.encode(np.zeros((side, side, 3), np.uint8), tmp_path / f"{name}.png")
    spec = ImageSpec((ChannelSpec(3, False), ChannelSpec(3, False)))
    with pytest.raises(ImageError, match=r"b\.png: is 5x5, and .*a\.png is 4x4\. Resize") as caught:
        read([str(tmp_path / "a.png"), str(tmp_path / "b.png")], spec)
    assert caught.value.subject == str(tmp_path / "b.png")


# -- ranges ----------------------------------------------------------------------------------------


def test_each_domain_has_its_own_range(tmp_path: Path) -> None:
    arrays(tmp_path, 5, dtype=np.float32)
    plain, ranged = (
        dataset_of(tmp_path, flip=False),
        dataset_of(tmp_path, flip=False, value_range={"b": [-1, 3]}),
    )
    assert ranged.specs["b"].value_range == (-1, 3)
    np.testing.assert_array_equal(plain.fixed(0)["a"], ranged.fixed(0)["a"])
    np.testing.assert_allclose(
        (plain.fixed(0)["b"] + 1) / 2, (ranged.fixed(0)["b"] + 1) / 2 * 4 - 1, atol=1e-6
    )


@pytest.mark.parametrize(
    ("method", "ranges", "message"),
    [
        ("pix2pix", {"c": [0, 1]}, "there is no domain c here .there is a and b"),
        ("cyclegan", {"image": [0, 1]}, "there is no domain image here"),
        ("dcgan", {"a": [0, 1]}, "there is no domain a here .there is image"),
        ("pix2pix", {"a": [1, 1]}, r"value_range.a: \[1, 1\] must be \[low, high\]"),
        ("pix2pix", {"a": [2, 1]}, "low below high"),
        ("pix2pix", {"a": [0, float("inf")]}, "finite"),
        ("pix2pix", {"a": [0]}, "data.value_range"),
    ],
)
def test_ranges_that_mean_nothing_are_refused(
    method: str, ranges: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(method, [Layer("test", {"data": {"root": "x", "value_range": ranges}})])


def test_a_range_no_file_holds_and_a_value_outside_are_refused_before_training(
    tmp_path: Path,
) -> None:
    arrays(tmp_path, 3, "a")
    arrays(tmp_path, 3, "b", dtype=np.float32)
    with pytest.raises(DataError, match=r"data.value_range.a: .* integers from 0 to 255"):
        dataset_of(tmp_path, value_range={"a": [-1, 255]})
    with pytest.raises(DataError, match=r"b/0.npy: float values from .*outside \[0, 0.5\]"):
        dataset_of(tmp_path, value_range={"b": [0, 0.5]})


def test_both_halves_of_an_image_have_one_range(tmp_path: Path) -> None:
    arrays(tmp_path, 1, "train", dtype=np.float32, suffix="tif")
    with pytest.raises(DataError, match=r"data.value_range: side-by-side images are one file"):
        dataset_of(tmp_path, value_range={"a": [0, 2]}, load_size=[20, 20], crop_size=[16, 16])


# -- alpha -----------------------------------------------------------------------------------------


def test_carried_alpha_is_dropped_in_training_and_refused_where_it_cannot_be_put_back(
    tmp_path: Path,
) -> None:
    arrays(tmp_path / "x", 4, suffix="png")
    carried, dropped = (dataset_of(tmp_path / "x", alpha=alpha) for alpha in ("carry", "drop"))
    assert carried.channels == {"a": 3, "b": 3}
    np.testing.assert_array_equal(carried.sample(0, 0)["a"], dropped.sample(0, 0)["a"])
    arrays(tmp_path / "y", 5)
    with pytest.raises(
        DataError, match=r"data.alpha: carry puts alpha back onto gray or RGB, .*5 channels"
    ):
        dataset_of(tmp_path / "y", alpha="carry")
    with pytest.raises(ConfigError, match="alpha: carry has no effect"):
        resolve("dcgan", [Layer("test", {"data": {"root": "x", "alpha": "carry"}})])


# -- check -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
def test_arrays_of_any_channels_are_checked_like_pictures(tmp_path: Path, channels: int) -> None:
    arrays(tmp_path, channels, dtype=np.float32)
    (tmp_path / "b/1.npy").write_bytes((tmp_path / "a/1.npy").read_bytes())
    np.save(tmp_path / "a/2.npy", np.full((20, 20, channels), np.nan, np.float32))
    report = check_folder(tmp_path, smallest=16)
    assert report.groups[0].channels == {channels: 2}
    assert report.groups[0].formats == {"NPY": 2}
    (unreadable,) = [issue for issue in report.issues if issue.name == "unreadable"]
    assert unreadable.files == ("a/2.npy",)
    assert "not finite" in unreadable.reasons[0]


def test_a_check_knows_the_range_that_it_is_told(tmp_path: Path) -> None:
    arrays(tmp_path, 3, dtype=np.float32)
    for path in tmp_path.rglob("*.npy"):
        np.save(path, np.load(path) * 4000 - 1000)
    assert not check_folder(tmp_path, smallest=16).ok
    assert check_folder(tmp_path, smallest=16, value_range=(-1000, 3000)).ok
    command = ["data", "check", str(tmp_path)]
    for more, status in ([], 1), (["--range", "-1000", "3000"], 0):
        assert (
            CliRunner().invoke(group, [*command, *more], standalone_mode=False).return_value
            == status
        )
    for bad in ("3", "inf"):
        assert (
            "LOW must be below HIGH"
            in CliRunner().invoke(group, [*command, "--range", "3", bad]).output
        )


# -- values of integers ----------------------------------------------------------------------------


def ramps(folder: Path, domain: str, low: int, high: int) -> None:
    """Write two images of 16-bit gray that use the values from `low` to `high`."""
    (folder / domain).mkdir()
    for number in range(2):
        values = np.linspace(low, high, 400).round().astype(np.uint16).reshape(20, 20)
        images.encode(np.roll(values, number)[..., None], folder / domain / f"{number}.png")


def test_integers_of_a_range_are_spread_over_all_that_networks_see(tmp_path: Path) -> None:
    ramps(tmp_path, "a", 0, 4095)
    ramps(tmp_path, "b", 500, 4000)
    ranges = {"a": [0, 4095], "b": [500, 4000]}
    data = dataset_of(tmp_path, flip=False, crop_size=20, value_range=ranges)
    for domain, (low, high) in ranges.items():
        values = np.linspace(low, high, 400).round()
        expected = (values - low) / (high - low) * 2 - 1
        np.testing.assert_allclose(data.fixed(0)[domain].reshape(-1), expected, atol=1e-5)
        spec = data.specs[domain]
        assert (spec.depth, spec.ranged_integers) == (16, True)
    assert not [note for note in data.notes if "quarter" in note]


def test_a_narrow_range_of_integers_is_said_in_training_and_by_the_check(tmp_path: Path) -> None:
    ramps(tmp_path, "a", 30000, 34000)
    ramps(tmp_path, "b", 0, 65535)
    (note,) = [note for note in dataset_of(tmp_path).notes if "quarter" in note]
    assert "2 of 4 files" in note
    assert "a/0.png has values from 30000 to 34000" in note
    assert "data.value_range" in note
    (issue,) = [each for each in check_folder(tmp_path).issues if each.name == "narrow range"]
    assert (issue.level, issue.count) == ("warning", 2)


def test_integers_outside_of_their_range_are_refused_or_skipped(tmp_path: Path) -> None:
    ramps(tmp_path, "a", 0, 4095)
    ramps(tmp_path, "b", 0, 4096)
    ranges = {"a": [0, 4095], "b": [0, 4095]}
    with pytest.raises(DataError, match=r"2 of 4 files have values outside of data.value_range"):
        dataset_of(tmp_path, value_range=ranges)
    report = check_folder(tmp_path, value_range=(0, 4095))
    assert {issue.name for issue in report.issues if issue.level == "error"} == {"outside range"}
    with pytest.raises(DataError, match=r"no image of .* can be used"):
        dataset_of(tmp_path, value_range=ranges, on_bad_file="skip")


def test_labels_in_jpeg_files_are_noted_in_training_and_by_the_check(tmp_path: Path) -> None:
    for domain, suffix in (("a", "jpg"), ("b", "png")):
        (tmp_path / domain).mkdir()
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 1), np.uint8)
            images.encode(pixels, tmp_path / domain / f"{number}.{suffix}")
    data = dataset_of(tmp_path, masks=["a", "b"])
    assert any("2 of 4 files hold labels in JPEG" in note for note in data.notes)
    assert [spec.mask for spec in data.specs.values()] == [True, True]
    (issue,) = [e for e in check_folder(tmp_path, masks=["a"]).issues if e.name == "lossy labels"]
    assert issue.count == 2
    assert not any("JPEG" in note for note in dataset_of(tmp_path, masks=["b"]).notes)


def test_what_headers_say_is_kept_for_the_weights_file(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 60, 3), np.uint8)
        images.encode(pixels, tmp_path / "train" / f"{number}.png")
    specs = dataset_of(tmp_path, layout="ba").specs
    assert {d: (spec.half, spec.size, spec.depth) for d, spec in specs.items()} == {
        "a": ("right", (20, 30), 8),
        "b": ("left", (20, 30), 8),
    }
    images.encode(np.full((20, 20, 3), [[[1], [2]] * 10], np.uint8), tmp_path / "train/x.png")
    assert dataset_of(tmp_path, layout="ba").specs["a"].size is None
