"""Initial weights follow the scheme."""

import pytest
import torch
from torch import nn

from i2i.networks.discriminators.patchgan import PatchGAN
from i2i.networks.generators.resnet import ResNet
from i2i.networks.init import init_weights


def test_normal_scheme_has_the_asked_spread_in_convolutions_and_norms_and_zero_biases():
    torch.manual_seed(0)
    net = ResNet(3, 3, width=32, blocks=2, norm="batch")
    nn.init.ones_(net.head.bias)
    init_weights(net, "normal", 0.05)
    assert net.blocks[0].first.conv.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert net.ups[0].conv.weight.std().item() == pytest.approx(0.05, rel=0.05)
    scales = torch.cat(
        [module.weight for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    )
    assert scales.mean().item() == pytest.approx(1.0, abs=0.01)
    assert scales.std().item() == pytest.approx(0.05, rel=0.15)
    assert not net.head.bias.any()


def test_orthogonal_scheme_gives_rows_of_length_gain():
    layer = nn.Conv2d(8, 4, 3)
    init_weights(layer, "orthogonal", 0.5)
    rows = layer.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("scheme", "spread"),
    [("xavier", 0.5 * (2 / (64 * 9 + 32 * 9)) ** 0.5), ("kaiming", (2 / (64 * 9)) ** 0.5)],
)
def test_fan_schemes_have_their_spread_and_kaiming_ignores_the_gain(scheme, spread):
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 32, 3)
    init_weights(layer, scheme, 0.5)
    assert layer.weight.std().item() == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("scheme", ["normal", "xavier", "kaiming", "orthogonal"])
def test_spectral_norm_gets_the_same_draw_as_plain_convolutions(scheme):
    torch.manual_seed(0)
    plain, spectral = (
        PatchGAN(3, width=4, norm="batch", spectral=switch) for switch in (False, True)
    )
    for net in (plain, spectral):
        torch.manual_seed(1)
        init_weights(net, scheme)
    original = spectral.layers[1].conv.parametrizations.weight.original
    assert torch.equal(
        plain.layers[0].conv.weight, spectral.layers[0].conv.parametrizations.weight.original
    )
    assert original.requires_grad
    assert original.is_leaf
    assert spectral.training


def test_linear_layers_are_drawn_too_and_the_seed_decides():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    for layer in (first, second):
        torch.manual_seed(3)
        init_weights(layer)
    assert torch.equal(first.weight, second.weight)
    assert not first.bias.any()


def test_an_unknown_scheme_is_named():
    with pytest.raises(
        ValueError, match="init: must be one of normal, xavier, kaiming, orthogonal, got 'uniform'"
    ):
        init_weights(nn.Linear(2, 2), "uniform")


def test_each_scheme_has_a_gain_of_its_own_and_norms_a_small_spread_but_with_normal():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 4, 3)
    init_weights(layer, "orthogonal")
    rows = layer.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)
    init_weights(layer, "xavier")
    assert layer.weight.std().item() == pytest.approx(0.02 * (2 / (12 * 9)) ** 0.5, rel=0.2)
    norm = nn.BatchNorm2d(4096)
    for scheme, gain in (("orthogonal", None), ("kaiming", None), ("xavier", 1.0)):
        init_weights(norm, scheme, gain)
        assert norm.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_kaiming_keeps_the_power_of_features_through_leaky_layers_of_its_slope():
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(1024, 1024), nn.LeakyReLU(0.5))]
    net = nn.Sequential(*layers)
    x = torch.randn(64, 1024)
    powers = {}
    for slope in (0.5, 0.0):
        init_weights(net, "kaiming", slope=slope)
        powers[slope] = net(x).square().mean().item()
    assert powers[0.5] == pytest.approx(1, rel=0.15)
    assert powers[0.0] == pytest.approx(1.25**6, rel=0.2)


@pytest.mark.parametrize("scheme", ["normal", "xavier", "kaiming", "orthogonal"])
def test_spectral_norm_divides_by_the_largest_singular_value_from_the_first_step(scheme):
    torch.manual_seed(0)
    net = PatchGAN(3, width=8, norm="none", spectral=True)
    init_weights(net, scheme, slope=0.2)
    for layer in (*net.layers, net.head):
        weight = layer.eval().conv.weight.flatten(1)
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=0.1)
