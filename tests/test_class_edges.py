"""Edges of classes as a channel of inputs: in training, in whole images and in tiles."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from class_maps import GRAY, RANDOM, config, train_twice, write, write_pairs
from models import write_fields, write_model
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i.data.dataset import PairedImages
from i2i.data.loader import batches
from i2i.images.classes import class_tensor
from i2i.images.spec import ImageSpec
from i2i.model_file import ModelFileError, load_model, read_info
from i2i.translation.folder import translate_folder
from i2i.translation.loading import load
from i2i.translation.options import Options
from i2i.translation.translator import Translator


def expected_edges(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return the edges of a class map [H, W], pixel by pixel: 1 or -1."""
    height, width = numbers.shape
    edges = np.full((height, width), -1.0)
    for y in range(height):
        for x in range(width):
            for row, column in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= row < height and 0 <= column < width
                if inside and numbers[row, column] != numbers[y, x]:
                    edges[y, x] = 1.0
    return edges


def sparse(height: int, width: int) -> NDArray[Any]:
    """Return a class map [H, W] of class 0, with single pixels of others everywhere."""
    numbers = RANDOM.integers(1, 5, (height, width)).astype(np.uint8)
    return np.asarray(numbers * (RANDOM.random((height, width)) < 0.1))


@pytest.mark.parametrize("shape", [(9, 14), (1, 6), (5, 1), (1, 1)])
def test_edges_are_where_one_of_four_neighbors_has_another_class(shape: tuple[int, int]) -> None:
    numbers = RANDOM.integers(0, 3, shape).astype(np.uint8)
    tensor = class_tensor(numbers[..., None], 3, with_edges=True)
    assert tensor.shape == (4, *shape)
    np.testing.assert_array_equal(tensor[3], expected_edges(numbers))
    np.testing.assert_array_equal(tensor[:3], class_tensor(numbers[..., None], 3))
    spec = ImageSpec(GRAY, depth=8, mask=True, classes=3, edges=True)
    np.testing.assert_array_equal(spec.pixels(tensor)[..., 0], numbers)  # without its edges


@pytest.mark.parametrize("workers", [0, 2])
def test_training_sees_the_edges_of_each_crop_as_it_was_augmented(
    tmp_path: Path, workers: int
) -> None:
    write_pairs(tmp_path, 5)
    settings = {"load_size": 24, "rotate_degrees": 20.0, "class_edges": True}
    for path in (tmp_path / "train" / "b").iterdir():
        write(path, sparse(20, 20))
    dataset = PairedImages(config(tmp_path, {"a": 5, "b": 5}, **settings))
    assert dataset.channels == {"a": 6, "b": 5}  # a target has none
    stream = batches(dataset, 0, 2, workers=workers)
    samples = [*next(stream).images["a"], dataset.fixed(1)["a"], dataset.sample(0, 1)["a"]]
    stream.close()
    for sample in samples:
        assert sample.shape == (6, 16, 16)
        np.testing.assert_array_equal(sample[5], expected_edges(sample[:5].argmax(0).numpy()))


class LastChannel(nn.Module):
    """Returns the last channel of its input, of which it sees nothing else."""

    size_divisor, min_size, halo = 8, 8, 0

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1:]


def edge_drawer() -> Translator:
    """Return a translator that draws the edges of class maps, 0 or 255."""
    spec = ImageSpec(GRAY, depth=8, mask=True, classes=5, edges=True)
    target = ImageSpec(GRAY, depth=8)
    return Translator(LastChannel(), 6, 1, source=spec, target=target, device="cpu")


@pytest.mark.parametrize("shape", [(40, 64), (37, 29), (3, 50)])
def test_tiles_have_the_edges_of_the_whole_image(shape: tuple[int, int]) -> None:
    numbers, translator = sparse(*shape), edge_drawer()
    whole = translator(numbers)
    np.testing.assert_array_equal(whole, (expected_edges(numbers) > 0) * 255)
    for tile, overlap in ((8, 0), (16, 0), (16, 4)):
        np.testing.assert_array_equal(translator.tiled(numbers, tile, overlap), whole)


def test_a_file_in_tiles_has_the_edges_of_the_whole_file(tmp_path: Path) -> None:
    numbers = sparse(70, 53)
    write(tmp_path / "in" / "x.png", numbers)
    for name, options in (("whole", Options()), ("tiles", Options(tile=16, overlap=0))):
        report = translate_folder(edge_drawer(), tmp_path / "in", tmp_path / name, options)
        assert report.written == 1, report.failed
        edges = cv2.imread(str(tmp_path / name / "x.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(edges, (expected_edges(numbers) > 0) * 255)


def test_a_model_keeps_that_its_input_has_edges(tmp_path: Path) -> None:
    root, run = tmp_path / "data", tmp_path / "run"
    write_pairs(root, 4, side=32)
    widths = "generator.width=2", "discriminator.width=2"
    train_twice(root, run, 4, *widths, "data.workers=0", "data.class_edges=true")
    info = read_info(run)
    assert info.domains["a"].edges
    assert not info.domains["b"].edges
    assert info.generators["a2b"].channels == (5, 3)
    report = translate_folder(load(run, device="cpu"), root / "train" / "a", tmp_path / "out")
    assert report.written == 4, report.failed
    plain = replace(info.domains["a"], edges=False)
    assert plain.text + " edges" == info.domains["a"].text  # that of files without the field


def test_models_of_before_edges_load_and_edges_without_classes_are_refused(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path, "resnet"))
    fields = json.loads(model.info.model_dump_json())
    assert fields["domains"]["a"].pop("edges") is False
    write_fields(tmp_path / "old.safetensors", fields, model.tensors)
    assert load_model(tmp_path / "old.safetensors").info == model.info
    fields["domains"]["a"]["edges"] = True
    write_fields(tmp_path / "wrong.safetensors", fields, model.tensors)
    with pytest.raises(ModelFileError, match=r"domains\.a\..*channels"):
        load_model(tmp_path / "wrong.safetensors")
