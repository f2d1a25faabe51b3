"""What fakes look like beside the reals that they imitate: their colour, variety, ends of the range, and source.

Everything comes from thumbnails of 4 x 4 means of images that a step has made anyway. Sums stay on
the device until the terms of a log interval are fetched.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from i2i.methods._base import Images, Terms

_SIDE = 4  # of a thumbnail
_END = 1 - 1 / 255  # from here on a value is black or white in 8 bits
_TINY = 1e-10  # squared difference of values in [-1, 1] that cannot be seen; keeps 0 / 0 at 1
_SOURCES = {"a": "b", "b": "a"}  # what an unpaired method makes images of a domain from


class ImageStats:
    """Sums over the images since the last `clear`, for each domain of which there are both fakes and reals.

    Args:
        unpaired: fakes were made from images of the other domain that nothing says how to
            translate, so that it is worth watching whether dark stays dark.
    """

    def __init__(self, unpaired: bool) -> None:
        self._unpaired = unpaired
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._counts: dict[str, list[int]] = {}  # domain -> steps, images, neighbours
        self._last: dict[
            str, tuple[Tensor, Tensor]
        ] = {}  # domain -> thumbnails of the last fake and the last real

    @torch.no_grad()
    def update(self, real: Images, fakes: Images) -> None:
        """Add a batch of reals, and what was made from it, each [N, C, H, W] in [-1, 1]."""
        for name, fake in fakes.items():
            if name not in real:  # CUT's identity images imitate nothing that could be compared
                continue
            thumb, real_thumb = _thumbnails(fake), _thumbnails(real[name])
            found = {
                "color": thumb.mean((2, 3)).sum(0),
                "real_color": real_thumb.mean((2, 3)).sum(0),
                "ends": _at_ends(fake),
                "real_ends": _at_ends(real[name]),
            }
            last, real_last = self._last.get(name, (thumb[:0], real_thumb[:0]))
            found["steps"] = _steps(torch.cat([last, thumb]))
            found["real_steps"] = _steps(torch.cat([real_last, real_thumb]))
            if self._unpaired:
                found |= _products(_relief(thumb), _relief(_thumbnails(real[_SOURCES[name]])))
            self._add(name, found, len(thumb), len(last) + len(thumb) - 1)
            self._last[name] = thumb[-1:].clone(), real_thumb[-1:].clone()

    def _add(self, name: str, found: dict[str, Tensor], images: int, neighbours: int) -> None:
        sums = self._sums.get(name)
        self._sums[name] = (
            {key: sums[key] + value for key, value in found.items()} if sums else found
        )
        counts = self._counts.get(name, [0, 0, 0])
        self._counts[name] = [counts[0] + 1, counts[1] + images, counts[2] + neighbours]

    def compute(self) -> Terms:
        """Return 0-d tensors on the device, under DOMAIN/MEASURE, of the images since the last `clear`.

        drift: distance of the mean colours of fakes and reals, root mean square over channels; 1 is
            black to white.
        diversity: how much a fake differs from the next one, relative to reals: 1 is as much, 0 is
            not at all. The difference of neighbours in a random order measures their variance,
            works with batches of one image, and unlike the variance over an interval is not raised
            by a generator that always makes the same image and changes it as it learns.
        saturation, saturation_real: share of values that are black or white in 8 bits.
        correlation: of the brightness of fakes and their sources over each image, in unpaired
            training; -1: inverted.
        """
        measured: Terms = {}
        for name, sums in self._sums.items():
            steps, images, neighbours = self._counts[name]
            color = (sums["color"] - sums["real_color"]) / images
            measured[f"{name}/drift"] = color.square().mean().sqrt() / 2
            if neighbours:
                fake, real = sums["steps"] / neighbours, sums["real_steps"] / neighbours
                measured[f"{name}/diversity"] = ((fake + _TINY) / (real + _TINY)).sqrt()
            measured[f"{name}/saturation"] = sums["ends"] / steps
            measured[f"{name}/saturation_real"] = sums["real_ends"] / steps
            if self._unpaired:
                power = sums["fake_power"] * sums["source_power"]
                measured[f"{name}/correlation"] = sums["product"] / (power.sqrt() + _TINY)
        return measured

    def reset(self) -> None:
        """Begin the next interval."""
        self._sums, self._counts = {}, {}

    def state(self) -> dict[str, Any]:
        """Return what the next measures depend on."""
        last = {name: list(pair) for name, pair in self._last.items()}
        return {
            "sums": {name: dict(sums) for name, sums in self._sums.items()},
            "counts": dict(self._counts),
            "last": last,
        }

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Take back what `state` returned."""
        self._sums = {
            name: {key: value.to(device) for key, value in sums.items()}
            for name, sums in state["sums"].items()
        }
        self._counts = {name: list(counts) for name, counts in state["counts"].items()}
        self._last = {
            name: (pair[0].to(device), pair[1].to(device)) for name, pair in state["last"].items()
        }


def _thumbnails(images: Tensor) -> Tensor:
    return adaptive_avg_pool2d(images.float(), _SIDE)  # [N, C, H, W] -> [N, C, 4, 4]


def _at_ends(images: Tensor) -> Tensor:
    return (images.abs() > _END).float().mean()


def _steps(thumbs: Tensor) -> Tensor:
    """[N, C, 4, 4] -> the sum over neighbours of their mean squared difference."""
    return (thumbs[1:] - thumbs[:-1]).square().mean((1, 2, 3)).sum()


def _relief(thumbs: Tensor) -> Tensor:
    """[N, C, 4, 4] -> brightness about its mean over each image, [N, 4, 4].

    Averaged with its mirror image: FastCUT's fakes are made from mirrored sources half of the time.
    """
    brightness = thumbs.mean(1)
    brightness = (brightness + brightness.flip(2)) / 2
    return brightness - brightness.mean((1, 2), keepdim=True)


def _products(fake: Tensor, source: Tensor) -> dict[str, Tensor]:
    return {
        "product": (fake * source).sum(),
        "fake_power": fake.square().sum(),
        "source_power": source.square().sum(),
    }
