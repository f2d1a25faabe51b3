"""What a folder job is going to do, and every reason not to begin: decided before anything is written."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from i2i import images
from i2i.files import process_alive
from i2i.images.spec import ImageSpec
from i2i.translation import TranslationError
from i2i.translation.inputs import Inputs, Source, find_inputs
from i2i.translation.manifest import Manifest
from i2i.translation.shards import Shard, check_shard, member
from i2i.translation.translator import Translator

OutputFormat = Literal["keep", "png", "jpg", "webp", "tif", "npy"]
Half = Literal["left", "right"]
Size = Literal["keep"] | int | tuple[int, int]

_TEMPORARY = re.compile(r"\.(.+)\.tmp-(\d+)")


@dataclass(frozen=True)
class Options:
    """How a folder is translated.

    Raises:
        TranslationError: a value out of range.
    """

    format: OutputFormat = "keep"  # of the outputs; keep: as the input's suffix says
    size: Size = "keep"  # inputs are resized to it: the shorter side, or (width, height), in pixels
    half: Half | None = None  # of side-by-side inputs, cut before everything else
    batch: int | None = (
        None  # images of one size that are translated at once; None: as many as make sense
    )
    threads: int | None = (
        None  # that decode, and as many that encode; None: one a processor, at most 16
    )
    overwrite: bool = (
        False  # False: refuse to begin where a file that is not this job's would be replaced
    )
    shard: Shard = (0, 1)
    max_pixels: int = images.MAX_PIXELS  # of an input

    def __post_init__(self) -> None:
        if self.format not in get_args(OutputFormat):
            raise TranslationError(
                f"format: {self.format!r} is not one of {', '.join(get_args(OutputFormat))}"
            )
        if self.half not in (None, *get_args(Half)):
            raise TranslationError(f"half: {self.half!r} is not left or right")
        sides = (
            self.size
            if isinstance(self.size, tuple)
            else ()
            if self.size == "keep"
            else (self.size,)
        )
        for name, value in (
            ("size", min(sides, default=1)),
            ("batch", self.batch),
            ("threads", self.threads),
        ):
            if value is not None and value < 1:
                raise TranslationError(f"{name}: must be at least 1, got {value}")
        check_shard(self.shard)


def parse_size(text: str) -> Size:
    """Return the size that "keep", "N" (shorter side) or "WxH" names.

    Raises:
        TranslationError: another form.
    """
    if text == "keep":
        return "keep"
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text.strip())
    if not match:
        raise TranslationError(f"size: {text!r} is not keep, N (the shorter side in pixels) or WxH")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])


class Job(NamedTuple):
    """One image to translate."""

    source: Path
    relative: str  # path of the input below the folder that is translated, "/" between folders
    target: Path
    output: str  # path of the output below the output folder
    partners: tuple[Path, ...] = ()  # files that are stacked on the source
    missing: str = ""  # why there is no partner

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.source, *self.partners)


class Plan(NamedTuple):
    """The jobs of this shard that are left."""

    jobs: list[Job]
    done: int  # by an earlier run of the same job
    ignored: int  # files that are not images
    notes: list[str]
    manifest: Manifest | None  # None: one file into one file


def make_plan(
    translator: Translator, source: Source, output: str | os.PathLike[str], options: Options
) -> Plan:
    """Decide what to do, then create the output folder and remove what killed runs of this job left half-written.

    Raises:
        TranslationError: no images; outputs that would meet inputs, links, each other or existing
            files; a folder that cannot be written; more or fewer inputs than the model stacks.
            Nothing was created then.
    """
    inputs, *others = find_inputs(source, translator)
    into_file = (
        inputs.kind == "file"
        and Path(output).suffix.lower() in images.EXTENSIONS
        and not Path(output).is_dir()
    )
    root = Path(output).parent if into_file else Path(output)
    all_jobs = _jobs(inputs, translator, root, Path(output).name if into_file else None, options)
    all_jobs = _stacked(all_jobs, others)
    for found in (inputs, *others):
        _check_overlap(found, root, all_jobs)
    _check_collisions(all_jobs, _ignores_case(root))
    jobs = [job for job in all_jobs if member(job.relative, options.shard)]
    if not into_file:
        _check_linked_folders(root, jobs)
    manifest = None if into_file else Manifest(root, _job_hash(translator, options), options.shard)
    if manifest and manifest.path.is_symlink():
        raise _link_error(manifest.path)
    left = _left(jobs, manifest, options.overwrite)
    _prepare_folders(root, left, manifest)
    notes = _suffix_notes(jobs) if options.format == "keep" and not into_file else []
    return Plan(left, len(jobs) - len(left), inputs.ignored, notes, manifest)


def _stacked(jobs: list[Job], others: Sequence[Inputs]) -> list[Job]:
    """Return the jobs with the file of the same stem in each other input, or the reason why there is none."""
    for other in others:
        files: dict[str, list[Path]] = {}
        for relative in other.relatives:
            stem = "" if other.kind == "file" else relative.rpartition(".")[0]
            files.setdefault(stem, []).append(other.root / relative)
        jobs = [
            _with_partner(
                job,
                files.get("" if other.kind == "file" else job.relative.rpartition(".")[0], []),
                other,
            )
            for job in jobs
        ]
    return jobs


def _with_partner(job: Job, found: list[Path], other: Inputs) -> Job:
    if len(found) == 1:
        return job._replace(partners=(*job.partners, found[0]))
    names = " and ".join(path.name for path in found)
    reason = (
        f"has two partners in {other.root}: {names} (keep one)"
        if found
        else f"has no partner in {other.root}"
    )
    return job._replace(missing=job.missing or reason)


# -- outputs ---------------------------------------------------------------------------------------


def _jobs(
    inputs: Inputs, translator: Translator, root: Path, name: str | None, options: Options
) -> list[Job]:
    if (
        name
        and options.format != "keep"
        and images.format_of(name) != images.format_of(f"x.{options.format}")
    ):
        raise TranslationError(
            f"format: {options.format} contradicts the suffix of {name} (leave one out)"
        )
    if not translator.target.fits("NPY"):
        raise TranslationError(
            f"the model makes {translator.out_channels} channels, files hold 1 to {images.MAX_CHANNELS} (translate "
            "arrays in Python)"
        )
    fixed = name or (f"x.{options.format}" if options.format != "keep" else "x.npy")
    if not translator.target.fits(images.format_of(fixed)):
        able = "png" if translator.target.fits("PNG") else "npy"
        raise TranslationError(
            f"format: the model makes {translator.out_channels} channels, which {images.format_of(fixed)} cannot hold "
            f"(choose {able})"
        )
    jobs = []
    for relative in inputs.relatives:
        posix = relative.replace(os.sep, "/")
        stem, dot, ending = posix.rpartition(".")
        output = name or stem + _suffix(dot + ending, translator.target, options.format)
        jobs.append(Job(inputs.root / relative, posix, root / output, output))
    return jobs


@cache
def _suffix(suffix: str, target: ImageSpec, asked: OutputFormat) -> str:
    if asked != "keep":
        return f".{asked}"
    if target.fits(images.format_of(f"x{suffix}")):
        return suffix
    return ".png" if target.fits("PNG") else ".npy"


def _suffix_notes(jobs: list[Job]) -> list[str]:
    moved = [job for job in jobs if job.output != job.relative]
    if not moved:
        return []
    kind = images.format_of(moved[0].output)
    return [
        f"outputs are {kind} where their format cannot hold the model's channels ({len(moved)}, first: "
        f"{moved[0].output})"
    ]


def _job_hash(translator: Translator, options: Options) -> str:
    what = f"{translator.fingerprint} {options.format} {options.size} {options.half}"
    return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()


def _left(jobs: list[Job], manifest: Manifest | None, overwrite: bool) -> list[Job]:
    """Return the jobs that are not done; refuse if one of them would replace a file of other origin."""
    left, foreign = [], []
    for job in jobs:
        try:
            found = job.target.lstat()
        except OSError:  # not there; or out of reach, which is refused later
            left.append(job)
            continue
        if stat.S_ISLNK(found.st_mode):
            raise _link_error(job.target)
        if not stat.S_ISREG(found.st_mode):
            raise TranslationError(
                f"{job.target}: a folder, or no file, is in the way (choose another output)"
            )
        state = manifest.state(job.files, job.output, found) if manifest else "foreign"
        if state != "done":
            left.append(job)
        if state == "foreign":
            foreign.append(job)
    if foreign and not overwrite:
        raise TranslationError(
            f"{foreign[0].target}: {_more(foreign)}not written by this model with these options from this input, "
            f"and would be replaced (choose another folder, or allow it with --overwrite)"
        )
    return left


def _more(jobs: list[Job]) -> str:
    return (
        f"this file, and {len(jobs) - 1} more, exist, were "
        if len(jobs) > 1
        else "this file exists, was "
    )


# -- refusals --------------------------------------------------------------------------------------


def _check_overlap(inputs: Inputs, root: Path, jobs: list[Job]) -> None:
    target, source = root.resolve(), inputs.root.resolve()
    if inputs.kind == "file":
        if jobs[0].target.resolve() == (inputs.root / inputs.relatives[0]).resolve():
            raise TranslationError(
                f"{jobs[0].target}: input and output are the same file (choose another output)"
            )
        return
    if inputs.kind == "folder" and _within(target, source):
        same = "are the same folder" if _within(source, target) else "lie inside each other"
        raise TranslationError(f"{root}: input and output {same} (choose another output)")
    if inputs.kind == "folder" and _within(source, target):
        raise TranslationError(
            f"{root}: input and output lie inside each other (choose an output elsewhere)"
        )
    for folder in {file.parent for job in jobs for file in job.files}:
        real = folder.resolve()
        if inputs.kind == "folder" and source in (
            real,
            *real.parents,
        ):  # no link led out of the input
            continue
        if _within(real, target):
            raise TranslationError(
                f"{root}: inputs in {folder} lie inside the output (choose an output elsewhere)"
            )


def _within(path: Path, folder: Path) -> bool:
    """Whether `path` is `folder` or below it, by whatever name: mounts and letter case give a folder several."""
    if not folder.exists():
        return folder in (path, *path.parents)
    return any(
        place == folder or (place.exists() and place.samefile(folder))
        for place in (path, *path.parents)
    )


def _check_collisions(jobs: list[Job], one_case: bool) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(job.output.casefold() if one_case else job.output, job)
        if other is not job:
            raise TranslationError(
                f"{job.target}: both {other.relative} and {job.relative} would be written there "
                f"(keep their formats, or rename one)"
            )


def _ignores_case(folder: Path) -> bool:
    """Whether a.png and A.png are one file in `folder`, as on macOS and Windows: its own name is tried, or that of the
    nearest folder above it which exists."""
    whole = folder.resolve()
    for place in (whole, *whole.parents):
        other = place.parent / place.name.swapcase()
        if other != place and place.exists():
            return other.exists() and other.samefile(place)
    return False


def _check_linked_folders(root: Path, jobs: list[Job]) -> None:
    folders = {job.output.rpartition("/")[0] for job in jobs}
    while more := {folder.rpartition("/")[0] for folder in folders} - folders:
        folders |= more
    if (
        root.name == os.pardir and (named := Path(os.path.normpath(root))).is_symlink()
    ):  # link/sub/.. is link
        raise _link_error(named)
    for folder in sorted(folders):
        if (root / folder).is_symlink():
            raise _link_error(root / folder)


def _link_error(path: Path) -> TranslationError:
    """Writing through a symbolic link could lead anywhere."""
    return TranslationError(
        f"{path}: a symbolic link (to {path.resolve()}; name that, or remove the link)"
    )


# -- before the first image ------------------------------------------------------------------------


def _prepare_folders(root: Path, jobs: list[Job], manifest: Manifest | None) -> None:
    names: dict[Path, set[str]] = {root: set()}
    for job in jobs:
        names.setdefault(job.target.parent, set()).add(job.target.name)
    folder = root
    try:
        for folder in names:
            _check_writable(folder)
        root.mkdir(parents=True, exist_ok=True)
        for folder, own in names.items():
            if folder.exists():
                _remove_stale(folder, own)
        folder = root
        if manifest:
            manifest.path.touch()
    except OSError as error:
        raise TranslationError(
            f"{folder}: cannot be written ({error.strerror}); choose another output"
        ) from None


def _check_writable(folder: Path) -> None:
    """Raise OSError if no file can be made in `folder`, or no folder in the one above it that exists."""
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "permission denied")


def _remove_stale(folder: Path, own: set[str]) -> None:
    """Remove the temporaries of dead processes. Of own outputs only: a process of another machine, which looks dead
    from here, may be writing the others."""
    for path in folder.iterdir():
        match = _TEMPORARY.fullmatch(path.name)
        if match and match[1] in own and not process_alive(int(match[2])):
            path.unlink(missing_ok=True)
