"""`i2i translate`: a file, a folder or a glob through a trained model."""

import json
from pathlib import Path
from typing import Any

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports


@click.command()
@click.argument("model", type=_options.path, metavar="MODEL", required=False)
@click.argument("paths", type=_options.path, metavar="[INPUT...] OUTPUT", nargs=-1)
@click.option(
    "--input",
    "inputs",
    type=_options.path,
    multiple=True,
    metavar="PATH",
    help="Folder or file of one stacked input; repeated in the order of training.",
)
@_options.direction
@_options.choice(
    "--half",
    "left|right|whole",
    help="Part of images to translate.  [default: the input of pairs side by side, if the model "
    "was trained on such files of this form]",
)
@_options.size
@click.option(
    "--batch", type=click.IntRange(1, 4096), metavar="N", help="Batch size; never changes a result."
)
@click.option(
    "--tile",
    type=click.IntRange(1, 2**20),
    metavar="N",
    help="Side of tiles, in pixels, for larger images.  [default: tiles only where an image is too "
    "large as a whole]",
)
@click.option(
    "--overlap",
    type=click.IntRange(0, 2**20),
    metavar="M",
    help="Pixels by which tiles overlap on each side.  [default: what the network sees]",
)
@_options.choice(
    "--format", "keep|png|jpg|webp|tif|npy", default="keep", help="File format of outputs."
)
@_options.choice(
    "--alpha",
    "drop|composite|carry",
    help="Alpha: dropped, composited over white, or copied.  [default: as in training]",
)
@_options.depth
@click.option("--overwrite", is_flag=True, help="Replace files that this job did not write.")
@click.option(
    "--shard",
    metavar="I/N|auto",
    default="0/1",
    help="Part I of N, from 0. auto: by torchrun, srun or a SLURM job array.",
)
@click.option("--verify", is_flag=True, help="Compare the content of what is already done.")
@click.option("--retry-killed", is_flag=True, help="Try what an earlier run did not survive.")
@_options.max_pixels
@_options.device
@_options.precision("auto")
@_options.choice(
    "--engine",
    "local|ray",
    default="local",
    help="local: this process. ray: an actor for each GPU or core (extra [ray]).",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Ray cluster.  [default: RAY_ADDRESS, or a Ray for this job]",
)
@click.option(
    "--summary",
    type=_options.path,
    metavar="OUTPUT",
    help="Print what all shards of the job in OUTPUT did, without translating.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    model: str | None,
    paths: tuple[str, ...],
    inputs: tuple[str, ...],
    summary: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Translate INPUT with MODEL into OUTPUT: a file, a folder, a glob, or tars.

    A model of stacked inputs takes one --input per input instead of INPUT:

    \b
    i2i translate runs/rooms OUTPUT --input depth --input normals

    Each tar becomes a tar of the same name in the folder OUTPUT, images alone:

    \b
    i2i translate runs/rooms 'in-{000..009}.tar' OUTPUT

    OUTPUT mirrors INPUT: same tree, stems, formats and sizes; depth and units are those of the
    target's files in training. TIFF, .npy, and with the extra vips PNG and JPEG may have any size:
    what exceeds --max-pixels or memory is translated in tiles. A volume (NIfTI, or a folder of one
    DICOM series) is translated slice by slice into a volume. The same command continues a job that
    was stopped. Files that cannot be read are listed, all others are translated, and the exit
    status is 1.

    \b
    i2i translate --summary OUTPUT

    prints what the shards of a job did, which of them never began, and what failed; its exit status
    is 0 if every image was written.
    """
    if summary is not None:
        return _summarize(summary, as_json)
    if as_json:
        raise click.UsageError("--json goes with --summary.")
    tars = len(paths) > 2 and all(path.lower().endswith(".tar") for path in paths[:-1])
    if model is None or (len(paths) != (1 if inputs else 2) and not (tars and not inputs)):
        form = "MODEL OUTPUT --input PATH --input PATH" if inputs else "MODEL INPUT OUTPUT"
        count = len(paths) + (model is not None)
        raise click.UsageError(f"expected {form}, got {count} argument{'s' * (count != 1)}.")
    source = inputs or (paths[:-1] if tars else paths[0])
    return _translate(model, source, paths[-1], **options)


def _translate(
    model: str,
    source: str | tuple[str, ...],
    output: str,
    direction: str | None,
    size: str,
    alpha: str | None,
    depth: int | None,
    shard: str,
    device: str,
    precision: str,
    engine: str,
    address: str | None,
    **options: Any,
) -> int:
    if address and engine != "ray":
        raise click.UsageError("--address goes with --engine ray.")
    import os

    from i2i.console import echo, log, progress

    with quick_imports():
        from i2i.translation.folder import translate_folder
        from i2i.translation.inputs import is_tar
        from i2i.translation.options import Options, parse_size
        from i2i.translation.shards import parse_shard, tasks_in_environment
        from i2i.translation.translator import load
        from i2i.translation.work import work

        if engine == "ray":
            from i2i.translation.on_ray import Ray

    part, tasks = parse_shard(shard, os.environ), tasks_in_environment(os.environ)
    if shard == "auto":
        log(f"note: this is shard {part[0]}/{part[1]}")
    elif part == (0, 1) and tasks > 1:
        log(f"note: {tasks} tasks seem to run; each translates everything, --shard auto divides")
    given = {name: value for name, value in options.items() if value is not None}
    job = Options(size=parse_size(size), shard=part, **given)
    used = Ray(address or "") if engine == "ray" else work
    translator = load(model, direction, device, precision, alpha, depth)  # type: ignore[arg-type]
    unit = "tars" if is_tar(source if isinstance(source, str) else source[0]) else "images"
    with progress("translating", unit=unit) as show:
        report = translate_folder(translator, source, output, job, show, used)
    for note in report.notes:
        log(f"note: {note}")
    for relative, reason in report.failed:
        log(f"failed: {relative}: {reason}")
    echo(
        f"{report.written} written, {report.skipped}{' tars' * (unit == 'tars')} already done, "
        f"{len(report.failed)} failed; "
        f"{report.ignored} other files ignored; {report.images_per_second:.1f} images/s"
    )
    return 1 if report.failed else 0


def _summarize(folder: str, as_json: bool) -> int:
    from click.core import ParameterSource

    from i2i.console import echo, log
    from i2i.translation.summary import summarize

    context = click.get_current_context()
    for name in context.params:
        given = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if given and name not in ("summary", "as_json") and context.params[name]:
            raise click.UsageError("--summary OUTPUT takes no model, no input and no other option.")
    summary = summarize(Path(folder))
    if as_json:
        click.echo(json.dumps(summary.to_json(), indent=2))
        return 0 if summary.complete else 1
    for shard in summary.shards:
        for note in shard.notes:
            log(f"note: shard {shard.index}/{summary.count}: {note}")
        for path, reason in sorted((shard.failed | shard.failed_members).items()):
            log(f"failed: {path}: {reason}")
    for line in summary.text():
        echo(line)
    return 0 if summary.complete else 1
