"""Files of `record.py`: images, drawn from a fixed seed, and hashes of what i2i writes."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file

Array = NDArray[Any]
Values = dict[str, Any]  # dotted name -> plain value, or hash of an array
SIDE = 72  # pixels
CLOCK = {"images_per_second", "data_wait"}  # columns that differ every time


def draw(root: Path) -> None:
    """Draw every data set into `root`.

    pairs: two folders; halves: the same side by side; rooms: 16-bit gray and floats in [-1, 1] as
    inputs, labels as the target; faces: one folder; sprites: one folder with alpha; faulty: what
    `i2i data check` should find; mixed: files of many kinds to translate.
    """
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for number in range(count):
            a = scene(random)
            b = 255 - a[::-1, :, ::-1] // 2
            gray = a.mean(2)
            opacity = np.where(gray > 90, 255, gray).astype(np.uint8)
            write(root / f"pairs/{split}/a/{number}.png", a)
            write(root / f"pairs/{split}/b/{number}.png", b)
            write(root / f"halves/{split}/{number}.png", np.concatenate([b, a], axis=1))
            write(root / f"rooms/{split}/depth/{number}.png", (gray * 257).astype(np.uint16))
            write(root / f"rooms/{split}/normals/{number}.npy", (a / 127.5 - 1).astype(np.float32))
            write(root / f"rooms/{split}/photo/{number}.png", b // 64 * 64)
            write(root / f"faces/{split}/{number}.png", a)
            write(root / f"sprites/{number}.png", np.dstack([a, opacity]))
    draw_faulty(root / "pairs", root / "faulty")
    draw_mixed(root / "mixed", random)


def scene(random: np.random.Generator, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """Return [H, W, 3]: waves of color behind a few rectangles."""
    y, x = np.mgrid[:height, :width, :1][:2] / SIDE
    frequency, phase = random.uniform(1, 12, (2, 3)), random.uniform(0, 6, 3)
    picture = 128 + 100 * np.sin(frequency[0] * y + frequency[1] * x + phase)
    for _ in range(4):
        top, left = random.integers(0, (height - 8, width - 8))
        picture[top : top + height // 4, left : left + width // 3] = random.uniform(0, 255, 3)
    drawn: NDArray[np.uint8] = picture.astype(np.uint8)
    return drawn


def draw_faulty(pairs: Path, root: Path) -> None:
    """Copy `pairs`, and break some: constant, leaking, repeated, unmatched, cut off, small."""
    shutil.copytree(pairs, root)
    write(root / "train/a/0.png", np.full((SIDE, SIDE, 3), 7, np.uint8))
    for domain in "ab":
        shutil.copy(root / f"train/{domain}/1.png", root / f"test/{domain}/1.png")
        shutil.copy(root / f"train/{domain}/2.png", root / f"train/{domain}/3.png")
    (root / "train/b/4.png").unlink()
    cut = (root / "train/a/5.png").read_bytes()
    (root / "train/a/5.png").write_bytes(cut[: len(cut) // 2])
    write(root / "train/a/6.png", read(root / "train/a/6.png")[:5, :5])
    write(root / "train/a/7.png", read(root / "train/a/8.png") // 2 * 2)
    shutil.copy(root / "train/a/9.png", root / "train/a/9.jpg")
    (root / "train/notes.txt").write_text("no image")


def draw_mixed(root: Path, random: np.random.Generator) -> None:
    """Draw files of many depths and formats, most of odd sizes, and one that is cut off."""
    color, tall = scene(random), scene(random, 50, 33)
    write(root / "color.png", color)
    write(root / "tall.png", tall)
    write(root / "gray.png", tall[..., :1])
    write(root / "deep/gray16.png", tall[..., 0].astype(np.uint16) * 251)
    write(root / "deep/color16.png", tall.astype(np.uint16) * 251)
    write(root / "deep/float.npy", tall.astype(np.float32) / 255)
    write(root / "deep/float.tif", tall[..., 0].astype(np.float32) / 255)
    write(root / "alpha.png", np.dstack([tall, 255 - tall[..., 0]]))
    write(root / "photo.jpg", scene(random, 41, 80))
    write(root / "tiny.bmp", color[:9, :7])
    (root / "broken.png").write_bytes((root / "color.png").read_bytes()[:700])


def write(path: Path, pixels: Array) -> None:
    """Write [H, W, C]; the order of channels does not matter here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path}: not written")


def read(path: Path) -> Array:
    """Return the values of an image file in their own depth and channels."""
    pixels = np.load(path) if path.suffix == ".npy" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError(f"{path}: not readable")
    return np.asarray(pixels)


def snapshot(run: Path) -> dict[str, Values]:
    """Return what a finished run has computed: settings, rows, weights, state, sample sheets."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["version"]
    settings: Values = {}
    for section, options in config.items():
        settings |= {f"{section}.{key}": value for key, value in options.items()}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    columns = {name: None for row in rows for name in row if name not in CLOCK}
    state = max((run / "checkpoints").glob("step-*")) / "state.pt"
    return {
        "settings": settings,
        "rows": {name: [row.get(name) for row in rows] for name in columns},
        "weights": flat(load_file(run / "weights.safetensors")),
        "state": flat(torch.load(state, weights_only=True)),
        "samples": pixels(run / "samples"),
    }


def pixels(folder: Path) -> Values:
    """Return a hash of the pixels of every image in a folder, and the text of every table."""
    contents: Values = {}
    for path in sorted(path for path in folder.rglob("[!.]*.*") if path.is_file()):
        content = path.read_text() if path.suffix == ".csv" else hashed(read(path))
        contents[path.relative_to(folder).as_posix()] = content
    return contents


def flat(value: Any, name: str = "") -> Values:
    """Return the leaves of nested mappings and lists by dotted name, of tensors a hash."""
    if isinstance(value, torch.Tensor):
        return {name: hashed(value.numpy())}
    if not isinstance(value, dict | list | tuple):
        return {name: value}
    leaves: Values = {}
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        leaves |= flat(part, f"{name}.{key}" if name else str(key))
    return leaves


def hashed(array: Array) -> str:
    """Return a hash of type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
