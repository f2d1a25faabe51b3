"""Maps of class numbers: one-hot for the networks, numbers in files, colors for people."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from class_maps import GRAY, RANDOM, config, train_twice, write, write_pairs
from commands import here
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i import registry
from i2i.config import ConfigError, Layer
from i2i.data.augment import Augment
from i2i.data.check import check_folder
from i2i.data.dataset import PairedImages
from i2i.data.folders import DataError
from i2i.data.loader import batches
from i2i.images import ImageError
from i2i.images.classes import class_colors, class_map, class_tensor
from i2i.images.spec import ImageSpec
from i2i.model_file import read_info
from i2i.run.settings import resolve
from i2i.translation import TranslationError
from i2i.translation.folder import translate_folder
from i2i.translation.loading import load
from i2i.translation.options import Options
from i2i.translation.tiles import translate_rows
from i2i.translation.translator import Translator


def numbers_of(hot: Tensor) -> NDArray[Any]:
    """Return the class numbers of [..., N, H, W], which is 1 in one channel and -1 elsewhere."""
    assert hot.unique().tolist() == [-1, 1]
    assert bool((hot.sum(-3) == 2 - hot.shape[-3]).all())
    return hot.argmax(-3).numpy()


# -- what networks see -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "suffix"), [(5, "png"), (7, "npy"), (300, "png"), (300, "tif")]
)
def test_networks_see_a_channel_for_each_class(tmp_path: Path, classes: int, suffix: str) -> None:
    maps = write_pairs(tmp_path, classes, suffix)
    dataset = PairedImages(config(tmp_path, {"a": classes}, crop_size=20, flip=False))
    assert dataset.channels == {"a": classes, "b": 3}
    spec = dataset.specs["a"]
    assert (spec.mask, spec.depth, spec.file_channels) == (True, 8 if classes <= 256 else 16, 1)
    for index, values in enumerate(maps):
        np.testing.assert_array_equal(numbers_of(dataset.fixed(index)["a"]), values)
    assert not any("no file holds" in note for note in dataset.notes)


@pytest.mark.parametrize(("workers", "cache"), [(0, "off"), (2, "ram")])
@pytest.mark.parametrize("classes", [6, 300])
def test_crops_resizing_mirrors_and_rotation_mix_no_classes(
    tmp_path: Path, workers: int, cache: str, classes: int
) -> None:
    maps = write_pairs(tmp_path, classes)
    for values, path in zip(maps, sorted((tmp_path / "train/a").iterdir()), strict=True):
        write(path, np.where(values % 2, 0, values))  # only even numbers
    settings = {"load_size": 33, "rotate_degrees": 30.0, "elastic_pixels": 2.0}
    dataset = PairedImages(config(tmp_path, {"a": classes}, **settings | {"cache": cache}))
    dataset.open_cache()
    stream = batches(dataset, 0, 3, workers=workers)
    for _ in range(4):  # more than an epoch: the cache is used
        hot = next(stream).images["a"]
        assert hot.shape == (3, classes, 16, 16)
        assert not (numbers_of(hot) % 2).any()
    stream.close()


def test_numbers_become_one_hot_after_the_crop(tmp_path: Path) -> None:
    write_pairs(tmp_path, 300)
    dataset = PairedImages(config(tmp_path, {"a": 300}))
    pixels = dataset.pixels(0, 0)["a"]
    assert (pixels.shape, pixels.dtype) == ((16, 16, 1), np.uint16)
    assert Augment(dataset.config, ("a", "b"), masks=("a",)).classes == {"a"}


# -- what is refused -------------------------------------------------------------------------------


def test_a_number_of_no_class_is_named_with_its_file(tmp_path: Path) -> None:
    write_pairs(tmp_path, 5)
    write(tmp_path / "train/a/2.png", np.full((20, 20), 9, np.uint8))
    reason = r"hold numbers of no class(.|\n)*2\.png has values from 9 to 9"
    with pytest.raises(DataError, match=reason):
        PairedImages(config(tmp_path, {"a": 5}))
    late = PairedImages(config(tmp_path, {"a": 5}, decode_check_limit=0))
    with pytest.raises(ImageError, match=r"2\.png: holds 9, and the 5 classes are 0 to 4"):
        late.fixed(2)
    report = check_folder(tmp_path, classes={"a": 5})
    (issue,) = (issue for issue in report.issues if issue.name == "no class")
    assert (issue.level, issue.files) == ("error", ("train/a/2.png",))
    assert "no class" in here("data", "check", tmp_path, "--classes", "a=5").out
    for word in ("a=x", "a", "c=4", "a=1", "a=65537", "a=99999999999999999999"):
        assert here("data", "check", tmp_path, "--classes", word).status == 2


def test_a_class_that_no_file_holds_is_noted(tmp_path: Path) -> None:
    write_pairs(tmp_path, 5)
    note = "classes of domain a that no file holds: 5, 6."
    assert note in PairedImages(config(tmp_path, {"a": 7})).notes
    assert f"train: {note}" in check_folder(tmp_path, classes={"a": 7}).notes


def test_files_that_are_no_class_maps_are_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path, 5)
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "train/a/0.jpg")
    (tmp_path / "train/a/0.png").unlink()
    with pytest.raises(DataError, match=r"are no class maps: lossless(.|\n)*0\.jpg"):
        PairedImages(config(tmp_path, {"a": 5}))
    (tmp_path / "train/a/0.jpg").unlink()
    np.save(tmp_path / "train/a/0.npy", np.eye(20, dtype=np.float32))
    palette = Image.fromarray(np.eye(20, dtype=np.uint8)).convert("P")
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "train/a/1.png")
    with pytest.raises(
        DataError, match=r"2 of 8 files are no class maps(.|\n)*palette its indices"
    ):
        PairedImages(config(tmp_path, {"a": 5}))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"value_range": {"a": [0, 4]}}, r"data\.value_range\.a: class numbers have no range"),
        ({"value_range": {"a": "lung"}}, r"data\.value_range\.a: class numbers have no range"),
        ({"layout": "ab"}, r"data\.layout: ab contradicts data\.classes"),
        ({"color_jitter": 0.1}, r"data\.color_jitter: has no effect"),
        (
            {"classes": {}, "masks": ["a"], "color_jitter": 0.1},
            r"data\.color_jitter: has no effect",
        ),
        ({"alpha": "carry"}, r"data\.alpha: carry has no effect"),
        ({"inputs": ["x", "y"], "target": "z"}, r"data\.classes\.a: .*several inputs"),
        ({"class_edges": True, "direction": "b2a"}, r"data\.class_edges: has no effect: domain b"),
        ({"class_edges": True, "classes": {}}, r"data\.class_edges: has no effect: domain a"),
        ({"classes": {"a": 1}}, r"data\.classes"),
        ({"classes": {"c": 4}}, r"data\.classes"),
    ],
)
def test_settings_that_contradict_classes_are_refused(settings: Any, reason: str) -> None:
    data = {"root": "x", "classes": {"a": 5}} | settings
    with pytest.raises(ConfigError, match=reason):
        resolve("pix2pix", [Layer("", {"data": data})])


# -- outputs ---------------------------------------------------------------------------------------


class Same(nn.Module):
    """Returns its input, a little noisy."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.7 * x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0))


def identity(classes: int, **options: Any) -> Translator:
    depth: Any = 8 if classes <= 256 else 16
    spec = ImageSpec(GRAY, depth=depth, mask=True, classes=classes)
    return Translator(Same(), classes, classes, source=spec, target=spec, device="cpu", **options)


@pytest.mark.parametrize(
    ("classes", "suffix"), [(5, "png"), (300, "tif"), (256, "npy"), (300, "npy")]
)
def test_every_number_in_is_that_number_out(tmp_path: Path, classes: int, suffix: str) -> None:
    maps = write_pairs(tmp_path, classes, suffix, count=2)
    report = translate_folder(identity(classes), tmp_path / "train" / "a", tmp_path / "out")
    assert (report.written, report.notes) == (2, [])
    for number, values in enumerate(maps):
        path = tmp_path / "out" / f"{number}.{suffix}"
        output = np.load(path) if suffix == "npy" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert output is not None
        np.testing.assert_array_equal(np.squeeze(output), values)
        assert output.dtype == values.dtype
        for kind in (values.dtype, np.int64, np.uint16):  # in Python any integers
            np.testing.assert_array_equal(identity(classes)(values.astype(kind)), values)


def test_tiles_make_the_class_map_of_the_whole_image() -> None:
    torch.manual_seed(0)
    net = registry.find("generators", "resnet").factory(6, 6, width=4, blocks=1)
    spec = ImageSpec(GRAY, depth=8, mask=True, classes=6)
    translator = Translator(net, 6, 6, source=spec, target=spec, device="cpu", precision="fp32")
    numbers = RANDOM.integers(0, 6, (150, 131, 1)).astype(np.uint8)

    def read(top: int, left: int, height: int, width: int) -> NDArray[Any]:
        return numbers[top : top + height, left : left + width]

    rows = np.concatenate(list(translate_rows(translator, read, 150, 131, 8, tile=80)))
    whole = translator(numbers)
    assert (rows.shape, rows.dtype, len(np.unique(whole)) > 1) == (whole.shape, np.uint8, True)
    assert (rows == whole).mean() > 0.999  # two classes may be equally likely


def test_sixteen_bit_files_of_few_classes_become_eight_bits(tmp_path: Path) -> None:
    values = RANDOM.integers(0, 5, (20, 20)).astype(np.uint16)
    write(tmp_path / "in" / "x.png", values)
    report = translate_folder(identity(5), tmp_path / "in", tmp_path / "out")
    output = cv2.imread(str(tmp_path / "out" / "x.png"), cv2.IMREAD_UNCHANGED)
    assert output is not None
    assert (output.dtype, report.notes) == (np.uint8, [])
    np.testing.assert_array_equal(output, values)
    deep = identity(5, depth=16)(values)
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(deep, values)


def test_outputs_of_classes_are_lossless_and_single_channel(tmp_path: Path) -> None:
    write_pairs(tmp_path, 5, count=1)
    source = tmp_path / "train" / "a"
    with pytest.raises(TranslationError, match="1 channels of 8 bits of classes, which JPEG"):
        translate_folder(identity(5), source, tmp_path / "out", Options(format="jpg"))
    for classes, depth in ((5, 32), (300, 8)):
        with pytest.raises(TranslationError, match=f"{depth} bits do not hold the numbers"):
            identity(classes, depth=depth)
    (report,) = (translate_folder(identity(3), source, tmp_path / "few"),)
    assert (report.written, "the 3 classes are 0 to 2" in report.failed[0][1]) == (0, True)
    for wrong in (np.full((9, 9), 3, np.uint8), np.full((9, 9), -1, np.int64)):
        with pytest.raises(ImageError, match="the 3 classes are 0 to 2"):
            identity(3)(wrong)
    with pytest.raises(ImageError, match="holds floats"):
        identity(3)(np.ones((9, 9), np.float32))


def test_tensors_and_numbers_are_inverse() -> None:
    numbers = RANDOM.integers(0, 70, (2, 5, 4, 1)).astype(np.uint8)
    hot = class_tensor(numbers, 70)
    assert hot.shape == (2, 70, 5, 4)
    np.testing.assert_array_equal(class_map(hot), numbers)
    with pytest.raises(ImageError, match="not finite"):
        class_map(hot * float("nan"))


def test_each_class_has_a_color_of_its_own() -> None:
    colors = class_colors(np.arange(2**16, dtype=np.uint16).reshape(256, 256, 1)).reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) == 2**16
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]  # of PASCAL VOC
    assert [tuple(color) for color in colors[:5].tolist()] == expected


# -- a run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_a_run_trains_resumes_and_translates_class_maps(tmp_path: Path, direction: str) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    write_pairs(root, 6, side=32)
    widths = "generator.width=4", "discriminator.width=4"
    sets = train_twice(root, run, 6, *widths, "data.workers=2", f"data.direction={direction}")
    info = read_info(run)
    assert (info.domains["a"].classes, info.generators[direction].channels) == (
        6,
        (6, 3) if direction == "a2b" else (3, 6),
    )
    sheet = np.asarray(Image.open(sorted((run / "samples").glob("*.png"))[-1]))
    colors = {tuple(color) for color in class_colors(np.arange(6)[:, None, None])[:, 0].tolist()}
    assert colors <= {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    out = tmp_path / "out"
    report = translate_folder(load(run, device="cpu"), root / "train" / direction[0], out)
    assert report.written == 4, report.failed
    output = cv2.imread(str(out / "0.png"), cv2.IMREAD_UNCHANGED)
    assert output is not None
    if direction == "b2a":
        assert (output.shape, output.dtype, output.max() < 6) == ((32, 32), np.uint8, True)
    else:
        assert output.shape == (32, 32, 3)
    assert here("data", "preview", root, "pix2pix", *sets, "--out", tmp_path / "p.png").status == 0
