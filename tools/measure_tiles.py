"""Peak memory and time of translating one large image in tiles, in a process of its own.

    python tools/measure_tiles.py --options --tile 1024                    # ResNet-9 of width 16, 16 bits
    python tools/measure_tiles.py --kind unet --side 420 4200 13000    # 1 MB, 100 MB and 1 GB of pixels

The model has random weights: its speed and memory are those of a trained one.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from i2i import registry
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, named_tensors, save_model

MODELS = {
    "resnet": {"width": 16, "blocks": 9, "norm": "instance"},
    "unet": {"width": 4, "depth": 3, "norm": "batch"},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=MODELS, default="resnet")
    parser.add_argument("--side", type=int, nargs="+", default=[8192], help="pixels")
    parser.add_argument("--height", type=int, help="pixels, where it is not the side")
    parser.add_argument(
        "--minutes", type=float, default=20, help="after which a translation is stopped"
    )
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="of `i2i translate`, the last"
    )
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        options = MODELS[words.kind]
        network = registry.find("generators", words.kind).factory(3, 3, **options)
        part = GeneratorInfo(name=words.kind, options=options, in_channels=3, out_channels=3)
        statistics = (
            "image" if words.kind == "resnet" else "running"
        )  # which need passes, and which not
        info = ModelInfo(
            method="test", generators={"a2b": part}, direction="a2b", statistics=statistics
        )
        save_model(Path(folder, WEIGHTS), info, named_tensors({"a2b": network}))
        for side in words.side:
            measure(Path(folder), words.height or side, side, words.minutes, words.options)


def measure(folder: Path, height: int, width: int, minutes: float, options: list[str]) -> None:
    source = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint16, (height, width, 3))
    for top in range(0, height, 256):
        part = source[top : top + 256]
        part[:] = np.random.default_rng(top).integers(0, 65536, part.shape, np.uint16)
    del source
    command = [sys.executable, "-m", "i2i", "translate", folder, folder / "x.npy", folder / "y.tif"]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen([*map(str, command), "--overwrite", "--depth", "16", *options])
    while process.poll() is None and time.perf_counter() - start < 60 * minutes:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max(peak, *(int(kb) for kb in re.findall(r"VmHWM:\s+(\d+)", status)), 0)
        time.sleep(0.2)
    ended = "" if process.poll() is not None else f", stopped after {minutes} minutes"
    process.kill()
    size = f"{width} x {height}, {height * width * 6 / 1e6:.0f} MB of pixels"
    print(
        f"{size}: peak {peak / 1e6:.2f} GB, {time.perf_counter() - start:.0f} s{ended}", flush=True
    )


if __name__ == "__main__":
    main()
