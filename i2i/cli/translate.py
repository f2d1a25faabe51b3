"""`i2i translate`: a file, a folder or a glob through a trained model."""

import sys
import time

import click

from i2i.cli import _options
from i2i.console import log


class _Progress:
    """Counts on a terminal as it goes, elsewhere every 30 s."""

    def __init__(self) -> None:
        self.spoken = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            log(f"\r{done}/{total} images", nl=False)
        elif time.monotonic() - self.spoken > 30:
            self.spoken = time.monotonic()
            log(f"{done}/{total} images")


@click.command()
@click.argument("model")
@click.argument("paths", metavar="[INPUT] OUTPUT", nargs=-1, required=True)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PATH",
    help="Of a model of stacked inputs: one for each.",
)
@click.option(
    "--direction",
    type=click.Choice(["a2b", "b2a"]),
    help="Of a model with two.  [default: its own]",
)
@click.option(
    "--half", type=click.Choice(["left", "right"]), help="Take this half of side-by-side inputs."
)
@click.option(
    "--size", default="keep", show_default=True, metavar="keep|N|WxH", help="Resize inputs first."
)
@click.option("--batch", type=click.IntRange(min=1), help="Images at once; never changes a result.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["keep", "png", "jpg", "webp", "tif", "npy"]),
    default="keep",
    show_default=True,
)
@click.option(
    "--alpha",
    type=click.Choice(["drop", "composite", "carry"]),
    help="Drop it, lay it over white, or put it back onto outputs.  [default: as trained]",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace files in OUTPUT that are not this job's own."
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Translate one of N parts of the input.  [default: from the environment]",
)
@_options.device
@_options.precision("auto")
def command(
    model: str,
    paths: tuple[str, ...],
    inputs: tuple[str, ...],
    direction: str | None,
    half: str | None,
    size: str,
    batch: int | None,
    kind: str,
    alpha: str | None,
    overwrite: bool,
    shard: str | None,
    device: str,
    precision: str,
) -> int:
    """Translate INPUT (a file, a folder with its subfolders, or a glob) with MODEL into OUTPUT.

    A model of stacked inputs takes an --input for each, in the order of training, and no INPUT:

    \b
    i2i translate runs/rooms OUTPUT --input depth --input normals

    OUTPUT mirrors INPUT: same tree, stems, formats, depths and sizes. A job that was stopped goes
        on when run again.
    A file that cannot be read is listed, the others are translated, and the exit status is 1.
    """
    import os

    from i2i.translation.folder import translate_folder
    from i2i.translation.options import Options, parse_size
    from i2i.translation.shards import parse_shard, shard_from_environment
    from i2i.translation.translator import load

    if len(paths) != (1 if inputs else 2):
        form = "MODEL OUTPUT --input PATH --input PATH" if inputs else "MODEL INPUT OUTPUT"
        raise click.UsageError(f"got {len(paths) + 1} names: write i2i translate {form}")
    given = shard_from_environment(os.environ)
    part = parse_shard(shard) if shard else given or (0, 1)
    if given and not shard:
        log(f"note: shard {part[0]}/{part[1]}, from the environment; --shard 0/1 takes everything")
    options = Options(
        format=kind,  # type: ignore[arg-type]
        size=parse_size(size),
        half=half,  # type: ignore[arg-type]
        batch=batch,
        overwrite=overwrite,
        shard=part,
    )
    translator = load(model, direction, device, precision, alpha)  # type: ignore[arg-type]
    report = translate_folder(translator, inputs or paths[0], paths[-1], options, _Progress())
    if sys.stderr.isatty():
        log("")
    for note in report.notes:
        log(f"note: {note}")
    for relative, reason in report.failed:
        log(f"failed: {relative}: {reason}")
    click.echo(
        f"{report.written} written, {report.skipped} already done, {len(report.failed)} failed; "
        f"{report.ignored} other files ignored; {report.images_per_second:.1f} images/s"
    )
    return 1 if report.failed else 0
