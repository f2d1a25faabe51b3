"""Times i2i on this machine: training steps, reading data, translating. It prints numbers and judges none."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if (
    TYPE_CHECKING
):  # heavy; on Linux a child's peak memory is at least its parent's, so the parent stays small
    import torch

    from i2i.config import Config
    from i2i.training.trainer import Trainer

MIB = 2**20
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fastcut": ("cut", {"fast": True})
}  # name -> method, its options
PRECISIONS = click.Choice(["auto", "fp32", "bf16", "fp16"])

device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
precision_option = click.option("--precision", type=PRECISIONS, default="auto", show_default=True)
size_option = click.option(
    "--size", type=click.IntRange(min=8), default=128, show_default=True, help="Pixels a side."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Benchmarks of i2i. Times vary with what else the machine does: compare numbers of one run only."""


# -- training steps --------------------------------------------------------------------------------


@main.command()
@click.option(
    "--methods",
    default="cyclegan,cut,fastcut,pix2pix,dcgan",
    show_default=True,
    help="Separated by commas.",
)
@size_option
@click.option(
    "--width", type=click.IntRange(min=1), default=32, show_default=True, help="Of generator and D."
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Images of one step."
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Steps that are timed.",
)
@click.option(
    "--warm-up", type=click.IntRange(min=1), default=3, show_default=True, help="Steps before them."
)
@device_option
@precision_option
def step(
    methods: str,
    size: int,
    width: int,
    batch: int,
    steps: int,
    warm_up: int,
    device: str,
    precision: str,
) -> None:
    """Time and peak memory of a training step on random images, each method in a process of its own.

    Networks are the published ones of each method, all with the same --width; the U-Net of pix2pix
    is as deep as the size permits. Peak memory: on a CPU what the steps add to the process's
    largest resident size, weights not counted; on CUDA all that is allocated at the worst moment,
    weights counted.
    """
    results: list[dict[str, Any]] = []
    for name in methods.split(","):
        arguments = [
            name,
            str(size),
            str(width),
            str(batch),
            str(steps),
            str(warm_up),
            device,
            precision,
        ]
        command = [sys.executable, str(Path(__file__).resolve()), "measure", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"{name}: the measurement failed")
        results.append(json.loads(done.stdout.splitlines()[-1]))
        if len(results) == 1:
            click.echo(
                f"{results[0]['machine']}\n{size}x{size} px, width {width}, batch {batch}, {steps} steps"
            )
            click.echo(
                f"{'method':<10}{'step ms':>10}{'images/s':>10}{'peak MiB':>10}{'time':>8}{'memory':>8}"
            )
        click.echo(_row(name, results[-1], results[0], batch))


def _row(name: str, result: dict[str, Any], first: dict[str, Any], batch: int) -> str:
    """One line of the table; the ratios are to the first method."""
    peak, first_peak = result["peak"], first["peak"]
    memory = f"{peak / MIB:>10.0f}" if peak is not None else f"{'-':>10}"
    ratio = f"{peak / first_peak:>7.2f}x" if peak and first_peak else f"{'-':>8}"
    rate = batch / result["seconds"]
    return f"{name:<10}{1e3 * result['seconds']:>10.1f}{rate:>10.2f}{memory}{_ratio(result, first)}{ratio}"


def _ratio(result: dict[str, Any], first: dict[str, Any]) -> str:
    return f"{result['seconds'] / first['seconds']:>7.2f}x"


@main.command(hidden=True)
@click.argument("name")
@click.argument("size", type=int)
@click.argument("width", type=int)
@click.argument("batch", type=int)
@click.argument("steps", type=int)
@click.argument("warm_up", type=int)
@click.argument("device")
@click.argument("precision")
def measure(
    name: str,
    size: int,
    width: int,
    batch: int,
    steps: int,
    warm_up: int,
    device: str,
    precision: str,
) -> None:
    """Measure one method in this process; print JSON. `step` calls it."""
    import torch

    from i2i.precision import pick_device, pick_precision

    place = pick_device(device)
    trainer, images = _trainer(name, size, width, batch, place, pick_precision(precision, place))
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
    resident = _peak_resident()
    seconds = [_timed(partial(trainer.step, [images]), place) for _ in range(warm_up + steps)][
        warm_up:
    ]
    peaks: dict[str, Callable[[], int]] = {
        "cuda": lambda: torch.cuda.max_memory_allocated(place),
        "cpu": lambda: _peak_resident() - resident,
    }
    peak = peaks[place.type]() if place.type in peaks else None
    facts = _machine(place, trainer.precision)
    click.echo(json.dumps({"seconds": median(seconds), "peak": peak, "machine": facts}))


def _trainer(
    name: str, size: int, width: int, batch: int, device: "torch.device", precision: str
) -> tuple["Trainer", dict[str, "torch.Tensor"]]:
    """Return the trainer of a method with fresh networks, and a batch of random images on the device."""
    import torch

    from i2i.run import build
    from i2i.training.trainer import Trainer

    settings = _settings(name, size, width, batch)
    torch.manual_seed(0)
    method = build.make_method(settings, {"a": 3, "b": 3, "image": 3})
    names = ("image",) if method.kind == "unconditional" else ("a", "b")
    images = {name: torch.rand(batch, 3, size, size, device=device) * 2 - 1 for name in names}
    return Trainer(method, settings.train, settings.optim, device, precision), images


def _settings(name: str, size: int, width: int, batch: int) -> "Config":
    """Return the settings of a method, or of a variant of one, at this size."""
    from i2i.config import Layer
    from i2i.run.settings import resolve

    method, options = VARIANTS.get(name, (name, {}))
    wanted: dict[str, dict[str, Any]] = {
        "data": {"root": "random", "load_size": size, "crop_size": size},
        "generator": {"width": width},
        "discriminator": {"width": width},
        "method": options,
        "train": {"batch": batch, "total_images": 10**9},
    }
    if method == "pix2pix":
        halvings = (size & -size).bit_length() - 1  # how often the size is even
        wanted["generator"] |= {"name": "unet", "depth": min(8, halvings)}
    return resolve(method, [Layer("the benchmark", wanted)])


def _peak_resident() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


# -- data and translation --------------------------------------------------------------------------


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--method", default="cyclegan", show_default=True, help="Decides how the folder is read."
)
@click.option(
    "--load-size", type=click.IntRange(min=1), default=286, show_default=True, help="Pixels a side."
)
@click.option(
    "--crop-size", type=click.IntRange(min=1), default=256, show_default=True, help="Pixels a side."
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Samples that are timed.",
)
def data(
    folder: str, method: str, load_size: int, crop_size: int, batch: int, samples: int
) -> None:
    """Samples a second of a data set with 0, 1 and 2 workers; the start of the workers is not counted."""
    import torch

    from i2i.config import Layer
    from i2i.data.loader import batches
    from i2i.run import build
    from i2i.run.settings import resolve

    given = {"root": folder, "load_size": load_size, "crop_size": crop_size}
    settings = resolve(method, [Layer("the benchmark", {"data": given})])
    dataset = build.open_data(settings)
    click.echo(
        f"{_machine(torch.device('cpu'), 'fp32')}\n{folder}: {len(dataset)} samples an epoch, batch {batch}"
    )
    click.echo(f"{'workers':<10}{'samples/s':>10}")
    for workers in (0, 1, 2):
        stream = batches(dataset, seed=0, batch=batch, workers=workers)
        waiting = (
            1 + 2 * workers
        )  # batches that workers may have made ready before the clock starts
        count = -(-samples // batch)
        for _ in islice(stream, waiting):
            pass
        start = time.perf_counter()
        for _ in islice(stream, count):
            pass
        seconds = time.perf_counter() - start
        stream.close()
        click.echo(f"{workers:<10}{count * batch / seconds:>10.1f}")


@main.command()
@click.argument("model", type=click.Path(exists=True))
@size_option
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Calls that are timed.",
)
@device_option
@precision_option
def translate(model: str, size: int, repeats: int, device: str, precision: str) -> None:
    """Images a second of a trained MODEL on random images in batches of 1 and 8, files not counted."""
    import torch

    import i2i

    translator = i2i.load(model, device=device, precision=precision)
    click.echo(f"{_machine(translator.device, translator.precision)}\n{model}: {size}x{size} px")
    click.echo(f"{'batch':<10}{'call ms':>10}{'images/s':>10}")
    for batch in (1, 8):
        images = (
            torch.rand(batch, translator.in_channels, size, size, device=translator.device) * 2 - 1
        )
        times = [
            _timed(partial(translator.batch, images), translator.device) for _ in range(repeats + 1)
        ]
        seconds = median(times[1:])  # the first call chooses kernels
        click.echo(f"{batch:<10}{1e3 * seconds:>10.1f}{batch / seconds:>10.2f}")


# -- measuring -------------------------------------------------------------------------------------


def _timed(work: Callable[[], object], device: "torch.device") -> float:
    """Return the seconds until all that `work` started on the device has ended."""
    import torch

    finish = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(
        device.type, lambda: None
    )
    finish()
    start = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - start


def _machine(device: "torch.device", precision: str) -> str:
    """Return one line about what the numbers were measured on."""
    import torch

    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    return f"torch {torch.__version__}, {threads}, {device} ({name}), {precision}"


if __name__ == "__main__":
    main()
