"""Folders of runs for pages about them: every file that a page reads, from arrays drawn here."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2i import config, images
from i2i.run.settings import config_text, resolve

SIDE = 32  # pixels of a sample
PUBLISHED_BATCH, BATCH = 1, 4
PROTOCOL = {"split": "val", "images": 6, "size": "32x32"}
HEALTH = (
    "D wins: D classifies 99.9% of its inputs correctly: G gets no useful gradient. "
    "To try: resume with optim.lr_discriminator=5e-05; restart with method.augment=diffaugment, or method.r1=1."
)


def flat(color: tuple[int, int, int], side: int = SIDE) -> NDArray[np.uint8]:
    """A picture of one color, [side, side, 3]."""
    return np.full((side, side, 3), color, np.uint8)


def write_run(
    folder: Path,
    *,
    validated: bool = True,
    sampled: bool = True,
    count: int = 6,
    side: int = SIDE,
    protocol_hash: str = "1a2b3c4d",
    shift: float = 0.0,
    settings: tuple[str, ...] = (),
) -> Path:
    """Write a run of pix2pix of 4,000 images with one reported failure, three validations and three sample sheets.

    Args:
        count: validation images; the n-th has SSIM 0.1 + 0.8 n / count (+ `shift` in means), input red, output green,
            target blue.
    """
    folder.mkdir(parents=True)
    overrides = [
        "data.root=photos",
        f"data.crop_size={SIDE}",
        "train.total_images=4000",
        f"train.batch={BATCH}",
        *settings,
    ]
    layers = [config.parse_override(text) for text in overrides]
    (folder / "config.yaml").write_bytes(config_text(resolve("pix2pix", layers)))
    rows = []
    for seen in range(100, 4001, 100):
        value: float = 10 / seen + 0.1 * np.sin(seen)
        row: dict[str, Any] = {"images": seen, "epoch": seen / 40, "G/l1": value, "D/real": 0.5}
        row |= {"D/accuracy_real": 0.9, "lr/G": 2e-4, "images_per_second": 20.0, "data_wait": 0.01}
        rows.append(row | ({"G/gan": float("nan")} if seen == 300 else {"G/gan": 1.0}))
    write_lines(folder / "metrics.jsonl", rows)
    events = [{"images": 2000, "kind": "health", "text": HEALTH}]
    events += [{"images": 0, "kind": "data", "text": "skipped 3 files"}]
    write_lines(folder / "events.jsonl", events)
    if sampled:
        (folder / "samples").mkdir()
        for seen in (0, 2000, 4000):
            row = [flat((200, 0, 0)), flat((0, seen // 20, 0)), flat((0, 0, 200))]
            sheet = images.grid([*row, *row], columns=3)
            images.encode(sheet, folder / "samples" / f"{seen:08d}.png", "PNG")
    if validated:
        write_validation(folder, count, side, protocol_hash, shift)
    return folder


def write_validation(
    folder: Path, count: int, side: int, protocol_hash: str, shift: float = 0.0
) -> None:
    """Write three validations; the one after 2,000 images is the best."""
    values = [0.1 + 0.8 * number / count for number in range(count)]
    rows = []
    for seen, gain in ((0, 0.0), (2000, 0.1), (4000, 0.05)):
        mean = float(np.mean(values)) + gain + shift
        scores = {"ssim": interval(mean, 0.02), "psnr": interval(20 + mean, 0.5)}
        row: dict[str, Any] = {"images": seen, "epoch": seen / 40, "scores": {"a2b": scores}}
        row |= {"protocol": PROTOCOL, "protocol_hash": protocol_hash, "metric": "ssim"}
        rows.append(row | {"value": mean, "best": seen != 4000})
    write_lines(folder / "validation.jsonl", rows)
    pictures = folder / "validation" / "00002000"
    (pictures / "a2b").mkdir(parents=True)
    with open(pictures / "scores.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["direction", "name", "psnr", "ssim"])
        for number, value in enumerate(values):
            name = f"p{number:03d}"
            table.writerow(["a2b", name, 30 - number, value])
            colors = {"input": (200, 0, 0), "output": (0, 200, 0), "target": (0, 0, 200)}
            for role, color in colors.items():
                images.encode(flat(color, side), pictures / "a2b" / f"{name}.{role}.png", "PNG")


def interval(mean: float, width: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - width, "high": mean + width}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
