"""Training and translating in bfloat16: as good as in float32, on a model that has learned something."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from i2i.config import Layer, parse_override
from i2i.evaluation.paired import ssim
from i2i.execution import Execution
from i2i.networks.inference import inference, per_image_statistics
from i2i.run import build
from i2i.run.settings import resolve
from i2i.scenes import write_dataset
from i2i.training.trainer import Trainer

CPU = torch.device("cpu")
LOW = Execution("bf16", channels_last=True, split=True)
UPDATES, INTERVAL = 60, 15
SMALL = [
    "data.load_size=36",
    "data.crop_size=32",
    "generator.name=unet",
    "generator.depth=5",
    "generator.width=8",
    "discriminator.width=8",
    "discriminator.layers=1",
    "train.batch=4",
    "train.total_images=100000",
    "optim.lr=0.001",
]


class Trained(NamedTuple):
    net: nn.Module
    l1: list[float]  # G's term in each interval
    ssim: float  # of training images, mean


def train(root: Path, execution: Execution, seed: int) -> Trained:
    layers = [Layer("test", {"data": {"root": str(root)}})]
    config = resolve(
        "pix2pix", layers + [parse_override(f) for f in (*SMALL, f"train.seed={seed}")]
    )
    data = build.open_data(config)
    torch.manual_seed(seed)
    method = build.make_method(config, data.channels)
    trainer, losses = Trainer(method, config.train, config.optim, CPU, execution), []
    for update in range(UPDATES):
        samples = [data.sample(update, index % len(data)) for index in range(4)]
        trainer.step([{name: torch.stack([s[name] for s in samples]) for name in samples[0]}])
        if (update + 1) % INTERVAL == 0:
            losses.append(trainer.pop_metrics()["G/l1"])
    net = per_image_statistics(trainer.translators()["a2b"])
    pairs = fixed(data)
    score = float(ssim(translated(net, pairs["a"], execution), pairs["b"]).mean())
    return Trained(net, losses, score)


def fixed(data: Any) -> dict[str, Tensor]:
    samples = [data.fixed(index) for index in range(len(data))]
    return {name: torch.stack([sample[name] for sample in samples]) for name in ("a", "b")}


def translated(net: nn.Module, images: Tensor, execution: Execution) -> Tensor:
    with inference(net) as used, execution.context(CPU):
        return torch.cat([used(image[None]) for image in images]).float()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_dataset("facades", root, 12, 32, seed=1)
    return root


@pytest.fixture(scope="module")
def exact(scenes: Path) -> Trained:
    return train(scenes, Execution(), 0)


def test_training_in_bf16_differs_less_than_another_seed_does(scenes: Path, exact: Trained) -> None:
    other, low = train(scenes, Execution(), 1), train(scenes, LOW, 0)
    spread = max(abs(a - b) for a, b in zip(exact.l1, other.l1, strict=True))
    difference = max(abs(a - b) for a, b in zip(exact.l1, low.l1, strict=True))
    assert exact.l1[-1] < 0.8 * exact.l1[0], "it learns"
    assert difference < spread
    assert abs(low.ssim - exact.ssim) < max(0.01, abs(other.ssim - exact.ssim))


@pytest.mark.parametrize("execution", [Execution("bf16"), LOW], ids=str)
def test_a_trained_model_translates_in_bf16_within_two_levels(
    scenes: Path, exact: Trained, execution: Execution
) -> None:
    images = fixed(
        build.open_data(
            resolve(
                "pix2pix",
                [Layer("test", {"data": {"root": str(scenes)}}), *map(parse_override, SMALL)],
            )
        )
    )["a"]
    expected = translated(exact.net, images, Execution())
    output = translated(execution.prepare(exact.net), images, execution)
    assert 0 < float((output - expected).abs().max()) * 255 / 2 < 2
