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

    from i2i.checkpoint import WEIGHTS, save_weights
    from i2i.compat.junyanz import import_generators

    target = Path(out) / WEIGHTS
    if target.exists() and not overwrite:
        raise click.UsageError(f"{target} exists; choose another --out, or pass --overwrite")
    _targets.check_file(target, overwrite=overwrite, make_folder=True)
    found = import_generators(Path(source))
    tensors = {
        f"{d}/{key}": value for d, net in found.items() for key, value in net.tensors.items()
    }
    generators = {
        d: {
            "name": g.name,
            "in_channels": g.in_channels,
            "out_channels": g.out_channels,
            "options": g.options,
        }
        for d, g in found.items()
    }
    used = statistics or next(iter(found.values())).statistics
    metadata = {
        "method": "import",
        "generators": generators,
        "direction": next(iter(found)),
        "statistics": used,
        "alpha": "drop",
        "facts": {"imported_from": Path(source).name},
        "config": None,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_weights(target, tensors, metadata)
    for d, net in found.items():
        click.echo(
            f"{d}: {net.name} {net.options}, {net.in_channels} -> {net.out_channels} channels, {used} statistics"
        )
    click.echo(f"wrote {target}")
