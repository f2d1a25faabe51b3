"""`i2i train METHOD`: train a method, or resume a run."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from i2i import registry
from i2i.cli import _options
from i2i.cli._imports import quick_imports
from i2i.console import log

if TYPE_CHECKING:
    from i2i.config import Layer

_DATA_OPTIONS = (
    click.option(
        "--config",
        "config_file",
        type=_options.path,
        metavar="FILE|RECIPE",
        help="Settings; recipes: `i2i list recipes`; best: the best of METHOD.",
    ),
    click.option(
        "--set", "overrides", multiple=True, metavar="a.b=v", help="One setting; may be repeated."
    ),
    click.option("--seed", type=click.IntRange(0, _options.MAX_SEED), help="Random seed."),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME",
        help="Folder of a; of pairs several, which are stacked as channels.",
    ),
    click.option("--target", metavar="NAME", help="Folder of b, with --input."),
    _options.pair_pattern,
    _options.pairs,
    _options.max_pixels,
    click.option(
        "--allow-unmatched",
        is_flag=True,
        help="Leave out files without a partner (pairs only).",
    ),
)
_OPTIONS = (
    click.option("--data", type=_options.path, metavar="PATH", help="Folder of the data set."),
    *_DATA_OPTIONS[:2],
    click.option(
        "--epochs",
        type=_options.Number(min=0, max=1e9, min_open=True),
        help="Total length, in passes over the data.",
    ),
    click.option("--images", type=click.IntRange(1, 10**12), help="Total length, in images."),
    *_DATA_OPTIONS[2:],
    click.option(
        "--init-from",
        type=_options.path,
        metavar="MODEL",
        help="Trained model whose weights a new run starts from.",
    ),
    _options.device,
    _options.precision(None),
    click.option("--dry-run", is_flag=True, help="Print the plan; write nothing."),
)

_SETTINGS = {  # flag -> the setting it sets
    "data": ("data", "root"),
    "inputs": ("data", "inputs"),
    "target": ("data", "target"),
    "pair_pattern": ("data", "pair_pattern"),
    "pairs": ("data", "pairs"),
    "max_pixels": ("data", "max_pixels"),
    "allow_unmatched": ("data", "allow_unmatched"),
    "epochs": ("train", "epochs"),
    "images": ("train", "total_images"),
    "seed": ("train", "seed"),
    "init_from": ("train", "init_from"),
    "precision": ("train", "precision"),
}


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that new and resumed runs share."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add those of them that say what data is read, and how."""
    for option in reversed(_DATA_OPTIONS):
        function = option(function)
    return function


class _Methods(click.Group):
    """One subcommand for each method file."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names("methods")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return _subcommand(cmd_name, registry.summary("methods", cmd_name))


@click.group(cls=_Methods)
def command() -> None:
    """Train a method on a folder of images."""


def _subcommand(method: str, summary: str) -> click.Command:
    text = f"{summary}\n\nEvery setting with its default: `i2i show {method}`."

    @click.command(method, help=text, short_help=summary)
    @click.option(
        "--out",
        type=_options.path,
        metavar="RUN",
        help="Folder of the run.  [default: runs/NAME-OF-DATA]",
    )
    @click.option(
        "--resume",
        is_flag=False,
        flag_value="",
        metavar="[RUN]",
        help="Resume RUN, or --out; see also `i2i resume`.",
    )
    @run_options
    def train(out: str | None, resume: str | None, **flags: Any) -> int:
        if resume and out and resume != out:
            raise click.UsageError(f"--resume {resume} and --out {out} name two runs: give one")
        from i2i.config import merge

        layers = read_layers(flags, method)
        run = _options.path(resume) if resume else out
        if run is None:
            if resume is not None:
                raise click.UsageError("--resume: name the run, --resume RUN")
            run = _default_run(merge(layers))
        return start(method, layers, run, resume is not None, flags)

    return train


def read_layers(flags: dict[str, Any], method: str | None = None) -> list["Layer"]:
    """Return the settings that `run_options` or `data_options` give; note each old name.

    `method` is the one whose best recipe `--config best` means.
    """
    if flags.get("epochs") is not None and flags.get("images") is not None:
        raise click.UsageError("--epochs and --images both set the length: give one")
    from i2i import config, recipes

    layers = []
    if flags["config_file"] is not None:
        layers.append(config.read_yaml(recipes.recipe_path(flags["config_file"], method)))
    overrides = [config.parse_override(text) for text in flags["overrides"]]
    for layer in (*layers, *overrides) if _is_main() else ():
        for old in layer.renamed:
            log(f"note: {old} is now {config.RENAMED[old]} (in {layer.source})")
    values: dict[str, dict[str, Any]] = {}
    for flag, (section, key) in _SETTINGS.items():
        if flags.get(flag) not in (None, (), False):
            value = flags[flag]
            values.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    flagged = config.Layer("the command line", values)
    later_wins = config.Layer("--set", config.merge(overrides))
    return [*layers, config.combine([later_wins, flagged], flagged.source)]


def start(
    method: str | None, layers: Sequence["Layer"], run: str, resume: bool, flags: dict[str, Any]
) -> int:
    """Train, and return the exit status; `method` may be None for a run that is resumed."""
    from i2i import lock

    if not flags["dry_run"] and _is_main():
        # at once: the libraries below take seconds to load, and reading the data minutes
        lock.check_held(Path(run))
    with quick_imports():
        from i2i.run.train import Request, train

    outcome = train(Request(method, layers, run, resume, flags["device"], flags["dry_run"]))
    if outcome is None or (outcome.finished and not outcome.signal):
        return 0
    reason = f"signal {outcome.signal}" if outcome.signal else "train.max_minutes"
    log(f"stopped by {reason} after {outcome.images} images; continue with i2i resume {run}")
    return 128 + outcome.signal if outcome.signal else 0


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _default_run(settings: dict[str, Any]) -> str:
    """Return runs/NAME-OF-DATA; without data, which is refused later, any name."""
    root = settings.get("data", {}).get("root") or "run"
    return str(Path("runs") / (Path(str(root)).resolve().name or "run"))
