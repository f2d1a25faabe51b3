"""Record what i2i computes, to show that a renovation leaves its behavior unchanged, bit for bit.

\b
python tools/record.py before.json --code OLD_CHECKOUT
python tools/record.py after.json
python tools/record.py compare before.json after.json

Small networks of every method (`record.yaml`) train for 60 steps through the command line, on the
CPU and in one thread, on images that `record_files.py` draws; each run is repeated from its
checkpoint in the middle, which must end the same. A record holds, for each run: settings, rows of
metrics, a hash of every tensor and all plain values of weights and state, hashes of the pixels of
sample sheets and of translated or generated files, and scores; also what `i2i data check` finds.

Other machines and other versions of torch round differently: compare records of one machine.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import record_files
import yaml
from record_files import Values, flat, pixels, snapshot

Parts = dict[str, Values]  # settings, rows, weights, …

ROOT = Path(__file__).resolve().parent.parent
RUNS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
COMMON: dict[str, dict[str, Any]] = RUNS.pop("common")
METHODS = sorted({run["method"] for run in RUNS.values()})
STEPS = 60  # of every run; each writes a row of metrics
WORDS = {"text", "reasons"}  # of `i2i data check`: messages may be reworded
RENAMED = {
    "method.law": "method.latent_distribution",
    "method.identity": "method.lambda_identity",
    "train.images": "train.total_images",
    "log.images": "log.every_images",
    "train.checkpoint_images": "train.checkpoint_every_images",
    "train.sample_images": "log.sample_every_images",
    "train.ema_images": "train.ema_halflife_images",
    "train.minutes": "train.max_minutes",
    "train.keep": "train.keep_checkpoints",
    "train.guard": "train.on_nonfinite",
    "data.verify": "data.decode_check_limit",
    "data.ranges": "data.value_range",
    "data.color": "data.color_jitter",
    "data.rotate": "data.rotate_degrees",
    "data.elastic": "data.elastic_pixels",
    "optim.decay_from": "optim.lr_decay_start",
}


class RecordByDefault(click.Group):
    """Takes `OUT` for `record OUT`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = not args or args[0] in (*self.commands, "--help")
        return super().parse_args(ctx, args if named else ["record", *args])


@click.group(cls=RecordByDefault, help=__doc__)
def main() -> None: ...


@main.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--methods", default=",".join(METHODS), show_default=True)
@click.option("--code", default=ROOT, type=Path, help="Checkout of i2i.  [default: this one]")
def record(out: Path, methods: str, code: Path) -> None:
    """Record the runs of METHODS, separated by commas, in the file OUT."""
    chosen = methods.split(",")
    if not set(chosen) <= set(METHODS):
        raise click.BadParameter(f"--methods {methods}: choose from {', '.join(METHODS)}")
    with tempfile.TemporaryDirectory() as folder:
        record_files.draw(Path(folder))
        i2i = I2I(code.resolve(), Path(folder))
        results: dict[str, Parts] = {}
        results["data"] = {name: i2i.check(name) for name in ("pairs", "faulty", "faces")}
        for name, run in RUNS.items():
            if run["method"] in chosen:
                click.echo(name, err=True)
                results[name] = i2i.train(name, run) | i2i.use(name, run)
    out.write_text(json.dumps(results, indent=1))


@main.command()
@click.argument("before", type=click.Path(exists=True, path_type=Path))
@click.argument("after", type=click.Path(exists=True, path_type=Path))
def compare(before: Path, after: Path) -> None:
    """Print what differs between two records but for names. Exit status 1 if anything does.

    Settings are compared through a table of renamed keys. Elsewhere a name that only AFTER has
    stands for a name that only BEFORE has if their values are equal.
    """
    old, new = (json.loads(path.read_text()) for path in (before, after))
    common = sorted(old.keys() & new.keys())
    lines = []
    for run in common:
        for part in sorted(old[run].keys() | new[run].keys()):
            pair = old[run].get(part, {}), new[run].get(part, {})
            lines += [f"{run}, {part}: {line}" for line in differences(*pair, part == "settings")]
    others = ", ".join(sorted(old.keys() ^ new.keys())) or "none"
    lines.append(f"{len(lines)} differences in {', '.join(common)}; only in one: {others}")
    click.echo("\n".join(lines))
    sys.exit(len(lines) > 1 or len(common) < 2)


def differences(before: Values, after: Values, settings: bool) -> Iterator[str]:
    """Yield a line for every value that differs."""
    if settings:
        before = {RENAMED.get(key, key): value for key, value in before.items()}
        after = {RENAMED.get(key, key): value for key, value in after.items()}
    missing = sorted(before.keys() - after.keys())
    for key, value in after.items():
        renamed = next((name for name in missing if before[name] == value and not settings), None)
        if key not in before and renamed:
            missing.remove(renamed)
        elif key not in before:
            yield f"{key}: nothing -> {value}"
        elif before[key] != value and isinstance(value, list):
            rows = zip(before[key], value, strict=False)
            row = next((number for number, (x, y) in enumerate(rows) if x != y), len(value))
            yield f"{key}: from row {row} on"
        elif before[key] != value:
            yield f"{key}: {before[key]} -> {value}"
    for key in missing:
        yield f"{key}: {before[key]} -> nothing"


class I2I:
    """The command line of a checkout, in a folder that holds all data."""

    def __init__(self, code: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}

    def __call__(self, *words: object, ok: tuple[int, ...] = (0,)) -> str:
        """Run `i2i WORDS` and return what it prints."""
        command = [sys.executable, "-m", "i2i", *map(str, words)]
        pipes: Any = {"capture_output": True, "text": True, "check": False}
        done = subprocess.run(command, cwd=self.folder, env=self.environment, **pipes)
        if done.returncode not in ok:
            raise click.ClickException(f"{' '.join(command[2:])}: {done.returncode}\n{done.stderr}")
        return str(done.stdout)

    def check(self, name: str) -> Values:
        """Return what `i2i data check` finds in a data set, without its words."""
        report = flat(json.loads(self("data", "check", name, "--json", ok=(0, 1))))
        return {key: value for key, value in report.items() if not WORDS & set(key.split("."))}

    def train(self, name: str, run: dict[str, Any]) -> Parts:
        """Train a run, once through and once from the middle."""
        method = run["method"]
        sections = (*COMMON, "generator", "optim")
        settings = {key: COMMON.get(key, {}) | run.get(key, {}) for key in sections}
        step = settings["train"]["batch"] * settings["train"]["accumulate"]
        settings["method"] = run.get("options", {})
        settings["log"]["images"] = step
        settings["train"] |= {"checkpoint_images": 30 * step, "sample_images": 20 * step}
        file, again = self.folder / f"{name}.yaml", f"{name}-again"
        file.write_text(yaml.safe_dump(settings))
        words = ["--data", run["folder"], "--config", file, "--images", STEPS * step, "--seed", 1]
        self("train", method, "--out", name, "--device", "cpu", *words)
        trained = snapshot(self.folder / name)
        last = max((self.folder / name / "checkpoints").glob("step-*")).name
        ignored = shutil.ignore_patterns(last, "latest.json")
        shutil.copytree(self.folder / name, self.folder / again, ignore=ignored)
        self("train", method, "--resume", again, "--device", "cpu")
        if snapshot(self.folder / again) != trained:
            raise click.ClickException(f"{name}: trained from the middle, it ends differently")
        return trained

    def use(self, name: str, run: dict[str, Any]) -> Parts:
        """Generate, or translate and score, with a trained run."""
        out = f"{name}-out"
        if run["method"] == "dcgan":
            self("generate", name, out, "--count", 4, "--device", "cpu", *run.get("generate", []))
            return {"generated": pixels(self.folder / out)}
        parts: Parts = {}
        for direction in run.get("directions", [""]):
            options = ["--device", "cpu", *(["--direction", direction] if direction else [])]
            inputs = run.get("translate", ["mixed"])
            self("translate", name, *inputs, out + direction, *options, ok=(0, 1))
            parts["translated " + direction] = pixels(self.folder / (out + direction))
            scores = self("evaluate", name, run["folder"], "--json", *options)
            parts["scores " + direction] = flat(json.loads(scores))
        return parts


if __name__ == "__main__":
    main()
