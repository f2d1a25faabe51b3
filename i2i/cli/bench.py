"""`i2i bench`: this machine, with default settings beside the same work done plainly."""

from typing import Any

import click

from i2i.cli import _options
from i2i.cli._options import Decorator

_json: Decorator = click.option(
    "--json", "json_file", type=_options.path, metavar="FILE.json", help="File of all numbers."
)


def _count(flag: str, metavar: str, text: str, default: int | None = None) -> Decorator:
    """Return an option of a whole number from 1; without a default, `text` names it."""
    number = click.IntRange(1, 10**6)
    return click.option(flag, type=number, default=default, metavar=metavar, help=text)


_repeats = _count("--repeats", "N", "Rounds of repetitions that take turns.", 5)
_PUBLISHED = "[default: as published]"


@click.group(cls=_options.CommandGroup)
def command() -> None:
    """Measure this machine: training, data, translating, several processes.

    Everything is measured with the default settings beside a baseline, the same work done the plain
    way: fp32, eager, contiguous, an Adam that updates tensor after tensor, one image at a time,
    reading and writing in turn. Both take turns in processes of their own. A ratio of one run
    counts; times depend on what else the machine does.
    """


@command.command()
@click.option(
    "--method", "methods", default="cyclegan", help="Methods, or fastcut, separated by commas."
)
@_count("--size", "PIXELS", f"Side of an image.  {_PUBLISHED}")
@_count("--width", "CHANNELS", f"Width of generator and discriminator.  {_PUBLISHED}")
@_count("--batch", "IMAGES", f"Images of one step.  {_PUBLISHED}")
@_count("--steps", "N", "Steps of one repetition.  [default: as many as take a second]")
@_repeats
@_options.device
@_options.precision("auto")
@_json
def train(methods: str, json_file: str | None, **options: Any) -> None:
    """Measure training steps on random images: time, memory, share of the matmul peak.

    All methods take turns with each other, so their processes need memory together. Memory is the
    largest resident size without libraries and weights; on CUDA all that is allocated at the worst
    moment.
    """
    from i2i.bench import report
    from i2i.bench.train import Job, bench

    report.check(json_file)
    names = tuple(name.strip() for name in methods.split(","))
    report.write(json_file, bench(Job(names, **options)))


@command.command()
@click.argument("folder", type=_options.path, required=False)
@click.option("--method", default="cyclegan", help="Method that reads the data.")
@_count("--load-size", "PIXELS", "Side that images are resized to.", 286)
@_count("--crop-size", "PIXELS", "Side of the crop.", 256)
@_count("--batch", "IMAGES", "Samples of one batch.", 1)
@_count("--samples", "N", "Samples of one repetition.", 200)
@_count("--images", "N", "Drawn images of each domain.  [default: 100]")
@_count("--size", "PIXELS", "Side of drawn images.  [default: 256]")
@_repeats
@_json
def data(folder: str | None, json_file: str | None, **options: Any) -> None:
    """Measure reading the data in FOLDER, or drawn photo-like JPEGs: samples a second.

    Without workers all happens on one core; then 1 and 2 workers read. The baseline is the input
    pipeline of the field: Pillow decodes, resizes (bicubic), crops and mirrors, torch's DataLoader
    collects. Copy: bytes of decoded images and of samples, over the bandwidth of copying memory.
    """
    from i2i.bench import report
    from i2i.bench.data import Job, bench

    report.check(json_file)
    report.write(json_file, bench(Job(folder, **options)))


@command.command()
@click.argument("model", type=_options.path, required=False)
@click.option(
    "--generator", metavar="NAME", help="Generator with random weights.  [default: resnet_9blocks]"
)
@_count("--width", "CHANNELS", f"Width of that generator.  {_PUBLISHED}")
@_count("--images", "N", "Images of one repetition.", 30)
@_count("--size", "PIXELS", "Side of an image.", 256)
@_count("--repeats", "N", "Rounds of repetitions that take turns.", 3)
@_options.device
@_options.precision("auto")
@_json
def translate(json_file: str | None, **options: Any) -> None:
    """Measure translating photo-like JPEGs with MODEL, from files to files.

    A folder job takes turns with a plain loop, and with the network alone. The start of a process
    is not in it. Copy: bytes that the layers read and write one by one, over the bandwidth of
    copying memory.
    """
    from i2i.bench import report
    from i2i.bench.translate import Job, bench

    report.check(json_file)
    report.write(json_file, bench(Job(**options)))


@command.command()
@click.option("--method", default="cyclegan", help="Method, or fastcut.")
@_count("--size", "PIXELS", f"Side of an image.  {_PUBLISHED}")
@_count("--width", "CHANNELS", f"Width of generator and discriminator.  {_PUBLISHED}")
@_count("--batch", "IMAGES", f"Images of one step of one process.  {_PUBLISHED}")
@_count("--steps", "N", "Steps of one repetition.  [default: as many as take a second]")
@click.option(
    "--processes",
    type=click.IntRange(2, 64),
    default=2,
    metavar="N",
    help="Processes; also their halves down to 1.",
)
@click.option(
    "--link",
    type=_options.Number(min=0, min_open=True),
    metavar="GBIT",
    help="Gbit/s of each process, for the prediction.  [default: as measured between processes]",
)
@_repeats
@_options.device
@_options.precision("auto")
@_json
def scale(
    method: str, processes: int, link: float | None, json_file: str | None, **options: Any
) -> None:
    """Measure training steps in 1, 2, ... N processes; predict them for 8 and 64.

    The baseline is one process with as many threads. n processes need the step time of one and the
    time of an all-reduce by a ring: 2 (n - 1) / n times the bytes of gradients, over the link.
    """
    from i2i.bench import report, train
    from i2i.bench.scale import Job, bench

    report.check(json_file)
    steps = train.Job((method,), **options)
    report.write(json_file, bench(Job(steps, processes, link)))
