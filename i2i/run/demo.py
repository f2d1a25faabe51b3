"""`i2i demo`: drawn scenes, a model trained on them, a translated folder and a report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from i2i import images
from i2i.config import Layer, parse_override
from i2i.console import progress
from i2i.data.folders import find_images
from i2i.errors import I2IError
from i2i.evaluation.evaluate import evaluate
from i2i.evaluation.tables import aligned, table
from i2i.files import check_new_folder
from i2i.report.run import REPORT
from i2i.report.sheet import write_sheet
from i2i.run.report import write_report
from i2i.run.train import Request, train
from i2i.scenes import write_dataset
from i2i.translation.folder import translate_folder
from i2i.translation.loading import load
from i2i.translation.sampling import load_sampler

Echo = Callable[[str], None]


class DemoError(I2IError):
    """The training of the demo was stopped; `exit_code` is 128 + signal."""


@dataclass(frozen=True)
class Demo:
    """Scenes and settings of one mode, small enough for two CPU cores and three minutes."""

    scenes: str
    unpaired: bool
    count: int  # scenes, every fifth for testing
    size: int  # pixels of a side
    images: int  # training length
    settings: str  # as for --set


# what won in docs/ablations.md, smaller, and with rates for minutes instead of hours
_PIX2PIX = """
data.load_size=68 data.crop_size=64 train.batch=2 optim.lr=5e-4 optim.lr_decay_start=0.3
generator.name=unet generator.depth=5 generator.width=32 generator.dropout=false
generator.upsample=nearest generator.head_layers=1 generator.norm=instance
discriminator.norm=instance discriminator.width=32 discriminator.layers=2
train.checkpoint_every_images=1200 train.ema_halflife_images=400
"""
_CYCLEGAN = """
data.load_size=68 data.crop_size=64 optim.lr=1e-3 optim.lr_decay_start=0.3
generator.name=resnet generator.blocks=1 generator.width=16
generator.skips=true generator.upsample=deconv_blur
discriminator.width=16 discriminator.layers=2
train.checkpoint_every_images=450 train.ema_halflife_images=200
"""
_CUT = """
data.load_size=68 data.crop_size=64 optim.lr=5e-4 optim.lr_decay_start=0.3 method.patches=64
generator.name=resnet generator.blocks=1 generator.width=16
generator.skips=true generator.upsample=deconv_blur generator.antialias=false
discriminator.antialias=false discriminator.width=16 discriminator.layers=2
train.checkpoint_every_images=700 train.ema_halflife_images=200
"""
_DCGAN = """
data.load_size=32 data.crop_size=32 train.batch=16 method.latent=32 method.augment=diffaugment
generator.width=32 discriminator.width=32 discriminator.layers=2
train.checkpoint_every_images=14000 train.ema_halflife_images=2000
"""
DEMOS = {
    "pix2pix": Demo("facades", False, 400, 64, 2_400, _PIX2PIX),
    "cyclegan": Demo("facades", True, 400, 64, 900, _CYCLEGAN),
    "cut": Demo("facades", True, 400, 64, 1_400, _CUT),
    "dcgan": Demo("portraits", False, 2_000, 32, 28_000, _DCGAN),
}


def run_demo(mode: str, out: Path, length: int | None, device: str, echo: Echo) -> None:
    """Draw scenes, train on them, translate and score held-out ones, and write a report.

    Args:
        mode: a key of `DEMOS`.
        out: folder to write; new or empty.
        length: of training, in images; None: that of the mode, for three minutes.
        device: as in `i2i train`.
        echo: prints a line.

    Raises:
        WriteError: `out` is not empty or cannot be written.
        DemoError: a signal stopped the training.
    """
    check_new_folder(out)
    demo, began = DEMOS[mode], time.monotonic()
    echo(f"drawing {demo.count} scenes ({demo.scenes}) into {out / 'data'}")
    with progress("drawing", demo.count) as job:
        write_dataset(demo.scenes, out / "data", demo.count, demo.size, 0, demo.unpaired, job)
    echo(f"training a small {mode} in {out / 'run'}; at most 3 minutes on 2 CPU cores")
    request = Request(
        mode, _layers(demo, length or demo.images, out), str(out / "run"), device=device
    )
    outcome = train(request)
    assert outcome is not None, "only a dry run has none"
    if outcome.signal:
        error = DemoError("", f"stopped by signal {outcome.signal}; the model is in {out / 'run'}")
        error.exit_code = 128 + outcome.signal
        raise error
    scores = _generate(out, device, echo) if mode == "dcgan" else _translate(out, device, echo)
    sheet = out / "sheet.png"
    pictures = {"Held-out scenes" if scores else "Samples": sheet}
    write_report(out / "run", out / REPORT, (), "i2i demo", scores, pictures)
    echo(f"{time.monotonic() - began:.0f} seconds in all")
    echo(f"look at {sheet} and {out / REPORT}")


def _layers(demo: Demo, length: int, out: Path) -> list[Layer]:
    values = {
        "data": {"root": str(out / "data"), "workers": 1},
        "train": {"total_images": length, "max_minutes": 2.6},
        "log": {
            "every_images": max(1, length // 32),
            "sample_every_images": max(1, length // 4),
            "tensorboard": False,
        },
    }
    return [Layer("demo", values), *map(parse_override, demo.settings.split())]


def _generate(out: Path, device: str, echo: Echo) -> list[list[str]]:
    """Generate images, and write a sheet of them below drawn ones; there are no scores."""
    sampler = load_sampler(out / "run", device)
    generated, _ = sampler.pictures(sampler.latents(0, 32, seed=0))
    (out / "generated").mkdir()
    for number, image in enumerate(generated):
        images.encode(image, out / "generated" / f"{number:02d}.png", "PNG")
    echo(f"generated {len(generated)} images into {out / 'generated'}")
    drawn = [images.decode(path) for path in find_images(out / "data")[:8]]
    rows = [drawn, *(generated[start : start + 8] for start in range(0, len(generated), 8))]
    write_sheet(rows, ["drawn, then generated", *[""] * 7], out / "sheet.png")
    return []


def _translate(out: Path, device: str, echo: Echo) -> list[list[str]]:
    """Translate and score the test split, write a sheet of it, and return the table of scores."""
    translator = load(out / "run", device=device)
    folder = out / "data" / "test" / translator.direction.source
    with progress("translating") as job:
        report = translate_folder(translator, folder, out / "translated", progress=job)
    echo(f"translated {report.written} held-out images into {out / 'translated'}")
    with progress("evaluating") as job:
        result = evaluate(translator, out / "data", examples=8, progress=job)
    scores = table(result)
    for line in (f"on {result.count} held-out scenes:", *aligned(scores).split("\n")):
        echo(line)
    write_sheet(result.examples, ["input", "output", "target"], out / "sheet.png")
    return scores
