"""`i2i import`: a model from a checkpoint of another toolkit."""

import click


@click.command("import")
@click.argument("source", metavar="FILE_OR_FOLDER")
@click.option(
    "--out",
    required=True,
    metavar="MODEL",
    help="Folder of the model, for `i2i translate`.",
)
@click.option(
    "--statistics",
    type=click.Choice(["running", "image"]),
    help="BatchNorm statistics: the running ones of the file (as with --eval there), or those of "
    "each image (as without).  [default: running if the file has them]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
def command(source: str, out: str, statistics: str | None, overwrite: bool) -> None:
    """Import weights of pytorch-CycleGAN-and-pix2pix: a .pth file, or a checkpoint folder.

    The architecture is inferred from keys and shapes; no training option is needed.
    """
    from pathlib import Path

    from i2i.checkpoint import WEIGHTS, save_weights
    from i2i.compat.junyanz import import_generators
    from i2i.files import check_new_file

    target = Path(out) / WEIGHTS
    hint = "Choose another --out, or pass --overwrite"
    check_new_file(target, overwrite=overwrite, create=True, hint=hint)
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
