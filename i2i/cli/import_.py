"""`i2i import`: another toolkit's checkpoint becomes a model of this one."""

import click

from i2i.cli import _targets


@click.command("import")
@click.argument("source", metavar="FILE_OR_FOLDER")
@click.option(
    "--out",
    required=True,
    metavar="MODEL",
    help="Folder to write; it is what `i2i translate` takes.",
)
@click.option(
    "--statistics",
    type=click.Choice(["running", "image"]),
    help="What BatchNorm normalizes by: the running statistics of the file (as with --eval there), or each image's "
    "own (as without).  [default: running where the file has them]",
)
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
def command(source: str, out: str, statistics: str | None, overwrite: bool) -> None:
    """Import weights of pytorch-CycleGAN-and-pix2pix: a .pth file, or a checkpoint folder.

    The architecture is read off the keys and shapes; no option of training is needed.
    """
    from pathlib import Path

    from i2i.compat.junyanz import import_model
    from i2i.model_file import WEIGHTS, save_model

    target = Path(out) / WEIGHTS
    if target.exists() and not overwrite:
        raise click.UsageError(f"{target} exists; choose another --out, or pass --overwrite")
    _targets.check_file(target, overwrite=overwrite, make_folder=True)
    info, tensors = import_model(Path(source), statistics)  # type: ignore[arg-type]
    target.parent.mkdir(parents=True, exist_ok=True)
    save_model(target, info, tensors)
    for direction, net in info.generators.items():
        shape = f"{net.in_channels} -> {net.out_channels} channels"
        click.echo(f"{direction}: {net.name} {net.options}, {shape}, {info.statistics} statistics")
    click.echo(f"wrote {target}")
