"""Every discriminator there is: logits, features, receptive fields, parameter counts, compilation."""

import inspect

import pytest
import torch

from i2i import registry
from i2i.networks.contract import Discriminator, InputError
from i2i.networks.discriminators.multiscale import MultiScale
from i2i.networks.discriminators.patchgan import PatchGAN
from i2i.networks.discriminators.pixel import Pixel
from i2i.networks.init import init_weights

FIXED = ["r3gan"]  # built for one size of images
NAMES = [name for name in registry.names("discriminators") if name not in FIXED]
SMALL = {"width": 4, "layers": 2, "scales": 2}


def small(name, **options):
    """The discriminator `name` with few channels and few layers, where it has such options."""
    factory = registry.find("discriminators", name).factory
    known = inspect.signature(factory).parameters
    return factory(3, **{key: value for key, value in SMALL.items() if key in known} | options)


def logits_of(output):
    return output if isinstance(output, list) else [output]


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def silent(net):
    return [
        key
        for key, parameter in net.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_have_one_channel_and_gradients_reach_every_parameter(name, norm):
    torch.manual_seed(0)
    net = small(name, norm=norm)
    found = logits_of(net(torch.randn(2, 3, 32, 40)))
    assert all(logits.shape[:2] == (2, 1) and logits.ndim == 4 for logits in found)
    sum((logits * torch.randn_like(logits)).sum() for logits in found).backward()
    assert not silent(net)


@pytest.mark.parametrize("name", NAMES)
def test_discriminator_has_the_attributes_of_the_contract(name):
    net = small(name)
    assert isinstance(net, Discriminator)
    assert type(net.scales) is type(net.min_size) is type(net.receptive_field) is int
    assert len(logits_of(net(torch.randn(1, 3, 40, 40)))) == net.scales
    assert net.size is None
    assert net.receptive_field >= 1


@pytest.mark.parametrize("options", [{}, {"head": "image", "size": (45, 32)}])
def test_antialiasing_changes_no_shape_and_no_weight_but_what_is_seen(options):
    torch.manual_seed(0)
    plain, filtered = (small("patchgan", antialias=value, **options) for value in (False, True))
    filtered.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 45, 32)
    pairs = list(zip(plain.features(x), filtered.features(x), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    assert not torch.allclose(*pairs[-1])
    assert filtered.receptive_field == (45 if options else 40)


def test_antialiased_discriminator_has_gradient_penalties_and_its_smallest_image():
    net = small("patchgan", antialias=True, norm="none")
    x = torch.randn(2, 3, net.min_size, net.min_size, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert all(layer.conv.weight.grad.any() for layer in net.layers)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_images_that_are_promised_work_and_smaller_ones_are_refused(name, norm):
    net = small(name, norm=norm)
    net(torch.randn(1, 3, net.min_size, net.min_size))
    if net.min_size > 1:
        with pytest.raises(InputError, match=f"at least {net.min_size}"):
            net(torch.randn(1, 3, net.min_size - 1, 64))


@pytest.mark.parametrize("name", NAMES)
def test_features_end_with_the_logits(name):
    net = small(name).eval()
    x = torch.randn(1, 3, 32, 32)
    expected = logits_of(net(x))
    assert len(expected) == net.scales
    found = net.features(x)
    assert len(found) > len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found[-len(expected) :], expected, strict=True))


@pytest.mark.parametrize(
    ("layers", "field", "side"),
    [(1, 16, 126), (2, 34, 62), (3, 70, 30), (4, 142, 14), (5, 286, 6), (6, 574, 2)],
)
def test_patchgan_sees_the_published_patch_and_maps_256_pixels_to_the_published_size(
    layers, field, side
):
    net = PatchGAN(1, width=1, layers=layers, norm="none")
    assert net.receptive_field == field
    assert net(torch.randn(1, 1, 256, 256)).shape == (1, 1, side, side)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PatchGAN(1, width=4, layers=2, norm="none"),
        lambda: PatchGAN(1, width=4, layers=2, norm="none", antialias=True),
        lambda: Pixel(1, norm="none"),
    ],
)
def test_receptive_field_is_the_extent_of_one_logits_gradient(make):
    torch.manual_seed(0)
    net = make()
    x = torch.randn(1, 1, 96, 96, requires_grad=True)
    logits = net(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert (rows.max() - rows.min() + 1).item() == net.receptive_field


def test_coarsest_scale_sees_the_patch_that_receptive_field_promises():
    torch.manual_seed(0)
    net = MultiScale(1, scales=3, width=4, layers=1, norm="none")
    x = torch.randn(1, 1, 160, 160, requires_grad=True)
    logits = net(x)[-1]
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()
    assert (rows.max() - rows.min() + 1).item() == net.receptive_field


@pytest.mark.parametrize(
    ("channels", "norm", "published", "dropped"),
    [
        (6, "batch", 2_768_705, 0),
        # dropped: the published network has a bias in front of each InstanceNorm, of 128, 256 and
        # 512 channels
        (3, "instance", 2_764_737, 128 + 256 + 512),
        (6, "instance", 2_767_809, 128 + 256 + 512),
    ],
)
def test_patchgan_parameters_are_the_published_ones_less_the_biases_in_front_of_instance_norm(
    channels, norm, published, dropped
):
    with torch.device("meta"):
        assert count(PatchGAN(channels, norm=norm)) == published - dropped


def test_image_head_is_the_discriminator_of_the_pytorch_dcgan_example_and_its_two_outer_biases():
    with torch.device("meta"):
        assert count(PatchGAN(3, head="image", size=(64, 64))) == 2_765_568 + 64 + 1


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize(
    ("size", "layers"), [((64, 64), 3), ((28, 28), 3), ((28, 28), 2), ((96, 64), 3), ((33, 70), 1)]
)
def test_image_head_gives_one_logit_an_image_that_sees_all_of_it(size, layers, norm):
    torch.manual_seed(0)
    net = PatchGAN(1, width=4, layers=layers, head="image", size=size, norm=norm)
    x = torch.randn(2, 1, *size, requires_grad=True)
    logits = net(x)
    assert logits.shape == (2, 1, 1, 1)
    logits[0].sum().backward()
    assert x.grad[0, 0, 0].any()
    assert x.grad[0, 0, :, 0].any()
    assert not silent(net)


def test_image_head_refuses_images_of_another_size():
    with pytest.raises(
        InputError, match=r"32x64 pixels .height x width., this discriminator was built for 64x64"
    ):
        PatchGAN(3, width=4, head="image", size=(64, 64))(torch.randn(1, 3, 32, 64))


def test_head_and_size_must_go_together():
    with pytest.raises(ValueError, match="size: head=image needs"):
        PatchGAN(3, head="image")
    with pytest.raises(ValueError, match=r"size: .*is for head=image"):
        PatchGAN(3, size=(64, 64))
    with pytest.raises(ValueError, match="size: 8x8 is too small for 3 halvings"):
        PatchGAN(3, head="image", size=(8, 8))
    with pytest.raises(ValueError, match="head: must be 'patch' or 'image', got 'pixel'"):
        PatchGAN(3, head="pixel")


def test_multiscale_gives_one_map_a_scale_and_the_first_is_the_full_size():
    net = MultiScale(3, scales=3, width=4, layers=1, norm="none")
    x = torch.randn(1, 3, 48, 32)
    found = net(x)
    assert [tuple(logits.shape[2:]) for logits in found] == [(22, 14), (10, 6), (4, 2)]
    assert torch.equal(found[0], net.patchgans[0](x))


def test_multiscale_features_are_all_hidden_layers_and_then_the_logits():
    net = MultiScale(3, scales=2, width=4, layers=1)
    channels = [f.shape[1] for f in net.features(torch.randn(1, 3, 32, 32))]
    assert channels == [4, 8, 4, 8, 1, 1]


@pytest.mark.parametrize("name", [n for n in NAMES if n != "pixel"])
def test_spectral_norm_bounds_every_convolution_from_the_first_step_after_initialization(name):
    torch.manual_seed(0)
    net = small(name, spectral=True, norm="none")
    init_weights(net)
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) > 3
    for conv in convolutions:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(
            1.0, abs=0.1
        )
    sum(logits.square().sum() for logits in logits_of(net(torch.randn(2, 3, 32, 32)))).backward()
    assert not silent(net)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in NAMES]
    + [
        ("patchgan", {"spectral": True, "norm": "none"}),
        ("patchgan", {"head": "image", "size": (32, 32)}),
    ],
)
def test_compiling_in_place_gives_one_whole_graph_with_the_same_numbers(name, options):
    net = small(name, **options).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = logits_of(net(x))
    graphs = []
    torch._dynamo.reset()
    net.compile(fullgraph=True, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(net(x)), expected)
    assert len(graphs) == 1


def test_a_compiled_spectral_discriminator_trains_twice_a_step():
    net = PatchGAN(3, width=4, layers=1, norm="none", spectral=True)
    run = torch.compile(net, fullgraph=True, backend="aot_eager")
    (run(torch.randn(1, 3, 16, 16)).mean() - run(torch.randn(1, 3, 16, 16)).mean()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
