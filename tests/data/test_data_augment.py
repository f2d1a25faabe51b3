"""Geometry shared by a pair, color of the input alone, masks that stay masks, and seeds that mean something."""

from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest

from i2i.config import PairedData, height_width
from i2i.data.augment import Augment
from i2i.images import Array, ImageError
from i2i.seeds import key

TURNING: dict[str, Any] = {"rotate_degrees": 30.0, "elastic_pixels": 4.0}


def config(**settings: Any) -> PairedData:
    values: dict[str, Any] = {"root": "unused", "load_size": 40, "crop_size": 32}
    return PairedData(**values | settings)


def coordinates(height: int, width: int) -> Array:
    """Red grows along y, green along x: where a pixel came from can be read off its color."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([y, x, np.full_like(x, 7)], axis=2)


def smooth(height: int, width: int) -> Array:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 3, x * 3, (x + y) * 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    "settings", [{}, TURNING, {"resize": "shorter"}, TURNING | {"resize": "none"}]
)
def test_both_images_of_a_pair_get_the_same_geometry(settings: dict[str, Any]) -> None:
    image = smooth(48, 60)
    augment = Augment(config(**settings), ("a", "b"))
    for seed in range(20):
        views = augment({"a": image, "b": image.copy()}, seed)
        assert views["a"].shape == (32, 32, 3)
        assert np.array_equal(views["a"], views["b"])


def test_crop_is_a_window_of_the_image_and_half_of_them_are_mirrored() -> None:
    augment = Augment(config(resize="none"), ("image",))
    mirrored, tops, lefts = [], set(), set()
    for seed in range(200):
        view = augment({"image": coordinates(40, 50)}, seed)["image"].astype(int)
        mirrored.append(view[0, 0, 1] > view[0, -1, 1])
        top, left = int(view[0, 0, 0]), int(view[0, :, 1].min())
        window = coordinates(40, 50)[top : top + 32, left : left + 32]
        assert np.array_equal(view, window[:, ::-1] if mirrored[-1] else window)
        tops.add(top)
        lefts.add(left)
    assert 70 < sum(mirrored) < 130
    assert tops == set(range(9))
    assert lefts == set(range(19))


def test_crop_mirror_and_angle_are_drawn_independently() -> None:
    augment = Augment(config(resize="none", rotate_degrees=20.0), ("image",))
    draws = []
    for seed in range(400):
        view = augment({"image": coordinates(60, 60)}, seed)["image"].astype(float)[8:24, 8:24]
        across, down = view[:, -1] - view[:, 0], view[-1] - view[0]
        mirror = float(np.sign(across[:, 1].mean()))
        angle = np.arctan2(across[:, 0].mean() * mirror, abs(across[:, 1].mean()))
        draws.append((mirror, angle, view[..., 0].mean(), view[..., 1].mean()))
        assert down[:, 0].mean() > 0
    correlation = np.corrcoef(np.array(draws).T) - np.eye(4)
    assert np.abs(correlation).max() < 0.2


def test_equal_seeds_give_equal_views_and_different_seeds_different_ones() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    settings = TURNING | {"color_jitter": 0.3}
    first, second = (Augment(config(**settings), ("a", "b"), color=("a",)) for _ in range(2))
    views = []
    for seed in range(100):
        one, other = first({"a": image, "b": image}, seed), second({"a": image, "b": image}, seed)
        assert np.array_equal(one["a"], other["a"])
        assert np.array_equal(one["b"], other["b"])
        views.append(one["a"].tobytes())
    assert len(set(views)) == 100


@pytest.mark.parametrize("masks", [("b",), ("a",), ("a", "b")])
@pytest.mark.parametrize("resize", ["stretch", "shorter", "none"])
def test_masks_keep_their_labels_however_they_are_turned_and_bent(
    masks: tuple[str, ...], resize: str
) -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 40, 90, 255], np.uint8), (13, 17, 1))
    labels = np.kron(labels, np.ones((4, 4, 1), np.uint8))
    augment = Augment(
        config(**TURNING, resize=resize, color_jitter=0.5),
        ("a", "b"),
        masks=masks,
        color=("a", "b"),
    )
    for seed in range(10):
        views = augment({"a": labels, "b": labels}, seed)
        for mask in masks:
            assert set(np.unique(views[mask])) <= {0, 40, 90, 255}
            assert views[mask].shape == (32, 32, 1)
    assert set(np.unique(augment.plain({"a": labels, "b": labels})[masks[0]])) <= {0, 40, 90, 255}


def test_mask_and_image_stay_aligned() -> None:
    image = smooth(80, 80)
    mask = np.where(image[..., 1:2] > 120, 255, 0).astype(np.uint8)
    augment = Augment(config(load_size=80, crop_size=64, **TURNING), ("a", "b"), masks=("b",))
    for seed in range(10):
        views = augment({"a": image, "b": mask}, seed)
        agree = (views["a"][..., 1] > 120) == (views["b"][..., 0] > 0)
        assert agree.mean() > 0.97  # all but pixels on the edge


def test_color_changes_the_named_image_only() -> None:
    image = smooth(48, 48)
    plain, colored = (
        Augment(config(color_jitter=strength), ("a", "b"), color=("a",)) for strength in (0.0, 0.4)
    )
    for seed in range(5):
        before, after = (
            plain({"a": image, "b": image}, seed),
            colored({"a": image, "b": image}, seed),
        )
        assert np.array_equal(before["b"], after["b"])
        assert not np.array_equal(before["a"], after["a"])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_number_of_channels_and_depth_passes_through_every_step(
    channels: int, dtype: type[np.generic]
) -> None:
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    image = (np.random.default_rng(0).random((48, 40, channels)) * top).astype(dtype)
    other = np.random.default_rng(1).integers(0, 256, (48, 40, 3), np.uint8)
    augment = Augment(config(**TURNING, color_jitter=0.4), ("a", "b"), color=("a",))
    views = augment({"a": image, "b": other}, 3)
    assert views["a"].shape == (32, 32, channels)
    assert views["a"].dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    assert views["b"].shape == (32, 32, 3)
    if views["a"].dtype == np.float32:
        assert 0 <= views["a"].min() < views["a"].max() <= 1


def test_sixteen_bits_are_not_cut_to_eight() -> None:
    ramp = np.linspace(20000, 20400, 48 * 48).reshape(48, 48, 1).astype(np.uint16)
    view = Augment(config(resize="none"), ("image",))({"image": ramp}, 0)["image"]
    assert len(np.unique(view)) > 150  # of 401; two if cut
    assert view.min() == pytest.approx(20000 / 65535, abs=0.01)


def test_alpha_is_not_colored() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    augment = Augment(
        config(resize="none", flip=False, color_jitter=0.5), ("image",), color=("image",)
    )
    view = augment({"image": image}, 0)["image"]
    assert np.array_equal(view[..., 3], image[..., 3])
    assert not np.array_equal(view[..., :3], image[..., :3])


def test_borders_of_a_turned_image_are_reflected_not_black() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    augment = Augment(config(rotate_degrees=45.0, elastic_pixels=5.0), ("image",))
    assert all((augment({"image": image}, seed)["image"] == 200).all() for seed in range(5))


def test_elastic_moves_pixels_by_about_the_given_distance() -> None:
    augment = Augment(
        config(resize="none", flip=False, crop_size=128, elastic_pixels=6.0), ("image",)
    )
    y, x = np.mgrid[:128, :128].astype(np.float32) / 256
    far = []
    for seed in range(5):
        view = augment({"image": np.stack([y, x], axis=2)}, seed)["image"]
        moved = np.hypot((view[..., 0] - y) * 256, (view[..., 1] - x) * 256)[16:-16, 16:-16]
        far.append(float(moved.max()))
    assert 3 < np.mean(far) < 9


@pytest.mark.parametrize(
    ("resize", "size", "kept"),
    [
        ("stretch", (48, 96), (48, 96)),
        ("shorter", (48, 96), (48, 48)),
        ("shorter", (96, 40), (40, 40)),
        ("none", (48, 96), (32, 32)),
    ],
)
def test_plain_views_show_the_center_and_never_change(
    resize: str, size: tuple[int, int], kept: tuple[int, int]
) -> None:
    """`kept`: height and width of the part of the image that the crop of 32 shows."""
    image = coordinates(*size)
    augment = Augment(
        config(resize=resize, **TURNING, color_jitter=0.5), ("image",), color=("image",)
    )
    view = augment.plain({"image": image})["image"].astype(float)
    assert view.shape == (32, 32, 3)
    assert np.array_equal(view, augment.plain({"image": image})["image"])
    for axis in (0, 1):
        line = view[..., axis].mean(axis=1 - axis)
        assert line.mean() == pytest.approx((size[axis] - 1) / 2, abs=0.6)
        assert (line[-1] - line[0]) / 31 == pytest.approx(kept[axis] / 32, rel=0.05)


def test_rectangles_are_height_by_width() -> None:
    augment = Augment(config(load_size=(40, 72), crop_size=(32, 64)), ("image",))
    assert augment({"image": smooth(50, 50)}, 0)["image"].shape == (32, 64, 3)
    assert augment.plain({"image": smooth(50, 50)})["image"].shape == (32, 64, 3)


def albumentations_view(
    settings: PairedData, arrays: dict[str, Array], seed: int, masks: tuple[str, ...]
) -> list[Array]:
    """Do with albumentations alone what a sample is defined as; `masks` come last in `arrays`."""
    height, width = height_width(settings.crop_size)
    names, all_masks = list(arrays), next(iter(arrays)) in masks
    smooth = cv2.INTER_NEAREST if all_masks else cv2.INTER_LINEAR
    border: Any = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1}
    steps: list[Any] = []
    if limit := settings.rotate_degrees:
        steps.append(A.Rotate((-limit, limit), interpolation=smooth, **border))
    if settings.elastic_pixels:
        sigma = max(2.0, min(height, width) / 32)
        alpha = settings.elastic_pixels / 3.0 * np.sqrt(12 * np.pi) * sigma
        steps.append(
            A.ElasticTransform(alpha, sigma, smooth, noise_distribution="uniform", **border)
        )
    steps += [A.RandomCrop(height, width, p=1)] + [A.HorizontalFlip(p=0.5)] * settings.flip
    kinds = {name: "mask" if name in masks and not all_masks else "image" for name in names[1:]}
    compose = A.Compose(steps, additional_targets=kinds)
    for step, transform in enumerate(compose.transforms):
        transform.set_random_seed(key(seed, step))
    views = compose(**dict(zip(("image", *names[1:]), arrays.values(), strict=True)))
    return [views[name] for name in ("image", *names[1:])]


@pytest.mark.parametrize("masks", [(), ("b",), ("a", "b")])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("bend", [{}, {"rotate_degrees": 30.0}, {"elastic_pixels": 4.0}, TURNING])
def test_views_are_those_of_albumentations_bit_for_bit(
    bend: dict[str, Any], flip: bool, masks: tuple[str, ...]
) -> None:
    random = np.random.default_rng(0)
    settings = config(resize="none", flip=flip, crop_size=(24, 32), **bend)
    augment = Augment(settings, ("a", "b"), masks=masks)
    for seed in range(5 if bend else 200):
        height, width = random.integers(32, 50, 2)
        first = random.integers(0, 256, (height, width, (3, 1, 4, 2)[seed % 4]), np.uint8)
        second = random.random((height, width, (1, 3, 5)[seed % 3]), np.float32)
        arrays = {"a": first, "b": first.copy() if masks else second}
        views = augment(arrays, seed)
        for view, expected in zip(
            views.values(), albumentations_view(settings, arrays, seed, masks), strict=True
        ):
            assert view.dtype == expected.dtype
            assert np.array_equal(view, expected)


def test_images_that_cannot_be_cropped_together_are_an_error_of_the_image() -> None:
    augment = Augment(config(resize="none"), ("a", "b"))
    with pytest.raises(ImageError, match="40x40 and 41x40 pixels; crops of 32x32"):
        augment({"a": smooth(40, 40), "b": smooth(40, 41)}, 0)
    with pytest.raises(ImageError, match="31x40 pixels; crops of 32x32"):
        augment({"a": smooth(40, 31), "b": smooth(40, 31)}, 0)
