"""Any depth and channels in, the same out: every kind of file through an identity network and a trained model."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from models import write_fields
from PIL import Image
from torch import nn

from i2i import images, load
from i2i.cli import group
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.model_file import ModelFileError, load_model
from i2i.translation import TranslationError
from i2i.translation.folder import translate_folder
from i2i.translation.options import Options
from i2i.translation.translator import Translator

SPAN = (-1000.0, 3000.0)
SIDE = 16


class Kind(NamedTuple):
    """One kind of file; they are written and read by other libraries than the code under test where there are any."""

    suffix: str
    dtype: type[np.generic]
    channels: int
    value_range: images.ValueRange | None = None  # of floats


KINDS = {
    **{
        f"png {8 * np.dtype(d).itemsize} bits {c} channels": Kind(".png", d, c)
        for d in (np.uint8, np.uint16)
        for c in (1, 3)
    },
    **{
        f"tiff {8 * np.dtype(d).itemsize} bits {c} channels": Kind(".tif", d, c)
        for d in (np.uint8, np.uint16)
        for c in (1, 3)
    },
    "float tiff": Kind(".tif", np.float32, 1, images.UNIT),
    "float tiff with a range": Kind(".tif", np.float32, 1, SPAN),
    **{
        f"npy {np.dtype(d).name} {c} channels": Kind(
            ".npy", d, c, SPAN if d is np.float32 else None
        )
        for d in (np.uint8, np.uint16, np.float32)
        for c in (1, 2, 3, 5, 16)
    },
}


def values(kind: Kind, seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Noise over the whole range, [H, W, C]."""
    random = np.random.default_rng(seed)
    shape = (height, width, kind.channels)
    if kind.value_range is not None:
        return (
            random.random(shape) * (kind.value_range[1] - kind.value_range[0]) + kind.value_range[0]
        ).astype(np.float32)
    return random.integers(0, np.iinfo(kind.dtype).max, shape, kind.dtype, endpoint=True)


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif array.dtype == np.uint16 and array.shape[2] > 1:
        cv2.imwrite(str(path), array[..., [2, 1, 0, 3][: array.shape[2]]])
    else:
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path)
    return path


def read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path)
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found[..., None] if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[2]]]


class Identity(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def identity(kind: Kind, **options: object) -> Translator:
    reading = ImageSpec((ChannelSpec(kind.channels, alpha=False),), kind.value_range or images.UNIT)
    return Translator(
        Identity(),
        kind.channels,
        kind.channels,
        source=reading,
        target=reading,
        device="cpu",
        **options,
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_comes_back_from_an_identity_network_with_its_values(
    name: str, tmp_path: Path
) -> None:
    kind = KINDS[name]
    array = values(kind, 0, 20, 13)
    source = write(tmp_path / f"in/x{kind.suffix}", array)
    report = translate_folder(identity(kind), tmp_path / "in", tmp_path / "out")
    target = tmp_path / f"out/x{kind.suffix}"
    assert (report.written, report.failed, report.notes) == (1, [], [])
    assert images.read_header(target) == images.read_header(source)
    found = read(target)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    if kind.value_range is None:
        np.testing.assert_array_equal(found, array)
    else:
        np.testing.assert_allclose(
            found, array, atol=2e-7 * (kind.value_range[1] - kind.value_range[0])
        )


# -- through a trained model -----------------------------------------------------------------------

TINY = [
    "data.load_size=16",
    "data.crop_size=16",
    "data.workers=0",
    "data.flip=false",
    "train.batch=2",
]
TINY += ["generator.name=unet", "generator.depth=3", "generator.width=2", "generator.dropout=false"]
TINY += [
    "discriminator.width=2",
    "discriminator.layers=1",
    "log.samples=1",
    "log.tensorboard=false",
]


def i2i(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(
        group, [str(argument) for argument in arguments], standalone_mode=False
    )
    if result.exception is not None and not type(result.exception).__module__.startswith(
        ("i2i.", "click.")
    ):
        raise result.exception
    status = (result.return_value or 0) if result.exception is None else 2
    assert status == code, f"{result.output}\n{result.exception}"
    return f"{result.output}{result.exception or ''}"


def train(data: Path, run: Path, *more: object, **settings: object) -> Path:
    sets = [*TINY, *(f"data.{key}={value}" for key, value in settings.items())]
    options = [word for text in sets for word in ("--set", text)]
    i2i(
        "train",
        "pix2pix",
        "--data",
        data,
        "--out",
        run,
        "--device",
        "cpu",
        "--images",
        4,
        *options,
        *more,
    )
    return run


def by_hand(run: Path, array: np.ndarray, value_range: images.ValueRange | None) -> np.ndarray:
    """What the network of a run makes of [H, W, C], in the dtype and range of the input."""
    top = value_range[1] - value_range[0] if value_range else np.iinfo(array.dtype).max
    low = value_range[0] if value_range else 0
    x = (
        torch.from_numpy((array.astype(np.float64) - low) / top * 2 - 1)
        .float()
        .permute(2, 0, 1)[None]
    )
    with torch.no_grad():
        y = load(run, device="cpu").network(x)[0].permute(1, 2, 0).double().numpy()
    made = (y + 1) / 2 * top + low
    return made if value_range else np.round(made)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_trained_on_and_translated_into_its_kind(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    for number in range(4):
        for domain in "ab":
            write(
                tmp_path / f"data/{domain}/{number}{kind.suffix}",
                values(kind, 2 * number + (domain == "b")),
            )
    ranges = (
        {"ranges.a": list(kind.value_range), "ranges.b": list(kind.value_range)}
        if kind.value_range not in (None, images.UNIT)
        else {}
    )
    run = train(tmp_path / "data", tmp_path / "run", **ranges)
    i2i("translate", run, tmp_path / "data/a", tmp_path / "out", "--device", "cpu")
    for number in range(4):
        source, target = (
            tmp_path / f"data/a/{number}{kind.suffix}",
            tmp_path / f"out/{number}{kind.suffix}",
        )
        assert images.read_header(target) == images.read_header(source)
        array, found = read(source), read(target)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        expected = by_hand(run, array, kind.value_range)
        tolerance = (
            1e-5 * (kind.value_range[1] - kind.value_range[0]) if kind.value_range else 1
        )  # a level, where rounding is at its edge
        np.testing.assert_allclose(found.astype(float), expected, atol=tolerance)
        python = load(run, device="cpu")(array)  # the same from Python
        np.testing.assert_array_equal(python, found)
    assert found.std() > 0


# -- alpha -----------------------------------------------------------------------------------------

RGBA = {"8 bits": np.uint8, "16 bits": np.uint16}


def rgba(
    dtype: type[np.generic], seed: int = 0, height: int = SIDE, width: int = SIDE
) -> np.ndarray:
    return values(Kind(".png", dtype, 4), seed, height, width)


@pytest.mark.parametrize("depth", RGBA)
@pytest.mark.parametrize("alpha", ["keep", "carry", "composite", "drop"])
def test_alpha_comes_back_from_an_identity_network_as_was_chosen(
    alpha: str, depth: str, tmp_path: Path
) -> None:
    array = rgba(RGBA[depth])
    top = np.iinfo(array.dtype).max
    write(tmp_path / "in/x.png", array)
    channels = 4 if alpha == "keep" else 3
    translator = Translator(Identity(), channels, channels, alpha=alpha, device="cpu")
    translate_folder(translator, tmp_path / "in", tmp_path / "out")
    found = read(tmp_path / "out/x.png")
    color, opacity = array[..., :3].astype(float), array[..., 3:] / top
    if alpha in ("keep", "carry"):
        np.testing.assert_array_equal(found, array)
    elif alpha == "drop":
        np.testing.assert_array_equal(found, array[..., :3])
    else:
        np.testing.assert_allclose(found, color * opacity + top * (1 - opacity), atol=1)
    np.testing.assert_array_equal(translator(array), found)
    if depth == "8 bits":  # PIL has no deeper color
        np.testing.assert_array_equal(np.asarray(translator(Image.fromarray(array))), found)


@pytest.mark.parametrize("alpha", ["keep", "carry", "composite"])
def test_alpha_is_translated_carried_or_flattened_by_a_trained_model(
    alpha: str, tmp_path: Path
) -> None:
    for number in range(4):
        for domain in "ab":
            write(
                tmp_path / f"data/{domain}/{number}.png",
                rgba(np.uint8, 2 * number + (domain == "b")),
            )
    run = train(tmp_path / "data", tmp_path / "run", alpha=alpha)
    i2i("translate", run, tmp_path / "data/a", tmp_path / "out", "--device", "cpu")
    array = read(tmp_path / "data/a/0.png")
    found = read(tmp_path / "out/0.png")
    if alpha == "keep":
        np.testing.assert_allclose(found, by_hand(run, array, None), atol=1)
    elif alpha == "carry":
        np.testing.assert_allclose(found[..., :3], by_hand(run, array[..., :3], None), atol=1)
        np.testing.assert_array_equal(found[..., 3], array[..., 3])
    else:
        flat = np.asarray(
            Image.alpha_composite(Image.new("RGBA", (SIDE, SIDE), "white"), Image.fromarray(array))
        )
        assert found.shape == (SIDE, SIDE, 3)
        np.testing.assert_allclose(
            found, by_hand(run, flat[..., :3], None), atol=8
        )  # a level in, some levels out


def test_the_command_line_overrides_what_a_model_does_with_alpha(tmp_path: Path) -> None:
    for number in range(2):
        for domain in "ab":
            write(
                tmp_path / f"data/{domain}/{number}.png",
                rgba(np.uint8, 2 * number + (domain == "b")),
            )
    run = train(tmp_path / "data", tmp_path / "run")
    array = read(tmp_path / "data/a/0.png")
    for alpha, channels in (("carry", 4), ("composite", 3), ("drop", 3)):
        i2i(
            "translate",
            run,
            tmp_path / "data/a",
            tmp_path / alpha,
            "--alpha",
            alpha,
            "--device",
            "cpu",
        )
        found = read(tmp_path / alpha / "0.png")
        assert found.shape[2] == channels
        assert load(run, device="cpu", alpha=alpha)(array).shape[2] == channels
    assert not np.array_equal(read(tmp_path / "composite/0.png"), read(tmp_path / "drop/0.png"))
    np.testing.assert_array_equal(
        read(tmp_path / "carry/0.png")[..., :3], read(tmp_path / "drop/0.png")
    )
    i2i(
        "translate",
        run,
        tmp_path / "data/a/0.png",
        tmp_path / "one.png",
        "--alpha",
        "carry",
        "--device",
        "cpu",
    )
    np.testing.assert_array_equal(read(tmp_path / "one.png"), read(tmp_path / "carry/0.png"))
    # another choice is another job: what it finds is not taken for its own
    assert "--overwrite" in i2i(
        "translate",
        run,
        tmp_path / "data/a",
        tmp_path / "drop",
        "--alpha",
        "composite",
        "--device",
        "cpu",
        code=2,
    )
    kept = train(tmp_path / "data", tmp_path / "kept", alpha="keep")
    said = i2i(
        "translate",
        kept,
        tmp_path / "data/a",
        tmp_path / "x",
        "--alpha",
        "carry",
        "--device",
        "cpu",
        code=2,
    )
    assert "takes alpha as a channel, so this has no effect" in said


def test_carried_alpha_is_resized_and_cut_with_its_picture(tmp_path: Path) -> None:
    array = rgba(np.uint8, height=12, width=16)
    write(tmp_path / "in/x.png", array)
    translator = Translator(Identity(), 3, 3, alpha="carry", device="cpu")
    translate_folder(
        translator, tmp_path / "in", tmp_path / "out", Options(size=(8, 10), half="right")
    )
    found = read(tmp_path / "out/x.png")
    np.testing.assert_array_equal(found, images.resize(array[:, 8:], (8, 10)))


def test_alpha_that_a_format_cannot_hold_is_a_failed_file_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    write(tmp_path / "in/a.png", rgba(np.uint8))
    write(tmp_path / "in/b.png", rgba(np.uint8)[..., :3])
    translator = Translator(Identity(), 3, 3, alpha="carry", device="cpu")
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out", Options(format="jpg"))
    assert report.written == 1
    assert report.failed == [
        ("a.png", "has alpha, which a JPEG file cannot hold. Choose png, or --alpha drop.")
    ]
    assert images.read_header(tmp_path / "out/b.jpg").channels == 3


def test_carried_alpha_keeps_pace_with_a_depth_that_is_lost(tmp_path: Path) -> None:
    array = rgba(np.uint16)
    write(tmp_path / "in/a.png", array)
    translator = Translator(Identity(), 3, 3, alpha="carry", device="cpu")
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out", Options(format="webp"))
    assert report.notes == [
        "16-bit inputs were written with 8 bits, the most that WEBP holds (1, first: a.webp)"
    ]
    np.testing.assert_array_equal(
        read(tmp_path / "out/a.webp"), np.round(array / 257).astype(np.uint8)
    )


def test_alpha_cannot_be_carried_onto_what_is_no_picture() -> None:
    with pytest.raises(
        TranslationError,
        match=r"carry needs one input and gray or RGB outputs; .* 5 channels",
    ):
        Translator(Identity(), 5, 5, alpha="carry", device="cpu")


# -- what a weights file says ----------------------------------------------------------------------


def test_ranges_of_the_two_domains_are_used_from_python_as_for_files(tmp_path: Path) -> None:
    source, target = (
        ImageSpec((ChannelSpec(1, alpha=False),), value_range)
        for value_range in ((0.0, 10.0), (-5.0, 5.0))
    )
    translator = Translator(Identity(), 1, 1, source=source, target=target, device="cpu")
    array = np.linspace(0, 10, 64, dtype=np.float64).reshape(8, 8)
    np.testing.assert_allclose(translator(array), array - 5, atol=1e-5)
    np.testing.assert_allclose(
        translator(Image.fromarray(array.astype(np.float32))), array - 5, atol=1e-5
    )
    np.testing.assert_array_equal(
        translator(array.astype(np.uint8)), array.astype(np.uint8)
    )  # the whole range
    write(tmp_path / "in/x.npy", array.astype(np.float32)[..., None])
    translate_folder(translator, tmp_path / "in", tmp_path / "out")
    np.testing.assert_allclose(np.load(tmp_path / "out/x.npy")[..., 0], array - 5, atol=1e-5)
    with pytest.raises(images.ImageError, match=r"float values from 0 to 11, outside \[0, 10\]"):
        translator(array * 1.1)
    write(tmp_path / "in/y.npy", array.astype(np.float32)[..., None] * 2)
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out")
    assert [name for name, _ in report.failed] == ["y.npy"]
    assert "float values from 0 to 20, outside [0, 10]" in report.failed[0][1]


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_each_direction_of_a_model_reads_its_own_domain(direction: str, tmp_path: Path) -> None:
    spans = {"a": (0.0, 10.0), "b": (-5.0, 5.0)}
    for domain, value_range in spans.items():
        for number in range(2):
            array = values(Kind(".npy", np.float32, 1 if domain == "a" else 5, value_range), number)
            write(tmp_path / f"data/{domain}/{number}.npy", array)
    tiny = [text for text in TINY if not text.startswith("generator.")]
    tiny += [
        "generator.name=resnet",
        "generator.blocks=1",
        "generator.width=2",
        "method.lambda_identity=0",
    ]
    sets = [
        word
        for text in (*tiny, "data.value_range.a=[0, 10]", "data.value_range.b=[-5, 5]")
        for word in ("--set", text)
    ]
    run = tmp_path / "run"
    i2i(
        "train",
        "cyclegan",
        "--data",
        tmp_path / "data",
        "--out",
        run,
        "--images",
        2,
        "--device",
        "cpu",
        *sets,
    )
    translator = load(run, direction, device="cpu")
    source, target = direction.split("2")
    assert (translator.source.value_range, translator.target.value_range) == (
        spans[source],
        spans[target],
    )
    assert translator.in_channels == (1 if source == "a" else 5)
    i2i(
        "translate",
        run,
        tmp_path / f"data/{source}",
        tmp_path / "out",
        "--direction",
        direction,
        "--device",
        "cpu",
    )
    found = np.load(tmp_path / "out/0.npy")
    np.testing.assert_array_equal(found, translator(np.load(tmp_path / f"data/{source}/0.npy")))
    low, high = spans[target]
    assert low <= found.min() < found.max() <= high


def test_weights_files_that_say_nothing_of_domains_read_zero_to_one_and_take_alpha(
    tmp_path: Path,
) -> None:
    for number in range(2):
        for domain in "ab":
            write(tmp_path / f"data/{domain}/{number}.png", rgba(np.uint8, number))
    run = train(tmp_path / "data", tmp_path / "run", alpha="keep")
    model = load_model(run)
    fields, tensors = model.info.model_dump(mode="json"), model.tensors
    del fields["domains"]
    for version in (1, 2):
        write_fields(tmp_path / "old.safetensors", {**fields, "format": version}, tensors)
    old = load(tmp_path / "old.safetensors", device="cpu")
    assert (old.alpha, old.source.alpha, old.source.value_range) == ("keep", True, images.UNIT)
    np.testing.assert_array_equal(old(rgba(np.uint8)), load(run, device="cpu")(rgba(np.uint8)))
    inputs = [{"channels": 4, "alpha": True, "name": ""}]
    unit = {"inputs": inputs, "value_range": [0, 1]}
    damages: list[tuple[Any, str]] = [
        ({}, "a: missing"),
        ({"a": 1}, r"a: .*got 1"),
        ({"a": unit}, "b: missing"),
        ({"a": unit, "b": {**unit, "range": [0, 1]}}, "b.range: unknown field"),
        ({"a": unit, "b": {**unit, "value_range": [1, 0]}}, "b.value_range: must be"),
        ({"a": unit, "b": {**unit, "value_range": [0, math.inf]}}, r"b\.value_range\.1: "),
        ({"a": unit, "b": {**unit, "inputs": [{"channels": "x", "alpha": True}]}}, r".*channels: "),
        ({"a": unit, "b": {**unit, "inputs": [{"channels": 3, "alpha": False}]}}, r".*got 3"),
        ({"a": unit, "b": {**unit, "inputs": []}}, "b.inputs: must be 4 channels"),
        (
            {"a": unit, "b": {**unit, "inputs": [*inputs, *inputs, {**inputs[0], "channels": -4}]}},
            "",
        ),
    ]
    for domains, reason in damages:
        write_fields(tmp_path / "bad.safetensors", {**fields, "domains": domains}, tensors)
        with pytest.raises(ModelFileError, match=rf"bad\.safetensors: domains\.{reason}"):
            load(tmp_path / "bad.safetensors", device="cpu")


@pytest.mark.parametrize(("channels", "suffix"), [(2, ".npy"), (3, ".png"), (5, ".npy")])
def test_images_of_any_channels_are_made_from_noise(
    channels: int, suffix: str, tmp_path: Path
) -> None:
    for number in range(4):
        write(tmp_path / f"data/{number}.npy", values(Kind(".npy", np.uint8, channels), number))
    tiny = [text for text in TINY if not text.startswith(("generator.", "discriminator.layers"))]
    tiny += ["generator.width=2", "method.latent=4"]
    sets = [word for text in tiny for word in ("--set", text)]
    run = tmp_path / "run"
    i2i(
        "train",
        "dcgan",
        "--data",
        tmp_path / "data",
        "--out",
        run,
        "--images",
        4,
        "--device",
        "cpu",
        *sets,
    )
    i2i("generate", run, tmp_path / "made", "--count", 2, "--device", "cpu")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        f"00000{i}{suffix}" for i in (0, 1)
    ]
    assert read(tmp_path / f"made/000000{suffix}").shape == (SIDE, SIDE, channels)
    i2i("generate", run, tmp_path / "sheet.png", "--grid", "2x2", "--device", "cpu")
    assert read(tmp_path / "sheet.png").shape[2] == 3


@pytest.mark.usefixtures("without_tiff_extra")
def test_more_channels_than_a_format_holds_become_an_array_and_are_shown_by_the_first_three(
    tmp_path: Path,
) -> None:
    class Five(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x[:, :2]], 1)

    write(tmp_path / "in/x.png", values(KINDS["png 16 bits 3 channels"], 0))
    translator = Translator(Five(), 3, 5, device="cpu")
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out")
    assert report.notes == [
        "outputs are NPY where their format cannot hold the model's channels (1, first: x.npy)"
    ]
    made, array = np.load(tmp_path / "out/x.npy"), read(tmp_path / "in/x.png")
    np.testing.assert_array_equal(made, np.dstack([array, array[..., :2]]))
    np.testing.assert_array_equal(images.to_display_rgb(made), images.to_display_rgb(array))
    for asked in ("png", "tif", "jpg"):
        with pytest.raises(
            TranslationError,
            match=r"5 channels, which \w+ cannot hold\. (Run: pip install .*; or c|C)hoose npy",
        ):
            translate_folder(translator, tmp_path / "in", tmp_path / "other", Options(format=asked))
    with pytest.raises(images.ImageError, match="PIL has no images of 5 channels"):
        translator(Image.new("RGB", (16, 16)))
