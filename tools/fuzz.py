"""Attacks all that reads files, as long as you like: the properties of `tests/fuzzing`, on new inputs every time."""

import itertools
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import click

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / folder) for folder in ("tests", ".")]


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=30.0, show_default=True)
@click.option("--only", metavar="WORD", default="", help="Properties whose name holds this word.")
@click.option("--seed", type=int, help="Of the first round.  [default: the time]")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Of a property in a round.",
)
def main(minutes: float, only: str, seed: int | None, examples: int) -> None:
    """Try generated inputs on every property in turns; print each new fault once. Exit status 1 if there was one."""
    import torch
    from fuzzing import PROPERTIES, attack

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Pillow's, about damage
    began, first = time.monotonic(), int(time.time()) if seed is None else seed
    tried: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    faults: dict[tuple[str, str], str] = {}
    names = [name for name in PROPERTIES if only in name]
    for place in itertools.count():
        name = names[place % len(names)]
        if time.monotonic() - began > 60 * minutes:
            break
        try:
            tried[name] += attack(name, examples, first + place // len(names))
        except Exception as error:
            tried[name] += 1  # at least: a round that fails does not say how many it took
            broken[name] += 1
            where = f"{type(error).__name__} at {traceback.extract_tb(error.__traceback__)[-1]}"
            if (name, where) not in faults:
                faults[name, where] = "".join(traceback.format_exception(error))
                click.echo(f"seed {first + place // len(names)}: {name}\n{faults[name, where]}")
    click.echo(f"{'tries':>9} {'held':>9}  kind")
    for name in names:
        kind = name.replace("_", " ")
        click.echo(f"{tried[name]:>9,} {tried[name] - broken[name]:>9,}  {kind}")
    seconds = time.monotonic() - began
    click.echo(
        f"{sum(tried.values()):>9,} in {seconds / 60:.1f} minutes from seed {first}; {len(faults)} faults"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
