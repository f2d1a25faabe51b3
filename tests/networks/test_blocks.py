"""The shared layers: sizes, the norm factory, and what an option out of range says."""

import pytest
import torch
from torch import nn

from i2i.errors import OptionError
from i2i.networks.blocks import Conv, Residual, Up, check_sides, norm_layer, reflect
from i2i.networks.generators.resnet import ResNet

UPSAMPLES = ["deconv", "nearest", "bilinear", "pixelshuffle"]


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
        match="upsample: must be 'deconv', 'nearest', 'bilinear' or 'pixelshuffle', got 'cubic'",
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
