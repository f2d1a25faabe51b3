"""Images of the sample sheet: those of the test split, without broken ones, or a note that they are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i import images
from i2i.config import ConfigError, Layer
from i2i.run import samples
from i2i.run.build import open_data
from i2i.run.settings import resolve


def settings(root: Path, **data: Any) -> Any:
    values = {"root": str(root), "load_size": 16, "crop_size": 16} | data
    return resolve("pix2pix", [Layer("test", {"data": values})])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for domain in "ab":
            for number in range(3):
                path = tmp_path / split / domain / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = [number, ord(domain), len(split)]
                pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), np.uint8)
                images.encode(pixels, path)
    return tmp_path


def held_out(root: Path) -> Any:
    config = settings(root)
    return samples.open_test_split(config, open_data(config))


def test_broken_test_images_are_named_and_the_others_are_shown(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pairs / "test/a/1.png").write_bytes(b"broken")
    dataset = held_out(pairs)
    files = [dataset.files(0, index)[0] for index in range(dataset.count)]
    assert files == [f"{pairs}/test/a/{number}.png" for number in (0, 2)]
    note = capsys.readouterr().err
    assert "note: in the test split: skipped" in note
    assert "test/a/1.png" in note


def test_test_split_that_cannot_be_used_is_a_note(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pairs / "test/b/1.png").unlink()
    assert held_out(pairs) is None
    note = capsys.readouterr().err
    assert "note: the sample sheet shows training images" in note
    assert "has no partner" in note


def test_missing_test_split_needs_no_note(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((pairs / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (pairs / "test").rmdir()
    assert held_out(pairs) is None
    assert capsys.readouterr().err == ""


def test_crops_that_cannot_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="epoch_images: counts random crops"):
        settings(tmp_path, epoch_images=5)
    assert settings(tmp_path, epoch_images=5, load_size=20).data.epoch_images == 5
