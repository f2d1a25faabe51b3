"""`i2i evaluate`: scores of a model on pairs, or of one folder against another."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

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
@click.option("--split", help="Split to score.  [default: test]")
@click.option(
    "--paired/--unpaired",
    "paired",
    default=None,
    help="Images that belong together, or two sets.  [default: pairs if most files have a partner]",
)
@_options.pair_pattern
@_options.pairs
@_options.size
@_options.max_pixels
@click.option(
    "--metrics",
    metavar="NAME,...",
    help="psnr, ssim, ms_ssim, l1, l1_units, of class maps pixel_accuracy, miou, and of sets swd, "
    "grid, kid_effnet and more.  [default: those of pairs or class maps, or swd]",
)
@click.option(
    "--inception-weights",
    type=_options.path,
    metavar="FILE",
    help="Weights of Inception, for fid, kid, precision, recall, density, coverage.",
)
@click.option(
    "--lpips-weights", type=_options.path, metavar="FILE", help="Weights of AlexNet, for lpips."
)
@click.option(
    "--value-range",
    type=_options.Number(),
    nargs=2,
    metavar="LOW HIGH",
    help="Range of the floats, or else of the integers, in two folders.",
)
@click.option(
    "--classes",
    type=click.IntRange(2, 65_536),
    metavar="N",
    help="Number of classes, if the files of two folders hold class numbers.",
)
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
@click.pass_context
def command(
    context: click.Context,
    /,
    model: str,
    data: str,
    sheet: str | None,
    csv_file: str | None,
    explain: str | None,
    as_json: bool,
    markdown: bool,
    **options: Any,
) -> None:
    """Score MODEL on DATA, or the images of one folder against those of another.

    \b
    i2i evaluate runs/photos photos
    i2i evaluate outputs photos/test/b

    Pairs are scored one by one: PSNR, SSIM, MS-SSIM and L1, with 95 % intervals bootstrapped over
    images; class maps by pixel accuracy and mean IoU of all images together. Outputs are scored as
    their files would be: at the depth of the targets, relative to the range of their values
    (data.value_range, or all that the depth holds). Images without pairs are compared as sets. DATA
    is as for training.

    The protocol below the table is all that makes the numbers, as a hash: numbers of one hash are
    comparable.
    """
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    with quick_imports():
        from i2i.evaluation.protocol import explain as differences
        from i2i.evaluation.protocol import read_protocol
        from i2i.evaluation.tables import write_csv
        from i2i.files import check_new_file
        from i2i.report.sheet import write_sheet

    for file, suffix in ((sheet, ".png"), (csv_file, ".csv")):
        if file:
            check_new_file(Path(file), {suffix})
    other = read_protocol(Path(explain)) if explain else None
    folders = _is_folder_of_images(model)
    _check_effects(context, folders)
    score = _evaluate_folders if folders else _evaluate_model
    results = score(model, data, 8 if sheet else 0, options)
    if sheet:
        rows = [row for result in results for row in result.examples]
        write_sheet(rows, ["input", "output", "target"][folders:], Path(sheet))
    if csv_file:
        write_csv(Path(csv_file), results)
    compared = [differences(result.protocol, other) if other else None for result in results]
    if as_json:
        _print_json(results, compared)
        return
    for result, lines in zip(results, compared, strict=True):
        _print(result, options["size"], markdown)
        if other and lines is not None:
            click.echo(f"compared with {explain} (protocol {other.hash}):")
            for line in lines or ["nothing differs"]:
                click.echo(f"  {line}")


def _is_folder_of_images(path: str) -> bool:
    """Return True for a folder that is no model and holds images."""
    from i2i.data.folders import scan
    from i2i.model_file import WEIGHTS

    folder = Path(path)
    if not folder.is_dir() or (folder / WEIGHTS).exists() or any(folder.glob("*.pth")):
        return False
    return bool(scan(folder).images)


def _check_effects(context: click.Context, folders: bool) -> None:
    """Raise UsageError for an option that only the other form of the command has."""
    of_models = ("direction", "layout", "split", "pairs", "precision")
    for name in of_models if folders else ("value_range", "classes"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            form = "two folders" if folders else "a model"
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} has no effect on {form}.")


def _measures(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of metrics out of those of the command, as `Measures` takes them."""
    from i2i.evaluation.features import FeatureWeights
    from i2i.images import MAX_PIXELS
    from i2i.translation.options import parse_size

    inception, lpips = options.pop("inception_weights"), options.pop("lpips_weights")
    names = (options.pop("metrics") or "").split(",")
    return {
        "metrics": [name.strip() for name in names if name.strip()],
        "size": parse_size(options["size"]),
        "mask": options.pop("mask"),
        "max_pixels": options.pop("max_pixels") or MAX_PIXELS,
        "weights": FeatureWeights(*(Path(file) if file else None for file in (inception, lpips))),
    }


def _evaluate_folders(
    outputs: str, targets: str, examples: int, options: dict[str, Any]
) -> "list[Evaluation]":
    from i2i.console import progress

    with quick_imports():
        from i2i.evaluation.folders import evaluate_folders
        from i2i.evaluation.record import Measures

    measures = Measures(**_measures(options))
    with progress("evaluating") as job:
        result = evaluate_folders(
            outputs,
            targets,
            measures,
            paired=options["paired"],
            pair_pattern=options["pair_pattern"],
            value_range=options["value_range"],
            classes=options["classes"] or 0,
            examples=examples,
            device=options["device"],
            progress=job,
        )
    return [result]


def _evaluate_model(
    model: str, data: str, examples: int, options: dict[str, Any]
) -> "list[Evaluation]":
    from i2i.console import log, progress

    with quick_imports():
        from i2i.evaluation.evaluate import evaluate
        from i2i.translation.loading import load

    direction, device, precision = (options[n] for n in ("direction", "device", "precision"))
    translator = load(model, None if direction == "both" else direction, device, precision)
    wanted = [translator]
    if direction == "both":
        others = [each for each in translator.directions if each != translator.direction]
        if not others:
            only = f"{model} translates {translator.direction} only"
            raise click.UsageError(f"--direction both: {only}.")
        wanted += [load(model, each, device, precision) for each in others]
    elif direction is None and len(translator.directions) > 1:
        log("note: this model translates in both directions; --direction both scores both")
    measures = _measures(options)
    names = ("pair_pattern", "pairs", "paired")
    data_options = {name: options[name] for name in names}
    results = []
    for each in wanted:
        with progress(f"evaluating {each.direction}" if len(wanted) > 1 else "evaluating") as job:
            result = evaluate(
                each,
                data,
                layout=options["layout"] or "auto",
                split=options["split"] or "test",
                examples=examples,
                **data_options,
                **measures,
                progress=job,
            )
        results.append(result)
    return results


def _print_json(results: "list[Evaluation]", compared: list[list[str] | None]) -> None:
    from i2i.evaluation.tables import as_json

    parts = [as_json(result) for result in results]
    for part, lines in zip(parts, compared, strict=True):
        if lines is not None:
            part["differences"] = lines
    content = parts[0] if len(parts) == 1 else {"directions": parts}
    click.echo(json.dumps(content, indent=1))


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
