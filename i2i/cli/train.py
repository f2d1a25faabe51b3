"""`i2i train METHOD`: train, or go on training."""

import os
from pathlib import Path
from typing import Any

import click

from i2i import registry
from i2i.cli import _options
from i2i.console import log


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
    """Train a method on a folder of images, or resume a run."""


def _subcommand(method: str, summary: str) -> click.Command:
    @click.command(
        method, help=f"{summary}\n\nEvery setting with its default: `i2i show {method}`."
    )
    @click.option("--data", metavar="PATH", help="Folder of the data set.")
    @click.option(
        "--config",
        "config_file",
        metavar="FILE|RECIPE",
        help="Settings; recipes: `i2i list recipes`.",
    )
    @click.option("--out", metavar="RUN", help="Folder of the run.  [default: runs/NAME-OF-DATA]")
    @click.option(
        "--set", "overrides", multiple=True, metavar="a.b=v", help="One setting; may be repeated."
    )
    @click.option(
        "--epochs",
        type=click.FloatRange(min=0, max=1e9, min_open=True),
        help="Total length, in passes over the data.",
    )
    @click.option("--images", type=click.IntRange(min=1), help="Total length, in images.")
    @click.option(
        "--resume",
        is_flag=False,
        flag_value="",
        metavar="[RUN]",
        help="Go on with RUN, or with --out.",
    )
    @click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random.")
    @click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME",
        help="Folder of an input; more are stacked (pairs).",
    )
    @click.option("--target", metavar="NAME", help="Folder of what the inputs are made into.")
    @click.option(
        "--allow-unmatched", is_flag=True, help="Leave files without a partner out (pairs only)."
    )
    @_options.device
    @_options.precision(None)
    @click.option("--dry-run", is_flag=True, help="Print what would be done; write nothing.")
    def train(**given: Any) -> int:
        return _train(method, **given)

    return train


def _train(
    method: str,
    data: str | None,
    config_file: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    epochs: float | None,
    images: int | None,
    resume: str | None,
    seed: int | None,
    inputs: tuple[str, ...],
    target: str | None,
    allow_unmatched: bool,
    device: str,
    precision: str | None,
    dry_run: bool,
) -> int:
    if resume and out and resume != out:
        raise click.UsageError(f"--resume {resume} and --out {out} name two runs: give one")
    if epochs is not None and images is not None:
        raise click.UsageError("--epochs and --images both set the length: give one")
    from i2i import config, lock, recipes

    layers = []
    if config_file is not None:
        layers.append(config.read_yaml(recipes.recipe_path(config_file)))
    flags: dict[str, dict[str, Any]] = {"data": {}, "train": {}}
    if data is not None:
        flags["data"]["root"] = data
    if inputs:
        flags["data"]["inputs"] = list(inputs)
    if target is not None:
        flags["data"]["target"] = target
    if allow_unmatched:
        flags["data"]["allow_unmatched"] = True
    if epochs is not None or images is not None:
        flags["train"] |= {"epochs": epochs, "total_images": images}
    flags["train"] |= {
        key: value for key, value in (("seed", seed), ("precision", precision)) if value is not None
    }
    layers += [config.parse_override(text) for text in overrides]
    layers.append(
        config.Layer(
            "the command line", {section: values for section, values in flags.items() if values}
        )
    )
    run = resume or out or (None if resume is not None else _default_run(config.merge(layers)))
    if run is None:
        raise click.UsageError("--resume: name the run, --resume RUN")
    if not dry_run and os.environ.get("RANK", "0") == "0":
        # at once: the libraries below take seconds to load, and looking at the data minutes
        lock.check_held(Path(run))
    from i2i.run.train import Request, train

    outcome = train(Request(method, layers, run, resume is not None, device, dry_run))
    if outcome is not None and outcome.signal:
        log(
            f"stopped by signal {outcome.signal} after {outcome.images} images; go on with --resume"
        )
        return 128 + outcome.signal
    if outcome is not None and not outcome.finished:
        log(f"stopped by train.max_minutes after {outcome.images} images; go on with --resume")
    return 0


def _default_run(settings: dict[str, Any]) -> str:
    data = settings.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    if not root:
        raise click.UsageError("data.root: is needed. Pass --data FOLDER.")
    return str(Path("runs") / (Path(str(root)).resolve().name or "run"))
