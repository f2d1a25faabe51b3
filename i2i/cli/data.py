"""`i2i data`: draw a data set, unpack one, or look for what training would stumble over."""

import math
from pathlib import Path

import click

from i2i.cli import _targets

_KINDS = ("facades", "orchard", "portraits")


@click.group()
def command() -> None:
    """Make, unpack or check a data set."""


@command.command()
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("out")
@click.option(
    "--count", default=400, show_default=True, help="Scenes in all; every fifth is for testing."
)
@click.option("--size", default=256, show_default=True, help="Side in pixels.")
@click.option("--seed", default=0, show_default=True, help="Of the scenes.")
@click.option(
    "--unpaired",
    is_flag=True,
    help="Two worlds without pairs; the test split keeps the true partners.",
)
def synth(kind: str, out: str, count: int, size: int, seed: int, unpaired: bool) -> None:
    """Draw procedural scenes into OUT/{train,test}/{a,b}/NAME.png.

    \b
    facades    label map -> lit picture; --unpaired: day, dusk
    orchard    red fruit, yellow fruit (unpaired)
    portraits  drawn faces in one folder; --unpaired: drawn, ink
    """
    from i2i.data.scenes import write_dataset

    _targets.check_new_folder(Path(out))
    try:
        written = write_dataset(kind, Path(out), count, size, seed, unpaired)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for folder, files in written.files.items():
        click.echo(f"{files} images in {Path(out, folder)}")


@command.command()
@click.argument("path")
@click.option(
    "--kind",
    type=click.Choice(["auto", "paired", "unpaired", "unconditional"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "ab", "ba", "folders"]),
    default="auto",
    show_default=True,
)
@click.option(
    "--range",
    "value_range",
    type=float,
    nargs=2,
    default=(0, 1),
    show_default=True,
    metavar="LOW HIGH",
    help="Of the floats in files, as data.value_range says for training.",
)
@click.option(
    "--mask", "masks", type=click.Choice(["a", "b"]), multiple=True, help="A domain of label maps."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--fix",
    metavar="DIR",
    help="Lay out a clean copy in DIR (links); the original is never touched.",
)
def check(
    path: str,
    kind: str,
    layout: str,
    value_range: tuple[float, float],
    masks: tuple[str, ...],
    as_json: bool,
    fix: str | None,
) -> int:
    """Decode every image under PATH and list faults: corrupt, unmatched, constant, duplicate, leaking, small.

    Exit status 1 where something was found that stops training or spoils its test.
    """
    from i2i.data.check import check_folder, check_overlap, write_clean

    if not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise click.UsageError(
            f"--range {value_range[0]:g} {value_range[1]:g}: the first must be below the second, both finite"
        )
    if fix is not None:
        check_overlap(path, fix)
        _targets.check_new_folder(Path(fix))
    report = check_folder(path, kind, layout, value_range=value_range, masks=masks)  # type: ignore[arg-type]
    if as_json:
        click.echo(report.to_json())
    else:
        click.echo(f"{report.root}: {report.kind}")
        for level, subject, count, text in report.rows():
            click.echo(f"{level:<9}{subject:<16}{count:>8}  {text}")
    if fix is not None:
        click.echo(f"{write_clean(report, fix)} files linked into {fix}", err=as_json)
    return 0 if report.ok else 1


@command.command()
@click.argument("archive")
@click.argument("out")
@click.option(
    "--max-gb", default=100.0, show_default=True, help="Refuse archives that unpack to more."
)
def unpack(archive: str, out: str, max_gb: float) -> int:
    """Unpack the images of ARCHIVE (zip, tar, tar.gz, tar.bz2, tar.xz) into the new folder OUT.

    All members are looked at first. An archive with links, absolute paths, .. or bombs is refused
    as a whole; images that cannot be read are listed and left out, and the exit status is 1.
    """
    from i2i.data.archives import unpack as unpack_archive

    done = unpack_archive(archive, out, max_gb)
    for name, reason in done.skipped:
        click.echo(f"skipped: {name}: {reason}", err=True)
    click.echo(
        f"{done.images} images in {out}, {len(done.skipped)} skipped; {done.ignored} other files ignored"
    )
    return 1 if done.skipped else 0
