"""Translate an image that is too large as a whole: read by window, in tiles, written row by row.

Memory does not depend on the height of the image. A job that is stopped continues at its next row
of tiles, with the statistics that it took before.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from safetensors.torch import load as tensors_from
from safetensors.torch import save as tensors_to
from torch import Tensor

from i2i import images
from i2i.console import progress
from i2i.files import write_error
from i2i.images import Array, ImageError, WatchedRange
from i2i.images.rows import STATISTICS, STREAMED, SpooledRows
from i2i.images.spec import Clipped
from i2i.images.stacks import Stack, check_alike, stack
from i2i.images.windows import Windows, open_windows
from i2i.translation.decoding import UNMARKED, outcome, output_missing
from i2i.translation.manifest import Stamp, identity
from i2i.translation.options import Options
from i2i.translation.plan import Task
from i2i.translation.sinks import make_folder
from i2i.translation.tiles import image_statistics, translate_rows
from i2i.translation.tiling import Tiling
from i2i.translation.translator import Translator

_TILES = "tiles"  # of a job, beside its statistics
_PREFIX = "statistics."


class _Source:
    """Windows of the files of one sample, prepared for the network."""

    def __init__(
        self,
        task: Task,
        windows: Sequence[Windows],
        translator: Translator,
        options: Options,
        watched: WatchedRange,
    ) -> None:
        self._files, self._windows = [str(file) for file in task.files], windows
        self._spec, self._alpha, self._watched = translator.source, translator.alpha, watched
        first = windows[0].header
        self.size = first.height, first.width
        for file, one in zip(self._files[1:], windows[1:], strict=True):
            check_alike(file, (one.header.height, one.header.width), self._files[0], self.size)
        half = options.half or translator.half
        part = self._spec.cut(np.empty((*self.size, 0), np.uint8), half)
        self.height, self.width = part.shape[:2]
        right = (half or self._spec.half_of(*self.size)) == "right"
        self._left = self.size[1] - self.width if right else 0
        self.notes: set[str] | None = None  # that hold for every window
        self.may_miss = any(one.header.nodata for one in windows)
        self.has_missing = False  # in what was read
        self.pixels_read = 0
        self.advance: Callable[[], None] = lambda: None

    def stacked(self, top: int, left: int, height: int, width: int) -> Stack:
        """Return a window as `stacks.read` returns complete files."""
        box = top, left + self._left, height, width
        pictures = [one.read(*box) for one in self._windows]
        part = stack(self._files, pictures, self._spec, self._alpha, self._watched)
        self.has_missing |= part.missing is not None
        self.notes = set(part.notes) & (set(part.notes) if self.notes is None else self.notes)
        return part

    def read(self, top: int, left: int, height: int, width: int) -> Array:
        """Return the pixels of a window as the network takes them."""
        self.pixels_read += height * width
        self.advance()
        return self.stacked(top, left, height, width).array

    def missing(self, translator: Translator, first: int, end: int) -> Array | None:
        """Return which values of rows of the output have no data; None for none."""
        part = self.stacked(first, 0, end - first, self.width)
        carried = part.alpha is not None
        return (
            part.missing
            if part.missing is None
            else output_missing(part.missing, translator, carried)
        )


def translate_large(
    task: Task, translator: Translator, options: Options, job: str, show: bool
) -> tuple[Stamp, tuple[str, ...], Clipped]:
    """Translate the files of a task; return their identity, notes, and what was clipped.

    Args:
        job: hash of the job, which a later process must share to continue.
        show: print progress.

    Raises:
        ImageError: the files cannot be read, or the output not be written, by parts.
        NotEnoughMemoryError: not even a tile fits into memory.
        WriteError, DiskFullError: rows that are written stay.
    """
    if task.missing:
        raise ImageError(task.source, task.missing)
    folder = task.target.parent
    try:
        make_folder(task)
    except OSError as error:
        raise write_error(task.target, error) from None
    inputs, watched = identity(task.files), translator.source.watched()
    with ExitStack() as opened:
        windows = [
            opened.enter_context(open_windows(file, options.max_pixels, watched, folder))
            for file in task.files
        ]
        source = _Source(task, windows, translator, options, watched)
        _check_target(task, source.height * source.width, options)
        pixel = source.stacked(0, 0, 1, 1)._replace(notes=())
        source.notes = None
        depth, notes, metadata = outcome(task, pixel, source.size, (1.0, 1.0), translator, options)
        has_alpha = pixel.alpha is not None or translator.target.alpha
        writer = opened.enter_context(
            SpooledRows(
                *(task.target, source.height, job, inputs["sha256"]),
                metadata=metadata,
                alpha=has_alpha,
            )
        )
        notes += _translate(
            source, writer, translator, options, depth, task.relative if show else ""
        )
        marks = images.marks_missing(metadata)
        notes += (UNMARKED,) if source.has_missing and not marks else ()
        writer.finish(partial(source.missing, translator) if source.may_miss and marks else None)
    clipped = watched.outside, watched.values  # of all windows that were read: a share
    return inputs, (*notes, *sorted(source.notes or ())), clipped


def check_tiles(translator: Translator, options: Options) -> None:
    """Raise TranslationError for a tile or an overlap that the network cannot be given."""
    if options.tile:
        side = 2 * options.tile  # which takes several
        Tiling(translator, side, side, options.tile, options.overlap)


def _check_target(task: Task, pixels: int, options: Options) -> None:
    format = images.format_of(task.target)
    if format not in STREAMED and pixels > options.max_pixels:
        reason = f"a {format} of {pixels / 1e6:.4g} megapixels is not written by rows"
        raise ImageError(task.source, reason, "Choose --format png, tif or npy")


def _translate(
    source: _Source,
    writer: SpooledRows,
    translator: Translator,
    options: Options,
    depth: int,
    name: str,
) -> tuple[str, ...]:
    """Write the rows that are missing; return notes about the tiles."""
    height, width = source.height, source.width
    kept = tensors_from(content) if (content := writer.kept(STATISTICS)) else {}
    tile, overlap = kept.pop(_TILES).tolist() if _TILES in kept else (options.tile, options.overlap)
    tiling = Tiling(translator, height, width, tile, overlap)
    tile, overlap = tiling.tile, tiling.overlap
    with progress(f"translating {name}", height, "rows", writer.rows) as bar:

        def measuring() -> None:
            bar.update(writer.rows, f"statistics: {source.pixels_read / 1e6:.0f} megapixels read")

        source.advance = measuring if name else source.advance
        if content is None:
            statistics = image_statistics(translator, source.read, height, width, tile, overlap)
            tensors = {
                _PREFIX + key: tensor.cpu().contiguous() for key, tensor in statistics.items()
            }
            writer.keep(STATISTICS, tensors_to({**tensors, _TILES: torch.tensor([tile, overlap])}))
        else:
            statistics = {key.removeprefix(_PREFIX): tensor for key, tensor in kept.items()}
        source.advance = (lambda: bar.update(writer.rows)) if name else source.advance
        rows = translate_rows(
            *(translator, source.read, height, width, depth, tile, overlap),
            start=writer.rows,
            statistics=_moved(statistics, translator),
        )
        for strip in rows if writer.rows < height else ():
            if translator.alpha == "carry":
                opacity = source.stacked(writer.rows, 0, len(strip), width).alpha
                if opacity is not None:
                    strip = np.concatenate([strip, images.to_depth(opacity, depth)], axis=2)
            writer.append(strip)
    if tiling.is_single:
        return ()
    text = f"translated in tiles of {tile} with overlap {overlap}"
    return (text, tiling.note) if tiling.note else (text,)


def _moved(statistics: dict[str, Tensor], translator: Translator) -> dict[str, Tensor]:
    return {name: tensor.to(translator.device) for name, tensor in statistics.items()}
