"""Translate volumes slice by slice, each into a volume of the same grid.

The outputs of a volume are held in memory until it is written; of inputs a slice is.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np

from i2i import images
from i2i.files import DiskFullError, WriteError, write_error
from i2i.images import Array, ImageError
from i2i.images.slices import is_volume
from i2i.images.spec import Clipped, unlike_note
from i2i.images.stacks import opened
from i2i.images.volumes import Volume, write_volume
from i2i.memory import free_bytes, is_out_of_memory
from i2i.translation import TranslationError
from i2i.translation.decoding import reason_of
from i2i.translation.manifest import Stamp, identity, result
from i2i.translation.options import Options
from i2i.translation.pipeline import RISKY
from i2i.translation.plan import Task
from i2i.translation.sinks import Ledger, Outcome, make_folder
from i2i.translation.translator import Translator


def translate_volume(
    translator: Translator, options: Options, task: Task, ledger: Ledger
) -> Outcome:
    """Translate a volume, and return what became of it.

    Raises:
        DiskFullError: there is no room for it.
    """
    try:
        stamp = identity(task.files)
        return _translated(translator, options, task, stamp, ledger)
    except DiskFullError:
        raise
    except (ImageError, TranslationError, WriteError, OSError) as error:
        return Outcome(reason=reason_of(error, task))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return Outcome(reason="not enough memory to translate it")


class _Slice(NamedTuple):
    pixels: Array
    depth: int
    notes: tuple[str, ...]
    clipped: Clipped


def _translated(
    translator: Translator, options: Options, task: Task, stamp: Stamp, ledger: Ledger
) -> Outcome:
    if task.missing:
        raise ImageError(task.source, task.missing)
    volumes = [images.open_volume(file, options.max_pixels) for file in task.files]
    volume, axis = volumes[0], translator.source.slice_axis
    for other in volumes[1:]:
        if other.shape != volume.shape:
            shapes = (" x ".join(map(str, each.shape)) for each in (other, volume))
            reason = f"is {' and the first input '.join(shapes)}"
            raise ImageError(other.path, reason, "Resample it to the grid of the first")
    names = list(zip(*(each.names(axis) for each in volumes), strict=True))
    height, width = volume.size(axis)
    outputs, notes, clipped = None, Counter[str](), [0, 0]
    with _marked(translator, volume, task, stamp, ledger):
        for start, batch in _batches(_slices(translator, options, names), translator, options):
            depth = translator.output_depth(batch[0].depth)
            arrays = translator.pixels(np.stack([one.pixels for one in batch]), depth)
            if outputs is None:
                outputs = np.empty((*volume.shape, arrays.shape[3]), arrays.dtype)
            for index, array in enumerate(arrays, start):
                where = tuple(
                    index if each == volume.across(axis) else slice(None) for each in range(3)
                )
                outputs[where] = volume.plane_of(array, axis)
            for one in batch:
                notes.update(one.notes)
                clipped = [sum(pair) for pair in zip(clipped, one.clipped, strict=True)]
    assert outputs is not None, f"a volume has slices of {width}x{height}"
    try:
        ledger.check()
        make_folder(task)
        key = f"{translator.fingerprint} {stamp['sha256']}"
        what = f"i2i {translator.direction}"
        write_volume(task.target, outputs, volume, translator.target.value_range, key, what)
        details = stamp | result(task.target)
    except OSError as error:
        raise write_error(task.target, error) from None
    kept = [note for note, count in notes.items() if 2 * count >= len(names)]  # the ends are air
    if volume.format == "DICOM":
        kept.append("private elements, overlays and icons of DICOM inputs were left out")
    of_output = tuple((note, task.output) for note in kept)
    return Outcome(details, notes=of_output, clipped=(clipped[0], clipped[1]))


def _slices(
    translator: Translator, options: Options, names: list[tuple[str, ...]]
) -> Iterator[_Slice]:
    for files in names:
        with opened(files, translator.source, translator.alpha, options.max_pixels) as stack:
            notes = (*stack.notes, *unlike_note(stack.array, translator.source))
            yield _Slice(stack.array, stack.depth, notes, stack.clipped)


def _batches(
    slices: Iterator[_Slice], translator: Translator, options: Options
) -> Iterator[tuple[int, list[_Slice]]]:
    """Yield slices together, as many as fit, with the number of the first."""
    batch: list[_Slice] = []
    start = 0
    for one in slices:
        batch.append(one)
        area = one.pixels.shape[0] * one.pixels.shape[1]
        if len(batch) >= (options.batch or translator.batch_of(area)):
            yield start, batch
            start, batch = start + len(batch), []
    if batch:
        yield start, batch


def _marked(
    translator: Translator, volume: Volume, task: Task, stamp: Stamp, ledger: Ledger
) -> AbstractContextManager[None]:
    """Mark a volume that may not be survived: if so, the next run leaves it out.

    Raises:
        ImageError: its outputs do not fit into memory.
    """
    height, width = volume.size(translator.source.slice_axis)
    item = 4 if translator.output_depth(volume.depth) == 32 else 2
    need = int(np.prod(volume.shape)) * translator.out_channels * item
    free = free_bytes()
    if free is not None and need > free:
        numbers = f"{need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
        raise ImageError(task.source, f"holding its output needs {numbers}", "Cut the volume")
    risky = need > RISKY * (free or need + 1) or translator.memory.share(height, width) > RISKY
    return ledger.marked([(task, stamp)]) if risky else nullcontext()


def separate(
    translator: Translator, options: Options, tasks: Iterator[Task], ledger: Ledger
) -> Iterator[Task]:
    """Yield the tasks of pictures, and translate the volumes between them."""
    for task in tasks:
        if is_volume(task.source):
            ledger.take(task, translate_volume(translator, options, task, ledger))
        else:
            yield task
