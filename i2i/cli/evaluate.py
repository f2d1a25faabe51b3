"""`i2i evaluate`: scores of a model on pairs."""

import json
from pathlib import Path
from typing import Any

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports


@click.command()
@click.argument("model", type=_options.path)
@click.argument("data", type=_options.path)
@_options.direction
@_options.choice(
    "--layout", "auto|ab|ba|folders", help="Layout of pairs.  [default: that of training]"
)
@click.option("--split", default="test", help="Split to score.")
@_options.pair_pattern
@_options.pairs
@_options.size
@click.option(
    "--sheet",
    type=_options.path,
    metavar="FILE.png",
    help="Sheet of input, output, target of 8 pairs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_options.device
@_options.precision("auto")
def command(
    model: str,
    data: str,
    direction: str | None,
    layout: str | None,
    split: str,
    size: str,
    sheet: str | None,
    as_json: bool,
    device: str,
    precision: str,
    **matching: Any,
) -> None:
    """Score MODEL on the pairs of DATA: PSNR, SSIM and L1, with 95 % intervals.

    Outputs are scored as their files would be: at the depth of the targets, relative to the range
    of their values (data.value_range, or all that the depth holds). The intervals are bootstrapped
    over images. DATA has pairs as for training, or is an unpaired data set whose test split is
    paired.
    """
    from i2i.console import progress

    with quick_imports():
        from i2i.evaluation.evaluate import aligned, evaluate, table
        from i2i.files import check_new_file
        from i2i.report.sheet import write_sheet
        from i2i.translation.options import parse_size
        from i2i.translation.translator import load

    if sheet:
        check_new_file(Path(sheet), {".png"})
    translator = load(model, direction, device, precision)
    with progress("evaluating") as job:
        result = evaluate(
            translator,
            data,
            layout=layout or "auto",  # type: ignore[arg-type]
            split=split,
            size=parse_size(size),
            examples=8 if sheet else 0,
            **matching,
            progress=job,
        )
    if sheet:
        write_sheet(result.examples, ["input", "output", "target"], Path(sheet))
    if as_json:
        scores = {}
        for name, row in result.scores.items():
            scores[name] = {metric: interval._asdict() for metric, interval in row.items()}
        content = {"images": result.count, "direction": translator.direction, "scores": scores}
        content |= {"depth": result.depth, "value_range": result.value_range}
        click.echo(json.dumps(content, indent=1))
    else:
        low, high = result.value_range
        kind = "floats" if result.depth == 32 else f"{result.depth}-bit"
        click.echo(
            f"{result.count} images, {translator.direction}, size {size}, {kind} values from "
            f"{low:g} to {high:g}, 95 % intervals over images"
        )
        click.echo(aligned(table(result)))
