"""BatchNorm on the statistics of single images, and the switch to evaluation."""

import pytest
import torch
from torch import nn

from i2i.networks.generators.resnet import ResNet
from i2i.networks.generators.unet import UNet
from i2i.networks.inference import inference, per_image_statistics
from i2i.networks.init import init_weights


def norm():
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(6)
    nn.init.normal_(layer.weight, 1.0, 0.3)
    nn.init.normal_(layer.bias, 0.0, 0.3)
    return layer


def test_each_image_of_a_batch_of_eight_is_normalized_bit_for_bit_as_in_a_training_batch_of_one():
    layer = norm()
    single = per_image_statistics(layer)
    x = torch.randn(8, 6, 9, 7) * 3 + 1
    expected = torch.cat([layer(image[None]) for image in x])
    assert torch.equal(single(x), expected)
    assert torch.equal(single.eval()(x), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: UNet(3, 3, width=4, depth=5, dropout=False),
        lambda: ResNet(3, 3, width=4, blocks=2, norm="batch"),
    ],
)
def test_a_network_on_a_batch_of_eight_equals_training_mode_on_each_image(make):
    torch.manual_seed(0)
    net = make()
    init_weights(net, "kaiming")
    x = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        alone = torch.cat([net(image[None]) for image in x])
        twin = per_image_statistics(net).eval()
        torch.testing.assert_close(
            twin(x), alone, atol=1e-5, rtol=0
        )  # convolutions round by batch size
        assert torch.equal(torch.cat([twin(image[None]) for image in x]), alone)


def test_the_original_is_untouched_and_the_copy_follows_its_training():
    net = UNet(3, 3, width=4, depth=3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    twin = per_image_statistics(net)
    twin(torch.randn(2, 3, 16, 16))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    with torch.no_grad():
        net.ups[0].norm.weight.fill_(7.0)
    assert (twin.ups[0].norm.weight == 7.0).all()


def test_a_network_without_batch_norm_comes_back_equal():
    net = ResNet(3, 3, width=4, blocks=1)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(per_image_statistics(net)(x), net(x))


def test_a_map_of_one_pixel_is_refused():
    with pytest.raises(ValueError, match="single pixel"):
        per_image_statistics(norm())(torch.randn(4, 6, 1, 1))


def test_per_image_statistics_compile_to_one_graph():
    twin = per_image_statistics(UNet(3, 3, width=4, depth=3, dropout=False)).eval()
    x = torch.randn(2, 3, 16, 16)
    torch._dynamo.reset()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(twin, fullgraph=True, backend="eager")(x), twin(x))


def test_inference_turns_dropout_and_gradients_off_and_puts_every_module_back():
    net = UNet(3, 3, width=2, depth=6)
    net.downs.eval()
    x = torch.randn(1, 3, 64, 64)
    with inference(net) as same:
        assert same is net
        first = net(x)
        assert torch.equal(first, net(x))
        assert not first.requires_grad
    assert net.training
    assert net.ups[0].training
    assert not net.downs[0].training


def test_inference_puts_modules_back_after_an_error():
    net = ResNet(3, 3, width=4, blocks=1)
    with pytest.raises(ValueError, match="multiples"), inference(net):
        net(torch.randn(1, 3, 17, 16))
    assert net.training
