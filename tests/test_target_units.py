"""Outputs hold what files of the target held in training: its depth, its units, its labels."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i.config import PairedData
from i2i.data.dataset import PairedImages
from i2i.evaluation.evaluate import evaluate
from i2i.evaluation.pairs import EvaluationError
from i2i.evaluation.tables import table
from i2i.execution import Execution
from i2i.images import ImageError
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.images.stacks import read
from i2i.networks.latent import LatentSpec
from i2i.translation import TranslationError
from i2i.translation.folder import Report, translate_folder
from i2i.translation.options import Options
from i2i.translation.sampling import Sampler, write_numbered
from i2i.translation.translator import Translator

GRAY = (ChannelSpec(1, alpha=False),)
COLOR = (ChannelSpec(3, alpha=False),)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)  # every 8-bit level


class First(nn.Module):
    """Returns the first channels of its input."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.channels]


def model(target: ImageSpec, source: ImageSpec | None = None, **options: Any) -> Translator:
    source = source or ImageSpec(target.inputs, depth=8)
    network = First(target.channels)
    return Translator(
        network,
        source.channels,
        target.channels,
        source=source,
        target=target,
        device="cpu",
        **options,
    )


def translated(
    folder: Path, translator: Translator, name: str, pixels: NDArray[Any], **options: Any
) -> tuple[Report, NDArray[Any], str]:
    """Translate one file; return the report, the values of the output, and its name."""
    source = folder / "in" / name
    source.parent.mkdir(parents=True)
    if source.suffix == ".npy":
        np.save(source, pixels)
    else:
        assert cv2.imwrite(str(source), pixels)
    report = translate_folder(translator, folder / "in", folder / "out", Options(**options))
    (output,) = (folder / "out").glob("[!.]*")
    values = (
        np.load(output)
        if output.suffix == ".npy"
        else cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    )
    assert values is not None
    return report, np.squeeze(values), output.name


# -- depth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "made"), [("x.png", "keep", "x.png"), ("x.png", "npy", "x.npy")]
)
def test_an_8_bit_photo_becomes_a_16_bit_target(
    tmp_path: Path, name: str, asked: str, made: str
) -> None:
    translator = model(ImageSpec(GRAY, depth=16))
    _, values, output = translated(tmp_path, translator, name, RAMP, format=asked)
    assert (output, values.dtype) == (made, np.uint16)
    np.testing.assert_array_equal(values, RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(translator(RAMP), values)
    pil = translator(Image.fromarray(RAMP))
    assert pil.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(pil), values)


@pytest.mark.parametrize(("name", "dtype"), [("x.png", np.uint16), ("x.npy", np.float32)])
def test_deeper_inputs_become_an_8_bit_target(tmp_path: Path, name: str, dtype: type) -> None:
    deep = RAMP.astype(np.uint16) * 257 if dtype == np.uint16 else RAMP.astype(np.float32) / 255
    translator = model(ImageSpec(GRAY, depth=8), ImageSpec(GRAY, depth=16))
    _, values, _ = translated(tmp_path, translator, name, deep)
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, RAMP)


def test_an_8_bit_photo_becomes_floats_in_the_range_of_the_target(tmp_path: Path) -> None:
    translator = model(ImageSpec(GRAY, (-1000.0, 3000.0), depth=32))
    report, values, output = translated(
        tmp_path, translator, "x.jpg", np.full((9, 9), 51, np.uint8)
    )
    assert (output, values.dtype) == ("x.tif", np.float32)
    np.testing.assert_allclose(values, -200, atol=1e-3)
    assert report.notes == [
        "outputs are TIFF where their format cannot hold 32 bits (1, first: x.tif)"
    ]
    np.testing.assert_allclose(translator(np.full((9, 9), 51, np.uint8)), -200, atol=1e-3)


def test_depth_can_be_chosen_and_belongs_to_the_job(tmp_path: Path) -> None:
    target = ImageSpec(COLOR, depth=16)
    color = np.dstack([RAMP] * 3)
    for depth, dtype in ((8, np.uint8), (32, np.float32)):
        chosen = model(target, depth=depth)
        folder = tmp_path / str(depth)
        _, values, _ = translated(folder, chosen, "x.npy", color)
        assert values.dtype == dtype
        np.testing.assert_allclose(values, color if depth == 8 else color / 255, atol=1e-6)
        np.testing.assert_array_equal(chosen(color), values)
        with pytest.raises(TranslationError, match="would be replaced"):
            translate_folder(model(target), folder / "in", folder / "out")


def test_an_unknown_depth_is_that_of_each_input(tmp_path: Path) -> None:
    _, values, _ = translated(tmp_path, model(ImageSpec(GRAY)), "x.png", RAMP.astype(np.uint16))
    np.testing.assert_array_equal(values, RAMP)
    assert values.dtype == np.uint16


def test_a_format_without_the_depth_is_refused_before_the_work(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), RAMP)
    translator = model(ImageSpec(GRAY, depth=16))
    message = "makes 1 channels of 16 bits, which JPEG cannot hold. Choose png, or --depth 8"
    for output, options in ((tmp_path / "out", Options(format="jpg")), (tmp_path / "y.jpg", None)):
        with pytest.raises(TranslationError, match=message):
            translate_folder(translator, tmp_path / "x.png", output, options)
        assert not output.exists()
    report = translate_folder(model(ImageSpec(GRAY, depth=16), depth=8), tmp_path / "x.png", output)
    assert report.written == 1


def test_a_jpeg_becomes_a_png_where_the_target_is_deeper(tmp_path: Path) -> None:
    translator = model(ImageSpec(GRAY, depth=16))
    report, values, output = translated(
        tmp_path, translator, "x.jpg", np.full((9, 9), 51, np.uint8)
    )
    assert (output, int(values[0, 0])) == ("x.png", 51 * 257)
    assert report.notes == [
        "outputs are PNG where their format cannot hold 16 bits (1, first: x.png)"
    ]


class Constant(nn.Module):
    """Makes images of one value, whatever the noise."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.full((len(z), 1, 4, 4), -0.5, device=z.device)


@pytest.mark.parametrize(
    ("target", "expected", "name"),
    [
        (ImageSpec(GRAY), np.uint8(64), "000000.png"),
        (ImageSpec(GRAY, depth=16), np.uint16(16384), "000000.png"),
        (ImageSpec(GRAY, (0.0, 400.0), 16, True), np.uint16(100), "000000.png"),
        (ImageSpec(GRAY, (0.0, 400.0), 32), np.float32(100), "000000.tif"),
    ],
)
def test_images_from_noise_hold_what_training_files_hold(
    tmp_path: Path, target: ImageSpec, expected: np.generic, name: str
) -> None:
    sampler = Sampler(
        Constant(),
        LatentSpec(3),
        torch.device("cpu"),
        Execution(),
        target=target,
        depth=target.depth or 8,
    )
    (path,) = write_numbered(sampler, tmp_path, 1, 0, None, False)
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert (path.name, values.dtype) == (name, expected.dtype)
    assert (values == expected).all()


# -- scores ----------------------------------------------------------------------------------------


def pairs(root: Path, images: list[NDArray[Any]], targets: list[NDArray[Any]]) -> Path:
    for domain, arrays in (("a", images), ("b", targets)):
        folder = root / "test" / domain
        folder.mkdir(parents=True)
        for number, array in enumerate(arrays):
            if array.dtype.kind == "f":
                np.save(folder / f"{number}.npy", array)
            else:
                cv2.imwrite(str(folder / f"{number}.png"), array)
    return root


@pytest.mark.parametrize(
    ("target", "span"),
    [
        (ImageSpec(GRAY, depth=16), 65535),
        (ImageSpec(GRAY), 65535),
        (ImageSpec(GRAY, (0.0, 4095.0), 16, True), 4095),
    ],
)
def test_16_bit_targets_are_scored_at_full_depth(
    tmp_path: Path, target: ImageSpec, span: int
) -> None:
    truth = (np.arange(1024, dtype=np.uint16) * 4).reshape(32, 32)
    given = truth + (np.indices((32, 32)).sum(0) % 2).astype(np.uint16)  # one step in every second
    result = evaluate(model(target, target), pairs(tmp_path, [given], [truth]))
    error = np.abs(given.astype(np.float64) - truth)
    scores = result.scores["model"]
    assert scores["psnr"].mean == pytest.approx(
        10 * np.log10(span**2 / (error**2).mean()), abs=1e-3
    )
    assert scores["l1_units"].mean == pytest.approx(0.5, abs=1e-4)
    assert (result.depth, result.value_range) == (16, (0, span))
    assert "L1 in units of the files" in table(result)[0]


def test_float_targets_are_scored_in_their_range(tmp_path: Path) -> None:
    target = ImageSpec(GRAY, (-10.0, 10.0), depth=32)
    truth = np.linspace(-10, 10, 400).reshape(20, 20).astype(np.float32)
    given = np.clip(truth + 0.001, -10, 10).astype(np.float32)
    result = evaluate(model(target, target), pairs(tmp_path, [given], [truth]))
    error = np.abs(given.astype(np.float64) - truth)
    scores = result.scores["model"]
    assert scores["l1_units"].mean == pytest.approx(error.mean(), rel=1e-3)
    assert scores["psnr"].mean == pytest.approx(10 * np.log10(400 / (error**2).mean()), abs=0.01)
    assert scores["psnr"].mean < 100
    assert result.value_range == (-10, 10)


def test_an_8_bit_output_is_not_perfect_next_to_a_16_bit_target(tmp_path: Path) -> None:
    truth = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64 + 37
    source, target = ImageSpec(GRAY, depth=16), ImageSpec(GRAY, depth=8)
    result = evaluate(model(target, source), pairs(tmp_path, [truth], [truth]))
    rounded = np.round(truth / 257) * 257
    mse = ((truth - rounded) ** 2).mean()
    psnr = result.scores["model"]["psnr"].mean
    assert psnr == pytest.approx(10 * np.log10(65535**2 / mse), abs=1e-3)


def test_scores_of_8_bit_pictures_stay_what_they_were(tmp_path: Path) -> None:
    given = RAMP
    truth = np.clip(RAMP.astype(int) + 3, 0, 255).astype(np.uint8)
    result = evaluate(model(ImageSpec(GRAY, depth=8)), pairs(tmp_path, [given], [truth]))
    mse = ((given.astype(float) - truth) ** 2).mean()
    assert result.scores["model"]["psnr"].mean == pytest.approx(10 * np.log10(255**2 / mse))
    assert table(result)[0] == ["", "PSNR, dB", "SSIM", "L1"]


@pytest.mark.parametrize("options", [{}, {"size": 10}])
def test_images_below_the_window_of_ssim_are_one_error(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    small = RAMP if options else RAMP[:10]
    with pytest.raises(EvaluationError, match="smaller than the 11x11 window of SSIM"):
        evaluate(model(ImageSpec(GRAY)), pairs(tmp_path, [small], [small]), **options)


# -- labels ----------------------------------------------------------------------------------------


LABELS = np.kron(np.array([[3, 9], [200, 9]], np.uint8), np.ones((8, 8), np.uint8))


@pytest.mark.parametrize("size", [7, 24, (5, 31)])
def test_labels_are_resized_without_new_values(tmp_path: Path, size: Any) -> None:
    labels = ImageSpec(GRAY, depth=8, mask=True)
    translator = model(ImageSpec(GRAY, depth=8), labels)
    _, values, _ = translated(tmp_path, translator, "x.png", LABELS, size=size)
    assert set(np.unique(values)) <= {3, 9, 200}
    assert values.shape == (size if isinstance(size, tuple) else (size, size))
    both = pairs(tmp_path / "data", [LABELS], [LABELS])
    result = evaluate(model(labels, labels), both, size=24, examples=1)
    assert set(np.unique(result.examples[0][0])) <= {3, 9, 200}


def test_labels_in_jpeg_files_are_read_with_a_note(tmp_path: Path) -> None:
    translator = model(ImageSpec(GRAY, depth=8), ImageSpec(GRAY, depth=8, mask=True))
    report, _, _ = translated(tmp_path, translator, "x.jpg", LABELS)
    assert report.notes == [
        "labels were read from JPEG files, whose compression mixes them (1, first: x.jpg)"
    ]


def test_labels_are_not_written_into_jpeg_files(tmp_path: Path) -> None:
    translator = model(ImageSpec(GRAY, depth=8, mask=True))
    report, _, output = translated(tmp_path, translator, "x.jpg", LABELS)
    assert output == "x.png"
    assert report.notes == [
        "outputs are PNG where their format cannot hold labels (1, first: x.png)"
    ]
    with pytest.raises(TranslationError, match=r"of labels, which JPEG cannot hold. Choose png\."):
        translate_folder(translator, tmp_path / "in", tmp_path / "new", Options(format="jpg"))


def test_labels_in_colors_are_no_gray_labels(tmp_path: Path) -> None:
    translator = model(ImageSpec(GRAY, depth=8), ImageSpec(GRAY, depth=8, mask=True))
    stored_gray = np.dstack([LABELS] * 3)
    _, values, _ = translated(tmp_path / "gray", translator, "x.png", stored_gray)
    np.testing.assert_array_equal(values, LABELS)
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/x.png"), np.dstack([LABELS, LABELS, 255 - LABELS]))
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out")
    assert report.failed[0][1].startswith("holds colors, and the labels of the model are gray")


IDS = (np.arange(19 * 16) % 19).astype(np.uint8).reshape(19, 16)


@pytest.mark.parametrize(("trained", "given"), [(8, np.uint16), (16, np.uint8)])
@pytest.mark.parametrize("target", [ImageSpec(GRAY, depth=8), ImageSpec(GRAY)])
def test_labels_are_the_same_numbers_at_every_depth(
    tmp_path: Path, trained: int, given: type, target: ImageSpec
) -> None:
    labels = ImageSpec(GRAY, depth=trained, mask=True)  # type: ignore[arg-type]
    translator = model(target, labels)
    same: NDArray[Any] = IDS.astype(f"u{trained // 8}")
    other: NDArray[Any] = IDS.astype(given)
    _, expected, _ = translated(tmp_path / "same", translator, "x.png", same)
    report, values, _ = translated(tmp_path / "other", translator, "x.png", other)
    assert expected.max() == (0 if (trained, target.depth) == (16, 8) else 18)
    for found in (values, translator(other), np.asarray(translator(Image.fromarray(other)))):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    bits = 8 * np.dtype(given).itemsize
    assert report.notes == [
        f"{bits}-bit labels were read as the same numbers of {trained} bits (1, first: x.png)"
    ]


def test_labels_beyond_the_depth_of_training_are_refused(tmp_path: Path) -> None:
    translator = model(ImageSpec(GRAY, depth=8), ImageSpec(GRAY, depth=8, mask=True))
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/x.png"), np.full((8, 8), 256, np.uint16))
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out")
    reason = "holds labels up to 256, and the model was trained on 8-bit ones"
    assert report.failed[0][1].startswith(reason)
    for image in (np.full((8, 8), 256, np.uint16), Image.new("I;16", (8, 8), 256)):
        with pytest.raises(ImageError, match=f"image: {reason}. Convert them"):
            translator(image)
    assert translator(np.full((8, 8), 255, np.uint16)).max() == 255


def test_alpha_beside_labels_keeps_its_share() -> None:
    translator = model(ImageSpec(GRAY, depth=8), ImageSpec(GRAY, depth=8, mask=True), alpha="carry")
    opacity = np.full((19, 16), 32768, np.uint16)
    found = translator(np.dstack([IDS.astype(np.uint16), opacity]))
    np.testing.assert_array_equal(found, np.dstack([IDS, np.full((19, 16), 128, np.uint8)]))


def test_labels_in_a_range_keep_their_numbers_at_another_depth(tmp_path: Path) -> None:
    labels = ImageSpec(GRAY, (0.0, 51.0), 8, ranged_integers=True, mask=True)
    translator = model(ImageSpec(GRAY, depth=8), labels)
    _, values, _ = translated(tmp_path, translator, "x.png", IDS.astype(np.uint16))
    np.testing.assert_array_equal(values, IDS * 5)


def test_labels_are_written_as_their_numbers_at_a_chosen_depth(tmp_path: Path) -> None:
    labels = ImageSpec(GRAY, depth=8, mask=True)
    _, values, _ = translated(tmp_path / "deep", model(labels, labels, depth=16), "x.png", IDS)
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values, IDS)
    deep = ImageSpec(GRAY, depth=16, mask=True)
    shallow = model(deep, deep, depth=8)
    np.testing.assert_array_equal(shallow(IDS.astype(np.uint16)), IDS)
    with pytest.raises(ImageError, match="holds labels up to 300, and 8 bits cannot hold them"):
        shallow(np.full((8, 8), 300, np.uint16))


def test_evaluation_reads_labels_of_another_depth_as_the_same_numbers(tmp_path: Path) -> None:
    labels = ImageSpec(GRAY, depth=8, mask=True)
    truth = np.where(IDS == 3, 4, IDS).astype(np.uint8)
    deep = pairs(tmp_path / "16", [IDS.astype(np.uint16)], [truth.astype(np.uint16)])
    expected = evaluate(model(labels, labels), pairs(tmp_path / "8", [IDS], [truth]))
    found = evaluate(model(labels, labels), deep)
    assert found.scores == expected.scores
    assert found.depth == 8


def test_a_domain_of_labels_of_several_depths_is_trained_on_their_numbers(tmp_path: Path) -> None:
    for name, values in (("1.png", IDS), ("2.png", IDS.astype(np.uint16))):
        for folder in "ab":
            (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "train" / folder / name), values)
    config = PairedData(root=str(tmp_path), masks=("a",), resize="none", crop_size=16)
    dataset = PairedImages(config, split="train")
    for index in range(2):
        stored = dataset.read_row(("a", "b"), index)["a"][..., 0]
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, IDS)


def test_12_bits_in_16_for_a_model_of_8_bits_are_a_note(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16) * 16
    report, output, _ = translated(
        tmp_path / "12", model(ImageSpec(GRAY, depth=8)), "x.png", values
    )
    np.testing.assert_array_equal(output, np.round(values / 257))
    (note,) = report.notes
    assert note.startswith("values of 16-bit inputs are below 4096, of 65535 that stand for")
    report, _, _ = translated(
        tmp_path / "16", model(ImageSpec(GRAY, depth=8)), "x.png", values * 16
    )
    assert not report.notes


# -- integers in a range ---------------------------------------------------------------------------


def test_integers_in_a_range_become_its_unit_and_come_back(tmp_path: Path) -> None:
    ct = ImageSpec(GRAY, (0.0, 4095.0), 16, ranged_integers=True)
    values = np.linspace(0, 4095, 256).round().astype(np.uint16).reshape(16, 16)
    cv2.imwrite(str(tmp_path / "ct.png"), values)
    unit = read([str(tmp_path / "ct.png")], ct).array[..., 0]
    np.testing.assert_allclose(unit, values / 4095, atol=1e-7)
    translator = model(ct, ct)
    _, output, _ = translated(tmp_path, translator, "x.png", values)
    np.testing.assert_array_equal(output, values)
    np.testing.assert_array_equal(translator(values), values)
    np.testing.assert_array_equal(np.asarray(translator(Image.fromarray(values))), values)
    floats = translator(values.astype(np.float32))
    np.testing.assert_allclose(floats, values, atol=1e-2)


def test_a_value_outside_of_the_range_is_a_failed_file(tmp_path: Path) -> None:
    ct = ImageSpec(GRAY, (0.0, 4095.0), 16, ranged_integers=True)
    cv2.imwrite(str(tmp_path / "x.png"), np.full((4, 4), 4096, np.uint16))
    report = translate_folder(model(ct, ct), tmp_path / "x.png", tmp_path / "y.png")
    assert report.failed[0][1].startswith("values from 4096 to 4096, outside [0, 4095]")


def test_shallower_files_are_spread_over_the_range_with_a_note(tmp_path: Path) -> None:
    ct = ImageSpec(GRAY, (0.0, 4095.0), 16, ranged_integers=True)
    report, output, _ = translated(tmp_path, model(ct, ct), "x.png", RAMP)
    np.testing.assert_array_equal(output, np.round(RAMP / 255 * 4095))
    assert report.notes == [
        "8-bit inputs were spread over 0 to 4095, the range of the 16-bit files of training "
        "(1, first: x.png)"
    ]
    chosen = model(ct, ct, depth=8)
    np.testing.assert_array_equal(chosen(RAMP), RAMP)


# -- pairs side by side ----------------------------------------------------------------------------


def test_the_input_half_of_files_like_those_of_training_is_translated(tmp_path: Path) -> None:
    source = ImageSpec(GRAY, depth=8, size=(16, 12), half="right")
    translator = model(ImageSpec(GRAY, depth=8), source)
    wide = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48).astype(np.uint8)
    report, values, _ = translated(tmp_path, translator, "x.png", wide)
    np.testing.assert_array_equal(values, wide[:, 24:])
    assert "their right halves were translated, --half whole takes all" in report.notes[0]
    with pytest.warns(UserWarning, match="its right half is translated"):
        np.testing.assert_array_equal(translator(wide), wide[:, 24:])
    whole = model(ImageSpec(GRAY, depth=8), source, half="whole")
    np.testing.assert_array_equal(whole(wide), wide)
    _, values, _ = translated(tmp_path / "whole", translator, "x.png", wide, half="whole")
    np.testing.assert_array_equal(values, wide)


def test_images_of_another_form_are_translated_whole(tmp_path: Path) -> None:
    source = ImageSpec(GRAY, depth=8, size=(16, 16), half="left")
    translator = model(ImageSpec(GRAY, depth=8), source)
    report, values, _ = translated(tmp_path, translator, "x.png", RAMP)
    np.testing.assert_array_equal(values, RAMP)
    assert report.notes == []


def test_pairs_of_a_model_that_does_not_know_their_form_are_said_to_be_whole(
    tmp_path: Path,
) -> None:
    translator = model(ImageSpec(GRAY), ImageSpec(GRAY, half="left"))
    report, values, _ = translated(tmp_path, translator, "x.png", np.hstack([RAMP, RAMP]))
    assert values.shape == (16, 32)
    assert "translated whole by a model of pairs side by side: --half left" in report.notes[0]


@pytest.mark.parametrize("half", ["left", "right"])
def test_evaluation_reads_pairs_as_they_were_in_training(tmp_path: Path, half: Any) -> None:
    spec = ImageSpec(GRAY, depth=8, size=(16, 16), half=half)
    (tmp_path / "test").mkdir()
    given, truth = RAMP, 255 - RAMP
    pair = [given, truth] if half == "left" else [truth, given]
    cv2.imwrite(str(tmp_path / "test/0.png"), np.hstack(pair))
    translator = model(ImageSpec(GRAY, depth=8), spec)
    scores = evaluate(translator, tmp_path).scores["model"]
    assert scores["l1"].mean == pytest.approx(np.abs(RAMP / 255 * 2 - 1).mean())
    cv2.imwrite(str(tmp_path / "test/1.png"), np.hstack([RAMP] * 3))
    with pytest.raises(EvaluationError, match=r"1.png: 48x16 pixels: not the form"):
        evaluate(translator, tmp_path)


@pytest.mark.parametrize("names", [("input", "target"), ("depth", "normal", "target")])
def test_evaluation_scores_the_pairs_of_the_table_that_is_named(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name, pixels in {"ramp": RAMP, "back": 255 - RAMP, "black": 0 * RAMP}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    inputs = tuple(ChannelSpec(1, alpha=False, name=name) for name in names[:-1])
    plain = len(inputs) == 1
    translator = model(ImageSpec(GRAY, depth=8), ImageSpec(GRAY if plain else inputs, depth=8))
    for table_name, target in {"test_p.csv": "back", "train_p.csv": "black"}.items():
        row = ["ramp.png"] * len(inputs) + [f"{target}.png"]
        (tmp_path / table_name).write_text(f"{','.join(names)}\n{','.join(row)}\n")
    scores = evaluate(translator, tmp_path, pairs="test_p.csv").scores
    assert scores["model"]["l1"].mean == pytest.approx(np.abs(RAMP / 255 * 2 - 1).mean())
    mean = scores["output = mean training picture"]["l1"].mean  # of train_p.csv, which is black
    assert mean == pytest.approx(0.5)
    scores = evaluate(translator, tmp_path, pairs="train_p.csv").scores
    assert scores["model"]["l1"].mean == pytest.approx((RAMP / 255).mean())


# -- size ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resized_to", "size", "expected"),
    [
        ((64, 64), "keep", "at most half the size"),
        ((8, 8), "keep", "at least twice the size"),
        ((24, 24), "keep", None),
        ((64, 64), 64, None),
        (None, "keep", None),
    ],
)
def test_another_scale_than_in_training_is_a_note(
    tmp_path: Path, resized_to: Any, size: Any, expected: str | None
) -> None:
    translator = model(ImageSpec(GRAY, depth=8), resized_to=resized_to)
    report, _, _ = translated(tmp_path, translator, "x.png", RAMP, size=size)
    if expected is None:
        assert report.notes == []
    else:
        assert expected in report.notes[0]
        assert f"--size {resized_to[0]} gives them its scale (1, first: x.png)" in report.notes[0]
