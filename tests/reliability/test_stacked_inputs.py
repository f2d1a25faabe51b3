"""Several folders of inputs as channels of one: trained on, translated, evaluated, refused where they do not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import nn

from i2i import images, load
from i2i.cli import group
from i2i.config import Config, ConfigError, Layer
from i2i.data.check import check_folder, write_clean
from i2i.data.folders import DataError
from i2i.evaluation.baselines import COLORS, MEAN
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.model_file import read_info
from i2i.run.build import open_data
from i2i.run.settings import resolve
from i2i.translation import TranslationError
from i2i.translation.folder import translate_folder
from i2i.translation.translator import Translator

SIDE = 16
TINY = [
    "data.load_size=16",
    "data.crop_size=16",
    "data.workers=0",
    "data.flip=false",
    "generator.name=unet",
]
TINY += [
    "generator.depth=3",
    "generator.width=2",
    "discriminator.width=2",
    "discriminator.layers=1",
]
TINY += ["log.samples=1", "log.tensorboard=false"]


def i2i(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(
        group, [str(argument) for argument in arguments], standalone_mode=False
    )
    if result.exception is not None and not type(result.exception).__module__.startswith(
        ("i2i.", "click.")
    ):
        raise result.exception
    status = (result.return_value or 0) if result.exception is None else 2
    assert status == code, f"{result.output}\n{result.exception}"
    return result


def write(
    path: Path, channels: int, dtype: type[np.generic] = np.uint8, side: int = SIDE
) -> np.ndarray:
    """Noise that depends on the path's last folder and stem, so that nothing is taken for anything else."""
    random = np.random.default_rng([*path.parent.name.encode(), *path.stem.encode()])
    floats = np.dtype(dtype).kind == "f"
    shape = (side, side, channels)
    pixels = (
        random.random(shape).astype(dtype)
        if floats
        else random.integers(0, np.iinfo(dtype).max, shape, dtype)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    images.encode(pixels, path)
    return pixels


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Depth (16-bit gray), normals (.npy floats of 3 channels) and photo (RGB JPEG), with a train and a test split."""
    root = tmp_path / "rooms"
    for split, count in (("train", 4), ("test", 3)):
        for number in range(count):
            write(root / split / f"depth/{number}.png", 1, np.uint16)
            write(root / split / f"normals/{number}.npy", 3, np.float32)
            write(root / split / f"photo/{number}.jpg", 3)
    return root


def test_stacked_folders_are_checked_as_pairs_and_a_fault_of_one_drops_the_sample(
    rooms: Path, tmp_path: Path
) -> None:
    shutil.rmtree(rooms / "test")  # it holds images of the training split
    names = ("--input", "depth", "--input", "normals", "--target", "photo")
    report = json.loads(i2i("data", "check", rooms, *names, "--json").output)
    assert report["kind"] == "paired"
    assert [group["files"] for group in report["groups"]] == [4, 4, 4]
    (rooms / "train/normals/2.npy").write_bytes(b"broken")
    clean = tmp_path / "clean"
    result = i2i("data", "check", rooms, *names, "--fix", clean, code=1)
    assert "train/normals/2.npy" in result.output
    expected = {f"depth/{n}.png" for n in (0, 1, 3)} | {f"normals/{n}.npy" for n in (0, 1, 3)}
    expected |= {f"photo/{n}.jpg" for n in (0, 1, 3)}
    files = {path.relative_to(clean / "train").as_posix() for path in clean.rglob("*.*")}
    assert files == expected
    i2i("data", "check", rooms, "--input", "depth", code=2)


def settings(root: Path, **data: object) -> Config:
    values = {"root": str(root), "load_size": SIDE, "crop_size": SIDE, "flip": False}
    values |= {"inputs": ["depth", "normals"], "target": "photo", **data}
    return resolve("pix2pix", [Layer("test", {"data": values})])


def trained(rooms: Path, run: Path, *more: object) -> Path:
    sets = [word for text in TINY for word in ("--set", text)]
    inputs = ("--input", "depth", "--input", "normals", "--target", "photo")
    i2i(
        "train",
        "pix2pix",
        "--data",
        rooms,
        "--out",
        run,
        "--images",
        3,
        "--device",
        "cpu",
        *inputs,
        *sets,
        *more,
    )
    return run


# -- data ------------------------------------------------------------------------------------------


def test_a_is_the_images_of_all_inputs_in_order_and_b_is_the_target(rooms: Path) -> None:
    dataset = open_data(settings(rooms))
    assert dataset.channels == {"a": 4, "b": 3}
    sample = dataset.fixed(2)
    folder = rooms / "train"
    assert dataset.files(0, 2) == [
        str(folder / name) for name in ("depth/2.png", "normals/2.npy", "photo/2.jpg")
    ]
    depth, normals = (
        images.decode(folder / "depth/2.png") / 65535,
        np.load(folder / "normals/2.npy"),
    )
    np.testing.assert_allclose(
        sample["a"].movedim(0, -1), np.dstack([depth, normals]) * 2 - 1, atol=1e-6
    )
    photo = images.decode(folder / "photo/2.jpg")
    np.testing.assert_allclose(sample["b"].movedim(0, -1), photo / 127.5 - 1, atol=1e-6)
    turned = open_data(settings(rooms, inputs=["normals", "depth"])).fixed(2)
    torch.testing.assert_close(turned["a"], sample["a"].roll(-1, 0))


def test_integers_of_one_depth_stay_integers_until_they_are_resized(tmp_path: Path) -> None:
    for name in ("depth", "edges", "photo"):
        write(tmp_path / "data" / name / "x.png", 1)
    reading = open_data(settings(tmp_path / "data", inputs=["depth", "edges"])).specs["a"]
    inputs = (ChannelSpec(1, False, "depth"), ChannelSpec(1, False, "edges"))
    assert reading == ImageSpec(inputs, depth=8, size=(SIDE, SIDE))


def test_folders_may_be_flat_or_lie_elsewhere_but_never_serve_another_split(tmp_path: Path) -> None:
    for place in (
        "rooms/depth",
        "rooms/photo",
        "elsewhere/normals",
        "elsewhere/normals/test",
        "rooms/test/depth",
    ):
        write(tmp_path / place / "x.png", 1)
    write(tmp_path / "rooms/test/photo/x.png", 3)
    config = settings(tmp_path / "rooms", inputs=["depth", str(tmp_path / "elsewhere/normals")])
    assert open_data(config).channels["a"] == 2
    assert open_data(config).files(0, 0)[1] == str(tmp_path / "elsewhere/normals/x.png")
    assert open_data(config, "test").files(0, 0)[1] == str(
        tmp_path / "elsewhere/normals/test/x.png"
    )
    with pytest.raises(DataError, match=r"no val folder for depth. Accepted: .*rooms/val/depth"):
        open_data(config, "val")


def test_files_without_a_partner_in_every_folder_are_listed_or_skipped(rooms: Path) -> None:
    (rooms / "train/normals/1.npy").unlink()
    write(rooms / "train/photo/9.jpg", 3)
    with pytest.raises(
        DataError,
        match=r"depth has no partner for 1 of 5 images \(first: 9\); .*normals has no partner for 2 of 5 .*unmatched",
    ):
        open_data(settings(rooms))
    dataset = open_data(settings(rooms, allow_unmatched=True))
    assert len(dataset) == 3
    assert "3 files without a partner are skipped." in dataset.notes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"target": None}, "data.inputs, data.target: one needs the other"),
        ({"inputs": []}, "data.inputs, data.target: one needs the other"),
        ({"layout": "ab"}, "layout: ab contradicts inputs"),
        ({"layout": "folders"}, "layout: folders contradicts inputs"),
        ({"direction": "b2a"}, "direction: inputs are translated to the target"),
        ({"alpha": "carry"}, "alpha: carry copies the alpha of one input"),
    ],
)
def test_settings_that_contradict_stacked_inputs_are_refused(
    rooms: Path, data: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(rooms, **data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inputs": ["depth", "depth"]}, "two of these are one folder"),
        ({"inputs": ["depth", "flow"]}, "no train folder for flow"),
        (
            {"color_jitter": 0.1},
            "data.color_jitter: .*domain a have 4 channels, stacked from 2 folders",
        ),
        ({"value_range": {"b": [0, 256]}}, "data.value_range.b: .* integers from 0 to 255"),
        (
            {"value_range": {"a": [0, 0.5]}},
            r"normals/0.npy: float values from .*outside \[0, 0.5\]",
        ),
    ],
)
def test_data_that_cannot_be_stacked_is_refused_before_training(
    rooms: Path, data: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_data(settings(rooms, **data))


def test_a_stack_of_three_grays_is_no_color(rooms: Path) -> None:
    for name in ("edges", "heat"):
        for number in range(4):
            write(rooms / f"train/{name}/{number}.png", 1)
    with pytest.raises(
        DataError, match=r"data.color_jitter: .*domain a have 3 channels, stacked from 3 folders"
    ):
        open_data(settings(rooms, inputs=["depth", "edges", "heat"], color_jitter=0.1))


def test_inputs_of_two_sizes_are_refused_whatever_resizing_does(rooms: Path) -> None:
    write(rooms / "train/normals/2.npy", 3, np.float32, side=20)
    with pytest.raises(
        DataError,
        match=r"(?s)2 of 12 files differ in size from other inputs.*Resize the inputs.*depth/2.png is 16x16",
    ):
        open_data(settings(rooms))


def test_a_range_of_a_holds_for_every_input_with_floats(rooms: Path) -> None:
    plain, ranged = (
        open_data(settings(rooms, **more)).fixed(0)["a"]
        for more in ({}, {"value_range": {"a": [-1, 1]}})
    )
    torch.testing.assert_close(ranged[:1], plain[:1])  # integers
    torch.testing.assert_close(ranged[1:], (plain[1:] + 1) / 2)


def test_a_check_finds_the_faults_of_stacks_and_a_clean_copy_can_be_trained_on(
    rooms: Path, tmp_path: Path
) -> None:
    kinds = {
        "depth": ("png", 1, np.uint16),
        "normals": ("npy", 3, np.float32),
        "photo": ("jpg", 3, np.uint8),
    }
    shutil.rmtree(rooms / "test")
    for name, (suffix, *kind) in kinds.items():
        for number in (7, 8):
            write(rooms / f"test/{name}/{number}.{suffix}", *kind)
    names = {"inputs": ["depth", "normals"], "target": "photo"}
    clean = check_folder(rooms, smallest=SIDE, **names)
    assert (clean.ok, clean.kind, clean.issues) == (True, "paired", ())
    assert [(group.name, group.files) for group in clean.groups[:4]] == [
        ("train depth", 4), ("train normals", 4), ("train photo", 4), ("test depth", 2),
    ]  # fmt: skip
    write(rooms / "train/normals/2.npy", 3, np.float32, side=20)
    (rooms / "train/photo/3.jpg").write_bytes(b"nonsense")
    write(rooms / "train/depth/lonely.png", 1)
    for name, (suffix, *kind) in kinds.items():
        shutil.copy(rooms / f"test/{name}/7.{suffix}", rooms / f"train/{name}/leak.{suffix}")
        write(rooms / f"train/{name}/new.{suffix}", *kind)
    shutil.copy(rooms / "test/depth/8.png", rooms / "train/depth/new.png")  # with other normals
    report = check_folder(rooms, smallest=SIDE, **names)
    assert {issue.name: issue.files for issue in report.issues} == {
        "unreadable": ("train/photo/3.jpg",),
        "unmatched": ("train/depth/lonely.png",),
        "leak": ("train/depth/leak.png", "train/normals/leak.npy", "train/photo/leak.jpg"),
        "unequal inputs": ("train/depth/2.png", "train/normals/2.npy"),
        "unequal pair": ("train/normals/2.npy", "train/photo/2.jpg"),
    }
    write_clean(report, tmp_path / "clean")
    assert check_folder(tmp_path / "clean", smallest=SIDE, **names).issues == ()
    assert len(open_data(settings(tmp_path / "clean"))) == 3


def test_a_clean_copy_of_inputs_outside_of_the_folder_is_refused(
    rooms: Path, tmp_path: Path
) -> None:
    elsewhere = str((rooms / "train/normals").rename(tmp_path / "normals"))
    report = check_folder(rooms, smallest=SIDE, inputs=["depth", elsewhere], target="photo")
    assert report.ok
    with pytest.raises(DataError, match=r"--fix: ../normals/0.npy is outside of .*rooms"):
        write_clean(report, tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_an_input_that_is_a_path_may_have_splits_of_its_own(rooms: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "normals").mkdir(exist_ok=True)
        (rooms / split / "normals").rename(tmp_path / "normals" / split)
    config = settings(rooms, inputs=["depth", str(tmp_path / "normals")])
    for split in ("train", "test"):
        path = tmp_path / "normals" / split / "0.npy"
        assert open_data(config, split).files(0, 0)[1] == str(path)


@pytest.mark.parametrize(
    ("method", "reason"),
    [("cyclegan", "2 inputs; only those of pairs are stacked"), ("dcgan", "unknown setting")],
)
def test_methods_without_pairs_have_no_inputs_to_stack(
    rooms: Path, method: str, reason: str
) -> None:
    names = ("--input", "depth", "--input", "normals", "--target", "photo")
    refused = i2i("train", method, "--data", rooms, *names, code=2)
    assert f"data.inputs: {reason}" in str(refused.exception)


# -- a trained model -------------------------------------------------------------------------------


def test_a_model_of_stacked_inputs_is_trained_translates_and_is_evaluated(
    rooms: Path, tmp_path: Path
) -> None:
    run = trained(rooms, tmp_path / "run")
    info = read_info(run)
    domains = info.domains
    assert (info.resized_to, domains["a"].depth, domains["b"].depth) == ((16, 16), 32, 8)
    assert [(one.name, one.channels) for one in domains["a"].inputs] == [
        ("depth", 1),
        ("normals", 3),
    ]
    assert (
        "i2i translate THIS_FOLDER OUT --input depth --input normals"
        in (run / "README.md").read_text()
    )
    given = ("--input", rooms / "test/depth", "--input", rooms / "test/normals", "--device", "cpu")
    assert "3 written" in i2i("translate", run, tmp_path / "out", *given).output
    assert "0 written, 3 already done" in i2i("translate", run, tmp_path / "out", *given).output
    depth, normals = (
        images.decode(rooms / "test/depth/1.png") / 65535,
        np.load(rooms / "test/normals/1.npy"),
    )
    expected = load(run, device="cpu")(np.dstack([depth, normals]).astype(np.float32))
    made = images.decode(tmp_path / "out/1.png")
    np.testing.assert_array_equal(made, np.round(expected * 255))  # 8 bits, as the target has
    i2i("translate", run, tmp_path / "one.png", *_files(rooms), "--device", "cpu")
    np.testing.assert_array_equal(images.decode(tmp_path / "one.png"), made)
    scores = json.loads(
        i2i(
            "evaluate", run, rooms, "--json", "--device", "cpu", "--sheet", tmp_path / "s.png"
        ).output
    )
    assert scores["images"] == 3
    assert [*scores["scores"]] == ["model", MEAN, COLORS]
    truth = [images.decode(rooms / f"test/photo/{i}.jpg") / 255 for i in range(3)]
    outs = [images.decode(tmp_path / f"out/{i}.png") / 255 for i in range(3)]
    l1 = np.mean([np.abs(t - o).mean() for t, o in zip(truth, outs, strict=True)])
    assert scores["scores"]["model"]["l1"]["mean"] == pytest.approx(l1, abs=1e-4)
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.mode == "RGB"
    said = i2i("evaluate", run, rooms, "--layout", "ab", code=2)
    assert "--layout ab: this model reads the folders depth, normals, photo" in str(said.exception)


def _files(rooms: Path) -> list[object]:
    return ["--input", rooms / "test/depth/1.png", "--input", rooms / "test/normals/1.npy"]


def test_one_named_input_makes_an_ordinary_model(rooms: Path, tmp_path: Path) -> None:
    sets = [word for text in TINY for word in ("--set", text)]
    run, named = tmp_path / "run", ("--input", "depth", "--target", "photo")
    i2i(
        "train",
        "pix2pix",
        "--data",
        rooms,
        "--out",
        run,
        "--images",
        2,
        "--device",
        "cpu",
        *named,
        *sets,
    )
    assert (
        "3 written"
        in i2i("translate", run, rooms / "test/depth", tmp_path / "out", "--device", "cpu").output
    )
    assert "3 images" in i2i("evaluate", run, rooms, "--device", "cpu").output


class Identity(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:]


def stacked() -> Translator:
    source = ImageSpec((ChannelSpec(1, False, "depth"), ChannelSpec(3, False, "normals")))
    return Translator(Identity(), 4, 3, source=source, device="cpu")


def test_a_missing_or_second_partner_and_a_size_are_failed_files_with_their_reasons(
    rooms: Path, tmp_path: Path
) -> None:
    folders = [rooms / "train/depth", rooms / "train/normals"]
    (folders[1] / "0.npy").unlink()
    write(folders[1] / "1.tif", 3)
    write(folders[1] / "2.npy", 3, np.float32, side=8)
    (folders[1] / "9.npy").write_bytes(b"no partner in the first folder: nothing is asked of it")
    report = translate_folder(stacked(), folders, tmp_path / "out")
    assert report.written == 1
    found = dict(report.failed)
    assert found["0.png"] == f"has no partner in {folders[1]}"
    assert found["1.png"] == f"has two partners in {folders[1]}: 1.npy and 1.tif (keep one)"
    assert found["2.png"].startswith(
        f"{folders[1] / '2.npy'}: is 8x8, and {folders[0] / '2.png'} is 16x16"
    )
    np.testing.assert_allclose(
        images.decode(tmp_path / "out/3.png") / 65535, np.load(folders[1] / "3.npy"), atol=1e-5
    )  # the tree and names of the first, the values of the second
    # the partner that was missing arrives: only the file that failed is translated
    write(folders[1] / "0.npy", 3, np.float32)
    again = translate_folder(stacked(), folders, tmp_path / "out")
    assert (again.written, again.skipped) == (1, 1)


def test_a_partner_that_changed_makes_an_output_one_of_other_origin(
    rooms: Path, tmp_path: Path
) -> None:
    folders = [rooms / "test/depth", rooms / "test/normals"]
    translate_folder(stacked(), folders, tmp_path / "out")
    np.save(folders[1] / "1.npy", np.zeros((SIDE, SIDE, 3), np.float32))
    with pytest.raises(TranslationError, match=r"out/1.png: would be replaced.*--overwrite"):
        translate_folder(stacked(), folders, tmp_path / "out")


@pytest.mark.parametrize("place", ["depth", "normals"])
def test_an_output_inside_any_of_the_inputs_is_refused(rooms: Path, place: str) -> None:
    folders = [rooms / "test/depth", rooms / "test/normals"]
    with pytest.raises(TranslationError, match="input and output"):
        translate_folder(stacked(), folders, rooms / "test" / place / "out")
    with pytest.raises(TranslationError, match="same file"):
        translate_folder(
            stacked(),
            [f / n for f, n in zip(folders, ("1.png", "1.npy"), strict=True)],
            folders[1] / "1.npy",
        )


def test_inputs_in_another_order_or_given_twice_are_refused_by_their_names(
    rooms: Path, tmp_path: Path
) -> None:
    depth, normals, out = rooms / "test/depth", rooms / "test/normals", tmp_path / "out"
    (tmp_path / "link").symlink_to(depth)
    order = r"Pass, in this order: --input DEPTH --input NORMALS\."
    for paths, reason in (
        ([normals, depth], "normals: called as the input normals of the model, and given as depth"),
        (
            [normals / "1.npy", depth / "1.png"],
            "called as the input normals of the model, and given as depth",
        ),
        ([depth, depth], "depth: given for two inputs of the model"),
        ([depth, tmp_path / "link"], "link: given for two inputs of the model"),
    ):
        with pytest.raises(TranslationError, match=f"{reason}. {order}"):
            translate_folder(stacked(), paths, out)
    assert not out.exists()
    for name in ("x", "y"):  # below a folder that is called as an input, which says nothing
        shutil.copytree({"x": depth, "y": normals}[name], tmp_path / "depth" / name)
    paths = [tmp_path / "depth/x", tmp_path / "depth/y"]
    report = translate_folder(stacked(), paths, out)
    assert report.written == 3
    assert report.notes[0] == f"taken by their order: {paths[0]} for depth, {paths[1]} for normals"


def test_inputs_that_do_not_fit_the_model_are_refused_with_the_right_command(
    rooms: Path, tmp_path: Path
) -> None:
    folder, out = rooms / "test/depth", tmp_path / "out"
    command = "i2i translate MODEL OUTPUT --input DEPTH --input NORMALS"
    with pytest.raises(
        TranslationError, match=f"this model stacks 2 inputs, got 1. Use `{command}`"
    ):
        translate_folder(stacked(), folder, out)
    with pytest.raises(
        TranslationError,
        match=r"stacks 2 inputs, got 3. Pass, in this order: --input DEPTH --input NORMALS",
    ):
        translate_folder(stacked(), [folder] * 3, out)
    with pytest.raises(TranslationError, match="a folder for each input, or a file for each"):
        translate_folder(stacked(), [folder, rooms / "test/normals/1.npy"], out)
    with pytest.raises(
        TranslationError, match=r"takes one input. Use `i2i translate MODEL INPUT OUTPUT`"
    ):
        translate_folder(Translator(Identity(), 1, 1, device="cpu"), [folder], out)
    assert not out.exists()
    said = i2i("translate", "model", folder, out, "--input", folder, code=2)
    assert "expected MODEL OUTPUT --input PATH --input PATH" in str(said.exception)
    said = i2i("translate", "model", folder, code=2)
    assert "expected MODEL INPUT OUTPUT" in str(said.exception)
