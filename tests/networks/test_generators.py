"""Every generator there is: shapes, ranges, gradients, sizes, parameter counts, compilation."""

import inspect

import pytest
import torch

from i2i import registry
from i2i.errors import OptionError
from i2i.networks.blocks import reflect
from i2i.networks.contract import Encoder, Generator, InputError
from i2i.networks.generators.dcgan import DCGAN
from i2i.networks.generators.resnet import ResNet
from i2i.networks.generators.unet import UNet

NAMES = registry.names("generators")
NORMS = ["instance", "batch", "group", "none"]
UPSAMPLES = ["deconv", "deconv_blur", "nearest", "bilinear", "pixelshuffle"]
SMALL = {"width": 4, "blocks": 2, "depth": 3, "size": (16, 24)}
PLAIN = [name for name in NAMES if not registry.find("generators", name).preset]


def small(name, in_channels=3, out_channels=2, **options):
    """The generator `name` with few channels and few layers, where it has such options."""
    found = registry.find("generators", name)
    known = inspect.signature(found.factory).parameters
    chosen = {key: value for key, value in (SMALL | found.preset | options).items() if key in known}
    net = found.factory(in_channels, out_channels, **chosen)
    for parameter in net.parameters():
        if not parameter.is_meta and not parameter.any():  # blocks that begin as the identity
            torch.nn.init.normal_(parameter, 0, 0.1)
    return net


def example(net, batch=2, channels=3):
    """An input that `net` accepts: images of twice its divisor, or latents."""
    torch.manual_seed(0)
    side = max(16, 2 * net.size_divisor) if net.size is None else 1
    return torch.randn(batch, channels, side, side)


TRANSLATING = [name for name in PLAIN if small(name).size is None]


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", PLAIN)
def test_output_has_the_image_size_and_range_and_gradients_reach_every_parameter(
    name, norm, upsample
):
    torch.manual_seed(0)
    net = small(name, norm=norm, upsample=upsample)
    x = example(net)
    y = net(x)
    assert y.shape == (2, 2, *(net.size or x.shape[2:]))
    assert y.abs().max() <= 1
    (y * torch.randn_like(y)).sum().backward()
    silent = [
        key
        for key, parameter in net.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not silent


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["unet", "dcgan"])
def test_head_layers_are_trained_and_end_in_a_linear_convolution_to_the_image(name, norm, upsample):
    torch.manual_seed(0)
    net = small(name, norm=norm, upsample=upsample, head_layers=2)
    widths = [c.weight.shape[:2] for c in net.head.modules() if isinstance(c, torch.nn.Conv2d)]
    assert widths == [(4, 4), (4, 4), (2, 4)]
    y = net(example(net))
    assert y.shape == (2, 2, *SMALL["size"]) if name == "dcgan" else (2, 2, 16, 16)
    (y * torch.randn_like(y)).sum().backward()
    assert all(parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("upsample", UPSAMPLES)
@pytest.mark.parametrize("name", PLAIN)
def test_network_built_without_memory_computes_what_the_one_does_whose_weights_it_loads(
    name, upsample
):
    net = small(name, upsample=upsample).eval()
    with torch.device("meta"):
        twin = small(name, upsample=upsample).eval()
    twin.load_state_dict(net.state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(twin(example(net)), net(example(net)))


@pytest.mark.parametrize("name", PLAIN)
def test_generator_has_the_attributes_of_the_contract(name):
    net = small(name)
    assert isinstance(net, Generator)
    assert type(net.size_divisor) is type(net.min_size) is int
    assert net.min_size >= net.size_divisor >= 1
    assert net.min_size % net.size_divisor == 0
    assert net.size in (None, SMALL["size"])


@pytest.mark.parametrize("name", TRANSLATING)
def test_generator_of_images_takes_multiples_of_its_divisor_and_refuses_other_sizes(name):
    net = small(name).eval()
    side = max(net.size_divisor, net.min_size)
    for height, width in ((side, side), (3 * side, 5 * side)):
        assert net(torch.randn(1, 3, height, width)).shape == (1, 2, height, width)
    if net.size_divisor > 1:
        with pytest.raises(InputError, match=f"multiples of {net.size_divisor}"):
            net(torch.randn(1, 3, 4 * side + 1, 4 * side))
    if net.min_size > 1:
        with pytest.raises(InputError, match=f"at least {net.min_size}"):
            net(torch.randn(1, 3, net.min_size - 1, 4 * side))


@pytest.mark.parametrize("name", [name for name in PLAIN if isinstance(small(name), Encoder)])
def test_features_of_an_encoder_are_maps_whose_gradient_reaches_the_image(name):
    net = small(name)
    x = example(net).requires_grad_(True)
    features = net.features(x)
    assert all(feature.ndim == 4 and len(feature) == len(x) for feature in features)
    (gradient,) = torch.autograd.grad(features[-1].square().sum(), x)
    assert gradient.abs().sum() > 0
    with pytest.raises(InputError):
        net.features(x[..., :-1])


def test_the_smallest_images_that_are_promised_work():
    assert ResNet(3, 3, width=4, blocks=1)(torch.randn(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    for norm in NORMS:
        assert UNet(3, 3, width=4, depth=3, norm=norm)(torch.randn(1, 3, 8, 8)).shape == (
            1,
            3,
            8,
            8,
        )


@pytest.mark.parametrize(
    ("name", "norm", "published", "dropped"),
    [
        # Dropped: the published networks have a bias in front of each InstanceNorm, one for each of
        # its channels: 64 + 128 + 256 in the encoder, 2 * 256 a block, 128 + 64 in the decoder.
        ("resnet_9blocks", "instance", 11_378_179, 640 + 9 * 512),
        ("resnet_6blocks", "instance", 7_837_699, 640 + 6 * 512),
        ("resnet_9blocks", "batch", 11_383_427, 0),
        ("unet_256", "batch", 54_413_955, 0),
        ("unet_128", "batch", 41_828_995, 0),
    ],
)
def test_parameter_counts_are_the_published_ones_less_the_biases_in_front_of_instance_norm(
    name, norm, published, dropped
):
    found = registry.find("generators", name)
    with torch.device("meta"):
        net = found.factory(3, 3, norm=norm, **found.preset)
    assert count(net) == published - dropped


def test_dcgan_has_the_parameters_of_the_pytorch_example():
    with torch.device("meta"):
        assert count(DCGAN(100, 3)) == 3_576_704


@pytest.mark.parametrize("blocks", [1, 3, 5, 7])
def test_resnet_features_are_five_depths_of_the_encoder_and_equal_what_forward_computes(blocks):
    net = ResNet(3, 3, width=4, blocks=blocks).eval()
    x = example(net)
    seen = {}
    watched = {
        1: net.downs[0].conv,
        2: net.downs[1].conv,
        3: net.blocks[0],
        4: net.blocks[min(5, blocks) - 1],
    }
    hooks = [
        module.register_forward_hook(
            lambda module, args, output, depth=depth: seen.__setitem__(depth, output)
        )
        for depth, module in watched.items()
    ]
    net(x)
    for hook in hooks:
        hook.remove()
    found = net.features(x)
    assert [tuple(f.shape[1:]) for f in found] == [
        (3, 22, 22),
        (8, 8, 8),
        (16, 4, 4),
        (16, 4, 4),
        (16, 4, 4),
    ]
    assert all(torch.equal(found[depth], output) for depth, output in seen.items())


def test_antialiased_resnet_has_the_same_weights_and_output_size_and_compares_before_halving():
    plain = ResNet(3, 3, width=4, blocks=1)
    net = ResNet(3, 3, width=4, blocks=1, antialias=True)
    net.load_state_dict(plain.state_dict())
    x = example(net)
    assert net(x).shape == x.shape
    assert [tuple(f.shape[1:]) for f in net.features(x)] == [
        (3, 22, 22),
        (8, 16, 16),
        (16, 8, 8),
        (16, 4, 4),
        (16, 4, 4),
    ]


@pytest.mark.parametrize("upsample", UPSAMPLES)
def test_skips_of_a_resnet_carry_its_stem_past_silent_halvings(upsample):
    torch.manual_seed(0)
    plain, net = (
        ResNet(3, 2, width=4, blocks=1, upsample=upsample, skips=skips) for skips in (False, True)
    )
    x = example(net)
    y = net(x)
    assert y.shape == (2, 2, *x.shape[2:])
    y.sum().backward()
    assert all(parameter.grad.any() for parameter in net.parameters())
    for silent in (plain, net):
        for down in silent.downs:
            torch.nn.init.zeros_(down.conv.weight)
    assert torch.equal(plain(x), plain(-x))
    assert not torch.equal(net(x), net(-x))


def test_skips_of_a_resnet_join_maps_of_equal_size():
    net = ResNet(3, 3, width=4, blocks=1, skips=True).eval()
    seen = {}
    for name in ("stem", "downs.0", "ups.0", "ups.1", "head"):
        net.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(name, (args[0], output))
        )
    net(example(net))
    for level, below, after in (("downs.0", "ups.0", "ups.1"), ("stem", "ups.1", "head")):
        both = torch.cat([seen[level][1], seen[below][1]], 1).relu()
        joined = reflect(both, 3) if after == "head" else both
        assert torch.equal(seen[after][0], joined)


def test_features_compute_nothing_behind_the_encoder():
    resnet, unet = ResNet(3, 3, width=4, blocks=7), UNet(3, 3, width=2, depth=6)

    def refuse(*args):
        raise AssertionError("the decoder ran")

    for module in (*resnet.blocks[5:], *resnet.ups, resnet.head, unet.downs[5], *unet.ups):
        module.register_forward_pre_hook(refuse)
    assert len(resnet.features(example(resnet))) == 5
    assert len(unet.features(example(unet))) == 5


def test_unet_features_are_its_five_outermost_levels():
    net = UNet(3, 3, width=2, depth=6)
    assert [tuple(f.shape[1:]) for f in net.features(torch.randn(1, 3, 64, 64))] == [
        (2, 32, 32),
        (4, 16, 16),
        (8, 8, 8),
        (16, 4, 4),
        (16, 2, 2),
    ]


@pytest.mark.parametrize(("depth", "levels"), [(5, 0), (6, 1), (7, 2), (8, 3)])
def test_unet_drops_out_in_the_levels_between_the_innermost_and_the_four_outer_ones(depth, levels):
    with torch.device("meta"):
        net = UNet(3, 3, width=2, depth=depth)
    active = [isinstance(layer, torch.nn.Dropout) for layer in net.dropouts]
    assert active == [False] + [True] * levels + [False] * (depth - levels - 1)


def test_dropout_makes_training_passes_differ_and_evaluation_passes_agree():
    for net in (ResNet(3, 3, width=4, blocks=1, dropout=True), UNet(3, 3, width=2, depth=6)):
        x = example(net)
        assert not torch.equal(net(x), net(x))
        net.eval()
        assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("latent", "channels", "size", "base"),
    [
        (128, 3, (28, 28), (7, 7)),
        (100, 3, (64, 64), (4, 4)),
        (7, 1, (96, 64), (6, 4)),
        (1, 3, (12, 32), (3, 8)),
    ],
)
def test_dcgan_turns_latents_of_any_length_into_images_of_its_size(latent, channels, size, base):
    net = DCGAN(latent, channels, size=size, width=4)
    assert net.stem.kernel_size == base
    assert net(torch.randn(2, latent, 1, 1)).shape == (2, channels, *size)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((30, 30), "28x28 and 32x32"), ((65, 64), "64x64 and 64x56"), ((1, 1), "6x6 and 6x8")],
)
def test_dcgan_names_the_nearest_sizes_when_one_does_not_fit(size, nearest):
    with pytest.raises(OptionError, match=rf"size: {size[0]}x{size[1]} .*Nearest: {nearest}"):
        DCGAN(8, 3, size=size, width=4)


def test_dcgan_refuses_latents_of_another_length():
    with pytest.raises(ValueError, match=r"latent: expected \[N, 8, 1, 1\], got \[2, 9, 1, 1\]"):
        DCGAN(8, 3, width=4)(torch.randn(2, 9, 1, 1))


@pytest.mark.parametrize("name", PLAIN)
def test_options_out_of_range_name_the_option(name):
    with pytest.raises(ValueError, match="width: must be at least 1, got 0"):
        small(name, width=0)
    with pytest.raises(ValueError, match="out_channels: must be at least 1"):
        small(name, out_channels=0)


def test_a_resnet_needs_a_block_and_a_unet_two_levels():
    with pytest.raises(ValueError, match="blocks: must be at least 1, got 0"):
        ResNet(3, 3, blocks=0)
    with pytest.raises(ValueError, match="depth: must be at least 2, got 1"):
        UNet(3, 3, depth=1)


@pytest.mark.parametrize("name", PLAIN)
def test_compiling_in_place_gives_one_whole_graph_with_the_same_numbers(name):
    net = small(name)
    net.eval()
    x = example(net)
    with torch.no_grad():
        expected = net(x)
    graphs = []
    torch._dynamo.reset()
    net.compile(fullgraph=True, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected)
    assert len(graphs) == 1


def test_a_compiled_generator_trains_with_the_gradients_of_the_plain_one():
    net = ResNet(3, 3, width=4, blocks=1, norm="batch")
    x = example(net)
    gradients = []
    for run in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        net.zero_grad()
        run(x).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])
