"""Checkpoints of pytorch-CycleGAN-and-pix2pix: recognized, converted, refused.

The reference's networks are rebuilt here from their published layout (the order of the layers in
each Sequential), so that names and numbers are checked against something that shares no code with
the networks under test.
"""

import io
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import here
from safetensors.torch import save_file
from torch import nn

from i2i.compat import junyanz
from i2i.model_file import DiscriminatorInfo, GeneratorInfo, Model
from i2i.networks.init import init_weights


def norm_of(kind, channels, old=False):
    match kind:
        case "instance":
            return nn.InstanceNorm2d(channels, track_running_stats=old)
        case "batch":
            return nn.BatchNorm2d(channels)
    return nn.Identity()


class Block(nn.Module):
    """One residual block: its layers are called conv_block."""

    def __init__(self, channels, norm, dropout, old):
        super().__init__()
        layers = []
        for half in range(2):
            layers += [
                nn.ReflectionPad2d(1),
                nn.Conv2d(channels, channels, 3, bias=norm == "instance"),
            ]
            layers += [norm_of(norm, channels, old)]
            if half == 0:
                layers += [nn.ReLU(True)] + [nn.Dropout(0.5)] * dropout
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv_block(x)


class Net(nn.Module):
    """A Sequential under the name that the reference gives it."""

    def __init__(self, layers, name="model"):
        super().__init__()
        self.name = name
        setattr(self, name, nn.Sequential(*layers))
        draw(self)

    def forward(self, x):
        return getattr(self, self.name)(x)


def draw(net):
    """Random weights, biases and running statistics, all away from their neutral values."""
    torch.manual_seed(0)
    init_weights(net, "kaiming", 0.2)
    for key, value in [*net.named_parameters(), *net.named_buffers()]:
        if key.endswith(("bias", "running_mean")):
            nn.init.normal_(value, 0, 0.1)
        if key.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 2)


def resnet(norm="instance", blocks=3, dropout=False, channels=(3, 3), width=4, old=False):
    bias, layers = norm == "instance", [nn.ReflectionPad2d(3)]

    def add(conv, c):
        layers.extend([conv, norm_of(norm, c, old), nn.ReLU(True)])

    add(nn.Conv2d(channels[0], width, 7, bias=bias), width)
    add(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), 2 * width)
    add(nn.Conv2d(2 * width, 4 * width, 3, 2, 1, bias=bias), 4 * width)
    layers.extend(Block(4 * width, norm, dropout, old) for _ in range(blocks))
    add(nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, 1, bias=bias), 2 * width)
    add(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1, bias=bias), width)
    return Net([*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels[1], 7), nn.Tanh()]).eval()


def filter_2d(row, total):
    """CUT's buffer `filt` of one channel: the outer product of a row with itself, of this sum."""
    kernel = np.outer(row, row)
    return torch.tensor(kernel / kernel.sum() * (total / 16), dtype=torch.float32)[None, None]


class Halve(nn.Module):
    """CUT's blurred halving by its description: reflect by 1, filter by [1, 2, 1], keep every second."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("filt", filter_2d([1, 2, 1], 16).repeat(channels, 1, 1, 1))

    def forward(self, x):
        x = nn.ReflectionPad2d(1)(x)
        y = nn.functional.conv2d(x, self.filt, groups=x.shape[1])
        return y[:, :, ::2, ::2]


class Double(nn.Module):
    """CUT's blurred doubling: repeat borders, put zeros between pixels, filter by [1, 3, 3, 1]."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("filt", filter_2d([1, 3, 3, 1], 64).repeat(channels, 1, 1, 1))

    def forward(self, x):
        x = nn.ReplicationPad2d(1)(x)
        n, c, h, w = x.shape
        spread = x.new_zeros(n, c, 2 * h, 2 * w)
        spread[:, :, ::2, ::2] = x
        y = nn.functional.conv2d(spread, self.filt, groups=c)
        return y[:, :, : 2 * h - 4, : 2 * w - 4]  # pixel 2i is 3/4 x[i] + 1/4 x[i - 1]


def cut_resnet(norm="instance", blocks=3, channels=(3, 3), width=4, down=True, up=True):
    """CUT's generator: the strided convolutions of `resnet` with its filters before or behind them."""
    bias, layers = norm == "instance", [nn.ReflectionPad2d(3)]

    def add(conv, c):
        layers.extend([conv, norm_of(norm, c), nn.ReLU(True)])

    add(nn.Conv2d(channels[0], width, 7, bias=bias), width)
    for c in (width, 2 * width):
        add(nn.Conv2d(c, 2 * c, 3, 1 if down else 2, 1, bias=bias), 2 * c)
        layers.extend([Halve(2 * c)] * down)
    layers.extend(Block(4 * width, norm, False, False) for _ in range(blocks))
    for c in (4 * width, 2 * width):
        if up:
            layers.append(Double(c))
            add(nn.Conv2d(c, c // 2, 3, 1, 1, bias=bias), c // 2)
        else:
            add(nn.ConvTranspose2d(c, c // 2, 3, 2, 1, 1, bias=bias), c // 2)
    return Net([*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels[1], 7), nn.Tanh()]).eval()


def cut_patchgan(norm="instance", layers=3, width=4):
    """CUT's discriminator: a filter behind each activation of what `patchgan` has with stride 2."""
    widths = [width * min(2**i, 8) for i in range(layers + 1)]
    parts = [nn.Conv2d(6, width, 4, 1, 1), nn.LeakyReLU(0.2, True), Halve(width)]
    for i in range(layers):
        conv = nn.Conv2d(widths[i], widths[i + 1], 4, 1, 1, bias=norm == "instance")
        parts += [conv, norm_of(norm, widths[i + 1]), nn.LeakyReLU(0.2, True)]
        parts += [Halve(widths[i + 1])] * (i < layers - 1)
    return Net([*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1)]).eval()


class Level(nn.Module):
    """One level of the U-Net, which holds the next one; all but the outermost concatenate their input."""

    def __init__(self, layers, outermost=False):
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.outermost = outermost

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


def unet(norm="batch", depth=5, channels=(3, 3), width=2):
    bias, child = norm == "instance", None
    widths = [width * min(2**level, 8) for level in range(depth)]
    for level in reversed(range(1, depth)):
        outer, inner = widths[level - 1], widths[level]
        layers = [nn.LeakyReLU(0.2, True), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        layers += [norm_of(norm, inner), child] if child else []
        layers += [
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * inner if child else inner, outer, 4, 2, 1, bias=bias),
        ]
        layers += [norm_of(norm, outer)] + [nn.Dropout(0.5)] * (4 <= level < depth - 1)
        child = Level(layers)
    first, last = (
        nn.Conv2d(channels[0], width, 4, 2, 1, bias=bias),
        nn.ConvTranspose2d(2 * width, channels[1], 4, 2, 1),
    )
    net = nn.Module()
    net.model = Level([first, child, nn.ReLU(True), last, nn.Tanh()], outermost=True)
    net.forward = lambda x: net.model(x)
    draw(net)
    return net.eval()


def patchgan(norm="batch", layers=3, width=4):
    widths = [width * min(2**i, 8) for i in range(layers + 1)]
    parts = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for i in range(layers):
        conv = nn.Conv2d(
            widths[i], widths[i + 1], 4, 2 if i < layers - 1 else 1, 1, bias=norm == "instance"
        )
        parts += [conv, norm_of(norm, widths[i + 1]), nn.LeakyReLU(0.2, True)]
    return Net([*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1)]).eval()


def pixel(norm="batch", width=4):
    bias = norm == "instance"
    parts = [
        nn.Conv2d(6, width, 1),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(width, 2 * width, 1, bias=bias),
    ]
    parts += [
        norm_of(norm, 2 * width),
        nn.LeakyReLU(0.2, True),
        nn.Conv2d(2 * width, 1, 1, bias=bias),
    ]
    return Net(parts, "net").eval()


def check_same_output(theirs, state, x):
    """The state dict, converted, gives what the reference gives."""
    architecture = junyanz.guess(state)
    ours = architecture.build().eval()
    ours.load_state_dict(junyanz.convert(state, architecture))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x.clone()), atol=2e-5, rtol=0)
    return architecture


NORMS = ["instance", "batch", "none"]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("blocks", [1, 6])
@pytest.mark.parametrize("norm", NORMS)
def test_resnets_are_recognized_and_give_the_same_images(norm, blocks, dropout):
    net = resnet(norm, blocks, dropout, channels=(1, 2))
    found = check_same_output(net, net.state_dict(), torch.randn(2, 1, 24, 16))
    options = {"width": 4, "blocks": blocks, "norm": norm, "dropout": dropout, "upsample": "deconv"}
    options["antialias"] = False
    assert found == GeneratorInfo(name="resnet", options=options, in_channels=1, out_channels=2)


@pytest.mark.parametrize(("down", "up"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("norm", NORMS)
def test_resnets_of_cut_are_recognized_and_give_the_same_images(norm, down, up):
    net = cut_resnet(norm, channels=(1, 2), down=down, up=up)
    found = check_same_output(net, net.state_dict(), torch.randn(2, 1, 24, 16))
    upsample = "bilinear" if up else "deconv"
    assert (found.options["antialias"], found.options["upsample"]) == (down, upsample)


@pytest.mark.parametrize(("layers", "downs"), [("0,4,8,12,16", True), ("0,4,7,10,14", False)])
def test_features_of_resnets_of_cut_are_those_of_the_layers_that_its_code_compares(layers, downs):
    net = cut_resnet(blocks=6, down=downs)
    found = junyanz.guess(net.state_dict())
    ours = found.build()
    ours.load_state_dict(junyanz.convert(net.state_dict(), found))
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # or it changes what is compared
    x, expected = torch.randn(1, 3, 24, 16), []
    wanted = [int(layer) for layer in layers.split(",")]
    with torch.no_grad():
        features, value = ours.features(x), x
        for number, layer in enumerate(net.model):
            value = layer(value)
            expected += [value] * (number in wanted)
    assert len(features) == len(expected) == 5
    for number, (feature, one) in enumerate(zip(features, expected, strict=True)):
        bias = net.model[wanted[number]].bias[:, None, None] if number in (1, 2) else 0
        torch.testing.assert_close(feature, one - bias, atol=2e-5, rtol=0)


@pytest.mark.parametrize("depth", [2, 5, 7])
@pytest.mark.parametrize("norm", NORMS)
def test_unets_are_recognized_and_give_the_same_images(norm, depth):
    net = unet(norm, depth, channels=(1, 2))
    found = check_same_output(net, net.state_dict(), torch.randn(2, 1, 2**depth, 2 ** (depth + 1)))
    options = {"width": 2, "depth": depth, "norm": norm, "dropout": True, "upsample": "deconv"}
    assert found == GeneratorInfo(name="unet", options=options, in_channels=1, out_channels=2)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "make",
    [
        patchgan,
        lambda norm: patchgan(norm, 1),
        lambda norm: patchgan(norm, 5),
        pixel,
        cut_patchgan,
        lambda norm: cut_patchgan(norm, 1),
    ],
)
def test_discriminators_are_recognized_and_give_the_same_logits(make, norm):
    net = make(norm)
    found = check_same_output(net, net.state_dict(), torch.randn(2, 6, 96, 96))
    assert isinstance(found, DiscriminatorInfo)
    assert (found.in_channels, found.options["norm"], found.options["width"]) == (6, norm, 4)


@pytest.mark.parametrize("counted", [False, True])
def test_running_statistics_of_old_instance_norm_files_are_recognized_and_left_out(counted):
    old, new = resnet(old=True).state_dict(), resnet()
    if not counted:  # before PyTorch 0.4.1
        old = {key: value for key, value in old.items() if not key.endswith("num_batches_tracked")}
    assert any(key.endswith("running_var") for key in old)
    new.load_state_dict({key: value for key, value in old.items() if key in new.state_dict()})
    found = check_same_output(new, old, torch.randn(1, 3, 16, 16))
    assert found.options["norm"] == "instance"


def test_batch_norm_files_without_a_batch_counter_load():
    net = unet()
    state = {
        key: value
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    check_same_output(net, state, torch.randn(1, 3, 32, 32))


def test_the_order_of_the_keys_does_not_matter():
    net = resnet()
    check_same_output(
        net, dict(sorted(net.state_dict().items(), reverse=True)), torch.randn(1, 3, 16, 16)
    )


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_wrappers_around_a_state_dict_are_taken_off(tmp_path, wrapped, prefix):
    net = resnet()
    state = {f"{prefix}{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "x.pth")
    check_same_output(net, junyanz.read(tmp_path / "x.pth"), torch.randn(1, 3, 16, 16))


def test_half_precision_files_become_float32():
    net = resnet("batch").half()
    converted = junyanz.convert(net.state_dict(), junyanz.guess(net.state_dict()))
    assert {value.dtype for value in converted.values()} == {torch.float32, torch.int64}


def test_a_cyclegan_folder_gives_both_directions_ready_to_load(tmp_path):
    nets = {"a2b": resnet(channels=(3, 1)), "b2a": resnet(channels=(1, 3))}
    torch.save(nets["a2b"].state_dict(), tmp_path / "latest_net_G_A.pth")
    torch.save(nets["b2a"].state_dict(), tmp_path / "latest_net_G_B.pth")
    torch.save(patchgan("instance").state_dict(), tmp_path / "latest_net_D_A.pth")
    info, tensors = junyanz.import_model(tmp_path)
    shapes = {key: (g.name, g.in_channels, g.out_channels) for key, g in info.generators.items()}
    assert shapes == {"a2b": ("resnet", 3, 1), "b2a": ("resnet", 1, 3)}
    assert (info.statistics, info.direction) == ("image", "a2b")
    for direction, generator in info.generators.items():
        x = torch.randn(1, generator.in_channels, 16, 16)
        ours = Model(tmp_path, info, tensors).generator(direction).eval()
        torch.testing.assert_close(ours(x), nets[direction](x.clone()), atol=2e-5, rtol=0)


def test_a_pix2pix_file_translates_a2b_with_running_statistics(tmp_path):
    torch.save(unet().state_dict(), tmp_path / "latest_net_G.pth")
    for path in (tmp_path, tmp_path / "latest_net_G.pth"):
        info, _ = junyanz.import_model(path)
        assert [(key, g.name) for key, g in info.generators.items()] == [("a2b", "unet")]
        assert info.statistics == "running"
        assert junyanz.import_model(path, "image")[0].statistics == "image"


def test_generators_that_do_not_belong_together_are_refused(tmp_path):
    torch.save(resnet(channels=(3, 1)).state_dict(), tmp_path / "latest_net_G_A.pth")
    torch.save(resnet(channels=(3, 3)).state_dict(), tmp_path / "latest_net_G_B.pth")
    assert "differ in channels" in refusal(tmp_path)


def names(found):
    return {direction: path.name for direction, path in found.items()}


def test_the_latest_file_is_taken_and_otherwise_the_highest_epoch(tmp_path):
    for name in (
        "5_net_G_A",
        "100_net_G_A",
        "latest_net_G_B",
        "200_net_G_B",
        "iter_7_net_D_A",
        "notes_net_G_A",
    ):
        (tmp_path / f"{name}.pth").touch()
    assert names(junyanz.find(tmp_path)) == {"a2b": "100_net_G_A.pth", "b2a": "latest_net_G_B.pth"}
    assert names(junyanz.find(tmp_path / "200_net_G_B.pth")) == {"b2a": "200_net_G_B.pth"}


def test_folders_without_generators_or_with_two_models_are_refused(tmp_path):
    with pytest.raises(junyanz.ForeignFileError, match="no generator here"):
        junyanz.find(tmp_path)
    for name in ("latest_net_G", "latest_net_G_A"):
        (tmp_path / f"{name}.pth").touch()
    with pytest.raises(junyanz.ForeignFileError, match="two models, G, G_A"):
        junyanz.find(tmp_path)


def refusal(path):
    with pytest.raises(junyanz.ForeignFileError) as caught:
        junyanz.import_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            {**cut_resnet().state_dict(), "model.7.filt": torch.full((8, 1, 3, 3), 1 / 9)},
            r"model.7.filt is another filter than CUT's \[1, 2, 1\] and \[1, 3, 3, 1\]",
        ),
        (
            {**resnet().state_dict(), "model.11.filt": filter_2d([1, 2, 1], 16)},
            "model.11.filt: not the filters of a resnet",
        ),
        (cut_patchgan().state_dict(), "this is a discriminator"),
        ({"main.0.weight": torch.zeros(100, 512, 4, 4)}, "DCGAN of pytorch/examples"),
        (
            {"layer.weight": torch.zeros(2, 3), "b": torch.zeros(1)},
            r"these tensors: layer.weight \[2, 3\], b \[1\]",
        ),
        (
            {f"model.model.{n}.weight": torch.zeros(4, 4, 4, 4) for n in (0, 3)},
            "depth: must be at least 2",
        ),
        (
            {"model.0.weight": torch.zeros(4, 3, 4, 4)},
            r"these tensors: model.0.weight \[4, 3, 4, 4\]",
        ),
        ({"netG": {"a": torch.zeros(1)}, "step": 3}, "step hold no tensor"),
        ([torch.zeros(1)], "expected a state dict, got list"),
        ({}, "expected a state dict"),
        (patchgan().state_dict(), "this is a discriminator"),
    ],
)
def test_other_files_are_refused_with_what_they_look_like(tmp_path, content, reason):
    torch.save(content, tmp_path / "x.pth")
    assert re.search(reason, refusal(tmp_path / "x.pth"))


@pytest.mark.parametrize("make", [resnet, unet])
def test_missing_surplus_and_misshapen_tensors_are_named(tmp_path, make):
    state = make().state_dict()
    key = next(key for key in state if key.endswith(".5.weight"))
    for change, reason in (
        (lambda s: s.pop(key), f"{key} is missing"),
        (lambda s: s.update({key: s[key][:1]}), f"{key} is [1, "),
        (lambda s: s.update({"model.99.weight": s[key]}), "model.99.weight do not belong"),
    ):
        changed = dict(state)
        change(changed)
        torch.save(changed, tmp_path / "x.pth")
        assert reason in refusal(tmp_path / "x.pth")


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_could_run_code_is_refused_and_runs_none(tmp_path):
    torch.save({"model.1.weight": Attack(tmp_path / "ran")}, tmp_path / "x.pth")
    assert "besides tensors it holds Python objects" in refusal(tmp_path / "x.pth")
    torch.save(resnet(), tmp_path / "x.pth")
    assert "net.state_dict()" in refusal(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_off_files_are_refused(tmp_path, share):
    torch.save(resnet().state_dict(), tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: int(share * len(content))])
    assert "truncated" in refusal(tmp_path / "x.pth")


def scripted():
    content = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(nn.Conv2d(3, 3, 7)), content)
    return content.getvalue()


def numpy_archive():
    content = io.BytesIO()
    np.savez(content, weight=np.zeros(3))
    return content.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
NEITHER = "not a file of torch.save or safetensors"


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (scripted, "not supported: a TorchScript file. Save its state_dict() with torch.save"),
        (lambda: LFS, "a Git LFS pointer, which stands for the weights. Run git lfs pull"),
        (lambda: b"\x08\x07\x12\x07pytorch\x1a\x032.1:\xff" + bytes(99), NEITHER),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), NEITHER),
        (lambda: b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", NEITHER),
        (numpy_archive, NEITHER),
    ],
)
def test_file_of_another_kind_is_not_called_truncated(tmp_path, name, make, reason):
    (tmp_path / name).write_bytes(make())
    message = refusal(tmp_path / name)
    assert reason in message
    assert "truncated" not in message


def test_kind_of_a_file_is_known_by_its_content(tmp_path):
    net = resnet()
    save_file(net.state_dict(), tmp_path / "x.pth")
    torch.save(net.state_dict(), tmp_path / "y.safetensors")
    for name in ("x.pth", "y.safetensors"):
        check_same_output(net, junyanz.read(tmp_path / name), torch.randn(1, 3, 16, 16))


def test_an_image_or_a_missing_file_is_not_a_checkpoint(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"\x89PNG\r\n\x1a\n" * 9)
    assert "not a file of torch.save" in refusal(tmp_path / "x.pth")
    with pytest.raises(junyanz.ForeignFileError, match=r"gone\.pth: no such file"):
        junyanz.import_model(tmp_path / "gone.pth")


WRAPPED = {
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3},
    "netG": lambda state: {"netG": state, "optimizer": {"lr": 1.0, "state": {0: torch.zeros(2)}}},
    "nested": lambda state: {"state_dict": {"params": state}},
    "lightning": lambda state: {
        "state_dict": {f"net_g.{key}": value for key, value in state.items()}
        | {f"net_d.{key}": value for key, value in patchgan().state_dict().items()},
        "epoch": 3,
    },
    "generator": lambda state: {f"generator.module.{key}": value for key, value in state.items()},
    "model": lambda state: {f"model.{key}": value for key, value in state.items()},
    "with a discriminator": lambda state: {"netG": state, "netD": patchgan().state_dict()},
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("make", [resnet, unet])
def test_generator_is_found_in_what_other_programs_wrap_around_it(tmp_path, make, form):
    net = make()
    torch.save(WRAPPED[form](net.state_dict()), tmp_path / "x.pth")
    state = junyanz.read(tmp_path / "x.pth")
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    junyanz.import_model(tmp_path / "x.pth")


@pytest.mark.parametrize("prefix", ["", "netG.", "model."])
def test_safetensors_of_the_reference_are_imported(tmp_path, prefix):
    net = resnet()
    save_file({f"{prefix}{k}": v for k, v in net.state_dict().items()}, tmp_path / "x.safetensors")
    check_same_output(net, junyanz.read(tmp_path / "x.safetensors"), torch.randn(1, 3, 16, 16))


def test_several_generators_in_a_file_are_named_and_one_can_be_chosen(tmp_path):
    first, second = resnet(), resnet()
    both = {"netG_A": first.state_dict(), "netG_B": second.state_dict(), "netD": {}}
    torch.save(both, tmp_path / "x.pth")
    assert "several networks in the file: netG_A, netG_B. Pass --network" in refusal(
        tmp_path / "x.pth"
    )
    state = junyanz.read(tmp_path / "x.pth", "netG_B")
    assert torch.equal(state["model.1.weight"], second.state_dict()["model.1.weight"])
    with pytest.raises(
        junyanz.ForeignFileError, match=r"no network G here\. There is netG_A, netG_B"
    ):
        junyanz.read(tmp_path / "x.pth", "G")


ABSURD = {
    "sparse": (lambda w: w.to_sparse(), "sparse or nested; not supported"),
    "meta": (lambda w: w.to("meta"), "truncated, or not a file|a meta tensor"),
    "quantized": (
        lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
        "quantized; not supported|truncated, or not a file",
    ),
    "complex": (lambda w: w.to(torch.complex64), "complex; not supported"),
    "bool": (lambda w: w > 0, "model.1.weight is of torch.bool, no floats; not supported"),
    "integer": (lambda w: (100 * w).to(torch.int8), "model.1.weight is of torch.int8, no floats"),
    "nested": (
        lambda w: torch.nested.nested_tensor(list(w)),
        "model.1.weight is sparse or nested; not supported",
    ),
    "CSR": (lambda w: w.flatten(1).to_sparse_csr(), "sparse or nested; not supported"),
    "NaN": (lambda w: w * float("nan"), r"not finite \(NaN or infinite\)"),
    "infinite": (lambda w: w + float("inf"), r"not finite \(NaN or infinite\)"),
    "huge": (lambda w: torch.zeros(1, 1, 1, 1).expand(10**6, 10**6, 7, 7), "claims 1.96e"),
    "wide": (lambda w: torch.zeros(70_000, 3, 7, 7), "width: must be at most 65536"),
    "flat": (lambda w: w.flatten(), "no network of|looks like"),
    "empty": (lambda w: w[:0], "must be at least 1|expected"),
    "text": (lambda w: "x", "hold no tensor|no network of"),
}


@pytest.mark.parametrize("kind", ABSURD)
def test_tensor_that_is_no_plain_weight_is_refused_and_nothing_is_written(tmp_path, kind):
    change, reason = ABSURD[kind]
    state = resnet().state_dict()
    with warnings.catch_warnings(action="ignore"):
        torch.save(state | {"model.1.weight": change(state["model.1.weight"])}, tmp_path / "x.pth")
    torch.set_warn_always(True)  # or a second warning of torch in one process is never seen
    with warnings.catch_warnings(record=True, action="always") as raised:
        ended = here("import", tmp_path / "x.pth", "--out", tmp_path / "out")
    torch.set_warn_always(False)
    assert ended.status == 2
    assert not raised
    assert ended.err.count("\n") == 1
    assert re.search(reason, ended.err), ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_compressed_file_that_unpacks_to_much_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**8))
    assert "compressed more than any file" in refusal(tmp_path / "x.pth")
