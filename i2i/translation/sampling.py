"""Images from noise: numbered files, sheets and walks, the same for a seed at any batch size and on any day."""

import csv
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2i import images
from i2i.checkpoint import load_weights
from i2i.files import write_atomically
from i2i.precision import autocast, pick_device, pick_precision
from i2i.translation import TranslationError
from i2i.translation.translator import described, named, rebuild, spec_of, weights_file

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sampler:
    """A generator of images from noise, and the discriminator that it was trained against where the file has it."""

    network: nn.Module
    latent: int
    latent_distribution: str  # normal or uniform
    device: torch.device
    precision: str
    discriminator: nn.Module | None = None
    objective: str = "vanilla"  # that the discriminator was trained with
    file: images.Format = "PNG"  # of numbered images: what holds their channels

    def latents(self, first: int, count: int, seed: int, truncate: float | None = None) -> Tensor:
        """Return [count, latent, 1, 1] for images `first`, `first` + 1, …: each is a function of (seed, number).

        `truncate`: values beyond it are drawn again, which trades variety for quality (Brock et
            al., ICLR 2019).
        """
        return torch.stack([self._latent(seed, first + i, truncate) for i in range(count)])

    def _latent(self, seed: int, number: int, truncate: float | None) -> Tensor:
        # torch's CPU generator keeps 32 bits of a seed: two numbers could meet. Philox is keyed by
        # both, 128 bits.
        random = np.random.Generator(np.random.Philox(key=[seed, number]))
        if self.latent_distribution == "uniform":
            z = random.uniform(-1, 1, self.latent)
        else:
            z = random.standard_normal(self.latent)
            while truncate is not None and (far := np.abs(z) > truncate).any():
                z[far] = random.standard_normal(int(far.sum()))
        return torch.from_numpy(z.astype(np.float32)).view(-1, 1, 1)

    @torch.no_grad()
    def pictures(
        self,
        latents: Tensor,
        score: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[list[Picture], list[float]]:
        """Return one [H, W, C] picture for each latent, and with `score` its probability of being real.

        Images are made one by one: convolutions round by batch size, and equal seeds must give
            equal bytes.
        """
        made, scores = [], []
        for latent in latents:
            with autocast(self.device, self.precision):
                image = self.network(latent.unsqueeze(0).to(self.device))
                if self.discriminator is not None and score:
                    logits = self.discriminator(image)
                    scales = [logits] if isinstance(logits, Tensor) else logits
                    scores.append(
                        float(
                            torch.stack([scale.float().mean() for scale in scales]).mean().sigmoid()
                        )
                    )
            made.append(images.from_tensor(image[0].float(), depth=8))
            if progress:
                progress(len(made), len(latents))
        return made, scores


def load_sampler(
    path: str | os.PathLike[str], device: str = "auto", precision: str = "auto"
) -> Sampler:
    """Return the sampler of a run folder, a weights file, or a checkpoint folder.

    Raises:
        TranslationError: not a model, or one that translates images.
        CheckpointError: a damaged or foreign file.
    """
    file = weights_file(Path(path))
    tensors, metadata = load_weights(file)
    parts = described(file, described(file, metadata, "generators"), "generate")
    if not parts:
        raise TranslationError(
            f"{path}: this model translates images, it makes none from noise (use `i2i translate`)"
        )
    place = pick_device(device)
    channels = (named(file, parts, "in_channels"), named(file, parts, "out_channels"))
    latent_distribution = named(file, parts, "latent_distribution", ("normal", "uniform"))
    generator = rebuild(file, "generators", parts, channels, tensors, "generate").eval()
    discriminator, critic = None, described(file, metadata, "discriminator")
    if critic:
        seen = (named(file, critic, "in_channels"),)
        discriminator = (
            rebuild(file, "discriminators", critic, seen, tensors, "discriminator").eval().to(place)
        )
    chosen = pick_precision(precision, place)
    objective = str(critic.get("objective", "vanilla"))
    kind: images.Format = (
        "PNG" if spec_of(file, metadata, "image", channels[1]).fits("PNG") else "NPY"
    )
    return Sampler(
        generator.to(place),
        channels[0],
        latent_distribution,
        place,
        chosen,
        discriminator,
        objective,
        kind,
    )


def slerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Return the point at `share` of the great circle from `start` to `end`. Shoemake, SIGGRAPH 1985."""
    cosine = torch.nn.functional.cosine_similarity(start.flatten(), end.flatten(), dim=0).clamp(
        -1, 1
    )
    angle = torch.acos(cosine)
    if float(torch.sin(angle)) < 1e-6:  # parallel: the circle is not defined, the line is
        return torch.lerp(start, end, share)
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(
        angle
    )


def walk(
    sampler: Sampler,
    a: int,
    b: int,
    steps: int,
    truncate: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Picture]:
    """Return `steps` pictures from the image of seed `a` to that of seed `b`, both included.

    Raises:
        TranslationError: fewer than two steps.
    """
    if steps < 2:
        raise TranslationError(f"--interpolate: {steps} steps; a walk has at least 2")
    start, end = sampler.latents(0, 1, a, truncate)[0], sampler.latents(0, 1, b, truncate)[0]
    latents = torch.stack([slerp(start, end, step / (steps - 1)) for step in range(steps)])
    return sampler.pictures(latents, progress=progress)[0]


def write_numbered(
    sampler: Sampler, folder: Path, count: int, seed: int, truncate: float | None, score: bool
) -> Iterator[Path]:
    """Write `folder`/000000.png, … and, with `score`, scores.csv; yield every file when it is on disk.

    Channels that a PNG cannot hold are written as .npy.

    Raises:
        TranslationError: the folder holds other files, or `score` without a discriminator.
    """
    check_score(sampler, score)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TranslationError(f"{folder}: exists and is not empty; choose another OUT")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        pictures, scores = sampler.pictures(sampler.latents(number, 1, seed, truncate), score)
        path = folder / f"{number:06d}.{sampler.file.lower()}"
        images.encode(pictures[0], path, sampler.file)
        rows += [(path.name, f"{value:.6f}") for value in scores]
        yield path
    if score:
        text = io.StringIO()
        csv.writer(text).writerows([("image", "probability_real"), *rows])
        write_atomically(folder / "scores.csv", text.getvalue().encode())


def check_score(sampler: Sampler, score: bool) -> None:
    """Raise TranslationError where scores are asked for and no discriminator gives a probability."""
    if score and sampler.objective not in ("vanilla", "nonsaturating"):
        raise TranslationError(
            f"--score: the logits of {sampler.objective} are no probabilities; there is no score"
        )
    if score and sampler.discriminator is None:
        raise TranslationError(
            "--score: this weights file has no discriminator; take the run it comes from"
        )


def write_animation(pictures: list[Picture], path: Path, milliseconds: int = 80) -> None:
    """Write an animated WebP that goes there and back."""
    from PIL import Image

    frames = [Image.fromarray(images.shown(picture)) for picture in pictures + pictures[-2:0:-1]]
    content = io.BytesIO()
    frames[0].save(
        content,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=0,
        quality=90,
    )
    write_atomically(path, content.getvalue())
