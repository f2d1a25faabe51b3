"""The networks of R3GAN: published sizes, resampling, initial weights, penalties."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from test_trainer import settings

from i2i import registry
from i2i.config import ConfigError
from i2i.losses.penalties import zero_centered_gradient_penalty
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, named_tensors, save_model
from i2i.networks.contract import Discriminator, InputError
from i2i.networks.fixup import Bottleneck, Resample
from i2i.networks.init import init_weights
from i2i.run import build
from i2i.translation.sampling import load_sampler

GENERATOR = registry.find("generators", "r3gan").factory
CRITIC = registry.find("discriminators", "r3gan").factory
CHOSEN = ["generator.name=r3gan", "discriminator.name=r3gan", "discriminator.width=4"]


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("side", "width", "widths"),
    [
        (32, 768, [768] * 4),
        (64, 384, [384] + [768] * 4),
        (256, 96, [96, 192, 384] + [768] * 4),
    ],
)
def test_widths_and_parameters_are_those_of_the_published_networks(side, width, widths):
    with torch.device("meta"):
        generator = GENERATOR(64, 3, size=(side, side), width=width, blocks=2)
        critic = CRITIC(3, size=(side, side), width=width, blocks=2)
    # a block: c -> 2c, 2c -> 2c in groups of 16, 2c -> c, and two biases of 2c
    blocks = 2 * sum(2 * c * c + 2 * c * 16 * 9 + 2 * c * c + 4 * c for c in widths)
    resampled = sum(a * b for a, b in pairwise(widths) if a != b)
    inner, outer = widths[-1], widths[0]
    assert count(generator) == blocks + resampled + 64 * inner + 16 * inner + 3 * outer
    assert count(critic) == blocks + resampled + 3 * outer + 16 * inner + inner


def test_resampling_is_bilinear_up_and_its_transpose_down():
    torch.manual_seed(0)
    up, down = Resample(up=True), Resample(up=False)
    small, large = torch.randn(1, 2, 6, 5), torch.randn(1, 2, 12, 10)
    inside = (..., slice(1, -1), slice(1, -1))  # the published zeros around it reach the border
    bilinear = F.interpolate(small, scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(up(small)[inside], bilinear[inside])
    torch.testing.assert_close((up(small) * large).sum(), 4 * (small * down(large)).sum())


def test_networks_begin_linear_with_the_published_spread():
    torch.manual_seed(0)
    critic = CRITIC(3, size=(16, 24), width=32, blocks=2)
    x = torch.randn(4, 3, 16, 24)
    torch.testing.assert_close(critic(-3 * x), -3 * critic(x))
    block = critic.stages[0][0]
    assert isinstance(block, Bottleneck)
    gain = (2 / (1 + 0.2**2)) ** 0.5 * 6**-0.25  # three resolutions of two blocks
    assert block.expand.weight.std().item() == pytest.approx(gain / 32**0.5, rel=0.05)
    assert block.middle.weight.std().item() == pytest.approx(gain / (16 * 9) ** 0.5, rel=0.05)
    assert not block.reduce.weight.any()
    images = GENERATOR(8, 3, width=32, blocks=2)(torch.randn(8, 8, 1, 1))
    assert 0.1 < images.std() < 0.9


def test_initial_weights_are_their_own_whatever_the_scheme():
    for net in (GENERATOR(8, 3, width=4), CRITIC(3, width=4)):
        before = {name: value.clone() for name, value in net.state_dict().items()}
        init_weights(net, "orthogonal")
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "setting", ["train.init=kaiming", "train.init_gain=1", "train.init_discriminator=kaiming"]
)
def test_a_scheme_that_no_network_would_follow_is_refused(setting):
    channels = {"image": 3}
    with pytest.raises(ConfigError, match=r"train.init.*these networks draw initial weights"):
        build.make_method(settings("dcgan", *CHOSEN, setting), channels)
    build.make_method(settings("dcgan", CHOSEN[0], setting), channels)  # D follows it


def test_trained_run_generates_images(tmp_path):
    torch.manual_seed(0)
    options = {"width": 4, "size": (16, 16)}
    net = GENERATOR(8, 3, **options).eval()
    part = GeneratorInfo(
        name="r3gan", options=options, in_channels=8, out_channels=3, latent_distribution="normal"
    )
    info = ModelInfo(method="test", generators={"generate": part}, direction="generate")
    save_model(tmp_path / WEIGHTS, info, named_tensors({"generate": net}))
    x = torch.randn(2, 8, 1, 1)
    with torch.no_grad():
        assert torch.equal(load_sampler(tmp_path).network(x), net(x))


def test_critic_has_the_contract_and_takes_images_of_its_size_alone():
    net = CRITIC(3, size=(28, 56), width=4)
    assert isinstance(net, Discriminator)
    assert net(torch.randn(2, 3, 28, 56)).shape == (2, 1, 1, 1)
    assert [x.shape[1] for x in net.features(torch.randn(1, 3, 28, 56))] == [4, 8, 16, 1]
    with pytest.raises(InputError, match=r"56x28 pixels .*was built for 28x56"):
        net(torch.randn(1, 3, 56, 28))


def test_penalty_reaches_every_weight_that_the_gradient_depends_on():
    torch.manual_seed(0)
    net = CRITIC(3, size=(16, 16), width=4)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    zero_centered_gradient_penalty(net, torch.randn(2, 3, 16, 16)).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.ndim > 1)


@pytest.mark.parametrize("make", [lambda: GENERATOR(8, 3, width=4), lambda: CRITIC(3, width=4)])
def test_compiling_in_place_gives_one_whole_graph(make):
    net = make()
    x = torch.randn(2, 8, 1, 1) if isinstance(net, GENERATOR) else torch.randn(2, 3, 64, 64)
    torch._dynamo.reset()
    run = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(run(x), net(x))
