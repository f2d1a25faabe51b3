"""`i2i demo`: from nothing to a trained model, a translated folder and a report, on drawn scenes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i import report
from i2i.config import Layer
from i2i.data.scenes import write_dataset
from i2i.evaluate import Evaluation, aligned, evaluate, table
from i2i.run import Request, train
from i2i.training.report import read_rows
from i2i.translation.folder import translate_folder
from i2i.translation.translator import load

Say = Callable[[str], None]


class DemoError(ValueError):
    """The demo cannot write where it was asked to."""


@dataclass(frozen=True)
class Demo:
    """What one mode shows: its scenes and its settings, small enough for two CPU cores and three minutes."""

    method: str
    kind: str
    unpaired: bool
    count: int  # scenes, every fifth for testing
    images: int  # training length
    settings: dict[str, Any]


_SMALL: dict[str, Any] = {"load_size": 68, "crop_size": 64, "workers": 1}
DEMOS = {
    "pix2pix": Demo(
        "pix2pix",
        "facades",
        False,
        count=400,
        images=6_400,
        settings={
            "data": _SMALL,
            "generator": {"name": "unet", "depth": 5, "width": 32, "dropout": False},
            "discriminator": {"width": 32, "layers": 2},
            "train": {"batch": 4, "sample_images": 1_600, "checkpoint_images": 3_200, "ema_images": 400},
        },
    ),
}


def run_demo(mode: str, out: Path, images: int | None, device: str, say: Say) -> None:
    """Draw scenes, train on them, translate the held-out ones, score them, and write a sheet and a report to `out`.

    Args:
        mode: a key of `DEMOS`.
        out: folder that does not exist yet.
        images: training length; None: the mode's own, made for three minutes.
        device: as in `i2i train`.
        say: prints a line.

    Raises:
        DemoError: `out` exists.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DemoError(f"{out} exists and is not empty: choose another --out")
    demo, began = DEMOS[mode], time.monotonic()
    say(f"drawing {demo.count} scenes ({demo.kind}) into {out / 'data'}")
    write_dataset(demo.kind, out / "data", demo.count, 64, seed=0, unpaired=demo.unpaired)
    say(f"training a small {demo.method} in {out / 'run'}; at most 3 minutes on 2 CPU cores")
    length = images or demo.images
    settings = demo.settings | {"train": demo.settings["train"] | {"images": length, "minutes": 2.4}}
    settings["data"] = demo.settings["data"] | {"root": str(out / "data")}
    settings["log"] = {"images": max(1, min(200, length // 4)), "tensorboard": False}
    outcome = train(Request(demo.method, [Layer("demo", settings)], str(out / "run"), device=device))
    if outcome is None or outcome.signal:
        raise KeyboardInterrupt
    facts = {"method": demo.method, "scenes": demo.kind, "training images seen": outcome.images}
    _translated(out, device, facts, began, say)


def _translated(out: Path, device: str, facts: dict[str, object], began: float, say: Say) -> None:
    """Translate and score the test split, and write what there is to see."""
    translator = load(out / "run", device=device)
    source, _ = translator.direction.split("2")
    done = translate_folder(translator, out / "data" / "test" / source, out / "translated")
    say(f"translated {done.written} held-out images into {out / 'translated'}")
    found = evaluate(translator, out / "data", examples=8)
    say(f"on {found.count} held-out scenes:\n{aligned(table(found.scores))}")
    sheet = out / "sheet.png"
    report.sheet(found.examples, ["input", "output", "truth"], sheet)
    facts |= {"held-out scenes": found.count, "device": str(translator.device)}
    facts |= {"seconds, everything": round(time.monotonic() - began)}
    _write_report(out, facts, found, sheet)
    say(f"look at {sheet} and {out / 'report.html'}")


def _write_report(out: Path, facts: dict[str, object], found: Evaluation | None, sheet: Path) -> None:
    rows = read_rows(out / "run" / "metrics.jsonl")
    names = [name for name in (rows[-1] if rows else {}) if name.startswith(("G/", "D/")) and "grad_norm" not in name]
    curves = {name: [(row["images"], row[name]) for row in rows if name in row] for name in names}
    pictures = {"Held-out scenes" if found else "Samples": sheet.read_bytes()}
    report.html_report(out / "report.html", "i2i demo", facts, table(found.scores) if found else [], pictures, curves)
