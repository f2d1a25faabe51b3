"""`i2i evaluate`: two folders, data without pairs, both directions, baselines, and its files."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import here
from models import OPTIONS
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio

from i2i import images, registry
from i2i.evaluation.baselines import COLORS, INPUT, Baselines, color_fit
from i2i.evaluation.features import FeatureWeights, lpips
from i2i.evaluation.features.load import load_lpips
from i2i.evaluation.folders import evaluate_folders
from i2i.evaluation.pairs import EvaluationError
from i2i.evaluation.record import Measures
from i2i.evaluation.scoring import PAIRED, Scorer
from i2i.evaluation.sets import set_scores
from i2i.evaluation.tables import markdown
from i2i.files import sha256
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, named_tensors, save_model

SIDE = 32


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape or (SIDE, SIDE, 3), np.uint8)


def near(image: NDArray[np.uint8], seed: int, step: int = 20) -> NDArray[np.uint8]:
    moved = image.astype(int) + np.random.default_rng(seed).integers(-step, step + 1, image.shape)
    return moved.clip(0, 255).astype(np.uint8)


def write(folder: Path, pictures: dict[str, NDArray[Any]]) -> Path:
    folder.mkdir(parents=True)
    for name, pixels in pictures.items():
        images.encode(pixels if pixels.ndim == 3 else pixels[..., None], folder / name)
    return folder


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of both directions."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    names = ("a2b", "b2a")
    networks = {
        name: registry.find("generators", "resnet").factory(3, 3, **OPTIONS["resnet"])
        for name in names
    }
    part = GeneratorInfo(name="resnet", options=OPTIONS["resnet"], in_channels=3, out_channels=3)
    info = ModelInfo(method="test", generators=dict.fromkeys(names, part), direction="a2b")
    save_model(folder / WEIGHTS, info, named_tensors(networks))
    return folder


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paired")
    for split, start in (("train", 100), ("test", 0)):
        a = {f"{n}.png": noise(n) for n in range(start, start + 5)}
        write(root / split / "a", a)
        write(root / split / "b", {name: 255 - pixels for name, pixels in a.items()})
    return root


@pytest.fixture(scope="module")
def unpaired(paired: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unpaired") / "data"
    shutil.copytree(paired, root)
    for path in [*root.glob("*/b/*.png")]:
        path.rename(path.with_name(f"other_{path.name}"))
    return root


# -- two folders -----------------------------------------------------------------------------------


def test_outputs_of_another_toolkit_in_one_folder_are_scored_by_two_patterns(
    tmp_path: Path,
) -> None:
    reals = {f"{n}_real_B.png": noise(n) for n in range(3)}
    fakes = {f"{n}_fake_B.png": near(noise(n), n + 50) for n in range(3)}
    folder = write(tmp_path / "images", reals | fakes)
    patterns = ("--pair-pattern", "{id}_fake_B", "--pair-pattern", "{id}_real_B")
    done = here("evaluate", folder, folder, *patterns, "--json")
    content = json.loads(done.out)
    expected = np.mean(
        [
            peak_signal_noise_ratio(reals[f"{n}_real_B.png"], fakes[f"{n}_fake_B.png"])
            for n in range(3)
        ]
    )
    assert content["scores"]["outputs"]["psnr"]["mean"] == pytest.approx(expected, abs=1e-6)
    assert content["images"] == 3


def test_folders_are_paired_by_stems_or_compared_as_sets_and_the_choice_is_said(
    tmp_path: Path,
) -> None:
    fakes = {f"{n}.png": near(noise(n), n + 50) for n in range(4)}
    outputs = write(tmp_path / "out", fakes)
    targets = write(tmp_path / "same", {f"{n}.png": noise(n) for n in range(4)})
    others = write(tmp_path / "other", {f"x{n}.png": noise(n) for n in range(4)})
    done = here("evaluate", outputs, targets)
    assert "note: taken as pairs: 4 outputs have a target of their stem" in done.out
    assert "worst of outputs by SSIM: " in done.out
    assert "MS-SSIM is not computed: 4 of 4 images have a side below 176 pixels" in done.out
    done = here("evaluate", outputs, others)
    assert "note: taken as sets without pairs: 0 outputs have a target of their stem" in done.out
    assert "SWD" in done.out
    assert "PSNR" not in done.out
    assert "protocol" in done.out
    done = here("evaluate", outputs, others, "--paired")
    assert done.status == 2
    assert "no stem is in both folders" in done.err
    expected = set_scores([noise(n) for n in range(4)], [*fakes.values()], ["swd"])
    found = evaluate_folders(outputs, targets, paired=False).scores["outputs"]["swd"]
    assert found == pytest.approx(expected["swd"])


def test_a_difference_in_units_is_that_of_the_files(tmp_path: Path) -> None:
    kelvin = np.linspace(200, 300, 400).reshape(20, 20, 1).astype(np.float32)
    outputs = write(tmp_path / "out", {"x.tif": (kelvin - 2).clip(200, 300)})
    targets = write(tmp_path / "real", {"x.tif": kelvin})
    measures = Measures(("l1_units",))
    result = evaluate_folders(outputs, targets, measures, value_range=(200.0, 300.0))
    error = np.abs((kelvin - 2).clip(200, 300).astype(float) - kelvin).mean()
    assert result.scores["outputs"]["l1_units"].mean == pytest.approx(error, rel=1e-4)
    assert (result.depth, result.value_range) == (32, (200.0, 300.0))
    deep = (kelvin * 100).astype(np.uint16)
    outputs = write(tmp_path / "deep_out", {"x.png": deep + 7})
    targets = write(tmp_path / "deep_real", {"x.png": deep})
    for limits, span in ((None, 65535.0), ((0.0, 40000.0), 40000.0)):
        result = evaluate_folders(
            outputs, targets, Measures(("psnr", "l1_units")), value_range=limits
        )
        scores = result.scores["outputs"]
        assert scores["l1_units"].mean == pytest.approx(7, rel=1e-3)
        assert scores["psnr"].mean == pytest.approx(20 * np.log10(span / 7), abs=0.01)


def test_floats_out_of_range_name_the_option_that_says_what_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "floats"
    folder.mkdir()
    np.save(folder / "0.npy", np.full((SIDE, SIDE), 1500, np.float32))
    ended = here("evaluate", folder, folder)
    assert ended.status
    assert "--value-range" in ended.err


def test_color_outputs_of_gray_targets_are_converted_and_other_sizes_refused(
    tmp_path: Path,
) -> None:
    gray = noise(1, SIDE, SIDE)
    outputs = write(tmp_path / "out", {"x.png": np.repeat(gray[..., None], 3, 2)})
    targets = write(tmp_path / "real", {"x.png": gray})
    result = evaluate_folders(outputs, targets)
    assert result.scores["outputs"]["l1"].mean == 0
    assert any("outputs of 3 channels are converted to 1" in note for note in result.notes)
    small = write(tmp_path / "small", {"x.png": noise(1, 20, 30)})
    with pytest.raises(
        EvaluationError, match=r"30x20 pixels, but its target has 32x32\. Pass --size"
    ):
        evaluate_folders(small, targets)
    resized = evaluate_folders(small, targets, Measures(size=(24, 24)))
    assert resized.protocol.size == "24x24"


def test_a_file_without_partner_is_named_and_left_out(tmp_path: Path) -> None:
    outputs = write(tmp_path / "out", {f"{n}.png": noise(n) for n in range(4)})
    targets = write(tmp_path / "real", {f"{n}.png": noise(n) for n in range(3)})
    result = evaluate_folders(outputs, targets)
    assert result.count == 3
    assert any("1 files without a partner are left out" in note for note in result.notes)


# -- models ----------------------------------------------------------------------------------------


def test_both_directions_are_scored_in_one_call(both_ways: Path, paired: Path) -> None:
    done = here("evaluate", both_ways, paired, "--direction", "both", "--json")
    parts = json.loads(done.out)["directions"]
    assert [part["direction"] for part in parts] == ["a2b", "b2a"]
    assert parts[0]["protocol_hash"] != parts[1]["protocol_hash"]
    alone = json.loads(here("evaluate", both_ways, paired, "--direction", "b2a", "--json").out)
    assert alone == parts[1]
    assert "--direction both scores both" in here("evaluate", both_ways, paired).err


def test_unpaired_data_is_compared_as_sets_beside_inputs_and_training_pictures(
    both_ways: Path, unpaired: Path
) -> None:
    done = here("evaluate", both_ways, unpaired)
    rows = [line.split("  ")[0] for line in done.out.splitlines()[2:5]]
    assert rows == ["model", "output = input", "output = training pictures of the target"]
    assert "note: most files have no partner, so sets are compared" in done.out
    done = here("evaluate", both_ways, unpaired, "--metrics", "psnr")
    assert "i2i: --metrics psnr: needs pairs, and the data has none" in done.err


def test_what_is_assumed_of_pairs_and_what_favors_baselines_is_said(
    both_ways: Path, paired: Path
) -> None:
    done = here("evaluate", both_ways, paired, "--split", "train")
    assert "note: baselines are fitted on the images that are scored" in done.out
    assert "note: files of one name are taken as pairs (--unpaired compares sets)" in done.out
    done = here("evaluate", both_ways, paired, "--paired")
    assert "note: " not in done.out


@pytest.mark.parametrize(("kind", "domain"), [("paired", "b"), ("paired", "a"), ("unpaired", "b")])
def test_a_damaged_training_image_is_left_out_of_the_baselines_and_named(
    kind: str, domain: str, both_ways: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(request.getfixturevalue(kind), root)
    damaged = sorted((root / "train" / domain).iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:60])
    done = here("evaluate", both_ways, root)
    assert done.status == 0
    assert f"baselines lack 1 training image that cannot be read (first: {damaged})" in done.out
    assert "mean training picture" in done.out or "training pictures" in done.out


def test_metrics_of_sets_stand_beside_those_of_pairs(both_ways: Path, paired: Path) -> None:
    done = here("evaluate", both_ways, paired, "--metrics", "psnr,swd,grid", "--json")
    content = json.loads(done.out)
    assert [*content["scores"]["model"]] == ["psnr", "swd", "grid"]
    assert content["protocol"]["features"].keys() == {"swd", "grid"}
    reals = [255 - noise(n) for n in range(5)]
    expected = set_scores(reals, [noise(n) for n in range(5)], ["swd"])["swd"]
    assert content["scores"][INPUT]["swd"]["mean"] == pytest.approx(expected.mean)


def test_a_file_of_each_image_lists_the_worst_first(
    both_ways: Path, paired: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    done = here("evaluate", both_ways, paired, "--csv", path, "--markdown")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["scored"] == "model"]
    values = [float(row["ssim"]) for row in rows]
    assert len(rows) == 5
    assert values == sorted(values)
    assert f"worst of model by SSIM: {Path(rows[0]['name']).name} {values[0]:.3f}" in done.out
    assert "| model | " in done.out


def test_a_comparison_names_what_differs_from_another_result(
    both_ways: Path, paired: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.json"
    path.write_text(here("evaluate", both_ways, paired, "--json").out)
    done = here("evaluate", both_ways, paired, "--size", 20, "--explain", path)
    assert "\n  resized to: 20; keep in the other\n" in done.out
    done = here("evaluate", both_ways, paired, "--explain", path)
    assert done.out.endswith("\n  nothing differs\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{a}", "{b}", "--split", "val"), "--split has no effect on two folders"),
        (("{model}", "{data}", "--value-range", 0, 1), "--value-range has no effect on a model"),
        (("{a}", "{b}", "--json", "--markdown"), "exclude each other"),
        (("{a}", "{b}", "--metrics", "fame"), "--metrics: no metric fame. Choose among psnr"),
        (("{a}", "{b}", "--mask", "{a}", "--metrics", "swd"), "has no effect on swd"),
        (("{a}", "{b}", "--mask", "{a}", "--unpaired"), "--mask: has no effect without pairs"),
        (("{a}", "{b}", "--explain", "{a}/0.png"), "holds no protocol of one evaluation"),
        (("{model}", "{data}", "--unpaired", "--layout", "ab"), "--unpaired: has no effect"),
        (("{a}", "{b}", "--lpips-weights", "{a}/0.png"), "no metric that is computed needs it"),
    ],
)
def test_an_option_without_effect_is_an_error(
    both_ways: Path, paired: Path, arguments: tuple[object, ...], message: str
) -> None:
    names = {"a": paired / "test/a", "b": paired / "test/b", "model": both_ways, "data": paired}
    done = here("evaluate", *(str(word).format(**names) for word in arguments))
    assert done.status == 2
    assert message in done.err


# -- baselines, and images in memory ---------------------------------------------------------------


def test_images_above_the_limit_of_pixels_are_scored_where_it_is_raised(
    both_ways: Path, paired: Path, unpaired: Path
) -> None:
    folders = [paired / "test" / domain for domain in "ab"]
    forms = [both_ways, paired], [both_ways, unpaired], folders, [*folders, "--unpaired"]
    for words in forms:
        refused = here("evaluate", *words, "--max-pixels", 100)
        assert refused.status == 2
        assert "the limit is 0.0001. Raise max_pixels (--max-pixels" in refused.err
        assert here("evaluate", *words, "--max-pixels", 10**6).status == 0


def test_a_linear_color_fit_finds_the_colors_of_the_target() -> None:
    mixing = np.array([[0.2, 0.5, 0.1], [0.3, 0.1, 0.2], [0.1, 0.1, 0.4]])
    pairs = []
    for seed in range(3):
        image = images.to_unit(noise(seed))
        pairs.append((image, (image @ mixing + 0.1).astype(np.float32)))
    fit = color_fit(pairs)
    assert fit is not None
    np.testing.assert_allclose(fit, np.vstack([mixing, np.full(3, 0.1)]), atol=1e-5)
    baselines = Baselines([target for _, target in pairs], pairs)
    outputs = dict(baselines.outputs(*pairs[0]))
    np.testing.assert_allclose(outputs[COLORS], pairs[0][1], atol=1e-5)
    flat = np.full((4, 4, 1), 0.5, np.float32)  # channels that depend on the constant
    fit = color_fit([(flat, flat)])
    assert fit is not None
    assert (np.array([0.5, 1]) @ fit).item() == pytest.approx(0.5)
    assert color_fit([]) is None


def test_images_in_memory_have_the_scores_of_their_files(tmp_path: Path) -> None:
    targets = [noise(n) for n in range(3)]
    outputs = [near(target, n, 5 * n + 1) for n, target in enumerate(targets)]
    spec = ImageSpec((ChannelSpec(3, alpha=False),), depth=8)
    scorer = Scorer(PAIRED, spec)
    for name, output, target in zip("xyz", outputs, targets, strict=True):
        scorer.add(name, target, [("model", output)], 8)
    scored = scorer.result()
    assert [each.name for each in scored.images["model"]] == ["z", "y", "x"]
    pictures = {f"{n}.png": pixels for n, pixels in enumerate(outputs)}
    folders = [write(tmp_path / "out", pictures)]
    folders.append(write(tmp_path / "in", {f"{n}.png": t for n, t in enumerate(targets)}))
    found = evaluate_folders(*folders)
    assert found.scores["outputs"] == scored.scores["model"]


def test_empty_masks_are_left_out_and_all_empty_is_an_error(tmp_path: Path) -> None:
    outputs = write(tmp_path / "out", {f"{n}.png": near(noise(n), n + 9) for n in range(3)})
    targets = write(tmp_path / "real", {f"{n}.png": noise(n) for n in range(3)})
    full = np.full((SIDE, SIDE), 255, np.uint8)
    folder = write(tmp_path / "masks", {"0.png": full, "1.png": 0 * full, "2.png": full})
    result = evaluate_folders(outputs, targets, Measures(mask=folder))
    assert result.count == 2
    assert any("nothing inside of their masks: 1 images" in note for note in result.notes)
    assert result.not_computed["ms_ssim"] == "its coarse scales have no mask"
    plain = evaluate_folders(outputs, targets)
    values = {each.name: each.values for each in plain.images["outputs"]}
    for each in result.images["outputs"]:
        assert each.values["ssim"] == pytest.approx(values[each.name]["ssim"])
    empty = write(tmp_path / "none", {f"{n}.png": 0 * full for n in range(3)})
    with pytest.raises(EvaluationError, match="no mask has a pixel that counts"):
        evaluate_folders(outputs, targets, Measures(mask=empty))


def test_a_mask_does_not_count_for_two_images_of_one_stem(tmp_path: Path) -> None:
    for part in ("x", "y"):
        for name in ("out", "real"):
            write(tmp_path / name / part, {"0.png": noise(0)})
    mask = write(tmp_path / "masks", {"0.png": np.full((SIDE, SIDE), 255, np.uint8)})
    with pytest.raises(EvaluationError, match=r"one mask for two images: .*x/0.png and .*y/0.png"):
        evaluate_folders(tmp_path / "out", tmp_path / "real", Measures(mask=mask))


@pytest.mark.parametrize("masked", [False, True])
def test_a_metric_that_no_image_allows_is_refused_by_its_own_reason(
    masked: bool, tmp_path: Path
) -> None:
    outputs, targets = (write(tmp_path / name, {"0.png": noise(0)}) for name in ("out", "real"))
    mask = write(tmp_path / "masks", {"0.png": np.full((SIDE, SIDE), 255, np.uint8)})
    reason = "coarse scales have no mask" if masked else "1 of 1 images have a side below 176"
    with pytest.raises(EvaluationError, match=f"--metrics ms_ssim: .*{reason}"):
        evaluate_folders(outputs, targets, Measures(["ms_ssim"], mask=mask if masked else None))


def test_a_table_in_markdown_escapes_its_cells() -> None:
    assert markdown([["", "PSNR"], ["a|b", "1"]]) == "|  | PSNR |\n| --- | ---: |\n| a\\|b | 1 |"


def test_a_file_of_weights_that_no_metric_needs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="--inception-weights: no metric"):
        Measures(("psnr",), weights=FeatureWeights(inception=tmp_path))


def test_lpips_of_a_file_of_weights_stands_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    path = tmp_path / "alexnet.pth"
    torch.save(lpips.AlexNet().state_dict(), path)
    monkeypatch.setattr(lpips.AlexNet, "digest", sha256(path))
    outputs = write(tmp_path / "out", {f"{n}.png": near(noise(n), n + 9) for n in range(2)})
    targets = write(tmp_path / "real", {f"{n}.png": noise(n) for n in range(2)})
    weights = FeatureWeights(lpips=path)
    result = evaluate_folders(outputs, targets, Measures(("psnr", "lpips"), weights=weights))
    distance = load_lpips(weights)
    expected = np.mean([distance(near(noise(n), n + 9), noise(n)) for n in range(2)])
    assert result.scores["outputs"]["lpips"].mean == pytest.approx(expected)
    assert result.protocol.features is not None
    assert result.protocol.features["alexnet_sha256"] == sha256(path)
    assert f"alexnet {sha256(path)[:8]}" in str(result.protocol)
