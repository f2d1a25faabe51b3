"""`i2i generate`: images from noise."""

import click

from i2i.cli import _options, _targets


@click.command()
@click.argument("model")
@click.argument("out")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="Images to make.  [default: 16, or what --grid holds]",
)
@click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), default=0, show_default=True)
@click.option("--grid", metavar="RxC", help="One sheet of R rows and C columns; OUT is the file.")
@click.option(
    "--interpolate",
    metavar="A:B:STEPS",
    help="Walk from seed A to seed B; OUT is a .png strip or .webp.",
)
@click.option(
    "--truncate",
    type=click.FloatRange(min=0.01),
    help="Redraw noise beyond this; normal noise only.",
)
@click.option(
    "--score", is_flag=True, help="Also write scores.csv: D's probability of each image being real."
)
@_options.device
@_options.precision("auto")
def command(
    model: str,
    out: str,
    count: int | None,
    seed: int,
    grid: str | None,
    interpolate: str | None,
    truncate: float | None,
    score: bool,
    device: str,
    precision: str,
) -> None:
    """Make images from noise with MODEL: numbered PNGs in the folder OUT, one sheet, or a walk.

    The same seed gives the same bytes, however many images are made.
    """
    import re
    from pathlib import Path

    from i2i import images
    from i2i.translation.sampling import load_sampler, walk, write_animation, write_numbered

    if sum(option is not None for option in (count, grid, interpolate)) > 1:
        raise click.UsageError("--count, --grid and --interpolate exclude each other")
    if score and (grid or interpolate):
        raise click.UsageError(
            "--score: scores are written for numbered images, not with --grid or --interpolate"
        )
    target = Path(out)
    if grid or interpolate:
        _targets.check_file(target, {".png", ".webp"} if interpolate else images.EXTENSIONS)
    else:
        _targets.check_new_folder(target)
    sampler = load_sampler(model, device, precision)
    if truncate is not None and sampler.latent.distribution != "normal":
        raise click.UsageError(
            "--truncate: this model takes uniform noise, which has no tails to cut"
        )
    if interpolate:
        match = re.fullmatch(r"(\d+):(\d+):(\d+)", interpolate)
        if not match:
            raise click.UsageError(
                f"--interpolate {interpolate}: write two seeds and a length, such as 1:2:16"
            )
        if max(int(match[1]), int(match[2])) >= 2**31 or int(match[3]) > 10_000:
            raise click.UsageError(
                f"--interpolate {interpolate}: seeds are below 2^31, steps at most 10,000"
            )
        pictures = walk(sampler, int(match[1]), int(match[2]), int(match[3]), truncate)
        if target.suffix.lower() == ".webp":
            write_animation(pictures, target)
        else:
            images.encode(images.grid(pictures, len(pictures)), target)
        click.echo(f"wrote {target}")
    elif grid:
        match = re.fullmatch(r"(\d+)x(\d+)", grid)
        if not match or 0 in (int(match[1]), int(match[2])):
            raise click.UsageError(f"--grid {grid}: write rows and columns, such as 4x8")
        number = int(match[1]) * int(match[2])
        pictures, _ = sampler.pictures(sampler.latents(0, number, seed, truncate))
        images.encode(images.grid(pictures, int(match[2])), target)
        click.echo(f"wrote {target}")
    else:
        written = list(write_numbered(sampler, target, count or 16, seed, truncate, score))
        click.echo(f"wrote {len(written)} images to {target}")
