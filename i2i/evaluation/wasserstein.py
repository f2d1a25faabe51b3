"""Sliced Wasserstein distance of patches at several scales. Karras et al., ICLR 2018, Sec. 5.

Patches of 7 x 7 pixels are taken from each level of a Laplacian pyramid (Burt and Adelson, 1983),
so that fine levels compare texture and the coarsest, a low-pass image, compares color and layout.
Unlike in the paper, both sets are normalized by the mean and standard deviation of the reals: each
by its own would hide a shift of color or contrast.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from i2i.evaluation.influence import Influence
from i2i.seeds import key

MIN_SIDE = 16  # pixels, of the coarsest level
PATCH = 7  # pixels, the side of a patch
PATCHES = 128  # of an image and level, halved whenever a set holds more than _STORE
DIRECTIONS = 512  # onto which patches are projected
_STORE = 2**14  # patches of a level
_AT_ONCE = 16  # directions: bounds the memory
_SMALLEST_DEVIATION = 1e-3  # of the range 0 to 1: a constant channel has no scale
_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


class PatchStore:
    """Random patches of a growing set of images, of bounded memory.

    Each level is kept as band-pass and as low-pass, since the coarsest level that all images of
    both sets have is known at the end only. Patches of an image are in random order, so that
    its first ones are a sample.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.per_image = PATCHES
        # image number -> bands, lows; each of levels [per_image, 147], finest first
        self.images: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def add(self, image: Tensor, number: int) -> None:
        """Add an image [3, H, W] in [0, 1]; `number` in its set determines where patches are.

        Raises:
            ValueError: a side is below 16 pixels.
        """
        bands: list[Tensor] = []
        lows: list[Tensor] = []
        for level, (band, low) in enumerate(pyramid(image)):
            rng = torch.Generator().manual_seed(key(self.seed, "patches", number, level) >> 1)
            height, width = (side - PATCH + 1 for side in low.shape[-2:])
            tops = torch.randint(height, (PATCHES,), generator=rng)[: self.per_image]
            lefts = torch.randint(width, (PATCHES,), generator=rng)[: self.per_image]
            bands.append(_patches(band, tops, lefts))
            lows.append(_patches(low, tops, lefts))
        self.images[number] = bands, lows
        self._thin()

    def merge(self, other: "PatchStore") -> None:
        """Add the images of another part of the same set, such as that of another rank."""
        self.images.update(other.images)
        self.per_image = min(self.per_image, other.per_image)
        self._thin(always=True)

    def levels(self) -> int:
        """Return the number of levels that all images have."""
        return min(len(bands) for bands, _ in self.images.values())

    def level(self, number: int, coarsest: bool) -> Tensor:
        """Return the patches [images, per_image, 147] of a level, in the order of image numbers."""
        chosen = [self.images[image][int(coarsest)][number] for image in sorted(self.images)]
        return torch.stack(chosen)

    def _thin(self, always: bool = False) -> None:
        before = self.per_image
        while self.per_image > 1 and self.per_image * len(self.images) > _STORE:
            self.per_image //= 2
        if always or self.per_image != before:
            for bands, lows in self.images.values():
                for patches in (bands, lows):
                    patches[:] = [level[: self.per_image].clone() for level in patches]


def pyramid(image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return band-pass and low-pass [C, h, w] of each level of [C, H, W], finest first.

    A level has half the sides of the one before, rounded up; the last has sides of at least 16.
    Borders are reflected.

    Raises:
        ValueError: a side is below 16 pixels.
    """
    height, width = image.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"image: {width}x{height} pixels, SWD needs sides of at least {MIN_SIDE}")
    levels = []
    while min(image.shape[-2:]) >= MIN_SIDE:
        smaller = _blur(image)[:, ::2, ::2]
        stuffed = torch.zeros_like(image)
        stuffed[:, ::2, ::2] = smaller
        levels.append((image - 4 * _blur(stuffed), image))
        image = smaller
    return levels


def distances(reals: PatchStore, fakes: PatchStore) -> list[Influence]:
    """Return the sliced Wasserstein distance of each level times 1000, finest first."""
    last = min(reals.levels(), fakes.levels()) - 1
    scores = []
    for number in range(last + 1):
        one, other = (store.level(number, number == last) for store in (reals, fakes))
        one, other = (1000 * values for values in sliced(*_normalized(one, other), reals.seed))
        scores.append(Influence(float(one.mean() - other.mean()), one, -other))
    return scores


def sliced(reals: Tensor, fakes: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return potentials of reals and fakes whose means differ by their sliced Wasserstein distance.

    Args:
        reals, fakes: descriptors [images, patches, D] of any numbers of images and patches.
        seed: of the 512 directions, uniform on the sphere.

    Returns:
        [images] of each, float64: the mean Kantorovich potential of an image's patches, over the
        directions. By duality the distance of order 1 is the difference of the means, and the
        potentials are its derivative with respect to the weights of images.
    """
    rng = torch.Generator().manual_seed(key(seed, "directions") >> 1)
    directions = torch.randn(DIRECTIONS, reals.shape[-1], generator=rng)
    directions /= directions.norm(dim=1, keepdim=True)
    patches = torch.cat([reals.flatten(0, 1), fakes.flatten(0, 1)]).T  # [D, reals + fakes]
    split = reals.shape[0] * reals.shape[1]
    weights = torch.full(patches.shape[1:], -1 / (patches.shape[1] - split), dtype=torch.float64)
    weights[:split] = 1 / split
    total = torch.zeros_like(weights)
    for some in torch.split(directions, _AT_ONCE):
        values = some @ patches
        order = torch.from_numpy(np.argsort(values.numpy()))  # three times as fast as torch's
        excess = weights[order].cumsum(1)[:, :-1]  # of the reals' distribution function
        steps = values.gather(1, order).double().diff(dim=1)
        rises = torch.where(excess.abs() < 1e-12, 0.0, -excess.sign()) * steps
        potential = pad(rises.cumsum(1), (1, 0))
        total += torch.zeros_like(potential).scatter_(1, order, potential).sum(0)
    one, other = (total / DIRECTIONS).tensor_split([split])
    return one.view(reals.shape[:2]).mean(1), other.view(fakes.shape[:2]).mean(1)


def _normalized(reals: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
    """Return [images, patches, 147] scaled by the moments of each channel of the reals."""
    shape = (-1, 3, PATCH * PATCH)
    channels = reals.double().reshape(shape)
    mean = channels.mean((0, 2))
    deviation = channels.std((0, 2), correction=0).clamp(min=_SMALLEST_DEVIATION)
    scaled = [
        ((patches.double().reshape(shape) - mean[:, None]) / deviation[:, None]).float()
        for patches in (reals, fakes)
    ]
    return scaled[0].view(reals.shape), scaled[1].view(fakes.shape)


def _blur(image: Tensor) -> Tensor:
    """Return [C, H, W] filtered with the 5 x 5 binomial kernel."""
    kernel = _BINOMIAL.to(image)
    planes = pad(image[:, None], (2, 2, 2, 2), mode="reflect")
    return conv2d(conv2d(planes, kernel.view(1, 1, 5, 1)), kernel.view(1, 1, 1, 5))[:, 0]


def _patches(image: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """Return the patches of [C, H, W] at `tops` and `lefts` [K], as [K, C * 7 * 7]."""
    windows = image.unfold(1, PATCH, 1).unfold(2, PATCH, 1)  # [C, H - 6, W - 6, 7, 7]
    return windows[:, tops, lefts].transpose(0, 1).flatten(1)
