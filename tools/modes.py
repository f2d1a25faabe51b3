"""Count the modes of a generator that was trained on `i2i data synth digits`.

\b
i2i data synth digits stacked --size 32 --count 20000
i2i train dcgan --data stacked --out run --set data.flip=false …
python tools/modes.py run

Each channel of an image is classified by a small network that is trained first, on drawn digits.
Three digits are one of 1,000 modes. Printed: its accuracy on held-out digits, the modes that the
images cover, the divergence of their distribution from the uniform one (in nats), each beside what
as many images of the data have on average, and how sure the classifier is, which says if there
are digits at all.
"""

import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from i2i.scenes.digits import digit

SIDE, MODES = 32, 1000
DRAWN, HELD_OUT = 5000, 1000  # digits, of training and for the accuracy


def drawn(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Return digits [count, 1, 32, 32] in [0, 1], drawn from `first` on, and what they are."""
    values = [number % 10 for number in range(first, first + count)]
    pictures = np.empty((count, 1, SIDE, SIDE), np.float32)
    for picture, number, value in zip(pictures, range(first, first + count), values, strict=True):
        rng = np.random.default_rng((4, number))  # a sequence of its own
        picture[0] = (digit(value, SIDE, rng) + rng.normal(0, 4, (SIDE, SIDE))) / 255
    return torch.from_numpy(pictures), torch.tensor(values)


def train_classifier(count: int = DRAWN, epochs: int = 6) -> nn.Module:
    """Return a network [N, 1, 32, 32] -> [N, 10], trained on `count` drawn digits."""
    torch.manual_seed(0)
    pictures, values = drawn(0, count)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    batches = -(-count // 50)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for chosen in torch.randperm(count).split(50):
            noisy = pictures[chosen] + 0.1 * torch.rand(()) * torch.randn(
                len(chosen), 1, SIDE, SIDE
            )
            optimizer.zero_grad()
            cross_entropy(net(noisy), values[chosen]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def classify(net: nn.Module, digits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class of each digit, [N, 1, 32, 32], and its probability."""
    outputs = [net(batch).softmax(1).max(1) for batch in digits.split(500)]
    return torch.cat([best.indices for best in outputs]), torch.cat(
        [best.values for best in outputs]
    )


def read(paths: Sequence[Path]) -> Tensor:
    """Return the channels of images, [3 N, 1, 32, 32] in [0, 1], larger ones reduced."""
    pictures = np.empty((len(paths), SIDE, SIDE, 3), np.float32)
    for picture, path in zip(pictures, paths, strict=True):
        with Image.open(path) as image:
            picture[:] = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
    return torch.from_numpy(pictures / 255).permute(0, 3, 1, 2).reshape(-1, 1, SIDE, SIDE)


def divergence(counts: NDArray[np.int64]) -> float:
    """Return the Kullback-Leibler divergence of a histogram from the uniform one, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(shares * len(counts))).sum())


@click.command(help=__doc__)
@click.argument("model", metavar="RUN_OR_FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--count", default=10_000, metavar="N", help="Images that a run generates.")
def main(model: Path, count: int) -> None:
    """Print the modes of a run, or of a folder of images."""
    net = train_classifier()
    pictures, values = drawn(DRAWN, HELD_OUT)
    right = (classify(net, pictures)[0] == values).float().mean().item()
    click.echo(f"classifier: {right:.2%} of {HELD_OUT:,} held-out digits")
    with tempfile.TemporaryDirectory() as folder:
        if (model / "weights.safetensors").exists() or model.is_file():
            words = [sys.executable, "-m", "i2i", "generate", model, folder, "--count", str(count)]
            subprocess.run(words, check=True)
            model = Path(folder)
        paths = sorted(model.rglob("*.png"))
        if not paths:
            raise click.UsageError(f"{model}: no PNG files")
        classes, sure = classify(net, read(paths))
    modes = (classes.view(-1, 3) @ torch.tensor([100, 10, 1])).bincount(minlength=MODES).numpy()
    n = len(paths)
    random = np.random.default_rng(0).multinomial(n, [1 / MODES] * MODES, 200)
    usual = np.mean([divergence(sample) for sample in random])
    click.echo(
        f"modes: {(modes > 0).sum()} of 1,000 in {n:,} images ({(random > 0).sum(1).mean():.1f})"
    )
    click.echo(
        f"divergence from uniform: {divergence(modes):.3f} of {math.log(MODES):.3f} ({usual:.3f})"
    )
    click.echo(f"mean probability of the class: {sure.mean():.3f}")


if __name__ == "__main__":
    main()
