"""One image through a generator: kinds of input, sizes, channels, batches, and the files a translator is made of."""

import multiprocessing
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from models import write_fields
from PIL import Image
from torch import nn

import i2i
from i2i import registry
from i2i.images import ImageError
from i2i.model_file import (
    FORMAT,
    WEIGHTS,
    ModelFileError,
    load_model,
    named_tensors,
    read_info,
    save_model,
)
from i2i.networks.latent import LatentSpec
from i2i.precision import DeviceError
from i2i.translation import TranslationError
from i2i.translation.loading import load
from i2i.translation.sampling import load_sampler
from i2i.translation.shards import (
    parse_shard,
    shard_from_environment,
    shard_of,
    tasks_in_environment,
)
from i2i.translation.translator import Translator


class Echo(nn.Module):
    """Returns its input, with `out` channels; refuses sides that are no multiple, as a U-Net does."""

    def __init__(self, channels=3, out=None, multiple=1):
        super().__init__()
        self.out, self.size_divisor = out or channels, multiple
        self.scale = nn.Parameter(torch.ones(()))
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        assert x.shape[2] % self.size_divisor == 0
        assert x.shape[3] % self.size_divisor == 0
        return (
            (self.scale * x)[:, : self.out]
            if self.out <= x.shape[1]
            else x.repeat(1, self.out, 1, 1)
        )


def echo(channels=3, out=None, multiple=1, **options):
    return Translator(
        Echo(channels, out, multiple), channels, out or channels, device="cpu", **options
    )


def noise(*shape, dtype=np.uint8):
    rng = np.random.default_rng(sum(shape))
    return (
        rng.random(shape, dtype)
        if dtype == np.float32
        else rng.integers(0, np.iinfo(dtype).max, shape, dtype, True)
    )


def generator(name, seed=0, channels=(3, 3), **options):
    """Random weights, large enough that every channel and pixel of the input shows in the output."""
    torch.manual_seed(seed)
    found = registry.find("generators", name)
    network = found.factory(*channels, **{**found.preset, **options})
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.2 if parameter.ndim > 1 else 1.0)
    return network


SMALL = {
    "resnet instance": ("resnet", {"width": 4, "blocks": 1}),
    "resnet batch": ("resnet", {"width": 4, "blocks": 1, "norm": "batch", "dropout": True}),
    "unet batch": ("unet", {"width": 4, "depth": 5}),
    "unet instance": ("unet", {"width": 4, "depth": 3, "norm": "instance"}),
}


def small(kind, **options):
    name, arguments = SMALL[kind]
    return Translator(generator(name, **arguments), 3, 3, device="cpu", **options)


def unet_part(**changes):
    options = {"width": 4, "depth": 2, "norm": "batch", "dropout": True}
    part = {"name": "unet", "in_channels": 3, "out_channels": 3, "options": options}
    return {**part, **changes}


def domain(**fields):
    """Domains of a model of three channels, of which a says more."""
    spec = {"inputs": [{"channels": 3, "alpha": False}]}
    return {"a": {**spec, **fields}, "b": spec}


def write_model(folder, directions=("a2b",), **changes):
    """A model folder with random weights of small U-Nets."""
    networks = {
        direction: generator("unet", seed, **unet_part()["options"])
        for seed, direction in enumerate(directions)
    }
    generators = {direction: unet_part() for direction in directions}
    fields = {"method": "cyclegan", "generators": generators, "direction": directions[0]}
    folder.mkdir(exist_ok=True)
    write_fields(folder / WEIGHTS, {"format": FORMAT, **fields, **changes}, named_tensors(networks))
    return folder


# -- kinds of input --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7), (1, 1, 3), (1, 9, 1)])
def test_an_array_comes_back_with_its_shape_dtype_and_values(shape, dtype):
    array = noise(*shape, dtype=dtype)
    result = echo(channels=3 if shape[-1] == 3 else 1, multiple=16)(array)
    assert result.dtype == array.dtype
    np.testing.assert_allclose(result, array, atol=1e-6 if dtype == np.float32 else 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_come_back_as_they_were(dtype):
    array = np.linspace(0, 1, 105).reshape(5, 7, 3).astype(dtype)
    result = echo()(array)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, array, atol=1e-3)


@pytest.mark.parametrize(
    ("mode", "channels", "expected"),
    [
        ("RGB", 3, "RGB"),
        ("L", 1, "L"),
        ("L", 3, "RGB"),
        ("1", 1, "L"),
        ("P", 3, "RGB"),
        ("CMYK", 3, "RGB"),
        ("RGBA", 3, "RGB"),
        ("RGBA", 4, "RGBA"),
        ("LA", 2, "LA"),
        ("RGB", 4, "RGBA"),
        ("RGB", 1, "L"),
        ("I;16", 1, "I;16"),
    ],
)
def test_a_pil_image_comes_back_as_a_pil_image_of_its_size(mode, channels, expected):
    image = (
        Image.fromarray(noise(6, 9, dtype=np.uint16))
        if mode == "I;16"
        else Image.fromarray(noise(6, 9, 3)).convert(mode)
    )
    result = echo(channels=channels)(image)
    assert (result.mode, result.size) == (expected, image.size)
    np.testing.assert_array_equal(np.asarray(result), np.asarray(image.convert(expected)))


def test_a_photo_that_pil_has_not_turned_is_turned(tmp_path):
    array = noise(6, 9, 3)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "x.png", exif=tags)
    with Image.open(tmp_path / "x.png") as image:
        np.testing.assert_array_equal(np.asarray(echo()(image)), np.rot90(array, -1))


def test_a_pil_image_has_the_limits_of_a_file():
    image = Image.new("1", (11_000, 10_000))
    with pytest.raises(ImageError, match=r"image: 11000x10000 is 110 megapixels, the limit is 100"):
        echo()(image)


def test_the_limit_of_a_pil_image_can_be_raised_and_lowered():
    with pytest.raises(ImageError, match=r"image: 8x6 is .* megapixels, the limit is"):
        echo(max_pixels=47)(Image.new("RGB", (8, 6)))
    assert echo(max_pixels=48)(Image.new("RGB", (8, 6))).size == (8, 6)


@pytest.mark.parametrize("size", [(0, 0), (0, 4), (4, 0)])
def test_an_image_without_pixels_is_an_error_of_one_line(size):
    for image in (Image.new("RGB", size), np.zeros((*size, 3), np.uint8), torch.zeros(3, *size)):
        with pytest.raises(TranslationError):
            echo()(image)


@pytest.mark.parametrize("dtype", [">u2", ">f4", ">f8"])
def test_an_array_of_the_other_byte_order_has_the_same_values(dtype):
    array = noise(5, 7, 3, dtype=np.uint16) if dtype == ">u2" else noise(5, 7, 3, dtype=np.float32)
    swapped = array.astype(dtype)
    np.testing.assert_array_equal(small("unet batch")(swapped), small("unet batch")(array))


def test_float64_as_the_default_of_torch_changes_nothing(tmp_path):
    folder, image = write_model(tmp_path / "model"), noise(16, 16, 3)
    expected = load(folder, device="cpu")(image)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(load(folder, device="cpu")(image), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_thread_and_a_forked_process_translate_as_their_parent_does(tmp_path):
    folder, image = write_model(tmp_path / "model"), noise(256, 256, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        translator = load(folder, device="cpu")
        expected = translator(image)
        with ThreadPoolExecutor(1) as pool:
            np.testing.assert_array_equal(pool.submit(translator, image).result(), expected)

        def child():
            for used in (translator, load(folder, device="cpu")):
                np.testing.assert_allclose(used(image), expected, atol=1)

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(60)
        ended = process.exitcode
        process.kill()
        assert ended == 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 3, 5, 7), (4, 3, 8, 8)])
def test_a_tensor_comes_back_with_its_rank_and_dtype(shape, dtype):
    x = (torch.rand(shape) * 2 - 1).to(dtype).requires_grad_()
    y = echo(multiple=8)(x)
    assert (y.shape, y.dtype, y.requires_grad) == (x.shape, dtype, False)
    assert torch.equal(y, x)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 4, 4), "the model takes 3 channels, the tensor has 1"),
        (torch.zeros(4, 4), r"shape \[C, H, W\]"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"got torch\.uint8"),
        (torch.zeros(3, 4, 4).to_sparse(), "sparse_coo"),
        (torch.zeros(3, 4, 4, device="meta"), "on meta"),
        (torch.nested.nested_tensor([torch.zeros(4, 4)] * 3), "that is nested"),
        (torch.full((3, 4, 4), 255.0), r"expected a tensor in \[-1, 1\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"expected \[H, W\] or \[H, W, C\]"),
        (np.zeros((0, 4, 3), np.uint8), r"expected \[H, W\] or \[H, W, C\]"),
        (np.full((4, 4, 3), 255.0), r"values from 255 to 255, outside \[0, 1\]. Rescale them"),
        (np.zeros((4, 4, 3), np.complex64), "whole numbers, floats or booleans, got complex64"),
        (np.zeros((4, 4, 7), np.uint8), "has 7 channels"),
        ("photo.jpg", "expected a PIL image, an array or a tensor, got str"),
    ],
)
def test_other_shapes_types_and_ranges_are_errors_that_say_what_is_expected(image, message):
    with pytest.raises((TranslationError, ImageError), match=message):
        echo()(image)


def test_gray_and_color_are_converted_to_what_the_model_takes():
    gray, color = noise(4, 4, 1), noise(4, 4, 3)
    np.testing.assert_array_equal(echo(channels=3)(gray), gray.repeat(3, axis=2))
    expected = np.asarray(Image.fromarray(color).convert("L"))[..., None]
    np.testing.assert_array_equal(echo(channels=1)(color), expected)
    assert echo(channels=1, out=3)(gray[..., 0]).shape == (4, 4, 3)


def test_alpha_is_dropped_or_laid_over_white_or_kept_as_the_model_was_trained():
    array = np.dstack([noise(4, 4, 3), np.zeros((4, 4), np.uint8)])
    np.testing.assert_array_equal(echo(alpha="drop")(array), array[..., :3])
    assert (echo(alpha="composite")(array) == 255).all()
    np.testing.assert_array_equal(echo(channels=4, alpha="drop")(array), array)
    np.testing.assert_array_equal(echo(channels=3, alpha="keep")(array), array[..., :3])
    np.testing.assert_allclose(echo(alpha="composite")(array.astype(np.float32) / 255), 1)


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 1), (2, 70), (5, 3)])
def test_every_network_takes_every_size(kind, size):
    image = noise(*size, 3)
    assert small(kind)(image).shape == image.shape


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (16, 24), (1, 3), (17, 2)])
def test_padding_is_a_reflection_of_the_least_size_and_is_cut_off_again(size):
    translator = echo(multiple=8)
    x = torch.rand(2, 3, *size) * 2 - 1
    assert torch.equal(translator.batch(x), x)
    assert translator.network.sizes[0][2:] == tuple(-(-side // 8) * 8 for side in size)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(5, [1, 0, 1, 2, 3, 4, 3, 2]), (2, [1, 0] * 4), (1, [0] * 8), (8, list(range(8)))],
)
def test_padding_reflects_on_both_sides_and_repeatedly_on_tiny_images(size, expected):
    seen = []
    network = Echo(1, multiple=8)
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    ramp = torch.arange(size) / 8
    Translator(network, 1, 1, device="cpu").batch(ramp.expand(1, 1, 8, size))
    assert (seen[0][0, 0, 0] * 8).tolist() == expected


def test_padding_equals_that_of_torch_where_torch_can_reflect():
    network = Echo(multiple=8)
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.rand(1, 3, 13, 10) * 2 - 1
    Translator(network, 3, 3, device="cpu").batch(x)
    assert torch.equal(seen[0], nn.functional.pad(x, (3, 3, 1, 2), mode="reflect"))


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("statistics", ["image", "running"])
@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_the_result_for_an_image_does_not_depend_on_its_batch(kind, statistics, size):
    translator = small(kind, statistics=statistics)
    x = torch.rand(8, 3, *size) * 2 - 1
    alone = torch.cat([translator.batch(x[i : i + 1]) for i in range(8)])
    order = torch.randperm(8)
    assert torch.equal(translator.batch(x), alone)
    assert torch.equal(translator.batch(x[order]), alone[order])
    assert alone.std(dim=0).mean() > 0.01, "outputs differ from image to image"


@pytest.mark.parametrize("kind", ["resnet batch", "unet batch"])
def test_statistics_of_the_image_are_those_of_training_mode_on_it_alone(kind):
    name, arguments = SMALL[kind]
    network = generator(name, **{**arguments, "dropout": False})
    translator = Translator(network, 3, 3, statistics="image", device="cpu")
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.equal(translator.batch(x), network.train()(x))


def test_running_statistics_and_no_dropout_are_evaluation_mode():
    network = generator("resnet", width=4, blocks=1, norm="batch", dropout=True)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    network(x)  # moves the running statistics
    translator = Translator(network.train(), 3, 3, statistics="running", device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(translator.batch(x), network.eval()(x))
    assert torch.equal(translator.batch(x), translator.batch(x))


def test_a_translator_survives_pickling():
    translator = small("unet batch")
    image = noise(20, 30, 3)
    again = pickle.loads(pickle.dumps(translator))
    np.testing.assert_array_equal(again(image), translator(image))
    assert again.fingerprint == translator.fingerprint


def test_the_fingerprint_changes_with_anything_that_changes_results():
    base = {"channels": 3}
    prints = [echo(**base).fingerprint, echo(**base, alpha="composite").fingerprint]
    prints += [
        echo(**base, statistics="running").fingerprint,
        echo(**base, precision="bf16").fingerprint,
    ]
    changed = Echo()
    changed.scale.data += 1e-6
    prints.append(Translator(changed, 3, 3, device="cpu").fingerprint)
    assert len(set(prints)) == len(prints)
    assert echo(**base).fingerprint == prints[0]


def test_bf16_is_close_to_fp32_and_returns_fp32():
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    low = small("resnet instance", precision="bf16").batch(x)
    assert low.dtype == torch.float32
    assert (low - small("resnet instance").batch(x)).abs().mean() < 0.05


# -- files -----------------------------------------------------------------------------------------


def test_a_model_is_loaded_from_its_folder_or_its_file(tmp_path):
    write_model(tmp_path / "run")
    image = noise(10, 14, 3)
    results = [
        load(path, device="cpu")(image) for path in (tmp_path / "run", tmp_path / "run" / WEIGHTS)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(i2i.load(str(tmp_path / "run"), device="cpu")(image), results[0])


def test_each_direction_has_its_own_weights(tmp_path):
    write_model(tmp_path / "run", ["b2a", "a2b"])
    default, other = (
        load(tmp_path / "run", device="cpu"),
        load(tmp_path / "run", "a2b", device="cpu"),
    )
    assert (default.direction, other.direction) == ("b2a", "a2b")
    assert default.directions == other.directions == ("a2b", "b2a")
    image = noise(8, 8, 3)
    assert (default(image) != other(image)).any()


@pytest.mark.parametrize(("layout", "halves"), [("ab", "left right"), ("ba", "right left")])
def test_a_model_of_a_file_that_says_little_knows_the_half_of_its_input(tmp_path, layout, halves):
    folder = write_model(tmp_path / "model", ("a2b", "b2a"), layout=layout)
    found = [load(folder, direction, "cpu").source.half for direction in ("a2b", "b2a")]
    assert found == halves.split()
    assert load(write_model(tmp_path / "other"), device="cpu").source.half is None


def test_an_unknown_direction_is_answered_with_the_known_ones(tmp_path):
    write_model(tmp_path / "run", ["b2a"])
    with pytest.raises(TranslationError, match="this model translates b2a, not a2b"):
        load(tmp_path / "run", "a2b", device="cpu")


def test_statistics_and_alpha_come_from_the_file(tmp_path):
    write_model(tmp_path / "run", statistics="running", alpha="composite")
    translator = load(tmp_path / "run", device="cpu")
    assert (translator.statistics, translator.alpha) == ("running", "composite")


def test_a_path_without_a_model_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(ModelFileError, match=r"no such model\. Give a run folder"):
        load(tmp_path / "missing")
    with pytest.raises(ModelFileError, match=r"no weights\.safetensors in this folder"):
        load(tmp_path)
    (tmp_path / "latest_net_G.pth").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "latest_net_G.pth"):
        with pytest.raises(ModelFileError, match="i2i import"):
            load(path)
    (tmp_path / "x.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelFileError, match="not a readable weights file"):
        load(tmp_path / "x.safetensors")


def test_a_model_that_makes_images_from_noise_is_refused(tmp_path):
    write_model(tmp_path / "run", generators={"z2a": unet_part()}, direction="z2a")
    with pytest.raises(TranslationError, match="makes images from noise"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "transformer"},
            "cannot rebuild transformer .*there is no generator 'transformer'",
        ),
        ({"options": {"wings": 2}}, "cannot rebuild unet .*wings"),
        ({"options": {"width": 0}}, "cannot rebuild unet .*width: must be at least 1"),
        ({"options": {"width": 8, "depth": 2}}, "tensors do not fit unet"),
        ({"in_channels": 1, "options": {"width": 4, "depth": 2}}, "tensors do not fit unet"),
    ],
)
def test_a_file_that_does_not_fit_this_version_is_an_error_that_names_it(
    tmp_path, changes, message
):
    write_model(tmp_path / "run", generators={"a2b": unet_part(**changes)})
    with pytest.raises(ModelFileError, match=rf"(?s)weights\.safetensors: .*{message}"):
        load(tmp_path / "run", device="cpu")


def test_a_device_that_is_not_there_is_an_error(tmp_path):
    write_model(tmp_path / "run")
    with pytest.raises(DeviceError, match="--device abacus"):
        load(tmp_path / "run", device="abacus")


# -- shards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17])
def test_shards_are_disjoint_complete_and_of_similar_size(count):
    names = [f"folder/{number:05}.jpg" for number in range(1000)]
    sizes = [0] * count
    for name in names:
        sizes[shard_of(name, count)] += 1
    assert max(sizes) < 1.5 * len(names) / count


def test_membership_does_not_change_between_versions_and_machines():
    assert shard_of("a/b.png", 5) == 0
    assert shard_of("bild \u00e4.png", 5) == 2


def test_a_shard_is_read_from_text():
    assert parse_shard("0/4", {}) == (0, 4)
    assert parse_shard("auto", {"RANK": "1", "WORLD_SIZE": "4"}) == (1, 4)
    for text in ("4/4", "0/0", "1", "a/b", "-1/4", "0/" + "9" * 5_000, "0/٤", "", "AUTO"):
        with pytest.raises(TranslationError, match="shard: ") as caught:
            parse_shard(text, {})
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, (0, 1)),
        (
            {"RANK": "1", "WORLD_SIZE": "4", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"},
            (1, 4),
        ),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}, (3, 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # a batch script, which runs once
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "5"}, (2, 5)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "5",
                "SLURM_ARRAY_TASK_MIN": "1",
            },
            (4, 5),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "10",
            }
            | {"SLURM_ARRAY_TASK_STEP": "2"},
            (2, 3),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "2",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_PROCID": "1",
                "SLURM_STEP_NUM_TASKS": "4",
            },
            (9, 12),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "2",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_PROCID": "0",
                "SLURM_STEP_NUM_TASKS": "1",
            },
            (2, 3),
        ),
        ({"RANK": "0"}, (0, 1)),
    ],
)
def test_the_shard_of_a_launcher_is_read_from_its_variables(env, expected):
    assert shard_from_environment(env) == expected


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, 1),
        ({"WORLD_SIZE": "1"}, 1),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, 4),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "3"}, 3),
        ({"WORLD_SIZE": "many"}, 1),
    ],
)
def test_several_tasks_are_noticed_without_any_demand_on_the_variables(env, expected):
    assert tasks_in_environment(env) == expected


@pytest.mark.parametrize(
    "env",
    [
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "3"},
    ],
)
def test_variables_that_make_no_sense_are_errors(env):
    with pytest.raises(TranslationError, match="shard: "):
        shard_from_environment(env)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 10**9}, "depth: 1000000000 exceeds the limit of 4096"),
        ({"width": 4000}, "tensors do not fit"),
        ({"width": "4"}, "cannot rebuild unet"),
        ({"width": 2**70}, "exceeds the limit of 4096"),
        ([], "options: must be an object"),
    ],
)
def test_a_description_that_asks_for_too_much_is_refused_before_memory_is_taken(
    tmp_path, options, message
):
    options = {"width": 4, "depth": 2, "norm": "batch", **options} if options else options
    part = unet_part(options=options)
    with pytest.raises(ModelFileError, match=message):
        load(write_model(tmp_path / "model", generators={"a2b": part}))


@pytest.mark.parametrize("size", [[], [8], 8, "8x8"])
def test_a_discriminator_whose_description_lies_is_refused(tmp_path, size):
    options = {"width": 2, "size": [8, 8], "norm": "batch"}
    tensors = named_tensors({"generate": generator("dcgan", **options)})
    part = unet_part(name="dcgan", options=options, latent_distribution="normal")
    options = {"head": "image", "size": size, "layers": 1}
    fields = {
        "format": FORMAT,
        "method": "dcgan",
        "generators": {"generate": part},
        "discriminator": {"name": "patchgan", "in_channels": 3, "options": options},
        "direction": "generate",
    }
    write_fields(tmp_path / WEIGHTS, fields, tensors)
    with pytest.raises(ModelFileError, match="discriminator: cannot rebuild patchgan"):
        load_sampler(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statistics": "both"}, "statistics: must be 'image' or 'running', got 'both'"),
        ({"alpha": 7}, "alpha: must be 'drop', .*, got 7"),
        ({"layout": "x"}, "layout: must be 'auto', .*, got 'x'"),
        ({"generators": []}, r"generators: must be an object, got \[\]"),
        ({"generators": {}}, "direction: must be a generator, got 'a2b'"),
        ({"generators": {"a2b": 3}}, r"generators\.a2b: must be an object, got 3"),
        ({"generators": {"a2b": unet_part(in_channels="x")}},
         r"generators\.a2b\.in_channels: must be a valid integer, got 'x'"),
        ({"generators": {"a2b": unet_part(in_channels=0)}},
         r"generators\.a2b\.in_channels: must be at least 1, got 0"),
        ({"generators": {"a2b": unet_part(out_channels=True)}},
         r"generators\.a2b\.out_channels: must be a valid integer, got True"),
        ({"generators": {"a2b": unet_part(law="normal")}}, r"generators\.a2b\.law: unknown field"),
        ({"generators": {"a2b": {"name": "unet"}}}, r"generators\.a2b\.options: missing"),
        ({"direction": "b2a"}, "direction: must be a2b, got 'b2a'"),
        ({"config": "x"}, "config: must be an object, got 'x'"),
        ({"wings": 2}, "wings: unknown field"),
        ({"method": None}, "method: must be a valid string, got None"),
        ({"format": 4}, r"written in format 4; this version of i2i reads 1 to 3\. Update i2i"),
        ({"format": True}, "written in format True"),
        ({"format": None}, "written in format None"),
    ],
)  # fmt: skip
def test_a_damaged_or_newer_description_is_refused_by_its_field(tmp_path, change, message):
    path = write_model(tmp_path / "model", **change) / WEIGHTS
    for read in (load, load_sampler, load_model, read_info):
        with pytest.raises(ModelFileError, match=rf"weights\.safetensors: {message}"):
            read(path)


def test_deep_and_broken_descriptions_are_refused(tmp_path):
    tensors = named_tensors({"a2b": generator("unet", **unet_part()["options"])})
    for text in (
        "[" * 100_000,
        '{"format": 3',
        "7",
        "[]",
        '{"format": 3, "facts": ' + "[" * 500 + "]" * 500 + "}",
    ):
        content = safetensors.torch.save(tensors, {"i2i": text})
        (tmp_path / WEIGHTS).write_bytes(content)
        for read in (load_model, read_info):
            with pytest.raises(ModelFileError, match=r"weights\.safetensors: "):
                read(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_formats_are_read_in_todays_names(tmp_path, version):
    part = unet_part(name="dcgan", options={"width": 2, "size": [8, 8]}, law="uniform")
    fields = {
        "format": version,
        "method": "dcgan",
        "generators": {"generate": part},
        "direction": "generate",
        "statistics": "running",
        "alpha": "drop",
        "facts": {},
        "config": {"method": {"law": "uniform"}, "train": {"images": 3}, "version": 1},
    }
    if version == 2:
        inputs = [{"channels": 3, "alpha": False, "name": ""}]
        fields["domains"] = {"image": {"inputs": inputs, "range": [-1.0, 3.0]}}
    net = generator("dcgan", width=2, size=[8, 8])
    write_fields(tmp_path / WEIGHTS, fields, named_tensors({"generate": net}))
    info = read_info(tmp_path)
    assert info.format == version
    assert info.generators["generate"].latent == LatentSpec(3, "uniform")
    assert info.domains["image"].value_range == ((-1, 3) if version == 2 else (0, 1))
    assert info.config == {
        "method": {"latent_distribution": "uniform"}, "train": {"total_images": 3}, "version": 2,
    }  # fmt: skip
    sampler = load_sampler(tmp_path, device="cpu")
    assert sampler.latents(0, 50, 1).abs().max() <= 1


def test_a_paired_model_of_an_earlier_format_keeps_its_layout(tmp_path):
    write_model(tmp_path, format=2, config={"data": {"layout": "ba"}})
    assert load(tmp_path, device="cpu").layout == "ba"
    write_model(tmp_path, format=2, config={"data": {"layout": 7}})
    with pytest.raises(ModelFileError, match=r"layout: must be 'auto', .*, got 7"):
        load(tmp_path)


def test_what_is_written_is_read_again(tmp_path):
    model = load_model(write_model(tmp_path / "model", ["a2b", "b2a"], facts={"images": 3}))
    save_model(tmp_path / WEIGHTS, model.info, model.tensors)
    again = load_model(tmp_path)
    assert again.info == model.info
    assert again.tensors.keys() == model.tensors.keys()
    assert yaml.safe_load(again.info.to_yaml()) == again.info.model_dump(mode="json")


# -- what a weights file may ask for ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"depth": 4096}),
        ("resnet", {"width": 4, "blocks": 4000}),
        ("resnet", {"width": 4, "blocks": 100}),  # the most that the network takes
    ],
)
def test_more_layers_than_the_file_has_tensors_are_refused_at_once(tmp_path, name, options):
    part = unet_part(
        name=name, options={**(unet_part()["options"] if name == "unet" else {}), **options}
    )
    folder = write_model(tmp_path / "model", generators={"a2b": part})
    begin = time.monotonic()
    reason = "more parameters than the file has tensors"
    with pytest.raises(ModelFileError, match=f"{reason}|must be at most") as error:
        load(folder)
    assert time.monotonic() - begin < 10
    assert len(str(error.value)) < 500
    assert reason in str(error.value) or options.get("blocks") != 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generators": {"a2b": unet_part(in_channels=True)}}, r"generators\.a2b\.in_channels"),
        (
            {"generators": {"a2b": unet_part(options={"norm": "x" * 10**5})}},
            "norm: must .* at most 1000 characters, got xxx",
        ),
        ({"generators": {"a2b": unet_part(options={"gain": np.inf})}}, "gain: must be finite"),
        ({"facts": {"images": np.nan}}, "images: must be finite"),
        ({"facts": {"origin": "x" * 2**20}}, r"its metadata has 1,04\d,\d+ characters"),
        ({"resized_to": [0, 8]}, r"resized_to\.0"),
        ({"domains": domain(depth=12)}, r"domains\.a\.depth: must be 8, 16 or 32, got 12"),
        ({"domains": domain(size=[0, 0])}, r"domains\.a\.size: must be at least 1"),
        ({"domains": domain(half="top")}, r"domains\.a\.half: must be 'left' or 'right'"),
        ({"domains": domain(mask=1)}, r"domains\.a\.mask"),
        (
            {"domains": domain(depth=8, ranged_integers=True, value_range=[0, 256])},
            r"domains\.a\.value_range: must be \[low, high\]",
        ),
        (
            {"domains": domain(depth=8, ranged_integers=True, value_range=[-1, 255])},
            r"domains\.a\.value_range: must be \[low, high\]",
        ),
    ],
)
def test_fields_out_of_bounds_are_refused_in_a_line(tmp_path, change, message):
    folder = write_model(tmp_path / "model", **change)
    with pytest.raises(ModelFileError, match=message) as error:
        load(folder)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.fill_(torch.nan), "tensor a2b/.* holds infinite values or NaN"),
        (lambda w: w.fill_(-torch.inf), "tensor a2b/.* holds infinite values or NaN"),
        (lambda w: w.to(torch.complex64), "tensor a2b/.* holds torch.complex64"),
        (lambda w: w.to(torch.float8_e4m3fn), "tensor a2b/.* holds torch.float8_e4m3fn"),
        (lambda w: w.bool(), "tensor a2b/.* holds torch.bool"),
    ],
)
def test_tensors_that_are_no_weights_are_refused_by_name(tmp_path, change, message):
    folder = write_model(tmp_path / "model")
    model = load_model(folder)
    name = next(iter(model.tensors))
    fields = model.info.model_dump(mode="json")
    tensors = {**model.tensors, name: change(model.tensors[name].clone())}
    write_fields(folder / WEIGHTS, fields, tensors)
    with pytest.raises(ModelFileError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("half", "rigth"),
        ("alpha", "composit"),
        ("depth", 12),
        ("depth", "8"),
        ("depth", True),
        ("precision", "fp31"),
        ("max_pixels", -1),
        ("max_pixels", "x"),
        ("max_pixels", True),
    ],
)
def test_argument_of_no_meaning_is_refused_when_the_model_is_loaded(tmp_path, argument, value):
    folder = write_model(tmp_path / "model")
    with pytest.raises(ValueError, match=f"{argument}.*got {value!r}"):
        load(folder, **{argument: value})
