"""`i2i evaluate`: a model against the truth."""

import click

from i2i.cli import _options, _targets


@click.command()
@click.argument("model")
@click.argument("data")
@click.option(
    "--direction",
    type=click.Choice(["a2b", "b2a"]),
    help="Of a model with two.  [default: its own]",
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "ab", "ba", "folders"]),
    help="[default: that of training]",
)
@click.option("--split", default="test", show_default=True, help="Images to score.")
@click.option(
    "--size", default="keep", show_default=True, metavar="keep|N|WxH", help="Resize images first."
)
@click.option("--sheet", metavar="FILE.png", help="Write input | output | truth of the first 8.")
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
) -> None:
    """Score MODEL on the pairs of DATA: PSNR, SSIM and L1 with 95 % bootstrap intervals over images.

    DATA has pairs as for training, or is an unpaired world whose test split keeps the true
    partners.
    """
    import json
    from pathlib import Path

    from i2i.evaluation.evaluate import aligned, evaluate, table
    from i2i.report.page import sheet as write_sheet
    from i2i.translation.options import parse_size
    from i2i.translation.translator import load

    if sheet:
        _targets.check_file(Path(sheet), {".png"})
    translator = load(model, direction, device, precision)
    found = evaluate(
        translator,
        data,
        layout=layout or translator.layout,  # type: ignore[arg-type]
        split=split,
        size=parse_size(size),
        examples=8 if sheet else 0,
    )
    if sheet:
        write_sheet(found.examples, ["input", "output", "truth"], Path(sheet))
    if as_json:
        scores = {
            name: {key: i._asdict() for key, i in row.items()} for name, row in found.scores.items()
        }
        click.echo(
            json.dumps(
                {"images": found.count, "direction": translator.direction, "scores": scores},
                indent=1,
            )
        )
        return
    click.echo(
        f"{found.count} images, {translator.direction}, size {size}, 8-bit, 95 % intervals over images"
    )
    click.echo(aligned(table(found.scores)))
