"""Train variants of one recipe with equal images, seed by seed, and print what each changes.

\b
python tools/ablate.py tools/ablations.yaml OUT --only paired --seeds 0,1,2 --jobs 2

FILE lists experiments: their data, words that all trainings share, and variants, the first of which
the others are compared with. Data are a drawn world (`facades`, or unpaired `day-dusk` and
`red-yellow`; `portraits`) or a folder. Translations are scored on withheld pairs, generated images
as a set. Rates are constant unless an experiment says otherwise. A run that has scores is not run again. OUT/EXPERIMENT.md holds the table of each,
OUT/scores/ and OUT/sheets/ hold what was measured of each run, and some of its images.
"""

import contextlib
import io
import json
import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click
import yaml
from table import draw_world

from i2i.evaluation.metric import METRICS
from i2i.evaluation.tables import markdown
from i2i.files import write_atomically

WORLDS = {"day-dusk": "facades", "red-yellow": "orchard"}  # unpaired, their targets withheld
DRAWN = ("facades", "portraits", "digits")  # as `i2i data synth` draws them
RATE = "--set optim.lr_decay_start=1"  # constant, unless an experiment says otherwise
QUIET = """--set log.tensorboard=false --set data.workers=0 --set train.checkpoint_every_images=100000000
--set log.sample_every_images=100000000"""


class Job(NamedTuple):
    """One training of one variant, and its scores."""

    experiment: str
    variant: str
    seed: int
    train: str  # words of `i2i train`
    data: str
    metrics: str
    generated: int  # images to generate and score; 0: translate the test split
    device: str

    @property
    def name(self) -> str:
        """Name of its files."""
        text = f"{self.experiment}-{self.variant}-seed{self.seed}"
        return re.sub(r"[^\w.=-]+", "_", text)


@click.command(help=__doc__)
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--only", default="", help="Experiments, separated by commas.  [default: all]")
@click.option("--seeds", default="0,1,2", show_default=True, help="Seeds, separated by commas.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="At once.")
@click.option("--device", default="cpu", show_default=True, help="Device of the trainings.")
@click.option("--words", default="", help="Further words of `i2i train`.")
@click.option("--seconds", type=float, help="Time after which no training starts.")
def main(
    file: Path,
    out: Path,
    only: str,
    seeds: str,
    jobs: int,
    device: str,
    words: str,
    seconds: float | None,
) -> None:
    experiments: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    chosen = only.split(",") if only else list(experiments)
    queue = [
        job
        for seed in map(int, seeds.split(","))
        for name in chosen
        for job in plan(name, experiments[name], seed, out, device, words)
    ]
    end = time.monotonic() + (seconds or 1e9)
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        started = [pool.submit(run, job, out, end) for job in queue]
        for future in as_completed(started):
            click.echo(future.result(), err=True)
    for name in chosen:
        text = table(name, experiments[name], [job for job in queue if job.experiment == name], out)
        write_atomically(out / f"{name}.md", f"{text}\n".encode())
        click.echo(f"{text}\n")


def plan(
    name: str, experiment: dict[str, Any], seed: int, out: Path, device: str, words: str
) -> Iterator[Job]:
    """Yield the jobs of one experiment and seed; draw its data first."""
    data = prepare(experiment, out)
    generated = experiment.get("generated", 0)
    metrics = experiment["metrics"]
    for variant, change in experiment["variants"].items():
        train = f"{experiment['train']} {change} {words}"
        yield Job(name, variant, seed, train, data, metrics, generated, device)


def prepare(experiment: dict[str, Any], out: Path) -> str:
    """Return the folder of the data, drawn where it is a world."""
    world, size = experiment["data"], experiment.get("size", 64)
    folder = out / "data" / f"{world}-{size}"
    if world in WORLDS:
        draw_world(WORLDS[world], folder, pairs=False, size=size)
    elif world not in DRAWN:
        return os.path.expandvars(world)
    elif not folder.is_dir():
        draft = folder.with_name(f".{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        count = experiment.get("count", 400)
        i2i("data", "synth", world, str(draft), "--size", str(size), "--count", str(count))
        draft.rename(folder)
    return str(folder)


def run(job: Job, out: Path, end: float) -> str:
    """Train and score, unless that was done or time is over; return a line that says so."""
    scores, folder = out / "scores" / f"{job.name}.json", out / "runs" / job.name
    if scores.exists():
        return f"{job.name}: scores exist"
    if time.monotonic() > end:
        return f"{job.name}: not started, no time left"
    shutil.rmtree(folder, ignore_errors=True)
    method, *settings = job.train.split()
    words = [method, *RATE.split(), *QUIET.split(), "--set", f"train.seed={job.seed}", *settings]
    words += ["--device", job.device, "--data", job.data, "--out", str(folder)]
    began = time.monotonic()
    try:
        i2i("train", *words)
        seconds = time.monotonic() - began
        result = score(job, folder, out / "sheets" / f"{job.name}.png")
    except Exception as error:  # one variant must not end the others
        return f"{job.name}: failed: {error!r}"
    result |= {"seconds": seconds, "words": job.train, "seed": job.seed}
    scores.parent.mkdir(exist_ok=True)
    write_atomically(scores, json.dumps(result, indent=1).encode())
    shutil.rmtree(folder / "checkpoints")  # states of optimizers are large
    return f"{job.name}: {seconds:.0f} s"


def score(job: Job, folder: Path, sheet: Path) -> dict[str, Any]:
    """Return the scores of `i2i evaluate --json` of outputs, and write a sheet of images."""
    sheet.parent.mkdir(parents=True, exist_ok=True)
    outputs, device = sheet.parent.parent / "outputs" / job.name, ["--device", job.device]
    shutil.rmtree(outputs, ignore_errors=True)
    sheet.unlink(missing_ok=True)  # of a run that ended before its scores were written
    options = ["--json", "--metrics", job.metrics, *device]
    if job.generated:
        i2i("generate", str(folder), str(sheet), "--grid", "4x8", *device)
        i2i("generate", str(folder), str(outputs), "--count", str(job.generated), *device)
        reals = job.data
        options += ["--unpaired"]
    else:
        precision = ["--precision", "fp32"]
        i2i("translate", str(folder), f"{job.data}/test/a", str(outputs), *device, *precision)
        reals = f"{job.data}/test/b"
        options += ["--paired", "--sheet", str(sheet)]
    return dict(json.loads(i2i("evaluate", str(outputs), reals, *options)))


def i2i(*words: str) -> str:
    """Return what a command prints, run in this process: importing torch takes seconds.

    Raises:
        I2IError: of the command.
    """
    from i2i.cli import group

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        status = group.main(list(words), standalone_mode=False)
    if status:
        raise RuntimeError(f"exit status {status}")
    return printed.getvalue()


def table(name: str, experiment: dict[str, Any], jobs: list[Job], out: Path) -> str:
    """Return the table of an experiment in Markdown: means over seeds [lowest, highest]."""
    metrics = experiment["metrics"].split(",")
    rows = [["", "seeds", *(METRICS[metric].heading for metric in metrics), "seconds"]]
    for variant in experiment["variants"]:
        files = [out / "scores" / f"{job.name}.json" for job in jobs if job.variant == variant]
        results = [json.loads(path.read_text("utf-8")) for path in files if path.exists()]
        if results:
            scores = [next(iter(result["scores"].values())) for result in results]
            cells = [over_seeds(metric, scores) for metric in metrics]
            seconds = fmean(result["seconds"] for result in results)
            rows.append([variant, str(len(results)), *cells, f"{seconds:.0f}"])
    words = " ".join(experiment["train"].split())
    return f"### {name}\n\n    {words} {RATE}\n\n{markdown(rows)}"


def over_seeds(metric: str, scores: list[dict[str, Any]]) -> str:
    """Return the cell of a metric."""
    means, digits = [score[metric]["mean"] for score in scores], METRICS[metric].decimals
    return f"{fmean(means):.{digits}f} [{min(means):.{digits}f}, {max(means):.{digits}f}]"


if __name__ == "__main__":
    main()
