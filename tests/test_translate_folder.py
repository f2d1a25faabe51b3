"""Many files through a generator: names, formats, refusals, failures, and jobs that are stopped and continue."""

import errno
import json
import os
import subprocess
import sys
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import start
from torch import nn
from writes import intercepted

from i2i import files, images, registry
from i2i.files import DiskFullError, WriteError
from i2i.translation import TranslationError, decoding, pipeline, plan
from i2i.translation.folder import translate_folder
from i2i.translation.loading import load
from i2i.translation.manifest import Manifest, Step
from i2i.translation.options import Options, parse_size, target_size
from i2i.translation.translator import Translator


class Echo(nn.Module):
    """Returns its input with `out` channels, times a weight."""

    def __init__(self, out=3, weight=1.0):
        super().__init__()
        self.out = out
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        return (
            (x * self.weight)[:, :1].expand(-1, self.out, -1, -1)
            if self.out != x.shape[1]
            else x * self.weight
        )


def echo(channels=3, out=None, weight=1.0, **options):
    return Translator(
        Echo(out or channels, weight), channels, out or channels, device="cpu", **options
    )


def generator(name, **options):
    torch.manual_seed(0)
    network = registry.find("generators", name).factory(3, 3, **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.2 if parameter.ndim > 1 else 1.0)
    return Translator(network, 3, 3, device="cpu")


def picture(height=8, width=12, channels=3, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (height, width, channels), dtype, True
    )


def tree(root, *names, **options):
    """Write one picture for each name, different from each other."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.encode(picture(seed=seed, **options), path)
    return root


def outputs(root):
    """Return path -> content of everything under `root` but the manifests."""
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in found
        if not p.name.startswith(".i2i-manifest")
    }


def run(source, target, translator=None, progress=None, **options):
    return translate_folder(translator or echo(), source, target, Options(**options), progress)


# -- what is written -------------------------------------------------------------------------------


def test_the_output_tree_mirrors_the_input_tree_whatever_the_formats(tmp_path):
    names = ["a.png", "b.JPG", "deep/c.webp", "deep/er/d.tif", "e.bmp", "two.dots.jpeg"]
    source = tree(tmp_path / "in", *names)
    (source / "notes.txt").write_text("x")
    (source / ".hidden.png").write_bytes(b"x")
    report = run(source, tmp_path / "out")
    assert sorted(outputs(tmp_path / "out")) == sorted(names)
    assert (report.written, report.skipped, report.failed, report.ignored) == (6, 0, [], 1)
    assert report.images_per_second > 0
    for name in names:
        before, after = (
            images.read_header(source / name),
            images.read_header(tmp_path / "out" / name),
        )
        assert before == after
        change = images.decode(source / name).astype(int) - images.decode(tmp_path / "out" / name)
        assert np.abs(change).max() <= (8 if after.format == "JPEG" else 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, channels, suffix):
    source = tree(tmp_path / "in", f"x{suffix}", channels=channels, dtype=np.uint16)
    run(source, tmp_path / "out", echo(channels))
    np.testing.assert_array_equal(
        images.decode(tmp_path / f"out/x{suffix}"), images.decode(tmp_path / f"in/x{suffix}")
    )
    assert images.read_header(tmp_path / f"out/x{suffix}").depth == 16


@pytest.mark.usefixtures("without_tiff_extra")
def test_float_gray_stays_float_and_float_to_color_says_that_it_does_not(tmp_path):
    (tmp_path / "in").mkdir()
    values = np.linspace(0, 1, 96, dtype=np.float32).reshape(8, 12, 1)
    images.encode(values, tmp_path / "in/x.tif")
    run(tmp_path / "in", tmp_path / "gray", echo(1))
    np.testing.assert_allclose(images.decode(tmp_path / "gray/x.tif"), values, atol=1e-6)
    report = run(tmp_path / "in", tmp_path / "color", echo(3))
    assert images.decode(tmp_path / "color/x.tif").dtype == np.uint16
    assert report.notes == [
        "32-bit inputs were written with 16 bits, the most that TIFF holds (1, first: x.tif)"
    ]


@pytest.mark.parametrize(
    ("asked", "format"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF")]
)
def test_an_asked_for_format_is_written(tmp_path, asked, format):
    source = tree(tmp_path / "in", "a.bmp", "b/c.jpeg")
    run(source, tmp_path / "out", format=asked)
    assert sorted(outputs(tmp_path / "out")) == [f"a.{asked}", f"b/c.{asked}"]
    assert images.read_header(tmp_path / f"out/a.{asked}").format == format


def test_a_format_that_costs_depth_is_obeyed_and_reported(tmp_path):
    source = tree(tmp_path / "in", "a.png", dtype=np.uint16)
    report = run(source, tmp_path / "out", format="webp")
    assert report.notes == [
        "16-bit inputs were written with 8 bits, the most that WEBP holds (1, first: a.webp)"
    ]
    expected = np.round(images.decode(source / "a.png") / 257)
    np.testing.assert_array_equal(images.decode(tmp_path / "out/a.webp"), expected)


def test_depth_is_never_lost_unasked(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    images.encode(picture(dtype=np.uint16), source / "really-png.jpg", "PNG")
    report = run(source, tmp_path / "out")
    assert report.failed == [
        ("really-png.jpg", "has 16 bits, which a JPEG file cannot hold. Choose png.")
    ]


def test_a_model_that_adds_alpha_turns_jpeg_into_png_and_says_so(tmp_path):
    source = tree(tmp_path / "in", "a.jpg", "b.webp")
    report = run(source, tmp_path / "out", echo(3, out=4))
    assert sorted(outputs(tmp_path / "out")) == ["a.png", "b.webp"]
    assert report.notes == [
        "outputs are PNG where their format cannot hold the model's channels (1, first: a.png)"
    ]
    with pytest.raises(TranslationError, match="4 channels, which JPEG cannot hold"):
        run(source, tmp_path / "other", echo(3, out=4), format="jpg")
    with pytest.raises(TranslationError, match="the model makes 1025 channels"):
        run(source, tmp_path / "other", echo(3, out=1025))


@pytest.mark.parametrize(("half", "columns"), [("left", slice(0, 6)), ("right", slice(6, 12))])
def test_one_half_of_side_by_side_images_is_translated(tmp_path, half, columns):
    source = tree(tmp_path / "in", "a.png")
    tree(tmp_path / "in", "odd.png", width=13)
    report = run(source, tmp_path / "out", half=half)
    np.testing.assert_array_equal(
        images.decode(tmp_path / "out/a.png"), images.decode(source / "a.png")[:, columns]
    )
    assert report.failed == [("odd.png", "a width of 13 pixels cannot be cut into halves")]


@pytest.mark.parametrize(("size", "expected"), [("keep", (8, 12)), (4, (4, 6)), ((7, 5), (7, 5))])
def test_inputs_are_resized_before_they_are_translated(tmp_path, size, expected):
    source = tree(tmp_path / "in", "a.png")
    run(source, tmp_path / "out", size=size)
    resized = images.resize(images.decode(source / "a.png"), expected)
    np.testing.assert_array_equal(images.decode(tmp_path / "out/a.png"), resized)


def test_sizes_are_read_from_text_and_never_vanish():
    assert [parse_size(text) for text in ("keep", "256", "640x480")] == ["keep", 256, (480, 640)]
    assert target_size(3, 1000, 2) == (2, 667)
    assert target_size(1000, 1, 2) == (2000, 2)
    for text in ("big", "-4", "4x", "4x5x6"):
        with pytest.raises(TranslationError, match="size: "):
            parse_size(text)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "gif"},
        {"half": "top"},
        {"size": 0},
        {"size": (0, 5)},
        {"batch": 0},
        {"threads": 0},
        {"shard": (2, 2)},
    ],
)
def test_options_out_of_range_are_errors_that_name_them(options):
    with pytest.raises(TranslationError, match=f"^{next(iter(options))}: "):
        Options(**options)


def test_one_file_goes_into_a_folder_or_into_a_file(tmp_path):
    source = tree(tmp_path / "in", "a.png", "b.png") / "a.png"
    run(source, tmp_path / "out")
    run(source, tmp_path / "new/x.jpg")
    assert sorted(outputs(tmp_path / "out")) == ["a.png"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.jpg"], (
        "no manifest next to a single file"
    )
    assert images.read_header(tmp_path / "new/x.jpg").format == "JPEG"
    with pytest.raises(TranslationError, match="would be replaced"):
        run(source, tmp_path / "new/x.jpg")
    assert run(source, tmp_path / "new/x.jpg", overwrite=True).written == 1
    with pytest.raises(TranslationError, match=r"format: png contradicts the suffix of y\.jpg"):
        run(source, tmp_path / "new/y.jpg", format="png")


def test_a_pattern_selects_files_and_keeps_their_folders(tmp_path, monkeypatch):
    tree(
        tmp_path,
        "in/a.png",
        "in/deep/b.png",
        "in/deep/c.jpg",
        "in/.hidden/d.png",
        "elsewhere/e.png",
    )
    monkeypatch.chdir(tmp_path)
    assert run("in/**/*.png", "out").written == 2
    assert sorted(outputs(tmp_path / "out")) == ["a.png", "deep/b.png"]
    with pytest.raises(TranslationError, match="no images"):
        run("in/*.tif", "out")
    with pytest.raises(TranslationError, match="leads out of"):
        run("in/*/../../elsewhere/*.png", "out")
    images.encode(picture(), tmp_path / "in/odd[1].png")
    assert run("in/odd[1].png", "odd").written == 1, "an existing name is no pattern"


def test_links_in_the_input_are_followed_once(tmp_path):
    source = tree(tmp_path / "in", "a.png")
    tree(tmp_path / "elsewhere", "b.png")
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    (source / "loop").symlink_to(source)
    assert run(source, tmp_path / "out").written == 2
    assert sorted(outputs(tmp_path / "out")) == ["a.png", "linked/b.png"]


# -- batches and memory ----------------------------------------------------------------------------


NETWORKS = {
    "unet": {"width": 4, "depth": 4, "norm": "batch"},
    "resnet": {"width": 4, "blocks": 1, "norm": "instance"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_same_bytes_for_every_batch_size_and_thread_count(tmp_path, name):
    source = tmp_path / "in"
    for number in range(12):
        side = (24, 24) if number % 3 else (17, 31)
        tree(source, f"{number}.png", height=side[0], width=side[1])
        images.encode(picture(*side, seed=number), source / f"{number}.png")
    translator = generator(name, **NETWORKS[name])
    run(source, tmp_path / "one", translator, batch=1, threads=1)
    run(source, tmp_path / "eight", translator, batch=8)
    run(source, tmp_path / "auto", translator)
    expected = outputs(tmp_path / "one")
    assert len(set(expected.values())) == 12
    assert outputs(tmp_path / "eight") == outputs(tmp_path / "auto") == expected
    single = translator(images.decode(source / "0.png"))
    np.testing.assert_array_equal(images.decode(tmp_path / "one/0.png"), single)


class Spy(Translator):
    """Records the shape of every batch."""

    def pixels(self, arrays, depth=None):
        self.seen.append(arrays.shape)
        return super().pixels(arrays, depth)


def spy():
    translator = Spy(Echo(), 3, 3, device="cpu")
    translator.seen = []
    return translator


def test_batches_hold_images_of_one_size_and_look_ahead_to_fill_up(tmp_path):
    source = tmp_path / "in"
    for number in range(12):
        tree(source, f"{number:02}.png", height=8 + 4 * (number % 2))
    translator = spy()
    run(source, tmp_path / "out", translator, batch=4)
    assert sorted(shape[:2] for shape in translator.seen) == [(2, 8), (2, 12), (4, 8), (4, 12)]


@pytest.mark.parametrize(
    ("name", "value", "most"), [("_HELD_IMAGES", 3, 3), ("_HELD_PIXELS", 500, 5)]
)
def test_waiting_images_are_bounded_in_number_and_pixels(monkeypatch, name, value, most):
    monkeypatch.setattr(pipeline, name, value)
    taken = given = 0

    def items():
        nonlocal taken
        for number in range(12):
            assert taken - given <= most, "each image has 96 to 156 pixels"
            taken += 1
            yield decoding.Item(None, None, picture(height=8 + number % 6), 8)

    for batch in pipeline._batches(items(), None, lambda _: 16):
        given += len(batch)
    assert given == 12


def test_a_batch_that_does_not_fit_into_memory_is_halved(tmp_path):
    class Small(Spy):
        def batch(self, x):
            if len(x) * x.shape[2] > 16:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().batch(x)

    source = tree(tmp_path / "in", *(f"{number}.png" for number in range(8)))
    tree(source, "large.png", height=20)
    translator = Small(Echo(), 3, 3, device="cpu")
    translator.seen = []
    report = run(source, tmp_path / "out", translator, batch=8)
    assert [shape[0] for shape in translator.seen if shape[1] == 8] == [8, 4, 2, 2, 4, 2, 2]
    assert report.written == 8
    assert report.failed == [
        ("large.png", "not enough memory for 12x20 pixels. Try a smaller --size.")
    ]


# -- failures --------------------------------------------------------------------------------------


def test_a_bad_file_is_listed_with_its_reason_and_the_rest_continues(tmp_path):
    source = tree(tmp_path / "in", "a.png", "cut.png", "d/good.jpg", "huge.webp")
    content = (source / "cut.png").read_bytes()
    (source / "cut.png").write_bytes(content[:-20])
    (source / "empty.jpg").touch()
    tree(source, "huge.webp", height=99)
    done = []
    report = run(
        source, tmp_path / "out", max_pixels=999, progress=lambda *state: done.append(state)
    )
    assert report.written == 2
    assert [name for name, _ in report.failed] == ["cut.png", "empty.jpg", "huge.webp"]
    reasons = " ".join(reason for _, reason in report.failed)
    assert "truncated" in reasons
    assert "empty file" in reasons
    assert "megapixels" in reasons
    assert str(tmp_path) not in reasons
    assert done[-1] == (5, 5)
    assert len(done) == 5
    assert sorted(outputs(tmp_path / "out")) == ["a.png", "d/good.jpg"]


def test_a_failure_is_tried_again_by_the_next_run(tmp_path):
    source = tree(tmp_path / "in", "a.png", "b.png")
    good = (source / "b.png").read_bytes()
    (source / "b.png").write_bytes(b"")
    assert run(source, tmp_path / "out").failed[0][0] == "b.png"
    (source / "b.png").write_bytes(good)
    report = run(source, tmp_path / "out")
    assert (report.written, report.skipped, report.failed) == (1, 1, [])


def test_values_that_are_not_finite_are_failures_not_pictures(tmp_path):
    source = tree(tmp_path / "in", "a.png", "b.png")
    report = run(source, tmp_path / "out", echo(weight=float("nan")), batch=2)
    assert report.written == 0
    assert [name for name, _ in report.failed] == ["a.png", "b.png"]
    assert "not finite" in report.failed[0][1]
    assert outputs(tmp_path / "out") == {}


def test_alpha_that_a_model_cannot_take_does_not_fail(tmp_path):
    source = tree(tmp_path / "in", "a.png", channels=4)
    assert run(source, tmp_path / "out", echo(alpha="composite")).written == 1
    assert images.read_header(tmp_path / "out/a.png").channels == 3


def test_an_error_of_the_program_is_not_swallowed(tmp_path):
    class Broken(Spy):
        def batch(self, x):
            raise RuntimeError("device-side assert triggered")

    translator = Broken(Echo(), 3, 3, device="cpu")
    translator.seen = []
    with pytest.raises(RuntimeError, match="device-side assert"):
        run(tree(tmp_path / "in", "a.png"), tmp_path / "out", translator)


# -- refusals --------------------------------------------------------------------------------------


def refused(source, target, message, **options):
    before = {path: path.lstat().st_mtime_ns for path in Path(target).parent.rglob("*")}
    with pytest.raises((TranslationError, WriteError), match=message):
        run(source, target, **options)
    assert {path: path.lstat().st_mtime_ns for path in Path(target).parent.rglob("*")} == before, (
        "nothing was touched"
    )


def test_output_that_meets_input_is_refused_before_anything_is_written(tmp_path):
    source = tree(tmp_path / "in", "a.png", "deep/b.png")
    (tmp_path / "link").symlink_to(source)
    refused(source, source, "same folder")
    refused(source, tmp_path / "in/../in", "same folder")
    refused(tmp_path / "link", source, "same folder")
    refused(source, source / "out", "lie inside each other")
    refused(source / "deep", source, "lie inside each other")
    refused(source / "a.png", source, "same file")
    refused(source / "a.png", source / "a.png", "same file")
    refused(f"{source}/*.png", source, "lie inside the output")
    refused(f"{tmp_path}/**/*.png", source, "lie inside the output")
    assert run(f"{source}/*.png", source / "out").written == 1, (
        "a pattern that does not reach into the output is fine"
    )


def test_symbolic_links_in_the_output_are_refused(tmp_path):
    source = tree(tmp_path / "in", "a.png", "deep/b.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    refused(source, tmp_path / "link", "a symbolic link", overwrite=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/deep").symlink_to(tmp_path / "elsewhere")
    refused(source, tmp_path / "out", "deep: a symbolic link", overwrite=True)
    (tmp_path / "out/deep").unlink()
    (tmp_path / "out/a.png").symlink_to(tmp_path / "nowhere")
    refused(source, tmp_path / "out", r"a\.png: a symbolic link", overwrite=True)


def test_two_inputs_for_one_output_are_refused(tmp_path):
    source = tree(tmp_path / "in", "a.jpg", "a.png", "b.png")
    refused(source, tmp_path / "out", r"a\.png: both a\.jpg and a\.png", format="png")
    refused(source, tmp_path / "out", "both", format="png", shard=(0, 7))
    assert run(source, tmp_path / "out").written == 3


def test_existing_files_of_other_origin_are_refused_without_overwrite(tmp_path):
    source = tree(tmp_path / "in", "a.png", "b.png")
    tree(tmp_path / "out", "a.png")
    refused(
        source,
        tmp_path / "out",
        r"a\.png: would be replaced, and was not written by this model",
    )
    assert run(source, tmp_path / "out", overwrite=True).written == 2


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    source = tree(tmp_path / "in", "a.png")
    (tmp_path / "file").touch()
    refused(source, tmp_path / "file/out", "file: a file, not a folder")
    refused(source, tmp_path / "file", "file: a file, not a folder")
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind the superuser")
    (tmp_path / "out").mkdir(mode=0o555)
    refused(source, tmp_path / "out", "cannot be written")


def test_missing_and_empty_inputs_are_refused(tmp_path):
    refused(tmp_path / "missing", tmp_path / "out", "no such file or folder")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.txt").touch()
    refused(tmp_path / "in", tmp_path / "out", r"no images \(1 other files: \.txt \(1\)\)")
    refused(tmp_path / "in/x.txt", tmp_path / "out", "not an image")


# -- continuing ------------------------------------------------------------------------------------


def test_a_second_run_does_nothing_and_a_new_file_is_added(tmp_path):
    source = tree(tmp_path / "in", "a.png", "b/c.jpg")
    run(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*g")}
    report = run(source, tmp_path / "out")
    assert (report.written, report.skipped) == (0, 2)
    tree(source, "new.png")
    report = run(source, tmp_path / "out", overwrite=True, batch=8)
    assert (report.written, report.skipped) == (1, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before


FIXTURES = Path(__file__).parent / "reliability/fixtures"
RESIZED = Options(format="png", size=(480, 640), half="left")
JOBS = [  # hashes in the manifests of earlier versions
    ("format-1/pix2pix", "a2b", Options(), "59bf0e048e483663"),
    ("format-2/pix2pix", "a2b", Options(), "59bf0e048e483663"),
    ("format-2/pix2pix", "a2b", RESIZED, "62d996bc1137187b"),
    ("format-2/pix2pix", "a2b", Options(size=64), "eaf9aefa49cda6e3"),
    ("format-2/cyclegan", "b2a", Options(), "9c231638a31a0e01"),
]


@pytest.mark.parametrize(("model", "direction", "options", "expected"), JOBS)
def test_jobs_of_earlier_versions_continue(model, direction, options, expected):
    translator = load(FIXTURES / model, direction, device="cpu", precision="fp32")
    assert plan.job_hash(translator, options) == expected


@pytest.mark.parametrize("change", ["model", "options", "source", "output"])
def test_what_changed_is_refused_and_with_overwrite_translated_again(tmp_path, change):
    source = tree(tmp_path / "in", "a.png", "b.png")
    run(source, tmp_path / "out")
    translator, options = echo(), {}
    if change == "model":
        translator = echo(weight=0.5)
    elif change == "options":
        options = {"size": 4}
    elif change == "source":
        images.encode(picture(seed=9), source / "a.png")
    else:
        images.encode(picture(9, 9), tmp_path / "out/a.png")
    with pytest.raises(TranslationError, match="would be replaced"):
        run(source, tmp_path / "out", translator, **options)
    report = run(source, tmp_path / "out", translator, overwrite=True, **options)
    assert report.written == (2 if change in ("model", "options") else 1)
    assert run(source, tmp_path / "out", translator, **options).skipped == 2


def test_a_stopped_job_continues_and_ends_like_an_unbroken_one(tmp_path):
    source = tree(tmp_path / "in", *(f"{number}.png" for number in range(40)))
    run(source, tmp_path / "whole")

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "out", progress=stop, threads=1)
    report = run(source, tmp_path / "out")
    assert report.written + report.skipped == 40
    assert report.skipped >= 6
    assert report.written > 0
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_a_job_killed_between_output_and_manifest_continues(tmp_path):
    source = tree(tmp_path / "in", "a.png", "b.png")
    run(source, tmp_path / "out")
    manifest = tmp_path / "out/.i2i-manifest.jsonl"
    lines = [
        line
        for line in manifest.read_text().splitlines()
        if json.loads(line)["status"] == "writing"
    ]
    manifest.write_text(
        "\n".join(lines) + '\n{"path": "a.p'
    )  # both outputs exist, neither is known to be complete
    report = run(source, tmp_path / "out")
    assert (report.written, report.skipped) == (2, 0)
    assert run(source, tmp_path / "out").skipped == 2


def test_a_clock_that_was_set_back_does_not_make_earlier_lines_the_latest(tmp_path):
    source = tree(tmp_path / "in", "a.png")
    run(source, tmp_path / "out")
    manifest = tmp_path / "out/.i2i-manifest.jsonl"
    line = json.loads(manifest.read_text().splitlines()[1]) | {"time_ns": 2**62}
    manifest.write_text(json.dumps(line) + "\n")
    assert run(source, tmp_path / "out").written == 1
    assert run(source, tmp_path / "out").skipped == 1


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"output": "a.png", "time_ns": "x"}', '{"output": [], "time_ns": 1}', "7"],
)
def test_a_line_of_the_manifest_that_means_nothing_is_skipped(tmp_path, line):
    source = tree(tmp_path / "in", "a.png")
    run(source, tmp_path / "out")
    manifest = tmp_path / "out/.i2i-manifest.jsonl"
    manifest.write_text(f"{line}\n{manifest.read_text()}{line}\n")
    assert run(source, tmp_path / "out").skipped == 1


def test_killed_processes_leave_nothing_half_written(tmp_path):
    source = tree(
        tmp_path / "in", *(f"{number:02}.png" for number in range(40)), height=64, width=64
    )
    run(source, tmp_path / "whole")

    def killed_after(moment):
        def progress(done, total):
            if done >= moment:
                os.kill(os.getpid(), 9)

        run(source, tmp_path / "out", progress=progress)

    for moment in (1, 7):
        process = start(killed_after, moment)
        process.join()
        assert process.exitcode == -9
        finished = {k: v for k, v in outputs(tmp_path / "out").items() if ".tmp-" not in k}
        assert finished.items() <= outputs(tmp_path / "whole").items()
    assert run(source, tmp_path / "out").failed == []
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_only_temporaries_of_dead_processes_and_own_outputs_are_removed(tmp_path):
    source = tree(tmp_path / "in", "a.png")
    (tmp_path / "out").mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [
        f".a.png.tmp-{dead.pid}",
        f".a.png.tmp-{os.getppid()}",
        f".other.png.tmp-{dead.pid}",
        "a.png.tmp-1",
    ]
    for name in names:
        (tmp_path / "out" / name).touch()
    run(source, tmp_path / "out")
    assert sorted(outputs(tmp_path / "out")) == sorted(["a.png", *names[1:]])


def test_a_full_disk_stops_the_job_cleanly_and_a_rerun_continues(tmp_path, monkeypatch):
    source = tree(tmp_path / "in", *(f"{number}.png" for number in range(6)))
    run(source, tmp_path / "whole")

    def full(path, write, content):
        if path.name.startswith(".3.png"):
            write(content[:5])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(content)

    monkeypatch.setattr(files, "open", intercepted(full), raising=False)
    with pytest.raises(
        TranslationError, match=r"stopped after \d images: the disk is full .*to continue"
    ):
        run(source, tmp_path / "out", threads=1)
    assert not [name for name in outputs(tmp_path / "out") if "tmp" in name]
    monkeypatch.undo()
    run(source, tmp_path / "out")
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_a_line_for_which_there_is_no_room_leaves_nothing_and_later_ones_are_whole(tmp_path):
    class Full(FileIO):
        """Has room for ten bytes more, once."""

        calls = 0

        def write(self, content):
            self.calls += 1
            if self.calls == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content[:10] if self.calls == 1 else content)

    source = tree(tmp_path / "in", "a.png") / "a.png"
    path = tmp_path / ".i2i-manifest.jsonl"
    a, b = Step("a.png", "a.png"), Step("b.png", "b.png")
    with Manifest(tmp_path, "job", (0, 1)) as manifest:
        header = path.read_bytes()
        manifest._file = Full(str(path), "a+")
        with pytest.raises(DiskFullError, match="No space left"):
            manifest.add("writing", [a])
        assert path.read_bytes() == header
        manifest.add("writing", [b])
    path.write_bytes(path.read_bytes()[:-20])  # cut by a crash
    with Manifest(tmp_path, "job", (0, 1)) as manifest:
        manifest.add("writing", [a])
    again = Manifest(tmp_path, "job", (0, 1))
    assert again.state([source], source, "a.png") == "ours"
    assert again.state([source], source, "b.png") == "foreign"
    assert path.read_text().count("\n") == 4, "two of them say what the job is made from"


def test_another_write_error_fails_only_its_file(tmp_path, monkeypatch):
    source = tree(tmp_path / "in", "a.png", "b.png")

    def deny(path, write, content):
        if path.name.startswith(".a.png"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return write(content)

    monkeypatch.setattr(files, "open", intercepted(deny), raising=False)
    report = run(source, tmp_path / "out")
    assert report.written == 1
    assert report.failed == [("a.png", "cannot be written (Permission denied)")]


# -- shards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_shards_together_equal_one_process(tmp_path, count):
    source = tree(tmp_path / "in", *(f"{number % 3}/{number}.png" for number in range(12)))
    run(source, tmp_path / "whole")
    reports = [run(source, tmp_path / "out", shard=(index, count)) for index in range(count)]
    assert sum(report.written for report in reports) == 12
    assert sum(report.skipped for report in reports) == 0
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert run(source, tmp_path / "out").skipped == 12, "one process continues where shards stopped"


def test_each_shard_has_its_own_manifest(tmp_path):
    source = tree(tmp_path / "in", *(f"{number}.png" for number in range(6)))
    for index in range(2):
        run(source, tmp_path / "out", shard=(index, 2))
    found = {
        path.name: len(path.read_text().splitlines()) for path in (tmp_path / "out").glob(".i2i*")
    }
    assert sorted(found) == [".i2i-manifest-0-of-2.jsonl", ".i2i-manifest-1-of-2.jsonl"]
    assert sum(found.values()) == 2 + 12 + 2
    line = json.loads((tmp_path / "out/.i2i-manifest-0-of-2.jsonl").read_text().splitlines()[-2])
    assert {"path", "size", "mtime_ns", "status", "output", "job", "bytes"} <= line.keys()
