"""Images from noise: numbered files and walks, the same for a seed at any batch size."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from i2i import images
from i2i.execution import Execution
from i2i.files import check_empty, write_atomically
from i2i.images import Array
from i2i.images.spec import ImageSpec
from i2i.model_file import GENERATE, default_spec, load_model
from i2i.networks.latent import LatentSpec
from i2i.precision import after_fork, pick_device, pick_precision
from i2i.translation import Progress, TranslationError


@dataclass(frozen=True)
class Sampler:
    """A generator of images from noise, and the discriminator it was trained against, if any."""

    network: nn.Module
    latent: LatentSpec
    device: torch.device
    execution: Execution
    discriminator: nn.Module | None = None
    objective: str = "vanilla"  # that the discriminator was trained with
    target: ImageSpec = field(default_factory=lambda: default_spec(3))  # of its images
    depth: int = 8  # bits of files; 32: floats

    def latents(self, first: int, count: int, seed: int, truncate: float | None = None) -> Tensor:
        """Return latents [count, length, 1, 1] of images `first` on, each fixed by (seed, number).

        `truncate`: values beyond it are drawn again, which trades variety for quality (Brock et
        al., ICLR 2019).
        """
        return torch.stack([self._latent(seed, first + i, truncate) for i in range(count)])

    def _latent(self, seed: int, number: int, truncate: float | None) -> Tensor:
        # torch's CPU generator keeps 32 bits of a seed: two numbers could meet. Philox is keyed by
        # both, 128 bits.
        random = np.random.Generator(np.random.Philox(key=[seed, number]))
        if self.latent.distribution == "uniform":
            z = random.uniform(-1, 1, self.latent.length)
        else:
            z = random.standard_normal(self.latent.length)
            while truncate is not None and (far := np.abs(z) > truncate).any():
                z[far] = random.standard_normal(int(far.sum()))
        return torch.from_numpy(z.astype(np.float32)).view(-1, 1, 1)

    @torch.no_grad()
    def pictures(
        self,
        latents: Tensor,
        score: bool = False,
        progress: Progress | None = None,
    ) -> tuple[list[Array], list[float]]:
        """Return an image [H, W, C] for each latent, and with `score` its probability to be real.

        Images have the depth of files, or are floats in [0, 1] if their values will be ranged.
        Images are made one by one: convolutions round by batch size, and equal seeds must give
        equal bytes.
        """
        after_fork(self.device)
        pictures, scores = [], []
        units = self.target.in_units(self.depth)
        for latent in latents:
            with self.execution.context(self.device):
                image = self.network(latent.unsqueeze(0).to(self.device))
                if self.discriminator is not None and score:
                    logits = self.discriminator(image)
                    scales = [logits] if isinstance(logits, Tensor) else logits
                    means = torch.stack([scale.float().mean() for scale in scales])
                    scores.append(float(means.mean().sigmoid()))
            pictures.append(images.from_tensor(image[0].float(), 32 if units else self.depth))
            if progress:
                progress(len(pictures), len(latents))
        return pictures, scores


def load_sampler(
    path: str | os.PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    depth: int | None = None,
) -> Sampler:
    """Return the sampler of a run folder, a weights file, or a checkpoint folder.

    `depth`: bits of its images, 32 for floats; None: those of training.

    Raises:
        TranslationError: a model that translates images.
        ModelFileError: no model, or a weights file that is damaged or not written by i2i.
    """
    model = load_model(path)
    info = model.info
    latent = info.generators[GENERATE].latent if GENERATE in info.generators else None
    if latent is None:
        reason = "this model translates images and makes none from noise"
        raise TranslationError(path, reason, "Use `i2i translate`")
    used = pick_device(device)
    generator, discriminator = model.generator(GENERATE), model.discriminator()
    target = info.domains["image"]
    return Sampler(
        generator.eval().to(used),
        latent,
        used,
        Execution(pick_precision(precision, used)),
        discriminator.eval().to(used) if discriminator else None,
        info.discriminator.objective if info.discriminator else "vanilla",
        replace(target, sample="") if depth else target,
        depth or target.depth or 8,
    )


def check_sheet(sampler: Sampler, count: int, option: str) -> None:
    """Raise TranslationError if `count` images together exceed MAX_PIXELS, as a file may not."""
    height, width = sampler.network.size or (1, 1)  # type: ignore[misc]
    if count * height * width > images.MAX_PIXELS:
        size = f"{count:,} images of {width}x{height} are {count * height * width / 1e6:,.0f}"
        limit = f"megapixels, the limit is {images.MAX_PIXELS / 1e6:.0f}"
        raise TranslationError(option, f"{size} {limit}", "Choose fewer, or --count")


def slerp(start: Tensor, end: Tensor, fraction: float) -> Tensor:
    """Return the point at `fraction` of the great circle between two (Shoemake, SIGGRAPH 1985)."""
    cosine = torch.nn.functional.cosine_similarity(start.flatten(), end.flatten(), dim=0)
    angle = torch.acos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if float(sine) < 1e-6:  # parallel: the circle is not defined, the line is
        return torch.lerp(start, end, fraction)
    near, far = torch.sin((1 - fraction) * angle), torch.sin(fraction * angle)
    return (near * start + far * end) / sine


def walk(
    sampler: Sampler,
    a: int,
    b: int,
    steps: int,
    truncate: float | None = None,
    progress: Progress | None = None,
) -> list[Array]:
    """Return `steps` images from that of seed `a` to that of seed `b`, both included.

    Raises:
        TranslationError: fewer than two steps.
    """
    if steps < 2:
        raise TranslationError("--interpolate", f"a walk has at least 2 steps, got {steps}")
    start, end = sampler.latents(0, 1, a, truncate)[0], sampler.latents(0, 1, b, truncate)[0]
    latents = torch.stack([slerp(start, end, step / (steps - 1)) for step in range(steps)])
    return sampler.pictures(latents, progress=progress)[0]


def write_numbered(
    sampler: Sampler, folder: Path, count: int, seed: int, truncate: float | None, score: bool
) -> Iterator[Path]:
    """Write `folder`/000000.png, … and, with `score`, scores.csv; yield the path of each image.

    What a PNG cannot hold is written as .tif or .npy.

    Raises:
        WriteError: the folder holds other files.
        TranslationError: `score` without a discriminator.
    """
    check_score(sampler, score)
    check_empty(folder, "Choose another OUT")
    folder.mkdir(parents=True, exist_ok=True)
    rows, target = [], sampler.target
    for number in range(count):
        pictures, scores = sampler.pictures(sampler.latents(number, 1, seed, truncate), score)
        suffix = target.lossless(None if target.sample else sampler.depth)
        path = folder / f"{number:06d}.{suffix}"
        images.encode(target.typed(target.stored(pictures[0], sampler.depth)), path)
        rows += [(path.name, f"{value:.6f}") for value in scores]
        yield path
    if score:
        text = io.StringIO()
        csv.writer(text).writerows([("image", "probability_real"), *rows])
        write_atomically(folder / "scores.csv", text.getvalue().encode())


def check_score(sampler: Sampler, score: bool) -> None:
    """Raise TranslationError if a `score` is requested and no discriminator gives one."""
    if score and sampler.objective not in ("vanilla", "nonsaturating"):
        raise TranslationError("--score", f"logits of {sampler.objective} are not probabilities")
    if score and sampler.discriminator is None:
        hint = "Use the run that it comes from"
        raise TranslationError("--score", "this weights file has no discriminator", hint)


def write_animation(pictures: list[Array], path: Path, milliseconds: int = 80) -> None:
    """Write an animated WebP that plays `pictures` forward and backward."""
    from PIL import Image

    frames = [
        Image.fromarray(images.to_display_rgb(picture)) for picture in pictures + pictures[-2:0:-1]
    ]
    options = {"duration": milliseconds, "loop": 0, "quality": 90}
    content = io.BytesIO()
    frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:], **options)
    write_atomically(path, content.getvalue())
