"""Data sets as functions of (epoch, index): equal numbers give equal samples, in any process."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from i2i import images
from i2i.config import DataConfig, PairedData, UnpairedData
from i2i.data import nodata
from i2i.data.admission import nothing_left, read_listing
from i2i.data.augment import Arrays, Augment
from i2i.data.cache import Cache, Group, open_caches
from i2i.data.domains import channel_spec, check_domain, image_spec
from i2i.data.folders import DataError, Listing, find_pairs, list_split
from i2i.data.inspect import Samples
from i2i.data.layouts import folder_names, spec_names
from i2i.data.order import shuffled
from i2i.data.parts import LargeImage, halves, takes_crops
from i2i.data.paths import Paths as Paths
from i2i.data.paths import fingerprint
from i2i.data.selection import HeldOut
from i2i.data.sizes import loaded_bytes
from i2i.images import Array, ImageError, TooLargeError
from i2i.images.pixels import with_nan
from i2i.images.spec import Half, ImageSpec
from i2i.images.stacks import read
from i2i.seeds import key


class Dataset:
    """Samples by number. Their order is the loader's; augmentation is f(seed, epoch, index).

    Args:
        config: what to read and how.
        seed: of the augmentation.
        part: of the split that is used; None: all.
    """

    epoch_rule: str  # what one epoch is, for people
    masks_nodata = False  # pixels without data are masked in training; else crops have none

    def __init__(self, config: DataConfig, seed: int, part: HeldOut | None = None) -> None:
        self.config = config
        self.seed = seed
        self.part = part
        self.specs: dict[str, ImageSpec] = {}  # domain -> how its files are read
        self.notes: tuple[str, ...] = ()  # what was noticed before the first sample, for people
        self.warnings: list[str] = []  # files skipped since the list was last emptied
        self.paths: dict[str, list[Paths]] = {}  # domain -> the files of each of its inputs
        self._bytes: dict[str, NDArray[np.int64]] = {}  # domain -> of each image, once resized
        self.nodata = False  # files may have pixels without data: NaN, until `only_data`
        self.augments: list[Augment] = []  # of domains that share their geometry
        self._caches: dict[Augment, Cache] = {}

    @property
    def channels(self) -> dict[str, int]:
        """Domain -> channels of every sample."""
        return {domain: spec.channels for domain, spec in self.specs.items()}

    @property
    def count(self) -> int:
        """Number of different samples, augmentation aside."""
        return max(len(columns[0]) for columns in self.paths.values())

    def __len__(self) -> int:
        """Return the number of samples in one epoch."""
        return self.config.epoch_images or self.count

    def files(self, epoch: int, index: int) -> list[str]:
        """Return the files that `sample(epoch, index)` reads, for messages."""
        return self.row_files(tuple(self.paths), self._row(epoch, index))

    def fingerprint(self) -> str:
        """Return a hash of the names and sizes of all files, wherever their folder is."""
        files = chain.from_iterable(chain(*self.paths.values()))
        return fingerprint(files, Path(self.config.root).as_posix())

    def sample(self, epoch: int, index: int) -> dict[str, Tensor]:
        """Return augmented images: domain -> [C, crop height, crop width], float32 in [-1, 1].

        Raises:
            ImageError: a file cannot be decoded; with `on_bad_file: skip` the next index is read
                instead.
        """
        return self._tensors(self.pixels(epoch, index))

    def pixels(self, epoch: int, index: int) -> Arrays:
        """Return what `sample` does as arrays [crop height, crop width, C], uint8 or float32."""
        seed = key(self.seed, epoch, index)
        return self._first_readable(index, len(self), lambda i: self._drawn(epoch, i, seed))

    def fixed(self, index: int) -> dict[str, Tensor]:
        """Return the images of a sample without augmentation, in the size and range of `sample`."""
        arrays = self.fixed_pixels(index)
        return self._tensors(nodata.only_data(arrays, self._labels) if self.nodata else arrays)

    def fixed_pixels(self, index: int) -> Arrays:
        """Return what `fixed` does as arrays [crop height, crop width, C], uint8 or float32.

        Of pixels without data they are NaN.
        """
        return self._first_readable(index, self.count, self._plain)

    def names(self, index: int) -> dict[str, str]:
        """Return the first file of each domain of `fixed(index)`."""
        names = {key: files[0][index % len(files[0])] for key, files in self.paths.items()}
        return {domain: names.get(domain, names[min(names)]) for domain in self.specs}

    def open_cache(self, processes: int = 1) -> None:
        """Keep images once they are decoded, as `data.cache` says. Workers share what is kept.

        `processes` of this machine train on the same data.
        """
        groups = [self._group(augment) for augment in self.augments]
        opened, notes = open_caches(self.config.cache, groups, processes, self.warnings)
        self._caches = {a: c for a, c in zip(self.augments, opened, strict=True) if c is not None}
        self.notes += tuple(notes)

    def _group(self, augment: Augment) -> Group:
        def key() -> str:
            config, names = self.config, augment.names
            files = [paths.digest() for name in names for paths in self.paths.get(name, ())]
            specs = [self.specs[name] for name in names]
            sizes = config.resize, config.load_size, config.max_pixels
            more = ("nodata",) if self.nodata else ()
            return repr((Path(config.root).resolve(), files, specs, config.alpha, sizes, *more))

        sizes = [self._bytes[name] for name in augment.names]
        return Group(augment.names, sizes[0] if len(sizes) == 1 else np.sum(sizes, axis=0), key)

    def _row(self, epoch: int, index: int) -> int:
        """Return the row of the files of a sample; all are used equally often."""
        return (
            index if self.config.epoch_images is None else self._in_turn(epoch, index, self.count)
        )

    def _in_turn(self, epoch: int, index: int, count: int, *name: str) -> int:
        """Return one of `count` rows: all once in a random order, then again in another."""
        turn, position = divmod(epoch * len(self) + index, count)
        return shuffled(position, count, key(self.seed, "turn", *name, turn))

    def _rule(self, usual: str, counts: str) -> str:
        crops = self.config.epoch_images
        return f"one epoch = {f'{crops} random crops in turn' if crops else usual} ({counts})"

    def _drawn(self, epoch: int, index: int, seed: int) -> Arrays:
        """Return a random view with enough data."""
        draw = partial(self._random, epoch, index)
        if not self.nodata:
            return draw(seed)
        return nodata.draw(draw, seed, self.masks_nodata, self._labels, self.files(epoch, index))

    @property
    def _labels(self) -> list[str]:
        return [domain for domain, spec in self.specs.items() if spec.mask]

    def _random(self, epoch: int, index: int, seed: int) -> Arrays:
        (augment,) = self.augments
        return augment.view(self._loaded(augment, self._row(epoch, index)), seed)

    def _plain(self, index: int) -> Arrays:
        (augment,) = self.augments
        return augment.plain(self.read_row(augment.names, index))

    def _loaded(self, augment: Augment, row: int) -> Arrays:
        """Return the images of `augment` in a row, in the size from which crops are taken."""
        files = self.row_files(augment.names, row)

        def load() -> Arrays:
            arrays = self.read_row(augment.names, row)
            try:
                return augment.load(arrays)
            except ImageError as error:
                raise error.with_subject(" and ".join(files)) from None

        cache = self._caches.get(augment)
        large = any(self._bytes[name][row] == 0 for name in augment.names)
        return cache.load(row, files, load) if cache and not large else load()

    def row_files(self, names: Sequence[str], row: int) -> list[str]:
        """Return the files of domains in a row."""
        columns = chain(*(self.paths.get(name, ()) for name in names))
        return [paths[row] for paths in columns]

    def read_row(self, names: Sequence[str], row: int) -> Arrays:
        """Return the images of domains in a row, as their files hold them."""
        return {domain: self._decode(domain, row) for domain in names}

    def _decode(self, domain: str, row: int) -> Array:
        files, spec, config = self.row_files((domain,), row), self.specs[domain], self.config
        try:
            stack = read(files, spec, config.alpha, config.max_pixels)
        except TooLargeError:
            if spec.half or not takes_crops(config):
                raise
            return cast(Array, LargeImage(files, spec, config.alpha))
        return stack.array if stack.missing is None else with_nan(stack.array, stack.missing)

    def _first_readable(self, index: int, count: int, load: Callable[[int], Arrays]) -> Arrays:
        for step in range(min(count, 2 * self.count)):  # in two turns all files are tried
            try:
                return load((index + step) % count)
            except ImageError as error:
                if self.config.on_bad_file == "fail":
                    raise
                self.warnings.append(f"skipped {error}")
        raise nothing_left(self.config)

    def _tensors(self, arrays: Arrays) -> dict[str, Tensor]:
        return {
            name: self.specs[name].tensor(array) if name in self.specs else images.to_tensor(array)
            for name, array in arrays.items()
        }

    def _inspect(self, listing: Listing) -> Samples:
        """Read the files of a listing, fit value ranges, and refuse or skip what breaks a rule."""
        self.config, samples, notes = read_listing(self.config, listing, self.seed, self.part)
        self.notes += notes
        return samples

    def _admit(
        self, domain: str, samples: Samples, jitter: bool = True, names: Sequence[str] = ()
    ) -> None:
        """Take the files of a domain; `jitter` if its color may change, `names` of all columns."""
        # side by side, the one column is that of b, too
        columns = [column for column, its in enumerate(samples.domains) if its == domain] or [0]
        inputs = []
        for column in columns:
            name = names[column] if names else ""
            spec, notes = channel_spec(domain, samples, column, self.config.alpha, name)
            inputs.append(spec)
            self.notes += notes
        self.specs[domain] = image_spec(domain, tuple(inputs), samples, columns, self.config)
        check_domain(domain, self.specs[domain], samples.facts[:, columns], self.config, jitter)
        self.paths[domain] = [Paths(samples.files[column]) for column in columns]
        gaps = bool(samples.facts["nodata"][:, columns].any())
        self.nodata |= gaps
        self._bytes[domain] = loaded_bytes(
            self.specs[domain], samples.sizes[:, columns[0]], self.config, gaps
        )


class PairedImages(Dataset):
    """Pairs of images `a` and `b` that share their geometry; color jitter changes the input only.

    With `data.inputs`, `a` is the stack of an image of each, and `b` is an image of `data.target`.

    Raises:
        DataError: the data cannot be trained on.
    """

    masks_nodata = True

    def __init__(
        self,
        config: PairedData,
        *,
        seed: int = 0,
        split: str = "train",
        part: HeldOut | None = None,
    ) -> None:
        super().__init__(config, seed, part)
        folders = folder_names(config)
        pairs = find_pairs(
            config.root,
            split,
            config.layout,
            folders,
            config.allow_unmatched,
            patterns=config.pair_pattern,
            table=config.pairs,
            axis=config.slice_axis,
        )
        self.layout = pairs.layout
        side_by_side = self.layout != "folders"
        names = pairs.names or spec_names(folders)
        if side_by_side and config.classes:
            reason = "side-by-side images are one file, which holds no class numbers"
            raise DataError("data.classes", reason, "Use two folders")
        if side_by_side and config.range_rule("a") != config.range_rule("b"):
            reason = "side-by-side images are one file"
            raise DataError("data.value_range", reason, "Give a and b the same range")
        samples = self._inspect(pairs)
        if side_by_side:
            self.notes += (f"pairs lie side by side; the left half is {self.layout[0]}.",)
        source = config.direction.source
        for domain in ("a", "b"):
            self._admit(domain, samples, domain == source and domain not in config.labels, names)
            if side_by_side:
                half: Half = "left" if domain == self.layout[0] else "right"
                self.specs[domain] = replace(self.specs[domain], half=half)
        if side_by_side:
            del self.paths["b"]  # they are those of a
        if pairs.unmatched:
            self.notes += (f"{len(pairs.unmatched)} files without a partner are skipped.",)
        self.augments = [Augment(config, ("a", "b"), masks=config.labels, color=(source,))]
        inputs = len(self.paths["a"])
        stacked = f", {inputs} inputs stacked" if inputs > 1 else ""
        self.epoch_rule = self._rule("every pair once", f"{self.count} pairs{stacked}")

    def read_row(self, names: Sequence[str], row: int) -> Arrays:
        if self.layout == "folders":
            return super().read_row(names, row)
        return halves(self._decode("a", row), self.layout)


class UnpairedImages(Dataset):
    """Images of `a` and of `b` without pairs.

    Raises:
        DataError: the data cannot be trained on.
    """

    def __init__(
        self,
        config: UnpairedData,
        *,
        seed: int = 0,
        split: str = "train",
        part: HeldOut | None = None,
    ) -> None:
        super().__init__(config, seed, part)
        folders, axis = folder_names(config), config.slice_axis
        names = spec_names(folders)
        listings = list_split(config.root, split, "unpaired", names=folders, axis=axis)
        for column, listing in enumerate(listings):
            (domain,), samples = listing.domains, self._inspect(listing)
            if len(samples) == 1 and config.epoch_images is None:
                reason = f"domain {domain} has one image ({samples.files[0][0]})"
                hint = "Unpaired training needs at least two in each domain: add some, or set "
                hint += "data.epoch_images, the random crops of an epoch"
                raise DataError("data.root", reason, hint)
            self._admit(domain, samples, names=names[column : column + 1])
            self.augments.append(Augment(config, (domain,), color=(domain,)))
        counts = ", ".join(f"{len(paths)} of {d}" for d, (paths,) in self.paths.items())
        rule = self._rule("as many samples as the larger domain has images", counts)
        self.epoch_rule = (
            f"{rule}; each domain is shuffled again whenever all its images were used, so each is "
            "used equally often"
        )

    def files(self, epoch: int, index: int) -> list[str]:
        """Return the file of a and the file of b."""
        return [self.paths[d][0][row] for d, row in self._rows(epoch, index).items()]

    def _rows(self, epoch: int, index: int) -> dict[str, int]:
        """Domain -> the row of its image. Rounds do not end with epochs: all are used equally."""
        counts = {domain: len(paths) for domain, (paths,) in self.paths.items()}
        return {domain: self._in_turn(epoch, index, n, domain) for domain, n in counts.items()}

    def _random(self, epoch: int, index: int, seed: int) -> Arrays:
        arrays: Arrays = {}
        for augment, (domain, row) in zip(
            self.augments, self._rows(epoch, index).items(), strict=True
        ):
            arrays |= augment.view(self._loaded(augment, row), key(seed, domain))
        return arrays

    def _plain(self, index: int) -> Arrays:
        arrays: Arrays = {}
        for augment, (paths,) in zip(self.augments, self.paths.values(), strict=True):
            arrays |= augment.plain(self.read_row(augment.names, index % len(paths)))
        return arrays
