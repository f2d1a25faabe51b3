"""Small pictures on disk for the tests of the data room."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2i import images

Write = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Make empty files, for what only lists folders."""

    def toucher(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return toucher


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write noise (or given pixels) under the test's folder: `write("a/1.png", (height, width), channels, seed)`."""

    def writer(
        name: str,
        size: tuple[int, int] = (20, 20),
        channels: int = 3,
        seed: int | None = None,
        pixels: images.Array | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            random = np.random.default_rng(sum(name.encode()) if seed is None else seed)
            pixels = random.integers(0, 256, (*size, channels), np.uint8)
        images.encode(pixels, path)
        return path

    return writer
