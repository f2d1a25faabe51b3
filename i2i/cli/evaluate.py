"""`i2i evaluate`: scores of a model on pairs, or of one folder against another."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i.cli import _options
from i2i.cli._imports import quick_imports

if TYPE_CHECKING:
    from i2i.evaluation.record import Evaluation


@click.command()
@click.argument("model", type=_options.path)
@click.argument("data", type=_options.path)
@_options.choice(
    "--direction",
    "a2b|b2a|both",
    help="Direction, for bidirectional models; both: one after the other.  [default: the model's]",
)
@_options.choice(
    "--layout", "auto|ab|ba|folders", help="Layout of pairs.  [default: that of training]"
)
@click.option("--split", default="test", help="Split to score.")
@_options.pair_pattern
@_options.pairs
@_options.size
@click.option(
    "--mask",
    type=_options.path,
    metavar="FOLDER",
    help="Masks with the stems of the targets: only pixels above 0 count.",
)
@click.option(
    "--sheet",
    type=_options.path,
    metavar="FILE.png",
    help="Sheet of input, output, target of 8 pairs.",
)
@click.option(
    "--csv", "csv_file", type=_options.path, metavar="FILE.csv", help="Metrics of each image."
)
@click.option(
    "--explain",
    type=_options.path,
    metavar="OTHER.json",
    help="Output of --json of another evaluation: name what differs from its protocol.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@_options.device
@_options.precision("auto")
def command(
    model: str,
    data: str,
    direction: str | None,
    size: str,
    sheet: str | None,
    csv_file: str | None,
    explain: str | None,
    as_json: bool,
    markdown: bool,
    device: str,
    precision: str,
    **options: Any,
) -> None:
    """Score MODEL on the pairs of DATA: PSNR, SSIM, MS-SSIM and L1, with 95 % intervals.

    Outputs are scored as their files would be: at the depth of the targets, relative to the range
    of their values (data.value_range, or all that the depth holds). The intervals are bootstrapped
    over images. DATA has pairs as for training, or is an unpaired data set whose test split is
    paired.

    The protocol below the table is all that makes the numbers, as a hash: numbers of one hash are
    comparable.
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    with quick_imports():
        from i2i.evaluation.protocol import explain as differences
        from i2i.evaluation.protocol import read_protocol
        from i2i.evaluation.tables import as_json as to_json
        from i2i.evaluation.tables import write_csv
        from i2i.files import check_new_file
        from i2i.report.sheet import write_sheet

    for file, suffix in ((sheet, ".png"), (csv_file, ".csv")):
        if file:
            check_new_file(Path(file), {suffix})
    other = read_protocol(Path(explain)) if explain else None
    examples = 8 if sheet else 0
    results = _evaluate_model(model, data, direction, device, precision, size, examples, options)
    if sheet:
        rows = [row for result in results for row in result.examples]
        write_sheet(rows, ["input", "output", "target"], Path(sheet))
    if csv_file:
        write_csv(Path(csv_file), results)
    lines = [differences(result.protocol, other) for result in results] if other else []
    if as_json:
        parts = [to_json(result) for result in results]
        for part, texts in zip(parts, lines, strict=False):
            part["differences"] = texts
        content = parts[0] if len(parts) == 1 else {"directions": parts}
        click.echo(json.dumps(content, indent=1))
        return
    for number, result in enumerate(results):
        _print(result, size, markdown)
        if other:
            _print_differences(lines[number], other.hash, explain or "")


def _evaluate_model(
    model: str,
    data: str,
    direction: str | None,
    device: str,
    precision: str,
    size: str,
    examples: int,
    options: dict[str, Any],
) -> "list[Evaluation]":
    from i2i.console import log, progress

    with quick_imports():
        from i2i.evaluation.evaluate import evaluate
        from i2i.translation.options import parse_size
        from i2i.translation.translator import load

    translator = load(model, None if direction == "both" else direction, device, precision)
    wanted = [translator]
    if direction == "both":
        others = [each for each in translator.directions if each != translator.direction]
        if not others:
            reason = f"translates {translator.direction} only"
            raise click.UsageError(f"--direction both: {model} {reason}.")
        wanted += [load(model, each, device, precision) for each in others]
    elif direction is None and len(translator.directions) > 1:
        log("note: this model translates in both directions; --direction both scores both")
    options["layout"] = options["layout"] or "auto"
    results = []
    for each in wanted:
        with progress(f"evaluating {each.direction}") as job:
            result = evaluate(
                each, data, size=parse_size(size), examples=examples, **options, progress=job
            )
        results.append(result)
    return results


def _print(result: "Evaluation", size: str, in_markdown: bool) -> None:
    from i2i.evaluation.tables import aligned, markdown, remarks, table

    low, high = result.value_range
    kind = "floats" if result.depth == 32 else f"{result.depth}-bit"
    direction = result.protocol.direction
    where = f", {direction}" if direction else ""
    click.echo(
        f"{result.count} images{where}, size {size}, {kind} values from "
        f"{low:g} to {high:g}, 95 % intervals over images"
    )
    rows = table(result)
    click.echo(f"\n{markdown(rows)}\n" if in_markdown else aligned(rows))
    for line in remarks(result):
        click.echo(line)


def _print_differences(lines: list[str], code: str, name: str) -> None:
    click.echo(f"compared with {name} (protocol {code}):" + ("" if lines else " nothing differs"))
    for line in lines:
        click.echo(f"  {line}")
