"""Translating a folder, files to files: i2i's job against a plain loop, and the bare network."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from i2i import registry
from i2i.bench import machine, report
from i2i.bench.pictures import write_photos
from i2i.bench.turns import BenchError, Contender, Turn, take_turns, timed, weight_bytes
from i2i.bench.variants import Variant, make_translator
from i2i.direction import Direction
from i2i.model_file import GeneratorInfo, ModelInfo, named_tensors, save_model
from i2i.networks.init import init_weights
from i2i.precision import pick_device
from i2i.translation.folder import translate_folder

_BATCH = 16  # images of a bare call on a GPU


@dataclass(frozen=True)
class Job:
    """A folder of photo-like JPEGs through a model."""

    model: str | None  # run, checkpoint or weights file
    generator: str | None = (
        None  # with random weights, where there is no model; None: resnet_9blocks
    )
    width: int | None = None  # of that generator; None: as published
    images: int = 30  # of one repetition
    size: int = 256  # pixels a side
    repeats: int = 3
    device: str = "auto"
    precision: str = "auto"


class _Translating:
    """A translator in this process, and a folder of photographs."""

    def __init__(self, job: Job, model: str, photos: Path, variant: Variant) -> None:
        self.translator = make_translator(variant, model, job.device, job.precision, job.size)
        self.device, self.job, self.photos = self.translator.device, job, photos
        self.weights = weight_bytes(self.translator.network)
        channels = self.translator.in_channels
        batch = _BATCH if self.device.type == "cuda" else 1
        self.batch = torch.rand(batch, channels, job.size, job.size, device=self.device) * 2 - 1

    def warm_up(self) -> None:
        self.repeat()

    def repeat(self) -> Turn:
        return timed(self.job.images, self.run, self.device)

    def run(self) -> None:
        """Do what is timed."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        execution = self.translator.execution
        rate = machine.matmul_rate(self.device, execution.precision)
        return {"execution": str(execution), "matmul_rate": rate}

    def close(self) -> None:
        pass


class FolderJob(_Translating):
    """`i2i translate`, without the start of its process."""

    def run(self) -> None:
        out = self.photos.parent / "default"
        shutil.rmtree(out, ignore_errors=True)
        result = translate_folder(self.translator, str(self.photos), out)
        if result.failed:
            name, reason = result.failed[0]
            raise BenchError(name, f"not translated ({reason})")


class PlainLoop(_Translating):
    """One photograph after the other: decode, network, encode. One thread reads and writes."""

    def run(self) -> None:
        out = self.photos.parent / "baseline"
        out.mkdir(exist_ok=True)
        for path in sorted(self.photos.iterdir()):
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
            x = pixels.to(self.device).permute(2, 0, 1)[None].float().div(127.5).sub(1)
            y = self.translator.batch(x)[0].add(1).mul(127.5).clamp(0, 255).round()
            result = y.byte().permute(1, 2, 0).contiguous().cpu().numpy()
            Image.fromarray(result).save(out / path.name, quality=95, subsampling=0)

    def facts(self) -> dict[str, Any]:
        network = partial(self.translator.batch, self.batch)
        return super().facts() | {"flops": machine.count_flops(network) // len(self.batch)}


class Network(_Translating):
    """The network as the folder job runs it, without files."""

    def run(self) -> None:
        for _ in range(-(-self.job.images // len(self.batch))):
            self.translator.batch(self.batch)

    def repeat(self) -> Turn:
        images = -(-self.job.images // len(self.batch)) * len(self.batch)
        return timed(images, self.run, self.device)

    def facts(self) -> dict[str, Any]:
        network = partial(self.translator.batch, self.batch)
        moved = machine.layer_bytes(self.translator.network, network)
        return super().facts() | {
            "bytes": moved // len(self.batch),
            "copy_rate": machine.copy_rate(self.device),
        }


def bench(job: Job) -> dict[str, Any]:
    """Measure, print and return the numbers: see `i2i.bench`.

    The ratio of `default` to `network alone` is the part of the bare rate that the job reaches.

    Raises:
        BenchError, ModelFileError, TranslationError, UnknownComponentError, OptionError: it cannot
            be measured.
    """
    if job.model:
        for flag, value in (("--generator", job.generator), ("--width", job.width)):
            if value is not None:
                raise BenchError(flag, "MODEL has its own", "Leave it or MODEL out")
    with TemporaryDirectory(prefix="i2i-bench-") as folder:
        model = job.model or str(_random_model(job, Path(folder, "model.safetensors")))
        translator = make_translator("baseline", model, job.device, job.precision, job.size)
        if (translator.in_channels, translator.out_channels) != (3, 3):
            raise BenchError(model, "not a model of color images", "Give one, or none")
        facts = machine.facts(pick_device(job.device))
        machine.print_facts(facts)
        photos = write_photos(Path(folder, "photos"), job.images, job.size)
        kinds: dict[str, tuple[Callable[..., _Translating], Variant]] = {
            "default": (FolderJob, "default"),
            "baseline": (PlainLoop, "baseline"),
            "network alone": (Network, "default"),
        }
        contenders = [
            Contender(name, [partial(kind, job, model, photos, variant)])
            for name, (kind, variant) in kinds.items()
        ]
        take_turns(contenders, job.repeats)
    flops = contenders[1].facts["flops"]
    rows = [report.row(each, flops=flops) for each in contenders]
    ratios = [report.ratio(rows[0], other) for other in rows[1:]]
    report.print_rows(rows, "image")
    report.print_ratios(ratios)
    return report.numbers("translate", facts, job, rows, ratios)


def _random_model(job: Job, path: Path) -> Path:
    """Write the weights file of a generator that was not trained; return its path."""
    name = job.generator or "resnet_9blocks"
    component = registry.find("generators", name)
    options = component.preset | ({"width": job.width} if job.width else {})
    network = component.factory(3, 3, **options)
    if network.size is not None:
        raise BenchError("--generator", f"{name} makes images from noise")
    torch.manual_seed(0)
    init_weights(network)
    part = GeneratorInfo(name=name, options=options, in_channels=3, out_channels=3)
    direction = Direction.A2B
    info = ModelInfo(method="random", generators={direction: part}, direction=direction)
    save_model(path, info, named_tensors({direction: network}))
    return path
