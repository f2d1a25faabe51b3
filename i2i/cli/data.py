"""`i2i data`: draw, unpack, check or preview a data set."""

import math
from pathlib import Path
from typing import Any

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports
from i2i.cli.train import data_options, read_layers
from i2i.console import echo, log, progress
from i2i.direction import Domain
from i2i.files import check_new_file, check_new_folder
from i2i.lock import new_folder


@click.group(cls=_options.CommandGroup)
def command() -> None:
    """Draw, unpack, check or preview a data set."""


@command.command()
@click.argument("kind", type=click.Choice(["digits", "facades", "orchard", "portraits"]))
@click.argument("out", type=_options.path)
@click.option(
    "--count",
    type=click.IntRange(1, 1_000_000),
    default=400,
    metavar="N",
    help="Number of scenes; 1 in 5 is for testing.",
)
@click.option(
    "--size", type=click.IntRange(16, 2048), default=256, metavar="PIXELS", help="Side of an image."
)
@click.option("--seed", type=click.IntRange(0, _options.MAX_SEED), default=0, help="Random seed.")
@click.option("--unpaired", is_flag=True, help="Two domains, paired in the test split only.")
def synth(kind: str, out: str, count: int, size: int, seed: int, unpaired: bool) -> None:
    """Draw procedural scenes into OUT/{train,test}/{a,b}/NAME.png.

    \b
    facades    label map -> lit picture; --unpaired: day, dusk
    orchard    red fruit, yellow fruit (unpaired)
    digits     three digits in one folder, in red, green and blue: 1,000 modes
    portraits  drawn faces in one folder; --unpaired: drawn, ink
    """
    from i2i.scenes import write_dataset

    check_new_folder(Path(out))
    try:
        with new_folder(Path(out)), progress("drawing") as job:
            written = write_dataset(kind, Path(out), count, size, seed, unpaired, job)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for folder, files in written.files.items():
        echo(f"{files} images in {Path(out, folder)}")


@command.command()
@click.argument("path", type=_options.path)
@_options.choice(
    "--kind", "auto|paired|unpaired|unconditional", default="auto", help="Kind of data set."
)
@_options.choice("--layout", "auto|ab|ba|folders", default="auto", help="Layout of pairs.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME", help="Folder of a, or of stacked inputs."
)
@click.option("--target", metavar="NAME", help="Folder of b, with --input.")
@_options.pair_pattern
@_options.pairs
@_options.max_pixels
@click.option(
    "--value-range",
    type=float,
    nargs=2,
    default=(0, 1),
    metavar="LOW HIGH",
    help="Range of floats in files, or of integers without any, as data.value_range in training.",
)
@click.option(
    "--window",
    metavar="WORD",
    help="Range that clips, instead: lung, window(40, 400), percentile(0.5, 99.5), …",
)
@click.option("--range", "old_range", type=float, nargs=2, hidden=True)  # its old name
@_options.choice("--mask", "a|b", multiple=True, help="Domain of label maps.")
@_options.choice(
    "--slice-axis",
    "acquisition|sagittal|coronal|axial",
    default="acquisition",
    help="Axis of volumes whose slices are the images.",
)
@click.option(
    "--classes",
    multiple=True,
    metavar="a=N",
    help="Number of classes of a domain that holds class numbers, as data.classes in training.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--fix",
    type=_options.path,
    metavar="DIR",
    help="New folder of links to the clean files of PATH.",
)
def check(
    path: str,
    value_range: tuple[float, float],
    window: str | None,
    old_range: tuple[float, float] | None,
    mask: tuple[Domain, ...],
    classes: tuple[str, ...],
    as_json: bool,
    fix: str | None,
    **options: Any,
) -> int:
    """Decode all images under PATH and list faults.

    Faults are corrupt, unmatched, constant, duplicate, leaking and small images. The exit status
    is 1 if one stops training or spoils its test.
    """
    if bool(options["inputs"]) != bool(options["target"]):
        raise click.UsageError("--input and --target: give both, or neither.")
    if old_range:
        log("note: --range is called --value-range now")
        value_range = old_range
    if not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise click.BadParameter("LOW must be below HIGH, both finite.", param_hint="--value-range")
    if window is not None:
        from i2i.config.ranges import parse_range

        if list(value_range) != [0, 1]:
            raise click.UsageError("--value-range and --window: give one.")
        try:
            parse_range(window)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--window") from None
    with quick_imports():
        from i2i.data.check import check_folder, check_overlap, write_clean

    if options["max_pixels"] is None:
        del options["max_pixels"]

    if fix is not None:
        check_overlap(path, fix)
        check_new_folder(Path(fix))
    with progress("decoding") as job:
        options |= {"value_range": window or value_range, "masks": mask}
        options["classes"] = _classes(classes)
        report = check_folder(path, progress=job, **options)
    if as_json:
        click.echo(report.to_json())
    else:
        echo(f"{report.root}: {report.kind}")
        for level, subject, count, text in report.rows():
            echo(f"{level:<9}{subject:<16}{count:>8}  {text}")
    if fix is not None:
        with new_folder(Path(fix)):
            (log if as_json else echo)(f"{write_clean(report, fix)} files linked into {fix}")
    return 0 if report.ok else 1


def _classes(words: tuple[str, ...]) -> dict[str, int]:
    """Return domain -> number of classes."""
    numbers = {}
    for word in words:
        domain, _, number = word.partition("=")
        is_number = number.isascii() and number.isdecimal() and len(number) < 6
        if domain not in ("a", "b") or not is_number or not 2 <= int(number) <= 2**16:
            reason = f"must be a=N or b=N, N from 2 to 65536, got {word}"
            raise click.BadParameter(reason, param_hint="--classes")
        numbers[domain] = int(number)
    return numbers


@command.command()
@click.argument("path", type=_options.path, metavar="DATA")
@click.argument("method")
@click.option(
    "--out", type=_options.path, default="preview.png", metavar="PNG", help="New file of the sheet."
)
@click.option(
    "--count", type=click.IntRange(1, 100), default=6, metavar="N", help="Samples on the sheet."
)
@click.option(
    "--draws", type=click.IntRange(1, 20), default=3, metavar="N", help="Random views of each."
)
@data_options
def preview(path: str, method: str, out: str, count: int, draws: int, **flags: Any) -> None:
    """Draw what the networks of METHOD will see of DATA, before anything is trained.

    A row is a sample: its files, then random views of them, as the settings crop, mirror, rotate
    and color them. Sizes on the way from file to network are printed.
    """
    layers = read_layers({**flags, "data": path}, method)
    check_new_file(Path(out), {".png"})
    with quick_imports():
        from i2i.run.preview import preview as write_preview

    for line in write_preview(method, layers, Path(out), count, draws):
        echo(line)
    echo(f"sheet: {out}")


@command.command()
@click.argument("archive", type=_options.path)
@click.argument("out", type=_options.path)
@click.option(
    "--max-gb",
    type=_options.Number(min=0, min_open=True),
    default=100.0,
    metavar="GB",
    help="Limit of the unpacked size.",
)
def unpack(archive: str, out: str, max_gb: float) -> int:
    """Unpack the images of ARCHIVE (zip, tar, tar.gz, tar.bz2, tar.xz) into the new folder OUT.

    All members are checked before any is written. An archive with links, absolute paths, .. or
    bombs is refused completely; images that cannot be read are listed and left out, and the exit
    status is 1.
    """
    from i2i.data.archives import unpack as unpack_archive

    with progress("unpacking") as job:
        unpacked = unpack_archive(archive, out, max_gb, job)
    for name, reason in unpacked.skipped:
        log(f"skipped: {name}: {reason}")
    echo(
        f"{unpacked.images} images in {out}, {len(unpacked.skipped)} skipped; "
        f"{unpacked.ignored} other files ignored"
    )
    return 1 if unpacked.skipped else 0
