"""`i2i demo`: from nothing to a trained model, a translated folder and a report, on drawn scenes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i import images
from i2i.config import Layer
from i2i.data.folders import find_images
from i2i.data.scenes import write_dataset
from i2i.errors import I2IError
from i2i.evaluation.evaluate import Evaluation, aligned, evaluate, table
from i2i.report import page as report
from i2i.report.run import REPORT, run_report
from i2i.run.train import Request, train
from i2i.translation.folder import translate_folder
from i2i.translation.sampling import load_sampler
from i2i.translation.translator import load

Say = Callable[[str], None]


class DemoError(I2IError, ValueError):
    """The demo cannot write where it was asked to, or its training was stopped."""

    exit_code = 2


@dataclass(frozen=True)
class Demo:
    """What one mode shows: its scenes and its settings, small enough for two CPU cores and three minutes."""

    method: str
    kind: str
    unpaired: bool
    count: int  # scenes, every fifth for testing
    images: int  # training length
    settings: dict[str, Any]
    size: int = 64  # pixels of a side


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
            "train": {
                "batch": 4,
                "checkpoint_every_images": 3_200,
                "ema_halflife_images": 400,
            },
        },
    ),
    "cyclegan": Demo(
        "cyclegan",
        "facades",
        True,
        count=400,
        images=2_400,
        settings={
            "data": _SMALL,
            "generator": {"name": "resnet", "blocks": 3, "width": 16},
            "discriminator": {"width": 16, "layers": 2},
            "train": {"checkpoint_every_images": 1_200, "ema_halflife_images": 200},
        },
    ),
    "dcgan": Demo(
        "dcgan",
        "portraits",
        False,
        count=2_000,
        images=40_000,
        size=32,
        settings={
            "data": {"load_size": 32, "crop_size": 32, "workers": 1},
            "generator": {"width": 32},
            "discriminator": {"width": 32, "layers": 2},
            "method": {"latent": 32, "label_smoothing": 0.1},
            "train": {
                "batch": 32,
                "checkpoint_every_images": 20_000,
                "ema_halflife_images": 2_000,
            },
        },
    ),
}


def run_demo(mode: str, out: Path, length: int | None, device: str, say: Say) -> None:
    """Draw scenes, train on them, translate the held-out ones, score them, and write a sheet and a report to `out`.

    Args:
        mode: a key of `DEMOS`.
        out: folder that does not exist yet.
        length: of training, in images; None: the mode's own, made for three minutes.
        device: as in `i2i train`.
        say: prints a line.

    Raises:
        DemoError: `out` exists; or a signal stopped the training, then `exit_code` is 128 + signal.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DemoError(f"{out} exists and is not empty: choose another --out")
    demo, began = DEMOS[mode], time.monotonic()
    say(f"drawing {demo.count} scenes ({demo.kind}) into {out / 'data'}")
    write_dataset(demo.kind, out / "data", demo.count, demo.size, seed=0, unpaired=demo.unpaired)
    say(f"training a small {demo.method} in {out / 'run'}; at most 3 minutes on 2 CPU cores")
    length = length or demo.images
    settings = demo.settings | {
        "train": demo.settings["train"] | {"total_images": length, "max_minutes": 2.4}
    }
    settings["data"] = demo.settings["data"] | {"root": str(out / "data")}
    settings["log"] = {
        "every_images": max(1, length // 32),
        "sample_every_images": max(1, length // 4),
        "tensorboard": False,
    }
    outcome = train(
        Request(demo.method, [Layer("demo", settings)], str(out / "run"), device=device)
    )
    assert outcome is not None, "only a dry run has none"
    if outcome.signal:
        error = DemoError(
            f"stopped by signal {outcome.signal}; what was trained is in {out / 'run'}"
        )
        error.exit_code = 128 + outcome.signal
        raise error
    facts = {"method": demo.method, "scenes": demo.kind, "training images seen": outcome.images}
    if demo.method == "dcgan":
        found, sheet = None, _generated(out, device, say)
    else:
        found, sheet = _translated(out, device, facts, say)
    facts["seconds, everything"] = round(time.monotonic() - began)
    _write_report(out, facts, found, sheet)
    say(f"look at {sheet} and {out / REPORT}")


def _generated(out: Path, device: str, say: Say) -> Path:
    """Make new images, and a sheet of real ones above them."""
    sampler = load_sampler(out / "run", device)
    made, _ = sampler.pictures(sampler.latents(0, 32, seed=0))
    (out / "generated").mkdir()
    for number, picture in enumerate(made):
        images.encode(picture, out / "generated" / f"{number:02d}.png", "PNG")
    say(f"generated {len(made)} images into {out / 'generated'}")
    drawn = [images.decode(path) for path in find_images(out / "data")[:8]]
    rows = [drawn, *(made[start : start + 8] for start in range(0, len(made), 8))]
    report.sheet(rows, ["drawn, then generated", *[""] * 7], out / "sheet.png")
    return out / "sheet.png"


def _translated(
    out: Path, device: str, facts: dict[str, object], say: Say
) -> tuple[Evaluation, Path]:
    """Translate and score the test split, and make a sheet of it."""
    translator = load(out / "run", device=device)
    source = translator.direction.source
    done = translate_folder(translator, out / "data" / "test" / source, out / "translated")
    say(f"translated {done.written} held-out images into {out / 'translated'}")
    found = evaluate(translator, out / "data", examples=8)
    say(f"on {found.count} held-out scenes:\n{aligned(table(found.scores))}")
    sheet = out / "sheet.png"
    report.sheet(found.examples, ["input", "output", "truth"], sheet)
    facts |= {"held-out scenes": found.count, "device": str(translator.device)}
    return found, sheet


def _write_report(
    out: Path, facts: dict[str, object], found: Evaluation | None, sheet: Path
) -> None:
    scores = table(found.scores) if found else []
    pictures = {"Held-out scenes" if found else "Samples": sheet.read_bytes()}
    run_report(out / REPORT, out / "run", "i2i demo", facts, scores, pictures)
