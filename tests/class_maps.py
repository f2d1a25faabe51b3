"""Class maps in folders, and translators of classes, for tests."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from commands import here
from numpy.typing import NDArray

from i2i.config import PairedData
from i2i.images.spec import ChannelSpec

GRAY = (ChannelSpec(1, alpha=False),)
RANDOM = np.random.default_rng(0)


def write(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        assert cv2.imwrite(str(path), values)


def write_pairs(
    root: Path, classes: int, suffix: str = "png", count: int = 4, side: int = 20
) -> list[NDArray[Any]]:
    """Write class maps a, which hold all classes, and photos b; return the maps."""
    dtype = np.uint8 if classes <= 256 else np.uint16
    maps = []
    for number in range(count):
        values = RANDOM.integers(0, classes, (side, side)).astype(dtype)
        values.flat[:classes] = np.arange(classes)[: side * side]
        write(root / "train" / "a" / f"{number}.{suffix}", values)
        photo = RANDOM.integers(0, 256, (side, side, 3), np.uint8)
        write(root / "train" / "b" / f"{number}.png", photo)
        maps.append(values)
    return maps


def train_twice(root: Path, run: Path, classes: int, *settings: str) -> list[str]:
    """Train on class maps a for two images, and resumed for two more; return the settings."""
    small = ("data.load_size=36", "data.crop_size=32", "generator.name=unet", "generator.depth=5")
    small += (f"data.classes.a={classes}", "discriminator.layers=1", "log.tensorboard=false")
    sets = [word for setting in (*small, *settings) for word in ("--set", setting)]
    words = ["train", "pix2pix", "--data", root, "--out", run, "--device", "cpu", *sets]
    for more in (("--images", 2), ("--images", 4, "--resume")):
        ended = here(*words, *more)
        assert ended.status == 0, ended.err
    return sets


def config(root: Path, classes: dict[str, int], **settings: Any) -> PairedData:
    sizes: dict[str, Any] = {"load_size": 20, "crop_size": 16, "cache": "off"}
    return PairedData(root=str(root), classes=classes, **{**sizes, **settings})
