"""Data sets as functions of (epoch, index): equal numbers give equal samples, in any process and in any order."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, overload

import numpy as np
from torch import Tensor

from i2i import images
from i2i.config import DataConfig, PairedData, UnconditionalData, UnpairedData
from i2i.data import inspect as headers
from i2i.data.augment import Arrays, Augment
from i2i.data.folders import DataError, find_matched, find_unpaired, split_images
from i2i.data.inspect import Headers
from i2i.data.order import shuffled
from i2i.images import Array, ImageError, ValueRange
from i2i.images.spec import ChannelSpec, ImageSpec, read
from i2i.seeds import key


class Paths(Sequence[str]):
    """Strings in one buffer: forked workers share its memory, where a list of str would be copied as it is read."""

    def __init__(self, paths: Iterable[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
        self._text = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        start = self._ends[row - 1] if row else 0
        return os.fsdecode(self._text[start : self._ends[row]])


class Dataset(ABC):
    """Samples by number. The order of an epoch is the loader's; chance is f(seed, epoch, index) and nothing else.

    Args:
        config: what to read and how.
        seed: of the augmentation.
    """

    specs: dict[str, ImageSpec]  # domain -> how its files are read
    epoch_rule: str  # what one epoch is, for people
    notes: tuple[str, ...] = ()  # what was noticed before the first sample, for people

    def __init__(self, config: DataConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.specs = {}
        self.warnings: list[str] = []  # files skipped since the list was last emptied

    @property
    def channels(self) -> dict[str, int]:
        """Domain -> channels of every sample."""
        return {domain: reading.channels for domain, reading in self.specs.items()}

    @abstractmethod
    def __len__(self) -> int:
        """Return the samples of one epoch."""

    @abstractmethod
    def files(self, epoch: int, index: int) -> list[str]:
        """Return the files that `sample(epoch, index)` reads, for messages."""

    def sample(self, epoch: int, index: int) -> dict[str, Tensor]:
        """Return augmented images: domain -> [C, crop height, crop width], float32 in [-1, 1].

        Raises:
            ImageError: a file cannot be decoded; with `on_bad_file: skip` the next index stands in
                instead.
        """
        return self._first_good(
            index, lambda place: self._random(epoch, place, key(self.seed, epoch, index))
        )

    def fixed(self, index: int) -> dict[str, Tensor]:
        """Return the images of a sample without augmentation, in the size and range of `sample`."""
        return self._first_good(index, self._plain)

    @abstractmethod
    def _random(self, epoch: int, index: int, seed: int) -> Arrays: ...

    @abstractmethod
    def _plain(self, index: int) -> Arrays: ...

    def _first_good(self, index: int, read: Callable[[int], Arrays]) -> dict[str, Tensor]:
        for step in range(len(self)):
            try:
                arrays = read((index + step) % len(self))
            except ImageError as error:
                if self.config.on_bad_file == "fail":
                    raise
                self.warnings.append(f"skipped {error}")
            else:
                return {name: images.to_tensor(array) for name, array in arrays.items()}
        raise DataError(
            f"data.root: no image of {self.config.root} can be decoded. Check it: i2i data check."
        )

    def _decode(self, domain: str, *files: str) -> Array:
        return read(files, self.specs[domain], self.config.alpha).array

    def _inspect(
        self,
        *lists: Sequence[str],
        domains: Sequence[str],
        masks: Collection[str] = (),
        halves: bool = False,
    ) -> tuple[list[list[str]], list[Headers]]:
        """Look at lists, each of one of `domains`, whose rows belong together; rows with a bad file are refused or left
        out. In `masks` images of one value are good: label maps may be. `halves`: images lie side
        by side, and are cut before they are resized.
        """
        lists = tuple(files[: self.config.max_images] for files in lists)
        decode = len(lists[0]) <= self.config.decode_check_limit
        heads = [
            headers.inspect(
                files, decode=decode, flat=domain in masks, value_range=self._span(domain)
            )
            for files, domain in zip(lists, domains, strict=True)
        ]
        for files, head in zip(lists, heads, strict=True):
            head.bad.update(
                headers.too_long(files, (head.halved() if halves else head).sizes, self.config)
            )
        bad = [reason for head in heads for reason in head.bad.values()]
        if self.config.on_bad_file == "fail":
            headers.check_bad(bad)
        self.notes += tuple(f"left out {reason}" for reason in bad)
        good = np.ones(len(lists[0]), np.bool_)
        good[[row for head in heads for row in head.bad]] = False
        if not good.any():
            raise DataError(
                f"data.root: no image of {self.config.root} can be read. Check it: i2i data check."
            )
        return [[files[row] for row in np.flatnonzero(good).tolist()] for files in lists], [
            head.keep(good) for head in heads
        ]

    def _admit(
        self,
        domain: str,
        *found: tuple[Sequence[str], Headers],
        names: Sequence[str] = ("",),
        color: bool,
    ) -> None:
        """Take the files of each input of a domain as good, or refuse them; `color` says whether jitter will be."""
        inputs: list[ChannelSpec] = []
        for name, (files, head) in zip(names, found, strict=True):
            headers.check_small(files, head.sizes, self.config)
            brought, notes = headers.domain_input(domain, files, head, self.config.alpha, name)
            inputs.append(brought)
            self.notes += notes
        reading = ImageSpec(tuple(inputs), self._span(domain))
        if color and self.config.color_jitter:
            headers.check_color(domain, reading)
        if domain in self.config.value_range:
            headers.check_range(domain, [head for _, head in found])
        if self.config.alpha == "carry":
            headers.check_carry(domain, reading.channels)
        self.specs[domain] = reading

    def _span(self, domain: str) -> ValueRange:
        return self.config.value_range.get(domain, images.UNIT)


class PairedImages(Dataset):
    """Pairs of images `a` and `b` that share their geometry; color jitter touches the input of `direction` only.

    Raises:
        DataError: what was found cannot be trained on.
    """

    def __init__(self, config: PairedData, *, seed: int = 0, split: str = "train") -> None:
        super().__init__(config, seed)
        matched = find_matched(config.root, config.layout, split, config.allow_unmatched)
        self.layout = matched.pairs[0].layout
        a = [pair.a for pair in matched.pairs]
        if self.layout == "folders":
            b = [pair.b for pair in matched.pairs]
            files, heads = self._inspect(a, b, domains=("a", "b"), masks=config.masks)
            if config.resize != "stretch":
                headers.check_unequal(files[0], files[1], heads[0].sizes, heads[1].sizes)
        else:
            if self._span("a") != self._span("b"):
                raise DataError(
                    "data.value_range: side-by-side images are one file. Give a and b the same range."
                )
            files, heads = self._inspect(a, domains=("a",), halves=True)
            headers.check_odd(files[0], heads[0].sizes)
            files, heads = files * 2, [head.halved() for head in heads] * 2
            self.notes += (f"pairs lie side by side; the left half is {self.layout[0]}.",)
        for domain, paths, head in zip(("a", "b"), files, heads, strict=True):
            self._admit(
                domain,
                (paths, head),
                color=domain == config.direction.source and domain not in config.masks,
            )
        if left_out := len(matched.only_a) + len(matched.only_b):
            self.notes += (f"{left_out} images without a partner are left out.",)
        self._a = Paths(files[0])
        self._b = Paths(files[1]) if self.layout == "folders" else self._a
        self._augment = Augment(
            config, ("a", "b"), masks=config.masks, color=config.direction.source
        )
        self.epoch_rule = f"one epoch = every pair once ({len(self)} pairs)"

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._a)

    def files(self, epoch: int, index: int) -> list[str]:
        """Return the files of the pair: one where it lies side by side."""
        return [self._a[index], self._b[index]][: 2 if self.layout == "folders" else 1]

    def _random(self, epoch: int, index: int, seed: int) -> Arrays:
        return self._augment(self._read(index), seed)

    def _plain(self, index: int) -> Arrays:
        return self._augment.plain(self._read(index))

    def _read(self, index: int) -> Arrays:
        a = self._decode("a", self._a[index])
        if self.layout == "folders":
            return {"a": a, "b": self._decode("b", self._b[index])}
        return halves(a, self.layout)


def halves(image: Array, layout: Literal["ab", "ba"]) -> Arrays:
    """Return the domains of a side-by-side image, [H, W, C]: `layout` names them from left to right."""
    half = image.shape[1] // 2
    return {layout[0]: image[:, :half], layout[1]: image[:, half:]}


class UnpairedImages(Dataset):
    """Images of `a` and of `b` that have nothing to do with each other.

    Raises:
        DataError: what was found cannot be trained on.
    """

    def __init__(self, config: UnpairedData, *, seed: int = 0, split: str = "train") -> None:
        super().__init__(config, seed)
        self._paths: dict[str, Paths] = {}
        self._augment: dict[str, Augment] = {}
        for domain, found in zip(("a", "b"), find_unpaired(config.root, split), strict=True):
            (files,), (head,) = self._inspect(found, domains=(domain,))
            if len(files) == 1:
                raise DataError(
                    f"data.root: domain {domain} has one image ({files[0]}). Unpaired training needs at least two "
                    f"in each domain: add some."
                )
            self._admit(domain, (files, head), color=True)
            self._paths[domain] = Paths(files)
            self._augment[domain] = Augment(config, (domain,), color=(domain,))
        counts = ", ".join(f"{len(paths)} of {domain}" for domain, paths in self._paths.items())
        self.epoch_rule = (
            f"one epoch = as many samples as the larger domain has images ({counts}); each domain passes through "
            f"its own shuffled images again and again, so each of its images is used equally often"
        )

    def __len__(self) -> int:
        """Return the number of images of the larger domain."""
        return max(len(paths) for paths in self._paths.values())

    def files(self, epoch: int, index: int) -> list[str]:
        """Return the file of a and the file of b."""
        return [paths[self._row(domain, epoch, index)] for domain, paths in self._paths.items()]

    def _row(self, domain: str, epoch: int, index: int) -> int:
        count = len(self._paths[domain])
        turn, place = divmod(
            epoch * len(self) + index, count
        )  # turns do not end with epochs: all are used equally
        return shuffled(place, count, key(self.seed, "turn", domain, turn))

    def _random(self, epoch: int, index: int, seed: int) -> Arrays:
        rows = {domain: self._row(domain, epoch, index) for domain in self._paths}
        return {
            d: self._augment[d]({d: self._read(d, row)}, key(seed, d))[d] for d, row in rows.items()
        }

    def _plain(self, index: int) -> Arrays:
        rows = {domain: index % len(paths) for domain, paths in self._paths.items()}
        return {d: self._augment[d].plain({d: self._read(d, row)})[d] for d, row in rows.items()}

    def _read(self, domain: str, row: int) -> Array:
        return self._decode(domain, self._paths[domain][row])


class Images(Dataset):
    """Images of one folder and its subfolders, as domain `image`; folders of other splits are left out.

    Raises:
        DataError: what was found cannot be trained on.
    """

    def __init__(self, config: UnconditionalData, *, seed: int = 0, split: str = "train") -> None:
        super().__init__(config, seed)
        (files,), (head,) = self._inspect(split_images(config.root, split), domains=("image",))
        self._admit("image", (files, head), color=True)
        self._paths = Paths(files)
        self._augment = Augment(config, ("image",), color=("image",))
        self.epoch_rule = f"one epoch = every image once ({len(self)} images)"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def files(self, epoch: int, index: int) -> list[str]:
        """Return the one file of the sample."""
        return [self._paths[index]]

    def _random(self, epoch: int, index: int, seed: int) -> Arrays:
        return self._augment({"image": self._decode("image", self._paths[index])}, seed)

    def _plain(self, index: int) -> Arrays:
        return self._augment.plain({"image": self._decode("image", self._paths[index])})
