"""Scores of a folder of outputs, whatever made them, against a folder of targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from i2i import images
from i2i.data.folders import Folder, find_images, match, preview
from i2i.data.volumes import expand, slices_of
from i2i.evaluation.fingerprint import Collector
from i2i.evaluation.pairs import (
    EvaluationError,
    check_sizes,
    mostly_paired,
    resized,
    with_data,
)
from i2i.evaluation.record import Evaluation, Example, Measures, Progress, Record
from i2i.images import UNIT, Array, ValueRange
from i2i.images.classes import class_depth
from i2i.images.spec import LOSSY, ChannelSpec, ImageSpec
from i2i.images.stacks import read
from i2i.precision import pick_device

OUTPUTS = "outputs"  # the row of their scores


def evaluate_folders(
    outputs: str | Path,
    targets: str | Path,
    measures: Measures = Measures(),  # noqa: B008
    *,
    paired: bool | None = None,
    pair_pattern: Sequence[str] = (),
    value_range: ValueRange | None = None,
    classes: int = 0,
    examples: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Score the images below `outputs` against those below `targets`.

    Args:
        outputs, targets: folders; they may be one, with two patterns.
        measures: to take.
        paired: files belong together by their stems; None: if most of them have a partner.
        pair_pattern: patterns of the stems of outputs and of targets, such as {id}_fake_B.
        value_range: of floats in the files, or of integers in their own numbers; None: [0, 1], and
            all that integers hold.
        classes: number of classes, if files hold class numbers.
        examples: number of rows of output and target to return.
        device: of networks that metrics need.
        progress: is called with images read and their total.

    Raises:
        DataError, ImageError: a folder has no images, or one cannot be read.
        EvaluationError: nothing can be compared, an output has another size than its target, or
            class maps are lossy.
        DeviceError: a device that this machine does not have.
        SetError, FeatureError: a metric of sets cannot be computed.
    """
    files = _find(Path(outputs), Path(targets), paired, pair_pattern)
    spec, notes = _spec(files, value_range, classes, measures.max_pixels)
    record = Record(spec, files.targets, measures, files.paired, pick_device(device))
    collector = Collector(files.outputs)
    rows: list[Example] = []
    total = len(files.targets) + (0 if files.paired else len(files.outputs))
    for number, name in enumerate(files.targets, 1):
        target = read([name], spec, max_pixels=measures.max_pixels)
        goal = resized(target.array, measures.size, spec.mask)
        if files.paired:
            scaled, absent = _output(files.outputs[number - 1], spec, measures, collector)
            check_sizes(files.outputs[number - 1], scaled, goal)
            valid = with_data(measures.size, target.missing, absent)
            record.add(name, target.array, goal, [(OUTPUTS, scaled)], target.depth, valid)
            if len(rows) < examples:
                rows.append([spec.display(each) for each in (scaled, goal)])
        else:
            record.add_real(name, target.array, goal, target.depth)
        if progress:
            progress(number, total)
    for number, file in enumerate(() if files.paired else files.outputs, len(files.targets) + 1):
        record.scorer.add_fake(OUTPUTS, _output(file, spec, measures, collector)[0])
        if progress:
            progress(number, total)
    return record.result(rows, [*files.notes, *notes], outputs=collector, split="", direction="")


class _Files(NamedTuple):
    outputs: list[str]
    targets: list[str]
    paired: bool
    notes: list[str]


def _find(outputs: Path, targets: Path, paired: bool | None, patterns: Sequence[str]) -> _Files:
    listing = expand(match([Folder(outputs), Folder(targets)], patterns=patterns))
    matched, alone = len(listing.files[0]), listing.unmatched
    if paired is None:
        paired = bool(patterns) or mostly_paired(listing)
        assumed = "taken as pairs" if paired else "taken as sets without pairs"
        other = "--unpaired" if paired else "--paired"
        counts = f"{matched} outputs have a target of their stem, {len(alone)} files no partner"
        notes = [f"{assumed}: {counts} ({other} for the other)"]
    else:
        notes = []
    if not paired:
        if patterns:
            raise EvaluationError(
                "--pair-pattern", "has no effect with --unpaired", "Leave one out"
            )
        fakes, reals = (slices_of(find_images(folder)) for folder in (outputs, targets))
        return _Files(fakes, reals, False, notes)
    if listing.same_stem:
        repeated = preview(f"{file} and {other}" for file, other in listing.same_stem)
        reason = f"files of one stem in one folder: {repeated}"
        raise EvaluationError("--paired", reason, "Remove or rename one of each")
    if not matched:
        hint = listing.hint or "Name partners alike, or pass --pair-pattern or --unpaired"
        raise EvaluationError("--paired", f"no stem is in both folders: {listing.lacks}", hint)
    if alone:
        notes.append(f"{len(alone)} files without a partner are left out: {preview(alone)}")
    return _Files([*listing.files[0]], [*listing.files[1]], True, notes)


def _class_spec(files: _Files, classes: int, max_pixels: int) -> ImageSpec:
    """Return the spec of class maps, which are files of formats that do not mix them."""
    for name in (*files.outputs, *files.targets):
        if (format := images.read_header(name, max_pixels).format) in LOSSY:
            reason = f"{format}, whose compression mixes class numbers"
            raise EvaluationError(name, reason, "Compare files of a lossless format")
    channel = ChannelSpec(1, alpha=False)
    return ImageSpec((channel,), depth=class_depth(classes), mask=True, classes=classes)


def _spec(
    files: _Files, value_range: ValueRange | None, classes: int, max_pixels: int
) -> tuple[ImageSpec, list[str]]:
    """Return the spec of the targets, as which outputs are read, and what is converted."""
    if classes and value_range:
        raise EvaluationError("--value-range", "class numbers have no range", "Leave it out")
    if classes:
        return _class_spec(files, classes, max_pixels), []
    headers = [images.read_header(name, max_pixels) for name in files.targets]
    channels = max(header.channels - header.alpha for header in headers)
    floats = any(header.depth == 32 for header in headers)
    depth = 32 if floats else max((header.depth for header in headers), default=8)
    first = images.read_header(files.outputs[0], max_pixels)
    other = first.channels - first.alpha
    notes = []
    if other != channels:
        notes.append(f"outputs of {other} channels are converted to {channels}, as targets have")
    spec = ImageSpec(
        (ChannelSpec(channels, alpha=False),),
        value_range or UNIT,
        16 if depth not in (8, 32) else depth,  # type: ignore[arg-type]
        ranged_integers=value_range is not None and not floats,
    )
    return spec, notes


def _output(
    file: str, spec: ImageSpec, measures: Measures, collector: Collector
) -> tuple[Array, Array | None]:
    """Return an output, resized, and as its file has it which values are missing."""
    output = read([file], spec, max_pixels=measures.max_pixels)
    collector.add(file, output.array)
    return resized(output.array, measures.size, spec.mask), output.missing
