"""The shared layers: sizes, the norm factory, and what an option out of range says."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from i2i.errors import OptionError
from i2i.networks.blocks import Conv, Head, Residual, Up, blur, check_sides, norm_layer, reflect
from i2i.networks.generators.resnet import ResNet
from i2i.networks.init import init_weights

UPSAMPLES = ["deconv", "deconv_blur", "nearest", "bilinear", "pixelshuffle"]


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("upsample", UPSAMPLES)
def test_up_doubles_odd_and_even_sides(upsample, kernel):
    up = Up(5, 3, kernel=kernel, norm="batch", upsample=upsample)
    assert up(torch.randn(2, 5, 4, 7)).shape == (2, 3, 8, 14)


@pytest.mark.parametrize(("kernel", "expected"), [(4, (3, 4)), (3, (4, 4))])
def test_stride_2_halves_with_floor_for_kernel_4_and_ceiling_for_kernel_3(kernel, expected):
    down = Conv(2, 3, kernel, 2, 1, norm="instance")
    assert down(torch.randn(1, 2, 7, 8)).shape[2:] == expected


def test_nearest_up_repeats_each_pixel_before_its_convolution():
    up = Up(1, 1, kernel=4, norm="none", upsample="nearest")
    nn.init.zeros_(up.conv.weight)
    nn.init.zeros_(up.conv.bias)
    up.conv.weight.data[0, 0, 1, 1] = 1.0
    x = torch.tensor([[1.0, 2.0]]).reshape(1, 1, 1, 2)
    assert up(x).squeeze().tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def grid(images):
    """Return the power of period 2 over that of the neighboring frequencies, dB, along rows."""
    power = torch.fft.rfft(images).abs().square().mean((0, 1, 2))
    return 10 * torch.log10(power[-1] / power[-4:-1].mean()).item()


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("upsample", UPSAMPLES)
def test_only_the_bare_transposed_convolution_puts_a_grid_over_what_it_doubles(upsample, kernel):
    torch.manual_seed(0)
    up = Up(16, 8, kernel=kernel, norm="none", upsample=upsample).double()
    init_weights(up)
    inside = (..., slice(4, -4), slice(4, -4))  # padding makes another pattern
    with torch.no_grad():
        flat = up(torch.rand(1, 16, 1, 1).double().expand(-1, -1, 12, 12))[inside]
        textured = up(torch.randn(64, 16, 20, 20).relu().double())[inside]
    contrast = flat.std((2, 3)).max().item()
    if upsample == "deconv":
        assert contrast > 0.01
        assert grid(textured) > 3
    else:
        assert contrast < 1e-12
        assert grid(textured) < 0


def test_blur_is_the_binomial_filter_with_reflection_of_scipy():
    x = torch.randn(2, 3, 7, 10, dtype=torch.double)
    expected = x.numpy()
    for axis in (2, 3):
        expected = ndimage.correlate1d(expected, [0.25, 0.5, 0.25], axis=axis, mode="mirror")
    np.testing.assert_allclose(blur(x), expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(blur(x, 2), expected[:, :, ::2, ::2], rtol=0, atol=1e-15)


def test_blur_keeps_constants_and_lets_nothing_of_period_2_pass_up_to_the_border():
    ones = torch.ones(1, 2, 6, 8)
    for pattern in (ones.clone(), ones.clone()):
        pattern[..., ::2] = -1
        assert not blur(pattern).any()
        assert not blur(pattern.mT).any()
    assert torch.equal(blur(ones), ones)


@pytest.mark.parametrize("kernel", [3, 4])
def test_blurred_transposed_convolution_moves_nothing(kernel):
    plain = Up(1, 1, kernel=kernel, norm="none").double()
    blurred = Up(1, 1, kernel=kernel, norm="none", upsample="deconv_blur").double()
    blurred.load_state_dict(plain.state_dict())
    x = torch.zeros(1, 1, 9, 9).double()
    x[..., 4, 4] = 1

    def center(y):
        y = y - plain.conv.bias
        return (y.sum(2) * torch.arange(18)).sum() / y.sum()

    torch.testing.assert_close(center(blurred(x)), center(plain(x)))


def test_sub_pixel_convolution_starts_as_a_convolution_with_nearest_interpolation_behind_it():
    up = Up(5, 3, kernel=4, norm="none", upsample="pixelshuffle")
    x = torch.randn(2, 5, 6, 7)
    for draw in (lambda: None, lambda: init_weights(up), lambda: init_weights(up, "orthogonal")):
        draw()
        y = nn.functional.conv2d(x, up.conv.weight[::4], up.conv.bias[::4], padding=1)
        torch.testing.assert_close(up(x), y.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("layers", [0, 1])
def test_head_is_linear_only_without_hidden_layers(layers):
    torch.manual_seed(0)
    head = Head(4, 3, layers, norm="none").double()
    x, y = torch.randn(2, 1, 4, 8, 8).double()
    linear = torch.allclose(head(x) + head(y), head(x + y) + head(0 * x))
    assert linear == (layers == 0)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (40, 20), (37, 1), (8, 8)])
def test_group_norm_has_32_groups_or_the_largest_smaller_number_that_divides_the_channels(
    channels, groups
):
    assert norm_layer("group", channels).num_groups == groups


def test_instance_norm_holds_no_tensors_and_batch_norm_has_running_statistics():
    assert not norm_layer("instance", 4).state_dict()
    assert set(norm_layer("batch", 4).state_dict()) == {
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
def test_a_convolution_has_a_bias_only_without_a_norm_behind_it(norm):
    for layer in (
        Conv(4, 4, 3, norm=norm),
        Conv(4, 4, 4, 2, 1, norm=norm),
        Up(4, 4, kernel=4, norm=norm),
    ):
        assert (layer.conv.bias is not None) == (norm == "none")


def test_residual_block_adds_to_its_input_without_a_relu_after_the_sum():
    block = Residual(2, norm="none")
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = -torch.ones(1, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_spectral_norm_divides_by_the_largest_singular_value():
    torch.manual_seed(0)  # how fast the power iteration converges depends on the weights drawn
    conv = Conv(3, 8, 4, spectral=True)
    for _ in range(200):
        conv(torch.randn(1, 3, 8, 8))
    assert torch.linalg.matrix_norm(conv.conv.weight.flatten(1), 2).item() == pytest.approx(
        1.0, abs=1e-3
    )


def test_unknown_norm_and_unknown_upsampling_name_the_option_and_its_values():
    with pytest.raises(
        OptionError, match="norm: must be 'instance', 'batch', 'group' or 'none', got 'layer'"
    ):
        ResNet(3, 3, norm="layer")
    with pytest.raises(
        OptionError,
        match="upsample: must be 'deconv', 'deconv_blur', 'nearest', 'bilinear' or 'pixelshuffle'"
        ", got 'cubic'",
    ):
        ResNet(3, 3, upsample="cubic")


def test_a_wrong_image_size_says_what_to_pad_to():
    with pytest.raises(ValueError, match=r"multiples of 4\. Pad to 32x48"):
        check_sides(torch.zeros(1, 3, 30, 45), 4, 8)
    with pytest.raises(ValueError, match="at least 8"):
        check_sides(torch.zeros(1, 3, 4, 64), 4, 8)


def test_deterministic_reflection_equals_the_usual_one():
    x = torch.arange(2 * 5 * 7.0).view(1, 2, 5, 7)
    usual = reflect(x, 3)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(reflect(x, 3), usual)
    finally:
        torch.use_deterministic_algorithms(False)
