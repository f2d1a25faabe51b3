"""Rules for the images of a data set: one table for training and for `i2i data check`."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from i2i.config import DataConfig, PairedData, height_width
from i2i.data.folders import DataError, Listing
from i2i.data.inspect import FORMATS, Samples, inspect
from i2i.data.sizes import resized_sizes
from i2i.data.slice_rules import empty, is_slice
from i2i.images.spec import LOSSY

Level = Literal["error", "warning"]
Mask = NDArray[np.bool_]  # [rows, columns] of samples
_MAX_LISTED = 20  # files named in one message
_LOSSY = tuple(FORMATS.index(format) for format in LOSSY)
_FEW_VALUES = 64  # of an 8-bit gray image, at most, that may be a label map


# -- files -----------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """A condition that files must keep, and what is said and done about those that do not."""

    name: str
    text: str  # follows the number of files; {crop} and {load} stand for sizes
    failing: Callable[[Samples, DataConfig], Mask] | None = None  # None: seen by comparing folders
    hint: str = ""
    level: Level = "error"  # error: training refuses the file, or its test is spoiled
    drop: bool = True  # data.on_bad_file=skip and a clean copy leave the file out
    note: bool = False  # training takes the file, and says so
    values: bool = False  # about values: each file is described by its own

    def describe(self, config: DataConfig) -> str:
        """Return the text with its limit."""
        crop, load = height_width(config.crop_size), height_width(config.load_size)
        return self.text.format(crop=f"{crop[1]}x{crop[0]}", load=f"{load[1]}x{load[0]}")


def _constant(samples: Samples, config: DataConfig) -> Mask:
    labels = np.isin(samples.domains, list(config.labels))
    return np.asarray(samples.facts["constant"] & ~labels & ~is_slice(samples))


def _too_thin(samples: Samples, config: DataConfig) -> Mask:
    """Return the images that resizing would enlarge beyond all memory."""
    sizes = samples.sizes
    thin: Mask = samples.readable & (sizes.max(axis=2) > 100 * sizes.min(axis=2))
    thin[thin] = resized_sizes(sizes[thin], config).prod(axis=1) > config.max_pixels
    return thin


def _small(samples: Samples, config: DataConfig) -> Mask:
    small = samples.readable
    crop = height_width(config.crop_size)
    small[small] = (resized_sizes(samples.sizes[small], config) < crop).any(axis=1)
    return small


def _large(samples: Samples, config: DataConfig) -> Mask:
    pixels = samples.facts["size"].astype(np.int64).prod(axis=2)
    return np.asarray(pixels > config.max_pixels)


def _unequal(samples: Samples, columns: slice) -> Mask:
    """Return the files of `columns` in rows where their images differ in size."""
    sizes, readable = samples.sizes[:, columns], samples.readable[:, columns]
    rows = (sizes != sizes[:, :1]).any(axis=(1, 2)) & readable.all(axis=1)
    unequal = np.zeros(samples.readable.shape, np.bool_)
    unequal[:, columns] = rows[:, None]
    return unequal


def _foreign_channels(samples: Samples, config: DataConfig) -> Mask:
    """Return the files whose channels have no relation to those of the most files of a column."""
    colors = samples.facts["channels"] - samples.facts["alpha"]
    foreign = np.zeros(samples.readable.shape, np.bool_)
    for column, readable in enumerate(samples.readable.T):
        kinds, counts = np.unique(colors[readable, column], return_counts=True)
        if not set(kinds.tolist()) <= {1, 3} and len(kinds) > 1:
            usual = int(kinds[counts.argmax()])
            related = [1, 3] if usual in (1, 3) else [usual]
            foreign[:, column] = readable & ~np.isin(colors[:, column], related)
    return foreign


def _columns(samples: Samples, mask: Mask) -> Mask:
    """Return the readable files of the columns that are marked completely."""
    complete = (mask | ~samples.readable).all(axis=0) & samples.readable.any(axis=0)
    return np.asarray(samples.readable & complete)


def _labels(samples: Samples, config: DataConfig) -> Mask:
    values = samples.facts["values"]
    labels = config.labels if hasattr(config, "masks") else samples.domains
    declared = np.isin(samples.domains, list(labels))
    return _columns(samples, (values > 0) & (values <= _FEW_VALUES) & ~declared)


def _narrow(samples: Samples, config: DataConfig) -> Mask:
    """Return the integers of columns whose values, all together, span a small part of theirs."""
    facts, readable = samples.facts, samples.readable
    tops = facts["top"].max(axis=0, initial=0, where=readable)
    bottoms = facts["bottom"].min(axis=0, initial=np.inf, where=readable)
    declared = [*config.value_range, *getattr(config, "classes", ())]
    ranged = np.isin(samples.domains, declared) | (facts["depth"] > 16)
    return _columns(samples, (tops > 0) & (tops - bottoms < 2.0 ** facts["depth"] / 4) & ~ranged)


def _outside(samples: Samples, config: DataConfig) -> Mask:
    """Return integers outside the range of their domain; floats are refused as they are read."""
    facts, outside = samples.facts, np.zeros(samples.readable.shape, np.bool_)
    for domain in config.value_range:
        if not config.range_rule(domain).clips:
            columns = np.isin(samples.domains, domain)
            depth = facts["depth"][:, columns].max(initial=0)
            same = (facts["depth"] == depth) | (domain in config.labels)
            outside |= columns & same & (depth < 32) & (facts["outside"] > 0)
    return outside


def _clipped(samples: Samples, config: DataConfig) -> Mask:
    """Return the files of which values are clipped."""
    domains = [domain for domain in samples.domains if config.range_rule(domain).clips]
    of_most_bits = samples.facts["depth"] == samples.facts["depth"].max(axis=0, initial=0)
    outside = np.isin(samples.domains, domains) & of_most_bits & (samples.facts["outside"] > 0)
    return np.asarray(outside & samples.readable)


def _lossy(samples: Samples, config: DataConfig) -> Mask:
    masks = [domain for domain in config.labels if domain not in getattr(config, "classes", ())]
    declared = np.isin(samples.domains, masks) | (samples.side_by_side and bool(masks))
    return samples.readable & declared & np.isin(samples.facts["format"], _LOSSY)


def _no_class_maps(samples: Samples, config: DataConfig) -> Mask:
    """Return the files of domains of classes that are not lossless integers of one channel."""
    facts, declared = samples.facts, np.isin(samples.domains, list(getattr(config, "classes", ())))
    plain = (facts["channels"] == 1) & (facts["depth"] < 32)
    plain &= ~np.isin(facts["format"], _LOSSY)
    return np.asarray(samples.readable & declared & ~plain)


def _no_classes(samples: Samples, config: DataConfig) -> Mask:
    """Return the class maps that hold numbers of no class."""
    classes = getattr(config, "classes", {})
    limits = np.array([classes.get(domain, np.inf) for domain in samples.domains])
    return (samples.facts["top"] >= limits) & ~_no_class_maps(samples, config)


_warning = partial(Rule, level="warning", drop=False)
_note = partial(_warning, note=True)

RULES = (
    Rule(
        "unreadable",
        "cannot be decoded",
        lambda samples, _: ~samples.readable,
        "Replace or remove them, or set data.on_bad_file=skip",
    ),
    Rule("unmatched", "have no partner of the same stem"),
    Rule("same stem", "have the stem of another file in their folder"),
    Rule(
        "odd width",
        "have an odd width and cannot be cut into halves",
        lambda samples, _: samples.side_by_side & (samples.facts["size"][..., 1] % 2 == 1),
        "Crop them, or use two folders: data.layout=folders",
    ),
    Rule(
        "not double",
        "are not twice as wide as high, as pairs side by side are",
        lambda samples, _: (
            samples.readable
            & (samples.side_by_side and samples.guessed)
            & (samples.facts["size"][..., 1] % 2 == 0)
            & (samples.facts["size"][..., 1] != 2 * samples.facts["size"][..., 0])
        ),
        "If each holds a pair, set data.layout=ab or ba; or name folders with --input, --target",
        drop=False,
    ),
    Rule(
        "other channels",
        "have channels that cannot be converted to those of the others",
        _foreign_channels,
        "Only gray and color can be converted to one another: keep files of one kind",
    ),
    Rule("leak", "of the training split are in a held-out split too"),
    _warning("near leak", "of the training split look like one of a held-out split"),
    Rule("duplicate", "repeat the pixels of an earlier file", level="warning"),
    _warning("near duplicate", "look like an earlier file"),
    Rule(
        "constant",
        "have one value in all pixels, which instance norm turns into noise",
        _constant,
        "Remove them, or declare labels in data.masks",
    ),
    _note(
        "empty slice",
        "are slices of one value, and are left out of training",
        empty,
        drop=True,
    ),
    Rule(
        "thin",
        "are too thin for data.resize=shorter",
        _too_thin,
        "Remove them, or set data.resize=stretch",
    ),
    _note(
        "large",
        "exceed data.max_pixels: data.resize=none reads crops of them, of which nothing is checked",
        _large,
    ),
    _warning(
        "small",
        "are smaller than {crop}",
        _small,
        "Lower data.crop_size, or raise data.load_size with data.resize=shorter",
    ),
    Rule(
        "unequal inputs",
        "differ in size from other inputs of their sample",
        lambda samples, _: _unequal(samples, slice(-1)),
        "Resize the inputs of a sample to one size",
    ),
    _warning(
        "unequal pair",
        "differ in size from their partner",
        lambda samples, config: (config.resize != "stretch") & _unequal(samples, slice(-2, None)),
        "Set data.resize=stretch, which resizes both to data.load_size",
    ),
    _note(
        "stretched",
        "differ in size from their partner, and both are resized to {load}",
        lambda samples, config: (config.resize == "stretch") & _unequal(samples, slice(-2, None)),
    ),
    _note(
        "gray as color",
        "are gray stored as RGB",
        lambda samples, _: _columns(samples, samples.facts["gray"]),
        "Saved as gray, one channel would do",
    ),
    _note(
        "labels",
        f"hold {_FEW_VALUES} values at most, as label maps do",
        _labels,
        "If these are labels, declare data.masks, or they are mixed where images are resized",
    ),
    _note(
        "narrow range",
        "use less than a quarter of the range of their integers",
        _narrow,
        "To the networks they are nearly black or flat: set data.value_range to [low, high], which "
        "are spread over all of theirs",
        values=True,
    ),
    Rule(
        "outside range",
        "have values outside of data.value_range",
        _outside,
        "Set a wider data.value_range, or leave them out",
        values=True,
    ),
    _note(
        "clipped",
        "have values outside of data.value_range, which are clipped",
        _clipped,
        values=True,
    ),
    Rule(
        "no class map",
        "are no class maps: lossless files of one channel of 8 or 16 bits",
        _no_class_maps,
        "Save class numbers as gray PNG; of a file with a palette its indices",
    ),
    Rule(
        "no class",
        "hold numbers of no class: data.classes is their number, from 0",
        _no_classes,
        "Raise data.classes, or correct them",
        values=True,
    ),
    _note(
        "lossy labels",
        "hold labels in JPEG, whose compression mixes them",
        _lossy,
        "Save labels as PNG",
    ),
    _warning("other file", "are not images of a known format, and are ignored"),
)


def find_faults(samples: Samples, config: DataConfig) -> dict[Rule, Mask]:
    """Return the rules that some files break, each with those files."""
    masks = {rule: rule.failing(samples, config) for rule in RULES if rule.failing}
    return {rule: mask for rule, mask in masks.items() if mask.any()}


def describe_files(samples: Samples, mask: Mask, values: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each marked file, column by column, with its error or its size and channels.

    Or with the range of its `values`.
    """
    for column, row in np.argwhere(mask.T).tolist():
        file, facts = samples.files[column][row], samples.facts[row, column]
        height, width = facts["size"]
        text = f"{file} is {width}x{height}"
        if values:
            text = f"{file} has values from {facts['bottom']:g} to {facts['top']:g}"
            if facts["outside"]:
                text += f", {100 * facts['outside']:.2g} % of them outside"
        if facts["channels"] not in (1, 2, 3, 4):
            text += f" with {facts['channels']} channels"
        yield file, samples.errors.get((row, column), text)


def describe_notes(
    samples: Samples, faults: Mapping[Rule, Mask], config: DataConfig
) -> Iterator[str]:
    """Yield what is to be said about files that are used nevertheless."""
    for rule, mask in faults.items():
        if rule.note:
            file, text = next(describe_files(samples, mask, rule.values))
            first = text if rule.values else file
            text = f"{mask.sum()} of {mask.size} files {rule.describe(config)} (first: {first})."
            yield f"{text} {rule.hint}.".removesuffix(" .")


def check_faults(samples: Samples, faults: Mapping[Rule, Mask], config: DataConfig) -> None:
    """Raise DataError if there are any, with the first files of them, one a line."""
    faults = {rule: mask for rule, mask in faults.items() if mask.any() and not rule.note}
    if not faults:
        return
    counts = [f"{m.sum()} of {m.size} files {rule.describe(config)}" for rule, m in faults.items()]
    hints = ". ".join(rule.hint for rule in faults)
    files = chain.from_iterable(
        describe_files(samples, mask, rule.values) for rule, mask in faults.items()
    )
    lines = [detail for _, detail in islice(files, _MAX_LISTED)]
    if (more := sum(int(mask.sum()) for mask in faults.values()) - _MAX_LISTED) > 0:
        lines.append(f"… and {more} more")
    error = DataError("data.root", "; ".join(counts), hints)
    error.details = tuple(lines)
    raise error


def check_guess(pairs: Listing) -> None:
    """Raise DataError if pairs are taken to be side by side and headers do not confirm it."""
    if pairs.guessed:
        samples, config = inspect(pairs), PairedData(root="")
        faults = find_faults(samples, config)
        check_faults(samples, {r: m for r, m in faults.items() if r.name == "not double"}, config)
