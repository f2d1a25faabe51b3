"""Train every translation method on drawn worlds for equal minutes, and print a table of scores.

\b
python tools/table.py OUT --minutes 3 --seeds 0,1,2

Worlds have two domains, and the training images of the unpaired methods share no scene; pix2pix and
regression alone are trained on pairs of the same scenes: what pairs give. All are scored on scenes that
are withheld in both domains. Networks are small (64 px, one thread a run), for CPUs.

A run that has scores is not run again: a command that was stopped continues where it stopped.
OUT/table.md (or table-recommended.md) holds the tables, OUT/scores/ the output of `i2i evaluate --json` of each run.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click
from PIL import Image

from i2i.evaluation.metric import METRICS
from i2i.evaluation.tables import markdown
from i2i.files import write_atomically
from i2i.scenes import draw, plan

SIZE, SCENES = 64, 400  # pixels of a side; of each world, every fifth for testing
WORLDS = {"facades": ("day", "dusk"), "orchard": ("red", "yellow")}
PAIRS = "with pairs"  # end of the titles of what trains on pairs
METHODS = {  # title -> words of `i2i train`
    "pix2pix, with pairs": "pix2pix --set generator.name=unet --set generator.depth=5 --set generator.dropout=false",
    "regression, with pairs": "regress --set generator.name=unet --set generator.depth=5 --set generator.dropout=false",
    "CycleGAN": "cyclegan --set generator.name=resnet --set generator.blocks=3",
    "CUT": "cut --set generator.name=resnet --set generator.blocks=3",
    "FastCUT": "cut --set method.fast=true --set generator.name=resnet --set generator.blocks=3",
}
RECOMMENDED = {  # further words: what won in docs/ablations.md
    "pix2pix, with pairs": "--config best --set optim.lr=5e-4",
    "regression, with pairs": "--set generator.upsample=nearest --set generator.head_layers=1 --set generator.norm=instance --set optim.lr=5e-4",
    "CycleGAN": "--config best",
    "CUT": "--config best",
    "FastCUT": "--config best",
}
COMMON = """--images 10000000 --set optim.lr_decay_start=1 --set train.ema_halflife_images=200 --set generator.width=16
--set data.load_size=68 --set data.crop_size=64 --set data.workers=0
--set log.tensorboard=false --set train.checkpoint_every_images=1000000 --precision fp32 --device cpu"""
DISCRIMINATOR = "--set discriminator.width=16 --set discriminator.layers=2"
METRIC_NAMES = ("psnr", "ssim", "l1", "swd", "kid_effnet")


class Run(NamedTuple):
    """One training of one method."""

    world: str
    method: str
    seed: int
    minutes: float
    recommended: bool = False

    @property
    def name(self) -> str:
        """Name of its files."""
        method = self.method.split(",")[0].lower() + "-recommended" * self.recommended
        return f"{self.world}-{method}-{self.minutes:g}min-seed{self.seed}"


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--minutes",
    type=click.FloatRange(0.05),
    default=3.0,
    show_default=True,
    help="Length of a training.",
)
@click.option(
    "--seeds", default="0,1,2", show_default=True, help="Seeds of trainings, separated by commas."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count(),
    show_default=True,
    help="Trainings at once.",
)
@click.option("--worlds", default="facades,orchard", show_default=True, help="Drawn worlds.")
@click.option(
    "--recommended", is_flag=True, help="With the settings that won in docs/ablations.md."
)
def main(out: Path, minutes: float, seeds: str, jobs: int, worlds: str, recommended: bool) -> None:
    names = worlds.split(",")
    for world in names:
        for pairs in (False, True):
            draw_world(world, out / "data" / f"{world}{'-pairs' * pairs}", pairs)
    chosen = [int(seed) for seed in seeds.split(",")]
    # seed by seed, so that a table of fewer seeds is complete early
    runs = [
        Run(world, method, seed, minutes, recommended)
        for seed in chosen
        for world in names
        for method in METHODS
    ]
    with ThreadPoolExecutor(jobs) as pool:
        for run in pool.map(lambda run: train_and_score(run, out), runs):
            click.echo(f"{run.name}: done", err=True)
    text = "\n\n".join(table(world, runs, out) for world in names)
    name = "table-recommended.md" if recommended else "table.md"
    write_atomically(out / name, f"{text}\n".encode())
    click.echo(text)


def draw_world(world: str, folder: Path, pairs: bool, size: int = SIZE) -> None:
    """Draw a data set with paired test images; `pairs`: of the scenes of both domains, in training."""
    if folder.is_dir():
        return
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    for drawing in plan(world, SCENES, unpaired=True):
        styles = WORLDS[world] if pairs and drawing.path.parts[0] == "train" else (drawing.style,)
        for style in styles:
            path = (
                draft / drawing.path.parts[0] / "ab"[WORLDS[world].index(style)] / drawing.path.name
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(world, 0, drawing.index, size, style)).save(path)
    draft.rename(folder)


def train_and_score(run: Run, out: Path) -> Run:
    """Train and evaluate, unless that was done."""
    scores, folder = out / "scores" / f"{run.name}.json", out / "runs" / run.name
    if scores.exists():
        return run
    shutil.rmtree(folder, ignore_errors=True)  # it was stopped: its minutes are not all there
    data = out / "data" / f"{run.world}{'-pairs' * run.method.endswith(PAIRS)}"
    further = "" if run.method.startswith("regression") else DISCRIMINATOR
    further += f" {RECOMMENDED[run.method]}" if run.recommended else ""
    words = f"{METHODS[run.method]} {COMMON} {further} --set train.seed={run.seed} --set train.max_minutes={run.minutes}"
    i2i("train", *words.split(), "--data", str(data), "--out", str(folder))
    # all methods on one folder: only its test images count
    words = (
        f"--direction a2b --precision fp32 --device cpu --json --metrics {','.join(METRIC_NAMES)}"
    )
    result = i2i("evaluate", str(folder), str(out / "data" / run.world), *words.split())
    content = json.loads(result) | {"seen": images_seen(folder)}
    scores.parent.mkdir(exist_ok=True)
    write_atomically(scores, json.dumps(content, indent=1).encode())
    return run


def i2i(*words: str) -> str:
    """Return what a command prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "i2i", *words], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise click.ClickException(
            f"i2i {' '.join(words)}: exit status {done.returncode}\n{done.stderr}"
        )
    return done.stdout


def images_seen(folder: Path) -> int:
    """Return the number of images of the newest checkpoint."""
    return max(
        int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*")
    )


def table(world: str, runs: list[Run], out: Path) -> str:
    """Return the table of a world in Markdown: means over seeds, with their lowest and highest."""
    results: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        if run.world == world:
            content = json.loads((out / "scores" / f"{run.name}.json").read_text("utf-8"))
            results.setdefault(run.method, []).append(content)
    rows = [
        [
            "",
            "images seen",
            *(METRICS[name].heading for name in METRIC_NAMES),
        ]
    ]
    for method, contents in results.items():
        seen = [content["seen"] for content in contents]
        scores = [content["scores"]["model"] for content in contents]
        rows.append([method, f"{min(seen):,}–{max(seen):,}", *over_seeds(scores)])
    # that of an unpaired method: training images of pairs are others
    baselines = next(
        contents[0] for method, contents in results.items() if not method.endswith(PAIRS)
    )
    for name, scores in baselines["scores"].items():
        if name != "model":
            rows.append([name, "", *over_images(scores)])
    source, target = WORLDS[world]
    hashes = sorted(
        {content["protocol_hash"] for contents in results.values() for content in contents}
    )
    note = (
        f"Protocol {hashes[0]}."
        if len(hashes) == 1
        else f"Protocols differ, do not compare rows: {', '.join(hashes)}."
    )
    text = f"{baselines['images']} test images; methods: mean over seeds [lowest, highest]; others: 95 % interval over images. {note}"
    return f"### {world}, {source} → {target}\n\n{markdown(rows)}\n\n{text}"


def over_seeds(scores: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the cells of a method."""
    for name in METRIC_NAMES:
        means = [score[name]["mean"] for score in scores if name in score]
        decimals = METRICS[name].decimals
        yield (
            f"{fmean(means):.{decimals}f} [{min(means):.{decimals}f}, {max(means):.{decimals}f}]"
            if means
            else "–"
        )


def over_images(scores: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of a baseline."""
    for name in METRIC_NAMES:
        decimals = METRICS[name].decimals
        values = [scores[name][key] for key in ("mean", "low", "high")] if name in scores else []
        yield (
            "{} [{}, {}]".format(*(f"{value:.{decimals}f}" for value in values)) if values else "–"
        )


if __name__ == "__main__":
    main()
