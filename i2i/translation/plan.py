"""The work of a folder job, and every reason not to begin: decided before anything is written."""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from i2i import images
from i2i.data.pairing import normal
from i2i.execution.choose import plainest
from i2i.files import (
    check_no_link,
    check_writable,
    temporary_of,
    temporary_stem,
    write_error,
)
from i2i.images.rows import remove_other_spools
from i2i.images.spec import ImageSpec
from i2i.lock import process_alive
from i2i.translation import TranslationError
from i2i.translation.inputs import Inputs, Source, check_order, find_inputs, is_tar
from i2i.translation.manifest import Manifest, State
from i2i.translation.options import Options, OutputFormat
from i2i.translation.shards import shard_of
from i2i.translation.translator import Translator
from i2i.translation.tuning import Choice
from i2i.translation.volume_plan import check_volumes, is_series, single_name

_REASONS: dict[State, str] = {
    "foreign": "was not written by this model with these options",
    "input changed": "was made from another content of its input",
    "output changed": "has changed since it was written",
}


_NAMED_TARS = 10  # in the header of the record, whose lines are bounded


class Task(NamedTuple):
    """One image to translate."""

    source: Path
    relative: str  # path of the input below the folder that is translated, "/" between folders
    target: Path
    output: str  # path of the output below the output folder
    partners: tuple[Path, ...] = ()  # files that are stacked on the source
    missing: str = ""  # why it cannot be translated, such as for want of a partner
    number: int = 0  # in its tar
    content: bytes | None = None  # of a member of a tar

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.source, *self.partners)


class Plan(NamedTuple):
    """The tasks of this shard that are left."""

    root: Path  # output folder, or the folder of the one output
    tasks: list[Task]
    done: int  # by an earlier run of the same job
    failed: list[tuple[str, str]]  # paths of inputs that are left out, and why
    ignored: int  # files that are not images
    notes: list[str]
    manifest: Manifest | None  # None: one file into one file
    failed_members: list[tuple[str, str]]  # of tars that an earlier run completed without them


def make_plan(
    translator: Translator, source: Source, output: str | os.PathLike[str], options: Options
) -> Plan:
    """Plan the job, create the output folder, and remove what killed runs of it left half-written.

    Raises:
        TranslationError: no images; outputs that would meet inputs, each other or existing files;
            more or fewer inputs than the model stacks.
        WriteError: links in the output, or a folder that cannot be written. In both cases nothing
            was created.
    """
    inputs, *others = find_inputs(source, translator)
    if is_tar(output) and not Path(output).is_dir():
        reason = "outputs are written into a folder, tars under the names of their inputs"
        raise TranslationError(output, reason, "Give a folder")
    name = single_name(inputs, output)
    root = Path(output).parent if name else Path(output)
    _check_no_run(root)
    suffixed = name and images.suffix_of(name) in images.EXTENSIONS  # not that of a series
    _check_format(translator, options.format, name if suffixed else None)
    every = _with_partners(_tasks(inputs, translator, root, name, options.format), others)
    check_volumes([task.source for task in every], options, translator.out_channels)
    for one in (inputs, *others):
        _check_overlap(one, root, every)
    _check_collisions(every, _ignores_case(root))
    index, count = options.shard
    tasks = [task for task in every if shard_of(task.relative, count) == index]
    manifest, notes = None, [note for one in (inputs, *others) for note in one.notes]
    choice = None
    if name is None:
        _check_links(root, tasks)
        if translator.automatic:
            translator.use(plainest(translator.device))
        job = job_hash(translator, options)
        manifest = Manifest(root, job, options.shard)
        check_no_link(manifest.path)
        if translator.automatic:
            choice = Choice(translator, root, job, manifest.has_lines)
            notes += choice.settle(every, options)
        origin = _origin(translator, source, options)
        manifest.assign(job_hash(translator, options), origin)
        notes += _suffix_notes(tasks, translator, options)
        if manifest.damaged:
            notes.append(f"{manifest.damaged} lines of the record in {root} cannot be read")
    if len(others) and isinstance(source, Sequence) and not isinstance(source, str):
        notes += check_order(source, [one.name for one in translator.source.inputs])
    left = _unfinished(tasks, manifest, options)
    done = len(tasks) - len(left)
    in_tars = []
    if manifest and inputs.kind == "tars":
        in_tars = manifest.failed_members({one.output for one in {*tasks} - {*left}})
    left, failed = _survived(left, manifest, options)
    failed += [folder for one in (inputs, *others) for folder in one.unreadable]
    if manifest:
        unit = "tars" if inputs.kind == "tars" else "images"
        manifest.extend({"unit": unit, "tasks": len(tasks), "all": len(every), "done": done})
    _prepare_folders(root, left, manifest, lambda: job_hash(translator, options))
    if choice and not choice.record():  # another shard was faster
        return make_plan(translator, source, output, options)
    return Plan(root, left, done, failed, inputs.ignored, notes, manifest, in_tars)


def _check_no_run(root: Path) -> None:
    """Refuse a folder of a training run, whose samples and reports outputs could replace."""
    for folder in (root.absolute(), *root.absolute().parents):
        if (folder / "config.yaml").exists() and (folder / "checkpoints").is_dir():
            raise TranslationError(root, f"belongs to the run {folder}", "Choose another output")


def _origin(translator: Translator, source: Source, options: Options) -> dict[str, Any]:
    """Return what a job is made from, for its record."""
    sources = [source] if isinstance(source, str | os.PathLike) else source
    names = [str(Path(one).absolute()) for one in sources]
    if len(names) > _NAMED_TARS:
        names = [*names[:_NAMED_TARS], f"and {len(names) - _NAMED_TARS} more"]
    return {
        "model": translator.path,
        "fingerprint": translator.fingerprint,
        "direction": translator.direction,
        "inputs": names,
        "options": str(options),
    }


def job_hash(translator: Translator, options: Options) -> str:
    """Hash what earlier versions hashed, with (width, height): their jobs continue."""
    size = options.size[::-1] if isinstance(options.size, tuple) else options.size
    text = f"{translator.fingerprint} {options.format} {size} {options.half}"
    if options.tile:
        text += f" {options.tile} {options.overlap}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


# -- inputs and outputs ----------------------------------------------------------------------------


def _tasks(
    inputs: Inputs, translator: Translator, root: Path, name: str | None, format: OutputFormat
) -> list[Task]:
    tasks = []
    for relative in inputs.relatives:
        posix = relative.replace(os.sep, "/")
        output = name or (posix if is_tar(posix) else output_name(posix, translator, format))
        tasks.append(Task(inputs.root / relative, posix, root / output, output))
    return tasks


def output_name(name: str, translator: Translator, format: OutputFormat) -> str:
    """Return the name of the output for an image called `name`."""
    stem = images.stem_of(name)
    suffix = name[len(stem) :]  # "" of a DICOM series
    if suffix and images.suffix_of(name) not in images.VOLUME_SUFFIXES:
        suffix = _suffix(suffix, translator.target, translator.depth, format)
    return stem + suffix


@cache
def _suffix(suffix: str, target: ImageSpec, depth: int | None, format: OutputFormat) -> str:
    if format != "keep":
        return f".{format}"
    if target.fits(images.format_of(f"x{suffix}"), depth):
        return suffix
    return f".{target.lossless(depth)}"


def _suffix_notes(tasks: list[Task], translator: Translator, options: Options) -> list[str]:
    changed = [task for task in tasks if task.output != task.relative]
    note = change_of_format(changed[0], translator, options) if changed else ""
    return [f"{note} ({len(changed)}, first: {changed[0].output})"] if note else []


def change_of_format(task: Task, translator: Translator, options: Options) -> str:
    """Return a note about the format of an output that is not that of its input; "": asked for."""
    if options.format != "keep":
        return ""
    target, what = translator.target, "the model's channels"
    if images.supports(images.format_of(task.relative), target.file_channels, 8):
        what = "labels" if target.mask else f"{translator.output_depth(8)} bits"
    return f"outputs are {images.format_of(task.output)} where their format cannot hold {what}"


def _with_partners(tasks: list[Task], others: Sequence[Inputs]) -> list[Task]:
    """Return the tasks with the file of their stem in each other input, or the reason for none."""
    for other in others:
        files: dict[str, list[Path]] = {}
        for relative in other.relatives:
            files.setdefault(_stem(relative, other), []).append(other.root / relative)
        for index, task in enumerate(tasks):
            partners = files.get(_stem(task.relative, other), [])
            names = " and ".join(path.name for path in partners)
            if len(partners) == 1:
                tasks[index] = task._replace(partners=(*task.partners, *partners))
            elif not task.missing:
                reason = f"has two partners in {other.root}: {names} (keep one)"
                reason = reason if partners else f"has no partner in {other.root}"
                tasks[index] = task._replace(missing=reason)
    return tasks


def _stem(relative: str, inputs: Inputs) -> str:
    return "" if inputs.kind == "file" else normal(images.stem_of(relative))


def _unfinished(tasks: list[Task], manifest: Manifest | None, options: Options) -> list[Task]:
    """Return the tasks that are not done; refuse if one would replace a file of other origin."""
    left, foreign = [], []
    for task in tasks:
        try:
            status = task.target.lstat()
        except OSError:  # not there; or out of reach, which is refused later
            left.append(task)
            continue
        check_no_link(task.target)
        series = task.source.is_dir() and is_series(task.target)
        if not (series or stat.S_ISREG(status.st_mode)):
            reason = "a folder, or no file, is in the way"
            raise TranslationError(task.target, reason, "Choose another output")
        state: State = "foreign"
        if manifest:
            state = manifest.state(task.files, task.target, task.output, options.verify)
        if state != "done":
            left.append(task)
        if state in _REASONS:
            foreign.append((task.target, _REASONS[state]))
    if foreign and not options.overwrite:
        target, reason = foreign[0]
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        flags = "--verify --overwrite" if options.verify else "--overwrite"
        hint = f"Choose another output, or pass {flags}"
        raise TranslationError(target, f"would be replaced{more}, and {reason}", hint)
    return left


def _survived(
    tasks: list[Task], manifest: Manifest | None, options: Options
) -> tuple[list[Task], list[tuple[str, str]]]:
    """Return the tasks without, and with the reason those that an earlier run did not survive."""
    left, failed = list[Task](), list[tuple[str, str]]()
    reason = "an earlier run was killed in it, as where memory ends. --retry-killed tries it again"
    for task in tasks:
        killed = manifest and not options.retry_killed and manifest.killed(task.files, task.output)
        if killed:
            failed.append((task.relative, reason))
        else:
            left.append(task)
    return left, failed


# -- checks ----------------------------------------------------------------------------------------


def _check_format(translator: Translator, format: OutputFormat, name: str | None) -> None:
    """Raise TranslationError if outputs of `format`, or the one called `name`, do not fit."""
    target, depth = translator.target, translator.depth
    bits = depth or target.depth
    makes = f"the model makes {target.file_channels} channels"
    makes += f" of {bits} bits" if bits else ""
    makes += (" of classes" if target.classes else " of labels") if target.mask else ""
    kind = None if format == "keep" else images.format_of(f"x.{format}")
    if name and kind and images.format_of(name) != kind:
        reason = f"{format} contradicts the suffix of {name}"
        raise TranslationError("format", reason, "Leave one out")
    if not target.fits("NPY"):
        reason = f"{makes}, files hold 1 to {images.MAX_CHANNELS}"
        raise TranslationError("format", reason, "Translate arrays in Python")
    kind = images.format_of(name) if name else kind
    if kind and not target.fits(kind, depth):
        hint = f"Choose {target.lossless(depth)}"
        hint += ", or --depth 8" if target.fits(kind, 8) else ""
        if extra := images.extra_hint(kind):
            hint = f"{extra}; or {hint[0].lower()}{hint[1:]}"
        raise TranslationError("format", f"{makes}, which {kind} cannot hold", hint)


def _check_overlap(inputs: Inputs, root: Path, tasks: list[Task]) -> None:
    hint = "Choose another output"
    target, source = root.resolve(), inputs.root.resolve()
    if inputs.kind == "file":
        if tasks[0].target.resolve() == (inputs.root / inputs.relatives[0]).resolve():
            raise TranslationError(tasks[0].target, "input and output are the same file", hint)
        return
    if inputs.kind == "folder":
        below, above = _within(target, source), _within(source, target)
        if below or above:
            relation = "are the same folder" if below and above else "lie inside each other"
            raise TranslationError(root, f"input and output {relation}", hint)
    for folder in {file.parent for task in tasks for file in task.files}:
        real = folder.resolve()
        linked = inputs.kind != "folder" or source not in (real, *real.parents)
        if linked and _within(real, target):
            raise TranslationError(root, f"inputs in {folder} lie inside the output", hint)


def _within(path: Path, folder: Path) -> bool:
    """Return True if `path` is `folder` or below it, by any of its names (mounts, letter case)."""
    lineage = (path, *path.parents)
    if folder in lineage or not folder.exists():
        return folder in lineage
    return any(one.exists() and one.samefile(folder) for one in lineage)


def _check_collisions(tasks: list[Task], ignore_case: bool) -> None:
    first: dict[str, Task] = {}
    for task in tasks:
        other = first.setdefault(task.output.casefold() if ignore_case else task.output, task)
        if other is not task:
            reason = f"both {other.relative} and {task.relative} would be written to this file"
            raise TranslationError(task.target, reason, "Keep their formats, or rename one")


def _ignores_case(folder: Path) -> bool:
    """Return True where a.png and A.png are one file, as on macOS and Windows.

    The name of `folder`, or of the nearest folder above it that exists, is tried in the other case.
    """
    real = folder.resolve()
    for path in (real, *real.parents):
        other = path.parent / path.name.swapcase()
        if other != path and path.exists():
            return other.exists() and other.samefile(path)
    return False


def _check_links(root: Path, tasks: list[Task]) -> None:
    folders = {task.output.rpartition("/")[0] for task in tasks}
    while more := {folder.rpartition("/")[0] for folder in folders} - folders:
        folders |= more
    if root.name == os.pardir:  # link/sub/.. is link
        check_no_link(Path(os.path.normpath(root)))
    for folder in sorted(folders):
        check_no_link(root / folder)


# -- before the first image ------------------------------------------------------------------------


def _prepare_folders(
    root: Path, tasks: list[Task], manifest: Manifest | None, job: Callable[[], str]
) -> None:
    outputs: dict[Path, set[str]] = {root: set()}
    for task in tasks:
        outputs.setdefault(task.target.parent, set()).add(task.target.name)
    try:
        for folder in outputs:
            check_writable(folder)
        root.mkdir(parents=True, exist_ok=True)
        for folder, names in outputs.items():
            _remove_stale(folder, names)
            remove_other_spools(folder, names, job)
        if manifest:
            manifest.path.touch()
    except OSError as error:
        raise write_error(Path(error.filename or root), error) from None


def _remove_stale(folder: Path, names: set[str]) -> None:
    """Remove temporaries of dead processes for the outputs `names` in `folder`.

    A process of another machine, which looks dead from here, may be writing other outputs.
    """
    stems = {temporary_stem(name) for name in names}
    for path in folder.iterdir() if folder.exists() else ():
        owner = temporary_of(path.name) if path.name.startswith(".") else None
        if owner and owner[0] in stems and not process_alive(owner[1]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
