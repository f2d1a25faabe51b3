"""Pairs of a data set as a model reads them: which files belong together, and their pixels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from i2i import images
from i2i.config import Layout
from i2i.data.folders import (
    DataError,
    Listing,
    SplitError,
    domain_folders,
    find_images,
    find_pairs,
)
from i2i.data.parts import halves
from i2i.data.rules import check_guess
from i2i.data.volumes import slices_of
from i2i.direction import Domain
from i2i.errors import I2IError
from i2i.evaluation.scoring import Mask
from i2i.images import Array, ImageError
from i2i.images.pixels import with_nan
from i2i.images.spec import Clipped, clip_note
from i2i.images.stacks import read
from i2i.translation.options import TargetSize, target_size
from i2i.translation.translator import Translator

Find = partial[Listing]  # `find_pairs`, with the arguments of the command


class EvaluationError(I2IError, ValueError):
    """A data set on which nothing can be scored."""


class PairFiles(NamedTuple):
    """Files of a pair."""

    a: tuple[str, ...]  # one file per stacked input
    b: tuple[str, ...]
    layout: Literal["ab", "ba", "folders"]
    form_of_training: bool  # the layout was not asked for: files must look like those of training

    def file(self, domain: Domain) -> str:
        """Return the file of a domain, of a stack the first."""
        return self.a[0] if domain == "a" else self.b[0]


@dataclass(frozen=True)
class Pairs:
    """A data set as `translator` reads it, its images resized to `size` where asked."""

    translator: Translator
    data: str | Path
    layout: Layout
    size: TargetSize
    pair_pattern: Sequence[str] = ()
    table: str | None = None  # of `table_split`
    table_split: str = "test"
    max_pixels: int = images.MAX_PIXELS  # of an image that is read
    unreadable: list[str] = field(default_factory=list)  # training files that baselines lack
    clipped: dict[str, Clipped] = field(default_factory=dict)  # of targets, by file

    @property
    def _find(self) -> Find:
        return partial(
            find_pairs,
            patterns=self.pair_pattern,
            table=self.table,
            table_split=self.table_split,
            axis=self.translator.source.slice_axis,
        )

    def files(self, split: str) -> list[PairFiles]:
        """Return the pairs of a split.

        Raises:
            DataError: there are none.
            EvaluationError: a layout is given for a model whose inputs and target have folders of
                their own names.
        """
        translator = self.translator
        specs = sorted(  # those of a before that of b
            [
                (translator.direction.source, translator.source),
                (translator.direction.target, translator.target),
            ],
            key=lambda pair: pair[0],
        )
        names = [each.name for _, spec in specs for each in spec.inputs]
        folders = names if any(names) and self.table is None else []  # of training
        if folders and self.layout != "auto":
            reason = f"this model reads the folders {', '.join(names)}"
            raise EvaluationError(f"--layout {self.layout}", reason, "Leave it out")
        trained = self._layout(split) if self.layout == "auto" and not folders else "auto"
        try:
            wanted = trained if self.layout == "auto" else self.layout
            pairs = self._find(self.data, split, wanted, folders, outside=False)
        except SplitError:
            if len(folders) != 2:  # a stack is known by its names only
                raise
            pairs = self._find(self.data, split)
        check_guess(pairs)
        rows = zip(*pairs.files, strict=True)
        checked = trained in ("ab", "ba") and translator.source.size is not None
        return [PairFiles(row[:-1] or row, row[-1:], pairs.layout, checked) for row in rows]

    def _layout(self, split: str) -> Layout:
        """Return the layout of training, unless the data has folders of a and b."""
        source, half = self.translator.direction.source, self.translator.source.half
        if half is None or domain_folders(self.data, split) is not None:
            return "folders" if self.translator.layout == "folders" else "auto"
        return "ab" if (half == "left") == (source == "a") else "ba"

    def read(self, pair: PairFiles, domain: Domain) -> tuple[Array, int, Array | None]:
        """Return an image of a pair before it is resized, and the bits of its file.

        And [H, W, C], True for values of pixels without data; None for none.
        """
        source = domain == self.translator.direction.source
        spec = self.translator.source if source else self.translator.target
        files = pair.a if domain == "a" else pair.b
        stack = read(files, spec, self.translator.alpha, self.max_pixels)
        array, missing = stack.array, stack.missing
        if stack.clipped[0] and not source:
            self.clipped[pair.file(domain)] = stack.clipped
        if pair.layout != "folders":
            height, width = array.shape[:2]
            if pair.form_of_training and not self.translator.source.half_of(height, width):
                reason = f"{width}x{height} pixels: not the form of the pairs side by side in "
                hint = f"If it is a pair, pass --layout {pair.layout}"
                raise EvaluationError(pair.a[0], f"{reason}training", hint)
            array = halves(array, pair.layout)[domain]
            missing = None if missing is None else halves(missing, pair.layout)[domain]
        return array, stack.depth, missing

    def training_targets(self) -> Iterator[Array]:
        """Yield resized targets of training images, of pairs or not; none without a split.

        Pixels without data are NaN.
        """
        domain, target = self.translator.direction.target, self.translator.target
        try:
            stacked = any(each.name for each in target.inputs)
            folders = None if stacked else domain_folders(self.data, "train")
            if folders is None:
                for pair in self.files("train"):
                    with self._skip():
                        yield resized(self._valid(pair, domain), self.size, target.mask)
            else:  # of any kind of data: only one domain is read
                files = find_images(*folders["ab".index(domain)])
                for path in slices_of(files, self.translator.source.slice_axis):
                    with self._skip():
                        stack = read([path], target, self.translator.alpha, self.max_pixels)
                        array = _with_gaps(stack.array, stack.missing)
                        yield resized(array, self.size, target.mask)
        except DataError:
            return  # no training images

    def training_pairs(self) -> Iterator[tuple[Array, Array]]:
        """Yield input and target of training pairs; none without such a split, or of labels.

        Pixels without data are NaN.
        """
        direction = self.translator.direction
        try:
            pairs = [] if self.translator.target.mask else self.files("train")
        except DataError:
            return  # no training pairs
        for pair in pairs:
            with self._skip():
                yield self._valid(pair, direction.source), self._valid(pair, direction.target)

    def _valid(self, pair: PairFiles, domain: Domain) -> Array:
        array, _, missing = self.read(pair, domain)
        return _with_gaps(array, missing)

    @contextmanager
    def _skip(self) -> Iterator[None]:
        """Leave out a training image that cannot be read: it says nothing about the scored ones."""
        try:
            yield
        except ImageError as error:
            self.unreadable.append(error.subject)

    def notes(self) -> list[str]:
        """Return what was clipped before it was scored, and what was left out of the baselines."""
        files, notes = sorted(set(self.unreadable)), list[str]()
        if self.clipped:
            total = tuple(map(sum, zip(*self.clipped.values(), strict=True)))
            value_range = self.translator.target.value_range
            notes = [clip_note(total, len(self.clipped), value_range, "target")]
        if not files:
            return notes
        count = f"{len(files)} training image{'s' * (len(files) > 1)}"
        return [*notes, f"baselines lack {count} that cannot be read (first: {files[0]})"]


def _with_gaps(array: Array, missing: Array | None) -> Array:
    return array if missing is None else with_nan(array, missing)


def mostly_paired(listing: Listing) -> bool:
    """Return True if most files of two folders have a partner."""
    return 2 * len(listing.files[0]) > len(listing.unmatched)


def check_sizes(name: str, image: Array, target: Array) -> None:
    """Refuse an image [H, W, C] of the file `name` that differs in size from its target.

    Raises:
        EvaluationError: it does.
    """
    (height, width), other = image.shape[:2], target.shape[:2]
    if (height, width) != other:
        reason = f"{width}x{height} pixels, but its target has {other[1]}x{other[0]}"
        raise EvaluationError(name, reason, "Pass --size")


def with_data(size: TargetSize, *missing: Array | None) -> Mask | None:
    """Return the pixels [H, W] that have data in all images, at the size that `size` means.

    Those that resampling mixes with others have none. None: all have.
    """
    masks = [each.any(axis=2, keepdims=True) for each in missing if each is not None]
    if not masks:
        return None
    gaps = [np.where(mask, np.float32(np.nan), np.float32(0)) for mask in masks]
    intact = [~np.isnan(resized(gap, size, nearest=False))[..., 0] for gap in gaps]
    return np.asarray(np.logical_and.reduce(intact))


def resized(array: Array, size: TargetSize, nearest: bool) -> Array:
    """Return an image [H, W, C] at the size that `size` means; `nearest`: of labels."""
    goal = target_size(array.shape[0], array.shape[1], size)
    result: Array = images.resize(array, goal, nearest)
    return result
