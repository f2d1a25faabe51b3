"""Image statistics of fakes and reals: color, diversity, saturation, grid, likeness to sources.

All but saturation and grid come from thumbnails, 4 x 4 means of images that a step has generated
anyway. Sums stay on the device until the metrics of a log interval are fetched.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from i2i.images.spectrum import WINDOW, grid_excess
from i2i.methods._base import Images, Terms
from i2i.training.meter import add_term

_THUMBNAIL = 4  # pixels a side
_SATURATED = 1 - 1 / 255  # from here on a value is black or white in 8 bits
_EPS = 1e-10  # squared difference of values in [-1, 1] that is invisible; makes 0 / 0 = 1


class ImageStats:
    """Sums since the last `reset`, for each domain that has both fakes and reals.

    Args:
        unpaired: fakes are made from images of the other domain and nothing says how to translate
            them, so that it is worth watching whether dark stays dark.
    """

    def __init__(self, unpaired: bool) -> None:
        self._unpaired = unpaired
        self._sums: dict[str, Terms] = {}
        self._counts: dict[str, list[int]] = {}  # domain -> steps, images, neighbors
        self._last: dict[str, list[Tensor]] = {}  # domain -> thumbnails of the last fake and real

    @torch.no_grad()
    def update(self, reals: Images, fakes: Images) -> None:
        """Add a batch of reals, and the fakes made from it, each [N, C, H, W] in [-1, 1]."""
        for domain, fake in fakes.items():
            if domain not in reals:  # CUT's identity images have no reals to be compared with
                continue
            real = reals[domain]
            thumb, real_thumb = _thumbnails(fake), _thumbnails(real)
            last, real_last = self._last.get(domain, [thumb[:0], real_thumb[:0]])
            self._last[domain] = [thumb[-1:].clone(), real_thumb[-1:].clone()]
            terms = {
                "color": thumb.mean((2, 3)).sum(0),
                "real_color": real_thumb.mean((2, 3)).sum(0),
                "ends": _saturation(fake),
                "real_ends": _saturation(real),
                "steps": _neighbor_distance(torch.cat([last, thumb])),
                "real_steps": _neighbor_distance(torch.cat([real_last, real_thumb])),
            }
            if min(real.shape[-2:]) >= WINDOW:
                fakes_excess, reals_excess = grid_excess(torch.cat([fake, real])).chunk(2)
                terms["grid"] = fakes_excess.mean() - reals_excess.mean()
            sources = [images for name, images in reals.items() if name != domain]
            if self._unpaired and len(sources) == 1:
                relief, source_relief = _relief(thumb), _relief(_thumbnails(sources[0]))
                terms["product"] = (relief * source_relief).sum()
                terms["fake_power"] = relief.square().sum()
                terms["source_power"] = source_relief.square().sum()
            sums = self._sums.setdefault(domain, {})
            for name, term in terms.items():
                add_term(sums, name, term)
            steps, images, neighbors = self._counts.get(domain, [0, 0, 0])
            neighbors += len(last) + len(thumb) - 1
            self._counts[domain] = [steps + 1, images + len(thumb), neighbors]

    def compute(self) -> Terms:
        """Return 0-d tensors on the device, under DOMAIN/STATISTIC, since the last `reset`.

        drift: distance of the mean colors of fakes and reals, root mean square over channels; 1 is
            black to white.
        diversity: how much a fake differs from the next one, relative to reals: 1 is as much, 0 is
            not at all. The difference of neighbors in a random order measures their variance, works
            with batches of one image, and unlike the variance over an interval is not raised by a
            generator that always makes the same image and changes it as it learns.
        saturation, saturation_real: fraction of values that are black or white in 8 bits.
        grid: how much a grid of period 2 stands out of fakes, minus the same of reals, in dB; of
            images with sides of 32 pixels or more.
        correlation: of the brightness of fakes and their sources over each image, in unpaired
            training; -1: inverted.
        """
        stats: Terms = {}
        for domain, sums in self._sums.items():
            steps, images, neighbors = self._counts[domain]
            color = (sums["color"] - sums["real_color"]) / images
            stats[f"{domain}/drift"] = color.square().mean().sqrt() / 2
            if neighbors:
                fake, real = sums["steps"] / neighbors, sums["real_steps"] / neighbors
                stats[f"{domain}/diversity"] = ((fake + _EPS) / (real + _EPS)).sqrt()
            stats[f"{domain}/saturation"] = sums["ends"] / steps
            stats[f"{domain}/saturation_real"] = sums["real_ends"] / steps
            if "grid" in sums:
                stats[f"{domain}/grid"] = sums["grid"] / steps
            if "product" in sums:
                power = (sums["fake_power"] * sums["source_power"]).sqrt()
                stats[f"{domain}/correlation"] = sums["product"] / (power + _EPS)
        return stats

    def reset(self) -> None:
        """Start the next interval; its first images are neighbors of the last ones."""
        self._sums, self._counts = {}, {}

    def state(self) -> dict[str, Any]:
        """Return what the next statistics depend on."""
        sums = {domain: dict(terms) for domain, terms in self._sums.items()}
        return {"sums": sums, "counts": dict(self._counts), "last": dict(self._last)}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Load what `state` returned."""
        self._sums = {}
        for domain, terms in state["sums"].items():
            self._sums[domain] = {name: term.to(device) for name, term in terms.items()}
        self._counts = dict(state["counts"])
        self._last = {
            domain: [thumb.to(device) for thumb in pair] for domain, pair in state["last"].items()
        }


def _thumbnails(images: Tensor) -> Tensor:
    return adaptive_avg_pool2d(images.float(), _THUMBNAIL)  # [N, C, H, W] -> [N, C, 4, 4]


def _saturation(images: Tensor) -> Tensor:
    return (images.abs() > _SATURATED).float().mean()


def _neighbor_distance(thumbs: Tensor) -> Tensor:
    """Return the sum over neighbors in [N, C, 4, 4] of their mean squared difference."""
    return (thumbs[1:] - thumbs[:-1]).square().mean((1, 2, 3)).sum()


def _relief(thumbs: Tensor) -> Tensor:
    """Return the brightness of [N, C, 4, 4] about its mean over each image, [N, 4, 4].

    Averaged with its mirror image: FastCUT's fakes are made from mirrored sources half of the time.
    """
    brightness = thumbs.mean(1)
    brightness = (brightness + brightness.flip(2)) / 2
    return brightness - brightness.mean((1, 2), keepdim=True)
