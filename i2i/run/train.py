"""`i2i train` as a function: checks everything, then trains in a run folder, or goes on where it stopped."""

import functools
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from i2i import __version__, config
from i2i.checkpoint import CHECKPOINTS, WEIGHTS, CheckpointError, load_state, newest, steps
from i2i.config import Config, ConfigError, Layer, height_width
from i2i.console import log
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError
from i2i.data.loader import batches
from i2i.files import remove_temporaries, write_atomically
from i2i.lock import exclusive
from i2i.methods._base import Method
from i2i.methods.dcgan import DCGAN
from i2i.precision import pick_device, pick_precision
from i2i.report.run import REPORT, newest_sheet, run_report
from i2i.run import build, samples
from i2i.run.model_card import model_card
from i2i.signals import StopRequest
from i2i.training.distributed import Rank, process_group
from i2i.training.guard import GuardError
from i2i.training.loop import Loop, Outcome, RunContext
from i2i.training.trainer import Trainer

# What a resumed run may change; anything else would make it another run.
_RESUMABLE = ("optim.", "log.", "train.", "data.root", "data.workers", "data.on_bad_file")
_FIXED = ("train.seed", "train.init", "train.init_gain", "train.ema_halflife_images", "train.batch")


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    method: str
    layers: Sequence[Layer]
    run: str  # folder
    resume: bool = False
    device: str = "auto"
    dry_run: bool = False


def train(request: Request) -> Outcome | None:
    """Train, or print what would be trained (None). Everything is checked before anything is written.

    A resumed run that has seen all its images ends at once, finished.

    Raises:
        ConfigError, DataError, DeviceError, CheckpointError, InUseError: what is asked for cannot
            be done; nothing was written.
        GuardError: training was stopped because it would have destroyed the networks.
        ImageError, LoaderError: an image could not be read; what was learned before is saved.
        RankLostError: another process of the run ended.
    """
    device = pick_device(request.device)
    with process_group(device) as rank:
        folder = Path(request.run)
        settings = _settings(request, folder)
        dataset = build.open_data(settings)
        settings = build.with_length(settings, len(dataset))
        torch.manual_seed(settings.train.seed)
        method = build.make_method(settings, dataset.channels)
        precision = pick_precision(settings.train.precision, device)
        if rank.is_main:
            _say_plan(settings, dataset, method, device, precision, rank, whole=request.dry_run)
        if request.dry_run:
            return None
        rank.any(0)  # from here on the folder changes: every process has looked at it
        if rank.is_main:
            folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder) if rank.is_main else nullcontext():
            if rank.is_main and not request.resume:
                _check_used(folder)  # another may have begun and ended while the data was read
            return _train(request, settings, dataset, method, folder, device, precision, rank)


def _train(
    request: Request,
    settings: Config,
    dataset: Dataset,
    method: Method,
    folder: Path,
    device: torch.device,
    precision: str,
    rank: Rank,
) -> Outcome:
    """Everything is known to be right: restore, open the stream, run the loop."""
    if settings.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    trainer = Trainer(method, settings.train, settings.optim, device, precision, rank)
    torch.manual_seed(
        settings.train.seed + rank.rank
    )  # ranks share their weights, not their dropout
    if rank.is_main:
        for place in (folder, folder / CHECKPOINTS, folder / "samples"):
            remove_temporaries(place)
    if request.resume:
        _restore(trainer, folder, rank, len(dataset))
        if rank.is_main and trainer.images >= trainer.total:
            log(
                f"{folder} has seen all its {trainer.total} images. To go on, raise --epochs or --images."
            )
    generation = method if isinstance(method, DCGAN) else None
    describer = build.ModelDescription(settings, dataset.specs, generation)
    if rank.is_main:
        write_atomically(folder / "config.yaml", settings.to_yaml().encode())
        write_atomically(folder / "README.md", model_card(settings, dataset.channels).encode())
    draw = _draw(settings, method, dataset, device, rank.is_main)
    open_stream = functools.partial(
        batches,
        dataset,
        settings.train.seed,
        settings.train.batch,
        workers=settings.data.workers,
        rank=rank.rank,
        world_size=rank.world_size,
        pin=device.type == "cuda",
    )
    context = RunContext(
        folder,
        open_stream,
        dataset.files,
        len(dataset),
        (*dataset.notes, *method.notes),
        draw,
        describer.pack,
        build.health(method, settings, rank.world_size),
    )
    loop = Loop(trainer, settings, context)
    try:
        with StopRequest(alone=rank.world_size == 1).listening() as stop:
            outcome = loop.run(stop)
    except GuardError as error:
        if rank.is_main:
            _report(settings, folder, trainer, error.explanation)
        raise
    if rank.is_main:
        _report(settings, folder, trainer, outcome.ended)
    return outcome


# -- settings --------------------------------------------------------------------------------------


def _settings(request: Request, folder: Path) -> Config:
    exists = (folder / "config.yaml").exists() or bool(steps(folder / CHECKPOINTS))
    if not request.resume:
        if not request.dry_run:
            _check_used(folder)
        settings = build.resolve(request.method, request.layers)
        data = Path(settings.data.root)
        if data.resolve() in (
            folder.resolve(),
            *folder.resolve().parents,
        ):  # sample sheets would become data
            raise ConfigError(f"{folder} lies inside the data, {data}. Choose another --out.")
        return settings
    if not exists:
        raise CheckpointError(f"{folder}: no run to resume here (there is no config.yaml)")
    saved = config.read_yaml(folder / "config.yaml")
    for key in sorted(_leaves(config.merge(request.layers))):
        if not key.startswith(_RESUMABLE) or key in _FIXED:
            raise ConfigError(
                f"{key}: cannot change in a resumed run; begin another one with another --out"
            )
    return build.resolve(request.method, [saved, *request.layers])


def _check_used(folder: Path) -> None:
    """A run writes settings, weights, a README: they must not replace others."""
    if (folder / "config.yaml").exists() or steps(folder / CHECKPOINTS):
        raise ConfigError(
            f"{folder} holds a run already. Go on with it: --resume. Or choose another --out."
        )
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no run. Choose another --out.")


def _leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
    leaves: set[str] = set()
    for key, value in values.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return leaves


def _restore(trainer: Trainer, folder: Path, rank: Rank, epoch_images: int) -> None:
    if not steps(folder / CHECKPOINTS):  # killed before its first
        if rank.is_main:
            log(f"{folder} has no checkpoint yet: beginning at its first image")
        return
    path, damaged = newest(folder / CHECKPOINTS)
    state = load_state(path)
    if rank.is_main:
        for line in damaged:
            log(f"passed over a damaged checkpoint: {line}")
        log(f"resuming from {path}")
        if state["threads"] != torch.get_num_threads() and trainer.device.type == "cpu":
            log(
                f"note: {state['threads']} threads then, {torch.get_num_threads()} now; sums are rounded differently, "
                "so the run will be equivalent, not identical"
            )
        if state.get("epoch_images", epoch_images) != epoch_images:  # format 1 does not say
            log(
                f"note: an epoch was {state['epoch_images']} images then, it is {epoch_images} now; the order of "
                "images is another from here on"
            )
        weights = (
            path / WEIGHTS
        ).read_bytes()  # killed between the checkpoint and the run's own weights
        if not (folder / WEIGHTS).exists() or (folder / WEIGHTS).read_bytes() != weights:
            write_atomically(folder / WEIGHTS, weights)
    trainer.restore(state)


# -- what is shown ---------------------------------------------------------------------------------


def _say_plan(
    settings: Config,
    dataset: Dataset,
    method: Method,
    device: torch.device,
    precision: str,
    rank: Rank,
    whole: bool,
) -> None:
    train = settings.train
    images, step = train.total_images or 0, train.batch * train.accumulate * rank.world_size
    lines = [settings.to_yaml()] if whole else []
    lines += [f"data: {dataset.epoch_rule}; channels {dataset.channels}"]
    lines += [f"note: {note}" for note in (*dataset.notes, *method.notes)]
    for name, net in method.named_children():
        field = getattr(getattr(net, "net", net), "receptive_field", None)
        seen = f", receptive field {field} px" if field else ""
        lines.append(f"{name}: {build.count_parameters(net):,} parameters{seen}")
    epochs = images / len(dataset)
    lines.append(
        f"length: {images:,} images = {epochs:g} epochs = {-(-images // step):,} steps of {step}"
    )
    lines.append(
        f"on {device} in {precision}, {torch.get_num_threads()} threads, {rank.world_size} process(es)"
    )
    if whole:
        click.echo("\n".join(lines))
    else:
        log("\n".join(lines))


def _report(settings: Config, folder: Path, trainer: Trainer, ended: str) -> None:
    """The page of the run; whatever keeps it from being written, all that matters is on the disk already."""
    height, width = height_width(settings.data.crop_size)
    facts = {
        "method": settings.method.name,
        "data": settings.data.root,
        "generator": settings.generator.name,
        "discriminator": settings.discriminator.name,
        "training size": f"{height} x {width} pixels",
        "images seen": f"{trainer.images:,} of {trainer.total:,}",
        "ended": ended,
        "device": f"{trainer.device} in {trainer.precision}, {trainer.rank.world_size} process(es)",
        "i2i": __version__,
    }
    try:
        run_report(folder / REPORT, folder, folder.resolve().name, facts, [], newest_sheet(folder))
    except OSError as error:
        log(f"{folder / REPORT}: not written ({error.strerror}); everything else is whole")
    else:
        log(f"look at {folder / REPORT}")


def _draw(
    settings: Config, method: Method, dataset: Dataset, device: torch.device, first: bool
) -> Any:
    count = settings.log.samples
    if not first:
        return lambda _: None
    if isinstance(method, DCGAN):
        return samples.generation_sheet(count, method, settings.train.seed, device)
    shown = dataset
    try:
        held_out = build.open_data(settings, "test")
        if held_out.channels == dataset.channels:
            shown = held_out
    except DataError:
        pass  # no test images: the sheet shows training images
    count = min(count, len(shown))
    return samples.translation_sheet(
        [shown.fixed(i * len(shown) // count) for i in range(count)], device
    )
