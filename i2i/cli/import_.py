"""`i2i import`: a model from a checkpoint of another toolkit."""

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports


@click.command("import")
@click.argument("source", type=_options.path, metavar="FILE_OR_FOLDER")
@click.option(
    "--out",
    required=True,
    type=_options.path,
    metavar="MODEL",
    help="Folder of the model, for `i2i translate`.",
)
@click.option(
    "--statistics",
    type=click.Choice(["running", "image"]),
    help="BatchNorm statistics: the running ones of the file (as with --eval there), or those of "
    "each image (as without).  [default: running if the file has them]",
)
@click.option("--network", metavar="NAME", help="Generator to take, where a file holds several.")
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
def command(
    source: str, out: str, statistics: str | None, network: str | None, overwrite: bool
) -> None:
    """Import weights of pytorch-CycleGAN-and-pix2pix: a .pth file, or a checkpoint folder.

    State dicts are found in what wraps them, such as checkpoints of Lightning, and in .safetensors
    files. The architecture is inferred from keys and shapes; no training option is needed.
    """
    from pathlib import Path

    with quick_imports():
        from i2i.compat.junyanz import import_model
        from i2i.console import echo
        from i2i.files import check_new_file
        from i2i.model_file import WEIGHTS, save_model

    target = Path(out) / WEIGHTS
    hint = "Choose another --out, or pass --overwrite"
    check_new_file(target, overwrite=overwrite, create=True, hint=hint)
    info, tensors = import_model(Path(source), statistics, network)  # type: ignore[arg-type]
    target.parent.mkdir(parents=True, exist_ok=True)
    save_model(target, info, tensors)
    for direction, net in info.generators.items():
        shape = f"{net.in_channels} -> {net.out_channels} channels"
        echo(f"{direction}: {net.name} {net.options}, {shape}, {info.statistics} statistics")
    echo(f"wrote {target}")
