"""Measure images per second of folder jobs on CPU cores: files, tars, and files on a local Ray.

Usage: python tools/measure_jobs.py COUNT [SIDE ...], with a ResNet of width 16 and 3 blocks. A million
is extrapolated: hours of a core, whatever else runs, times the price of one, are its cost.
"""

import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from i2i import images, registry
from i2i.model_file import WEIGHTS, GeneratorInfo, ModelInfo, named_tensors, save_model
from i2i.translation import folder, on_ray, work
from i2i.translation.translator import load

OPTIONS = {"width": 16, "blocks": 3, "norm": "instance"}


def draw(root: Path, count: int, side: int) -> None:
    """Write `count` pictures of smooth noise as files, and the same in four tars."""
    (root / "files").mkdir(parents=True)
    for tar in range(4):
        with tarfile.open(root / f"{tar}.tar", "w") as archive:
            for number in range(tar * count // 4, (tar + 1) * count // 4):
                noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
                path = root / f"files/{number:06}.jpg"
                images.encode(images.resize(noise, (side, side)), path)
                archive.add(path, path.name)


def main(count: int, *sides: int) -> None:
    print(f"{os.uname().machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    network = registry.find("generators", "resnet").factory(3, 3, **OPTIONS)
    part = GeneratorInfo(name="resnet", options=OPTIONS, in_channels=3, out_channels=3)
    info = ModelInfo(method="test", generators={"a2b": part}, direction="a2b")
    jobs = (("files", work.work), ("*.tar", work.work), ("files", on_ray.Ray()))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        save_model(root / WEIGHTS, info, named_tensors({"a2b": network}))
        for side in sides or (64, 256):
            draw(root / f"{side}", count, side)
            for job, (source, engine) in enumerate(jobs):
                start, translator = sum(os.times()[:2]), load(root, device="cpu", precision="fp32")
                source, out = str(root / f"{side}/{source}"), root / f"{side}-{job}"
                report = folder.translate_folder(translator, source, out, engine=engine)
                hours = (sum(os.times()[:2]) - start) / report.written * 1e6 / 3600
                end = (
                    "on Ray, its start included"
                    if job == 2
                    else f"{hours:.1f} h of a core a million"
                )
                print(f"{source}: {report.images_per_second:.1f} images/s, {end}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
