"""Images on their way into training: as decoded, as resized, and in random views."""

from typing import NamedTuple

from i2i.data.augment import Arrays
from i2i.data.dataset import Dataset
from i2i.seeds import key


class Stages(NamedTuple):
    """Images [H, W, C] of each domain; views are those of the networks, in 8 bits or [0, 1]."""

    files: list[str]
    decoded: Arrays
    resized: Arrays
    views: list[Arrays]


def stages(dataset: Dataset, index: int, draws: int) -> Stages:
    """Return the images in row `index` of each domain, which repeats its rows if it has fewer.

    Where one epoch is every sample once, as of pairs, view K is that of `sample(K, index)`.

    Raises:
        ImageError: a file cannot be decoded, or does not cover the crop.
    """
    result = Stages([], {}, {}, [{} for _ in range(draws)])
    for augment in dataset.augments:
        row = index % len(dataset.paths[augment.names[0]][0])
        decoded = dataset.read_row(augment.names, row)
        loaded = augment.load(decoded)
        result.files.extend(dataset.row_files(augment.names, row))
        result.decoded.update(decoded)
        result.resized.update(loaded)
        for draw, view in enumerate(result.views):
            seed = key(dataset.seed, draw, index)
            if len(dataset.augments) > 1:  # domains differ in what is drawn
                seed = key(seed, *augment.names)
            view.update(augment.view(loaded, seed))
    return result
