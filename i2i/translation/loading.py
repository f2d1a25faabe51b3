"""Translators from trained models on disk."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from i2i import images
from i2i.config import AlphaUse
from i2i.direction import Direction
from i2i.model_file import ModelInfo, load_model
from i2i.translation import TranslationError
from i2i.translation.translator import Translator


def load(
    path: str | os.PathLike[str],
    direction: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    alpha: AlphaUse | None = None,
    depth: int | None = None,
    half: Literal["left", "right", "whole"] | None = None,
    max_pixels: int = images.MAX_PIXELS,
) -> Translator:
    """Return the translator of a run folder (or RUN@best), a weights file, or a checkpoint folder.

    Args:
        direction: "a2b" or "b2a"; None: the one that the model names.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto (bf16 on GPUs that have it, else fp32), fp32, bf16 or fp16.
        alpha: drop, composite or carry (see `Translator`); None: as in training.
        depth: of outputs: 8, 16 or 32 (floats); None: that of the files of the target in training.
        half, max_pixels: see `Translator`.

    Raises:
        TranslationError: a model of noise to images, one that does not translate in this direction,
            or one that takes alpha, where `alpha` would have no effect.
        ModelFileError: no model, or a weights file that is damaged or not written by i2i.
        DeviceError: a device or precision that this machine does not have.
    """
    model = load_model(path)
    info = model.info
    chosen = _pick_direction(path, info, direction or info.direction)
    part, source = info.generators[chosen], info.domains[chosen.source]
    if source.half is None and info.layout in ("ab", "ba"):  # of a file that does not say more
        source = replace(source, half="left" if info.layout[0] == chosen.source else "right")
    if alpha is not None and source.alpha:
        reason = f"{path} takes alpha as a channel, so this has no effect"
        raise TranslationError("--alpha", reason, "Leave it out")
    translator = Translator(
        model.generator(chosen),
        part.in_channels,
        part.out_channels,
        direction=chosen,
        directions=info.directions,
        statistics=info.statistics,
        alpha=alpha or info.alpha,
        source=source,
        target=info.domains[chosen.target],
        device=device,
        precision=precision,
        layout=info.layout,
        depth=depth,
        half=half,
        resized_to=info.resized_to,
        max_pixels=max_pixels,
    )
    translator.path = str(Path(path).absolute())
    return translator


def _pick_direction(path: str | os.PathLike[str], info: ModelInfo, name: str) -> Direction:
    if not info.directions:
        reason = "this model makes images from noise and translates none"
        raise TranslationError(path, reason, "Use `i2i generate`")
    if name not in list(info.directions):
        accepted = " and ".join(info.directions)
        raise TranslationError(path, f"this model translates {accepted}, not {name}")
    return Direction(name)
