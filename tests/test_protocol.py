"""The protocol of a number: its hash tells comparable numbers apart, and what differs is named."""

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i.direction import Direction
from i2i.evaluation.evaluate import evaluate
from i2i.evaluation.pairs import EvaluationError
from i2i.evaluation.protocol import Protocol, common, explain, read_protocol, warning
from i2i.evaluation.record import Evaluation
from i2i.evaluation.tables import as_json
from i2i.translation.translator import Translator

Pixels = NDArray[np.uint8]
run = partial(evaluate, metrics=("l1",))


class Darker(nn.Module):
    def __init__(self, step: float = 0.1) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(step))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.step


def model(step: float = 0.1, direction: Direction = Direction.A2B) -> Translator:
    return Translator(Darker(step), 3, 3, direction=direction, device="cpu")


def picture(seed: int, side: int = 96) -> Pixels:
    """Smooth random colors with fine structure, as photographs have: amplitudes fall as 1 / f."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 0.01
    noise = np.fft.rfft2(random.normal(size=(3, side, side))) / frequency
    waves = np.fft.irfft2(noise, (side, side)).transpose(1, 2, 0)
    return (128 + 45 * waves / waves.std()).clip(0, 255).astype(np.uint8)


def write_data(root: Path, count: int = 18) -> Path:
    for split, start in (("train", 500), ("test", 0)):
        for number in range(start, start + count):
            image = picture(number)
            for domain, pixels in (("a", image), ("b", 255 - image // 2)):
                path = root / split / domain / f"{number:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def change(root: Path, new: Path, edit: Callable[[Image.Image], Image.Image]) -> Path:
    """Copy a data set, its test images changed by `edit`."""
    shutil.copytree(root, new)
    for path in (new / "test").rglob("*.png"):
        edit(Image.open(path).convert("RGB")).save(path)
    return new


def resampled(image: Image.Image) -> Image.Image:
    return image.resize((84, 84), Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BICUBIC
    )


def through_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((0, 0, 80, 80)).resize(image.size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("protocol") / "data")


@pytest.fixture(scope="module")
def plain(data: Path) -> Evaluation:
    return run(model(), data)


def masks(data: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in (data / "test" / "b").iterdir():
        inside = np.zeros((96, 96), np.uint8)
        inside[20:60, 20:70] = 255
        Image.fromarray(inside).save(folder / path.name)
    return folder


def sixteen_bit(data: Path, new: Path) -> Path:
    import cv2

    shutil.copytree(data, new)
    for path in (new / "test" / "b").iterdir():
        pixels = cv2.imread(str(path)).astype(np.uint16) * 257
        cv2.imwrite(str(path), pixels)
    return new


def fewer(data: Path, new: Path) -> Path:
    shutil.copytree(data, new)
    for path in [*(new / "test").rglob("00*.png")]:
        path.unlink()
    return new


def with_other_partners(data: Path, new: Path) -> Path:
    shutil.copytree(data, new)
    first, second = new / "test" / "b" / "000.png", new / "test" / "b" / "001.png"
    first.rename(new / "x")
    second.rename(first)
    (new / "x").rename(second)
    return new


def side_by_side_crop(data: Path, new: Path) -> Path:
    shutil.copytree(data, new)
    for path in (new / "test").rglob("*.png"):
        Image.open(path).crop((8, 8, 88, 88)).save(path)
    return new


def as_jpeg_files(data: Path, new: Path) -> Path:
    shutil.copytree(data, new)
    for path in [*(new / "test").rglob("*.png")]:
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return new


CORRUPTED: dict[str, tuple[Callable[[Path, Path], Evaluation], str]] = {
    "resized twice": (
        lambda data, new: run(model(), change(data, new, resampled)),
        "targets: pictures are smoother .* resized twice",
    ),
    "cropped and scaled back": (
        lambda data, new: run(model(), change(data, new, cropped)),
        "targets: pictures are parts of those of the other: cropped",
    ),
    "cropped": (
        lambda data, new: run(model(), side_by_side_crop(data, new)),
        "targets: sizes of files: 80x80; 96x96 in the other",
    ),
    "wrong value range": (
        lambda data, new: run(
            model(), change(data, new, lambda image: image.point(lambda level: level // 2))
        ),
        "targets: values are scaled by 0.5.* another value range",
    ),
    "other split": (
        lambda data, _: run(model(), data, split="train"),
        "split: train; test in the other|targets: none of the images of the other",
    ),
    "JPEG in between": (
        lambda data, new: run(model(), change(data, new, through_jpeg)),
        "targets: pictures were compressed as JPEG in between",
    ),
    "JPEG files": (
        lambda data, new: run(model(), as_jpeg_files(data, new)),
        "targets: files: jpg; png in the other",
    ),
    "other direction": (
        lambda data, _: run(model(direction=Direction.B2A), data),
        "direction: b2a; a2b in the other",
    ),
    "other size": (
        lambda data, _: run(model(), data, size=64),
        "resized to: 64; keep in the other",
    ),
    "mask": (
        lambda data, new: run(model(), data, mask=masks(data, new)),
        "masks: known here, unknown in the other",
    ),
    "subset": (
        lambda data, new: run(model(), fewer(data, new)),
        "targets: 8 images, 18 in the other|targets: a part of the images of the other",
    ),
    "other depth": (
        lambda data, new: run(model(), sixteen_bit(data, new)),
        "bits of targets .*: 16; 8 in the other",
    ),
    "mirrored": (
        lambda data, new: run(
            model(), change(data, new, lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        ),
        "inputs: pictures are mirrored",
    ),
    "other partners": (
        lambda data, new: run(model(), with_other_partners(data, new)),
        "inputs: .* have other partners",
    ),
}


@pytest.mark.parametrize("name", CORRUPTED)
def test_a_corrupted_evaluation_has_another_hash_and_its_fault_is_named(
    data: Path, plain: Evaluation, tmp_path: Path, name: str
) -> None:
    corrupt, expected = CORRUPTED[name]
    protocol = corrupt(data, tmp_path / "new").protocol
    assert protocol.hash != plain.protocol.hash
    lines = explain(protocol, plain.protocol)
    for pattern in expected.split("|"):
        assert any(re.match(pattern, line) for line in lines), lines


def test_two_models_and_renamed_copies_of_the_data_share_a_protocol(
    data: Path, plain: Evaluation, tmp_path: Path
) -> None:
    other = run(model(0.3), data).protocol
    assert other.hash == plain.protocol.hash
    assert other.checkpoint != plain.protocol.checkpoint
    (line,) = explain(other, plain.protocol)
    assert line.startswith("checkpoint: ")
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    for path in [*(copy / "test").rglob("*.png")]:
        path.rename(path.with_name(f"renamed_{path.name}"))
    renamed = run(model(), copy).protocol
    assert renamed.hash == plain.protocol.hash
    assert explain(renamed, plain.protocol) == []


def test_a_protocol_survives_json_and_a_file_without_one_is_refused(
    plain: Evaluation, tmp_path: Path
) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(as_json(plain)))
    found = read_protocol(path)
    assert found == plain.protocol
    assert found.hash == json.loads(path.read_text())["protocol_hash"]
    for text in ("", "[]", '{"protocol": {}}', '{"protocol": {"targets": 3}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="holds no protocol of one evaluation"):
            read_protocol(path)
    path.write_text(json.dumps({"directions": [as_json(plain), as_json(plain)]}))
    with pytest.raises(ValueError, match=r"protocol of one evaluation\. Give .*, of one direction"):
        read_protocol(path)


def test_the_hash_covers_every_field_but_those_of_the_outputs(plain: Evaluation) -> None:
    protocol = plain.protocol
    changed = {
        "split": "val",
        "paired": False,
        "resizer": "nearest",
        "value_range": (0.0, 1.0),
        "bootstrap": "10 rounds",
        "arithmetic": 99,
        "features": {"effnet": "sha256 0"},
        "inputs": None,
    }
    for name, value in changed.items():
        other = replace(protocol, **{name: value})
        assert other.hash != protocol.hash, name
        assert len(explain(other, protocol)) == 1, name
    assert replace(protocol, checkpoint="x", precision="bf16").hash == protocol.hash
    assert isinstance(protocol, Protocol)


def test_numbers_of_several_protocols_in_one_column_are_announced() -> None:
    assert common("a", "a") == "a"
    assert common("a", "b") == ""
    assert warning({"one": "a", "two": "a"}) == ""
    assert warning({}) == ""
    said = warning({"one": "a", "two": "b", "three": "a"})
    assert said == "not comparable, 2 protocols are in one column (a: one, three; b: two)"


def test_an_image_without_a_mask_or_with_one_of_another_size_is_refused(
    data: Path, tmp_path: Path
) -> None:
    folder = masks(data, tmp_path / "masks")
    Image.new("L", (50, 50), 1).save(folder / "000.png")
    with pytest.raises(EvaluationError, match="50x50 pixels, but its image has 96x96"):
        run(model(), data, mask=folder)
    (folder / "000.png").unlink()
    with pytest.raises(EvaluationError, match="has no mask for 1 of 18 images"):
        run(model(), data, mask=folder)
