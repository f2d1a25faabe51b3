"""Small models with random weights, and folders of pictures of every kind to translate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from i2i import images, model_file, registry
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, named_tensors, save_model

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
    part = GeneratorInfo(
        name=kind,
        options=OPTIONS[kind],
        in_channels=3,
        out_channels=3,
        latent_distribution="normal" if kind == "dcgan" else None,
    )
    info = ModelInfo(method="test", generators={direction: part}, direction=direction)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / WEIGHTS, info, named_tensors({direction: network}))
    return folder


def write_fields(path: Path, fields: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a weights file of any format that says `fields`, right or wrong, with its checksum."""
    plain = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    checksum = model_file._checksum(fields, plain)
    added = {1: {}, 2: {"seal": checksum}}.get(fields.get("format"), {"checksum": checksum})
    path.write_bytes(safetensors_bytes(plain, {"i2i": json.dumps({**fields, **added})}))


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
