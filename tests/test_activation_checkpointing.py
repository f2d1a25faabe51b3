"""Layers that compute their activations twice, against the same layers that keep them."""

import copy
from typing import Any

import pytest
import torch
from states import equal
from test_trainer import batch, settings, trainer_for
from torch import Tensor, nn

from i2i import registry
from i2i.config import ConfigError
from i2i.networks.activation_checkpointing import checkpoint_activations
from i2i.run import build

GENERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "residual": ("resnet", {"width": 4, "blocks": 2, "norm": "instance", "dropout": True}),
    "batch norm": ("resnet", {"width": 4, "blocks": 1, "norm": "batch", "upsample": "nearest"}),
    "u-net": ("unet", {"width": 2, "depth": 6, "norm": "batch", "dropout": True}),
    "without norm": ("r3gan", {"width": 4, "size": [16, 16]}),
    "head layers": (
        "unet",
        {"width": 2, "depth": 3, "upsample": "deconv_blur", "head_layers": 2},
    ),
    "latent": ("dcgan", {"width": 4, "size": [16, 16], "norm": "batch"}),
}


def learn(net: nn.Module, x: Tensor) -> tuple[list[Tensor | None], dict[str, Tensor], Tensor]:
    """Return gradients of one batch, the state after it, and the next random number."""
    torch.manual_seed(1)
    (net(x) * torch.linspace(0, 1, net(x).shape[-1])).mean().backward()
    return [p.grad for p in net.parameters()], net.state_dict(), torch.rand(())


@pytest.mark.parametrize("kind", GENERATORS)
def test_gradients_statistics_and_random_numbers_are_those_without_it(kind: str) -> None:
    name, options = GENERATORS[kind]
    torch.manual_seed(0)
    plain = registry.find("generators", name).factory(3, 3, **options)
    again = copy.deepcopy(plain)
    assert checkpoint_activations(again) > 1
    x = torch.rand(2, 3, 1, 1) if "size" in options else torch.rand(2, 3, 64, 64)
    assert equal(learn(again, x), learn(plain, x))
    assert again.state_dict().keys() == plain.state_dict().keys()


def test_copy_computes_with_its_own_weights() -> None:
    net = registry.find("generators", "resnet").factory(3, 3, width=4, blocks=1)
    checkpoint_activations(net)
    twin, x = copy.deepcopy(net), torch.rand(1, 3, 16, 16)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    assert not torch.equal(net(x), twin(x))
    twin.load_state_dict(net.state_dict())
    assert torch.equal(net(x), twin(x))


@pytest.mark.parametrize("method", ["cyclegan", "cut", "pix2pix"])
def test_training_with_it_is_training_without_it(method: str) -> None:
    states = []
    for value in ("false", "true"):
        trainer = trainer_for(method, f"train.activation_checkpointing={value}")
        for step in range(2):
            trainer.step([batch(step)])
        states.append(trainer.state()["method"])
    assert equal(*states)


def test_it_is_refused_where_it_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    override = "train.activation_checkpointing=true"
    with pytest.raises(ConfigError, match="no effect on compiled networks"):
        settings("pix2pix", override, "train.compile=true")
    monkeypatch.setattr(build, "checkpoint_activations", lambda net: 0)
    with pytest.raises(ConfigError, match="has none of the layers"):
        build.make_method(settings("pix2pix", override), {"a": 3, "b": 3})
