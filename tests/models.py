"""Small models with random weights, and folders of pictures of every kind to translate."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from i2i import images, registry
from i2i.checkpoint import WEIGHTS, save_weights

OPTIONS: dict[str, dict[str, Any]] = {
    "resnet": {"width": 4, "blocks": 1, "norm": "instance"},
    "unet": {"width": 4, "depth": 3, "norm": "batch"},
    "dcgan": {"width": 4, "size": [16, 16], "norm": "batch"},
}


def write_model(folder: Path, kind: str) -> Path:
    """Write a model folder and return it: a translator, or for dcgan a generator from noise."""
    torch.manual_seed(0)
    direction = "generate" if kind == "dcgan" else "a2b"
    network = registry.find("generators", kind).factory(3, 3, **OPTIONS[kind])
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.2 if parameter.ndim > 1 else 1.0)
    part = {
        "name": kind,
        "in_channels": 3,
        "out_channels": 3,
        "options": OPTIONS[kind],
        "latent_distribution": "normal",
    }
    metadata = {
        "method": "test",
        "generators": {direction: part},
        "direction": direction,
        "facts": {},
        "config": None,
    }
    tensors = {f"{direction}/{name}": value for name, value in network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, tensors, metadata | {"statistics": "image", "alpha": "drop"})
    return folder


def write_pictures(folder: Path, count: int, side: int = 40) -> Path:
    """Write `count` pictures of noise: six formats and depths, sizes of their own, some in subfolders."""
    kinds = ["{}.png", "deep/{}.jpg", "{}.webp", "deep/er/{}.tif", "{}.bmp", "sixteen/{}.png"]
    for number in range(count):
        path = folder / kinds[number % len(kinds)].format(f"{number:03}")
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(number)
        size = (side + number % 7, side + number % 5, 3)
        deep = path.parent.name == "sixteen"
        images.encode(
            random.integers(0, 65536 if deep else 256, size, np.uint16 if deep else np.uint8), path
        )
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """Return path -> content of all files below `folder` that have a final name."""
    found = sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def temporaries(folder: Path) -> list[str]:
    """Return what is below `folder` under no final name, but for the manifests."""
    hidden = [path.relative_to(folder).as_posix() for path in folder.rglob(".*")]
    return sorted(name for name in hidden if not Path(name).name.startswith(".i2i-manifest"))
