"""`i2i generate`: images from noise."""

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports

_MAX_SHEET = 10_000  # images


@click.command()
@click.argument("model", type=_options.path)
@click.argument("out", type=_options.path)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000_000),
    metavar="N",
    help="Number of images.  [default: 16]",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="Random seed.")
@click.option(
    "--grid",
    metavar="RxC",
    callback=_options.numbers("NxN", "rows and columns, such as 4x8"),
    help="One sheet of R rows and C columns; OUT is an image file.",
)
@click.option(
    "--interpolate",
    metavar="A:B:STEPS",
    callback=_options.numbers("N:N:N", "two seeds and a length, such as 1:2:16"),
    help="Interpolation from seed A to seed B; OUT is a .png strip or a .webp animation.",
)
@click.option(
    "--truncate",
    type=_options.Number(min=0.01),
    metavar="BOUND",
    help="Redraw noise beyond BOUND standard deviations; for normal noise.",
)
@click.option("--score", is_flag=True, help="Also write scores.csv: D's probability of being real.")
@_options.depth
@_options.device
@_options.precision("auto")
def command(
    model: str,
    out: str,
    count: int | None,
    seed: int,
    grid: tuple[int, int] | None,
    interpolate: tuple[int, int, int] | None,
    truncate: float | None,
    score: bool,
    depth: int | None,
    device: str,
    precision: str,
) -> None:
    """Generate images from noise with MODEL.

    OUT is a folder of numbered files in the depth of training (PNG where it holds them) or, with
    --grid or --interpolate, one file to look at. The same seed gives the same bytes, however many
    images are generated.
    """
    _check(count, grid, interpolate, score)
    from pathlib import Path

    with quick_imports():
        from i2i import images
        from i2i.console import echo, progress
        from i2i.errors import OptionError
        from i2i.files import check_new_file, check_new_folder
        from i2i.lock import new_folder
        from i2i.translation import sampling

    target = Path(out)
    if grid or interpolate:
        check_new_file(target, {".png", ".webp"} if interpolate else images.WRITABLE)
    else:
        check_new_folder(target)
    sampler = sampling.load_sampler(model, device, precision, depth)
    if truncate is not None and sampler.latent.distribution != "normal":
        raise OptionError("--truncate", "the noise of this model is uniform, it has no tails")
    total = grid[0] * grid[1] if grid else interpolate[2] if interpolate else count or 16
    if grid or interpolate:
        sampling.check_sheet(sampler, total, "--grid" if grid else "--interpolate")
    with progress("generating", total) as job:
        if interpolate:
            pictures = sampling.walk(sampler, *interpolate, truncate, job)
        elif grid:
            pictures, _ = sampler.pictures(sampler.latents(0, total, seed, truncate), progress=job)
        else:
            with new_folder(target):
                paths = sampling.write_numbered(sampler, target, total, seed, truncate, score)
                for number, _ in enumerate(paths, 1):
                    job(number, total)
    if interpolate and target.suffix.lower() == ".webp":
        sampling.write_animation(pictures, target)
    elif grid or interpolate:
        images.encode(images.grid(pictures, grid[1] if grid else total), target)
    echo(f"wrote {target if grid or interpolate else f'{total} images to {target}'}")


def _check(
    count: int | None,
    grid: tuple[int, int] | None,
    interpolate: tuple[int, int, int] | None,
    score: bool,
) -> None:
    """Raise UsageError for options that exclude each other, or ask for too much."""
    if sum(option is not None for option in (count, grid, interpolate)) > 1:
        raise click.UsageError("--count, --grid and --interpolate exclude each other.")
    if score and (grid or interpolate):
        raise click.UsageError("--score: not with --grid or --interpolate.")
    if interpolate and (max(interpolate[:2]) >= 2**31 or not 2 <= interpolate[2] <= _MAX_SHEET):
        limits = f"seeds must be below 2^31, steps from 2 to {_MAX_SHEET:,}"
        raise click.UsageError(f"--interpolate: {limits}.")
    if grid and not 1 <= grid[0] * grid[1] <= _MAX_SHEET:
        limit = f"a sheet has 1 to {_MAX_SHEET:,} images"
        raise click.UsageError(f"--grid: {limit}, not {grid[0] * grid[1]:,}.")
