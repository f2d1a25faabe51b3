"""Measure images per second of folder jobs on CPU cores: files, tars, and files on a local Ray.

Usage: python tools/measure_jobs.py COUNT [SIDE ...]. Draws COUNT JPEG pictures of each SIDE, and
translates them with a ResNet of width 16 and 3 blocks. A million is extrapolated: its hours on this
machine, times the price of an hour, are its cost.
"""

import os
import platform
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from i2i import images, registry
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, named_tensors, save_model
from i2i.translation.folder import translate_folder
from i2i.translation.on_ray import Ray
from i2i.translation.translator import load
from i2i.translation.work import work

OPTIONS = {"width": 16, "blocks": 3, "norm": "instance"}


def draw(folder: Path, count: int, side: int) -> None:
    """Write `count` pictures of smooth noise as files, and the same in four tars."""
    (folder / "files").mkdir(parents=True)
    for tar in range(4):
        with tarfile.open(folder / f"{tar}.tar", "w") as archive:
            for number in range(tar * count // 4, (tar + 1) * count // 4):
                noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
                path = folder / f"files/{number:06}.jpg"
                images.encode(images.resize(noise, (side, side)), path)
                archive.add(path, path.name)


def main(count: int, *sides: int) -> None:
    """Print a line for each size and kind of job."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    network = registry.find("generators", "resnet").factory(3, 3, **OPTIONS)
    part = GeneratorInfo(name="resnet", options=OPTIONS, in_channels=3, out_channels=3)
    info = ModelInfo(method="test", generators={"a2b": part}, direction="a2b")
    kinds = {"files": ("files", work), "tars": ("*.tar", work), "files on Ray": ("files", Ray())}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        save_model(root / WEIGHTS, info, named_tensors({"a2b": network}))
        for side in sides or (64, 256):
            draw(root / f"{side}", count, side)
            for kind, (source, engine) in kinds.items():
                source, out = str(root / f"{side}/{source}"), root / f"{side}-{kind}"
                report = translate_folder(load(root, device="cpu"), source, out, engine=engine)
                hours = 1e6 / report.images_per_second / 3600
                print(f"{side} px, {kind}: {report.written} in {report.seconds:.1f} s, {report.images_per_second:.1f} images/s; a million: {hours:.1f} h")  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
