"""Training as a function: checks everything, then trains in a run folder, or resumes there."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from i2i import trackers
from i2i.checkpoint import CHECKPOINTS, load_state, newest, read_manifest, steps
from i2i.config import Config, Layer
from i2i.console import echo, log
from i2i.data.dataset import Dataset
from i2i.data.folders import DataError
from i2i.data.loader import batches
from i2i.execution import Execution
from i2i.files import (
    BEST,
    SAMPLES,
    VALIDATION,
    check_no_link,
    own_folder,
    read_own,
    remove_temporaries,
    write_atomically,
)
from i2i.lock import exclusive
from i2i.memory import is_out_of_memory
from i2i.methods._base import Images, Method
from i2i.model_file import WEIGHTS
from i2i.precision import float32_networks, pick_device
from i2i.run import build, describe
from i2i.run.execution import pick_execution, recorded_execution
from i2i.run.folder import check_outside, check_unused, nothing_left_behind
from i2i.run.memory import explaining_out_of_memory
from i2i.run.model_card import model_card
from i2i.run.report import RunReport, machine
from i2i.run.samples import sample_sheet
from i2i.run.settings import (
    CONFIG,
    changes,
    config_text,
    resolve,
    resume,
    saved,
    with_absolute_paths,
    with_fitted,
    with_length,
)
from i2i.run.start import check_start
from i2i.run.warm_start import init_from_layers, load_weights
from i2i.signals import StopRequest
from i2i.training.distributed import Rank, process_group
from i2i.training.guard import GuardError
from i2i.training.loop import Loop, Outcome, RunContext
from i2i.training.optim import lr_factor
from i2i.training.trainer import Trainer
from i2i.training.validation import Validation


@dataclass(frozen=True)
class Request:
    """A training as the command line asks for it."""

    method: str | None  # None: that of the run to resume
    layers: Sequence[Layer]
    run: str  # folder
    resume: bool = False
    device: str = "auto"
    dry_run: bool = False


@dataclass(frozen=True)
class _Run:
    """A run folder, and all that is trained there; known to fit together."""

    folder: Path
    settings: Config
    dataset: Dataset
    method: Method
    device: torch.device
    execution: Execution
    rank: Rank
    before: Config | None = None  # settings of a resumed run so far
    validation: Validation | None = None  # None: none, or another process validates


def train(request: Request) -> Outcome | None:
    """Train, or print what would be trained (None). All is checked before anything is written.

    A resumed run that has seen all its images ends at once, finished.

    Raises:
        ConfigError, DataError, DeviceError, CheckpointError, InUseError: the request cannot be
            met; nothing was written.
        GuardError: training was stopped because it would have destroyed the networks.
        ImageError, LoaderError: an image could not be read; what was learned before is saved.
        RankLostError: another process of the run ended.
        OutOfMemoryError: memory ended; what was saved before is intact.
    """
    device = pick_device(request.device)
    with float32_networks(), process_group(device) as rank:
        run = _prepare(request, device, rank)
        if rank.is_main:
            _print_plan(run, request.dry_run)
        if request.dry_run:
            if rank.is_main and not request.resume:
                _print_start(run)
            return None
        rank.any(0)  # every process has looked at the folder, which changes from here on
        if not rank.is_main:
            return _train(run, request.resume, lambda: None)
        created = not run.folder.exists()
        if created:
            own_folder(run.folder)
        with exclusive(run.folder) as lock:
            if request.resume:
                return _train(run, True, lock.check)
            check_unused(run.folder)  # another may have used it while the data was read
            with nothing_left_behind(run.folder, created):
                return _train(run, False, lock.check)


def _prepare(request: Request, device: torch.device, rank: Rank) -> _Run:
    """Read settings and data, and build the networks."""
    folder = Path(request.run)
    if request.resume:
        settings = resume(folder, request.method, request.layers)
    else:
        assert request.method is not None, "only a resumed run knows its method"
        settings = with_absolute_paths(resolve(request.method, init_from_layers(request.layers)))
        check_outside(folder, Path(settings.data.root))
        if not request.dry_run:
            check_unused(folder)
    trackers.load(settings.log.trackers)  # which refuses those that are not installed
    build.check_device(settings.train, device)
    dataset = build.open_data(settings)
    settings = with_fitted(with_length(settings, len(dataset)), dataset.config)
    torch.manual_seed(settings.train.seed)
    method = build.make_method(settings, dataset.channels)
    if settings.train.init_from and not (request.resume and steps(folder / CHECKPOINTS)):
        method.notes += load_weights(method, Path(settings.train.init_from))
    before = saved(folder, request.method) if request.resume else None
    if before:
        build.check_held_out(before, settings)
    if not request.dry_run:
        dataset.open_cache(rank.local_size)
    recorded = recorded_execution(folder, device) if request.resume else None
    execution = None
    if rank.is_main:
        execution = pick_execution(settings, method, dataset.channels, device, recorded)
    execution = rank.gather(execution)[0]
    validation = None
    if settings.validate.every_images and rank.is_main:
        from i2i.run.validation import RunValidation  # slow to import

        validation = RunValidation(folder, settings, dataset, method, device)
    return _Run(folder, settings, dataset, method, device, execution, rank, before, validation)


def _train(run: _Run, resumed: bool, check_owner: Callable[[], None]) -> Outcome:
    """Restore the state, open the stream, and run the loop."""
    settings, rank = run.settings, run.rank
    if settings.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    trainer = Trainer(run.method, settings.train, settings.optim, run.device, run.execution, rank)
    torch.manual_seed(settings.train.seed + rank.rank)  # ranks share weights, but not dropout
    if rank.is_main:
        remove_temporaries(run.folder)  # which may be a link: the user has named it
        for folder in (run.folder / name for name in (CHECKPOINTS, SAMPLES, VALIDATION, BEST)):
            check_no_link(folder)
            remove_temporaries(folder)
    facts = {
        "settings": settings.to_dict(),
        "root": str(Path(settings.data.root).resolve()),
        "data": run.dataset.fingerprint() if rank.is_main else "",
        "channels": run.dataset.channels,
        "execution": run.execution.to_dict(),
    }
    if resumed:
        _restore(trainer, run, facts)
    if rank.is_main:
        write_atomically(run.folder / CONFIG, config_text(settings))
        card = model_card(settings, run.dataset.channels).encode()
        write_atomically(run.folder / "README.md", card)
    open_stream = functools.partial(
        batches,
        run.dataset,
        settings.train.seed,
        settings.train.batch,
        workers=settings.data.workers,
        rank=rank.rank,
        world_size=rank.world_size,
        pin=run.device.type == "cuda",
    )
    context = RunContext(
        run.folder,
        open_stream,
        run.dataset.files,
        len(run.dataset),
        (*run.dataset.notes, *run.method.notes),
        sample_sheet(settings, run.dataset, run.method, run.device) if rank.is_main else None,
        functools.partial(describe.pack, settings, _specs(run), run.method),
        build.health(run.method, settings, rank.world_size),
        facts,
        check_owner,
        run.validation,
        functools.partial(_check_start, run),
        _page_writer(run),
    )
    advice = explaining_out_of_memory(trainer, settings, run.dataset.channels, run.folder)
    try:
        with StopRequest(alone=rank.world_size == 1).listening() as stop, advice:
            outcome = Loop(trainer, settings, context).run(stop)
    except GuardError as error:
        context.write_page(error.explanation)
        raise
    context.write_page(outcome.ended)
    return outcome


def _specs(run: _Run) -> describe.Specs:
    """Return the specs of the data; the process that writes the model measures its inputs."""
    if not run.rank.is_main:
        return run.dataset.specs
    return describe.with_statistics(run.dataset, run.method)


# -- the run folder --------------------------------------------------------------------------------


def _restore(trainer: Trainer, run: _Run, facts: Mapping[str, Any]) -> None:
    """Load the newest checkpoint that is intact, if there is one."""
    folder, is_main = run.folder, run.rank.is_main
    if not steps(folder / CHECKPOINTS):  # killed before its first
        if is_main:
            log(f"{folder} has no checkpoint yet: training starts at its first image")
        return
    path, damaged = newest(folder / CHECKPOINTS)
    state, then = load_state(path), read_manifest(path)
    if then.get("channels", facts["channels"]) != facts["channels"]:
        reason = f"has channels {facts['channels']}; the run began with {then['channels']}"
        raise DataError("data.root", reason, "Give it the data it began with")
    trainer.restore(state, path)
    if is_main:
        for line in damaged:
            log(f"skipped a damaged checkpoint: {line}")
        log(f"resuming from {path}")
        threads, epoch_images = torch.get_num_threads(), len(run.dataset)
        if state["threads"] != threads and trainer.device.type == "cpu":
            log(
                f"note: {state['threads']} threads then, {threads} now; sums are rounded "
                "differently, so the run will be equivalent, not identical"
            )
        if state.get("epoch_images", epoch_images) != epoch_images:  # not in format 1
            log(
                f"note: an epoch was {state['epoch_images']} images then, it is {epoch_images} "
                "now; the order of images differs from here on"
            )
        if then.get("data", facts["data"]) != facts["data"]:
            log(
                f"note: the files in {facts['root']} are not those that the run was trained on "
                "before: names or sizes differ"
            )
            if run.validation and run.dataset.part:
                log(
                    "note: images that are held out now may have been trained on before, and "
                    "score too well; a folder val keeps them apart"
                )
        # it may have been killed between the checkpoint and the run's own weights
        weights = read_own(path / WEIGHTS)
        if not (folder / WEIGHTS).exists() or read_own(folder / WEIGHTS) != weights:
            write_atomically(folder / WEIGHTS, weights)
    if is_main and run.before:
        for note in _changes(run.before, run.settings, trainer.images):
            log(f"note: {note}")
    patience = run.settings.validate.patience
    if is_main and patience and trainer.record.since >= patience:
        log(
            f"{folder} stopped early after {trainer.images} images. To train on, raise "
            "validate.patience, or set it to null."
        )
    if is_main and trainer.images >= trainer.total:
        log(
            f"{folder} has seen all its {trainer.total} images. To train longer, raise --epochs "
            "or --images."
        )


def _changes(before: Config, after: Config, images: int) -> list[str]:
    """Return notes on settings that changed, and on a jump of the learning rate."""
    notes = changes(before, after)
    was, now = (
        config.optim.lr
        * lr_factor(images, config.train.total_images or 0, config.optim.lr_decay_start)
        for config in (before, after)
    )
    if not 0.99 < now / was < 1.01:
        notes.append(f"the learning rate is {now:.3g} from here on, it was {was:.3g}")
    return notes


# -- output ----------------------------------------------------------------------------------------


def _print_plan(run: _Run, dry_run: bool) -> None:
    settings, dataset = run.settings, run.dataset
    images, epoch_images = settings.train.total_images or 0, len(dataset)
    step = settings.train.batch * settings.train.accumulate * run.rank.world_size
    lines = settings.to_yaml().splitlines() if dry_run else []
    lines += [f"data: {dataset.epoch_rule}; channels {dataset.channels}"]
    lines += [f"note: {note}" for note in (*dataset.notes, *run.method.notes)]
    for name, net in run.method.named_children():
        field = getattr(getattr(net, "net", net), "receptive_field", None)
        suffix = f", receptive field {field} px" if field else ""
        lines.append(f"{name}: {build.count_parameters(net):,} parameters{suffix}")
    lines += [
        f"length: {images:,} images = {images / epoch_images:g} epochs "
        f"= {-(-images // step):,} steps of {step}",
        f"on {run.device} in {run.execution}, {torch.get_num_threads()} threads, "
        f"{run.rank.world_size} process(es)",
        *([f"execution: {reason}"] if (reason := run.execution.reason) else []),
    ]
    for line in lines:
        (echo if dry_run else log)(line)


def _print_start(run: _Run) -> None:
    """Read the first batch, and print what the networks make of it before their first step."""
    train = run.settings.train
    with closing(batches(run.dataset, train.seed, train.batch)) as stream:
        real = next(stream).images
    echo("before the first step, on the first batch:")
    for row in check_start(run.method, run.settings, run.device, real):
        echo(str(row))
        if row.fault:
            echo(f"warning: {row.fault}")


def _check_start(run: _Run, real: Images) -> list[str]:
    try:
        rows = check_start(run.method, run.settings, run.device, real)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return ["not checked: a second copy of the networks, in fp32, does not fit into memory"]
    return [row.fault for row in rows if row.fault]


def _page_writer(run: _Run) -> Callable[[str], None]:
    """Return a function that writes the page of the run, with the reason of its end."""
    if not run.rank.is_main:
        return lambda _: None
    nets = {name: build.count_parameters(net) for name, net in run.method.named_children()}
    facts = machine(run.device, run.rank.world_size)
    reason = f" ({run.execution.reason})" if run.execution.reason else ""
    facts |= {"execution": f"{run.execution}{reason}", "parameters": nets}
    return RunReport(run.folder, facts).write
