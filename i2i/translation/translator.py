"""A generator with its pre- and post-processing: an image in, the same kind and size out."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i import images
from i2i.config import AlphaUse
from i2i.direction import Direction
from i2i.execution import Execution
from i2i.images import Array, WatchedRange
from i2i.images.classes import class_depth
from i2i.images.spec import ChannelSpec, ImageSpec, clip_note, unlike_note
from i2i.images.stacks import convert_channels
from i2i.model_file import Statistics, default_spec
from i2i.networks.inference import per_image_statistics
from i2i.networks.padding import reflect
from i2i.precision import after_fork, pick_device, pick_precision
from i2i.translation import TranslationError
from i2i.translation.fingerprint import fingerprint
from i2i.translation.memory import MemoryNeed

_MIN_SIDE = 8  # pixels: what the reflections inside a residual generator need
BATCH_PIXELS = 2**22  # of one automatic batch: 16 images of 512 x 512
_BATCH_IMAGES = 16  # more gained nothing
_MAX_TENSOR_VALUE = 1.5  # bicubic resampling leaves [-1, 1] by less


class Translator:
    """A generator that is called with one image, or with a batch of equal sizes.

    The result for an image never depends on the others in its batch: bit for bit on a CPU, up to
    the rounding of its kernels on a GPU. The network is moved to the device and put into evaluation
    mode.

    Args:
        statistics: what BatchNorm normalizes by: each image's own statistics (as pix2pix was
            published), or the running ones of training.
        alpha: use of the alpha that the network does not take: dropped, composited over white, or
            put back onto the output unchanged (carry). keep: the network takes it.
        depth: bits of outputs (32: floats); None: those of the target's files, or of the input
            where the model does not say.
        source, target: how files of the two domains are read and written; None: by the channels
            alone (see `default_spec`).
        layout: of the pairs that the model was trained on.
        half: of images that is translated, or "whole"; None: the input of pairs side by side, where
            an image has the form of those in training.
        resized_to: (height, width) of images in training.
        max_pixels: of a PIL image.
        directions: all that the model file can translate.

    Raises:
        TranslationError: alpha cannot be carried onto what the network makes.
    """

    def __init__(
        self,
        network: nn.Module,
        in_channels: int,
        out_channels: int,
        *,
        direction: Direction = Direction.A2B,
        directions: Sequence[Direction] = (),
        statistics: Statistics = "image",
        alpha: AlphaUse = "drop",
        source: ImageSpec | None = None,
        target: ImageSpec | None = None,
        device: str = "auto",
        precision: str = "auto",
        layout: str = "auto",
        depth: int | None = None,
        half: Literal["left", "right", "whole"] | None = None,
        resized_to: tuple[int, int] | None = None,
        max_pixels: int = images.MAX_PIXELS,
    ) -> None:
        _check_choice("alpha", alpha, ("drop", "composite", "keep", "carry"))
        _check_choice("depth", depth, (None, 8, 16, 32))
        _check_choice("half", half, (None, "left", "right", "whole"))
        if type(max_pixels) is not int or max_pixels < 1:
            raise TranslationError(
                "max_pixels", f"must be a whole number from 1, got {max_pixels!r}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.direction, self.directions = direction, tuple(directions or (direction,))
        self.statistics, self.layout = statistics, layout
        self.source = source or default_spec(in_channels)
        self.target = target or default_spec(out_channels)
        if depth:
            self.target = replace(self.target, sample="")
        self.alpha: AlphaUse = "keep" if self.source.alpha else "drop" if alpha == "keep" else alpha
        typed = self.target.sample
        plain = out_channels in (1, 3) and len(self.source.inputs) == 1 and not typed
        plain = plain and not self.target.classes
        if (own := self.target.classes) and depth and depth not in (class_depth(own), 16):
            reason = f"{depth} bits do not hold the numbers of {own} classes"
            raise TranslationError("depth", reason, "Choose 16, or leave it out")
        if self.alpha == "carry" and not plain:
            counts = f"{out_channels} channels from {len(self.source.inputs)} inputs"
            counts += f", as {typed}" if typed else ""
            reason = f"carry needs one input and gray or RGB outputs; this model makes {counts}"
            raise TranslationError("alpha", reason, "Choose drop or composite")
        self.depth, self.half, self.resized_to = depth, half, resized_to
        self.max_pixels = max_pixels
        self.device = pick_device(device)
        self.execution = Execution(pick_precision(precision, self.device))
        self.automatic = precision == "auto"  # a folder job may choose another execution
        used = per_image_statistics(network) if statistics == "image" else network
        self.network = used.eval().to(self.device)
        self.divisor = int(getattr(network, "size_divisor", 1))
        self.memory = MemoryNeed(self.network, in_channels, self.device, self.padded)
        self.path = ""  # of the model, absolute, where it was loaded from a file

    @overload
    def __call__(self, image: Image.Image) -> Image.Image: ...
    @overload
    def __call__(self, image: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def __call__(self, image: Tensor) -> Tensor: ...
    def __call__(
        self, image: Image.Image | NDArray[Any] | Tensor
    ) -> Image.Image | NDArray[Any] | Tensor:
        """Translate a PIL image, an array or a tensor into the same kind and size.

        Channels are the network's. An array is [H, W, C] or gray [H, W]: uint8, uint16, or other
        numbers in the range of its domain ([0, 1] unless the model says otherwise); a last channel
        of 2 or 4 that the network does not take is alpha, floats of it are in [0, 1]. Gray, RGB and
        alpha are converted to what the network takes. Integers become what files of the target
        hold, in `depth`; floats stay floats. A tensor is [C, H, W] or [N, C, H, W], floats in
        [-1, 1], and must have its channels.

        Raises:
            TranslationError, ImageError: another shape, dtype, range or number of channels.
        """
        after_fork(self.device)
        if isinstance(image, Tensor):
            return self._tensor(image)
        if isinstance(image, np.ndarray):
            return self._array(image)
        if isinstance(image, Image.Image):
            return self._pil(image)
        raise TranslationError(
            "image", f"expected a PIL image, an array or a tensor, got {type(image).__name__}"
        )

    def tiled(
        self, array: NDArray[Any], tile: int | None = None, overlap: int | None = None
    ) -> NDArray[Any]:
        """Translate an array as a call does, in tiles (see `Tiling`) and the memory of one."""
        from i2i.translation.tiles import InTiles  # which imports this module

        return InTiles(self, tile, overlap)(array)

    def pixels(self, arrays: Array, depth: int | None = None) -> Array:
        """Translate prepared images of one size, [N, H, W, C], uint8, uint16 or float32 in [0, 1].

        The result is what files of the target with `depth` bits hold (32: floats), or with those of
        `arrays`.

        Raises:
            ImageError: the network returned values that are not finite.
            NotEnoughMemoryError: they do not fit.
        """
        after_fork(self.device)
        count, height, width = arrays.shape[:3]
        with self.memory.guarded(height, width, count):
            result = self.batch(self.source.tensor(arrays, self.device))
            return self.stored(result, depth or images.depth_of(arrays))

    def stored(self, result: Tensor, depth: int) -> Array:
        """Return results of the network, [..., C, H, W], as files of `depth` bits hold them.

        Raises:
            ImageError: values that are not finite.
        """
        if self.target.classes:
            numbers = self.target.pixels(result)
            return numbers.astype(np.uint16) if depth == 16 else numbers
        taken = self.target.taken_depth(depth)
        fine = 32 if self.target.in_units(taken) else taken
        return self.target.typed(self.target.stored(images.from_tensor(result, fine), depth))

    def output_depth(self, depth: int) -> int:
        """Return the bits of the output for a file of `depth` bits; 32: floats."""
        return self.depth or self.target.depth or depth

    def batch(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] in [-1, 1] -> [N, out_channels, H, W], float32 on the device.

        Images are padded by reflection, evenly on opposite sides, as little as the network permits,
        and cropped back.
        """
        height, width = x.shape[-2:]
        rows, columns = self.padded(height) - height, self.padded(width) - width
        top, left = rows // 2, columns // 2
        padded = x.to(self.device, torch.float32)
        if rows or columns:
            padded = reflect(padded, top, rows - top, left, columns - left)
        # On a CPU the kernels that are chosen, and so the rounding, depend on the batch size: each
        # image goes alone.
        parts = padded.contiguous().chunk(len(x) if self.device.type == "cpu" else 1)
        with torch.no_grad(), self.execution.context(self.device):
            y = torch.cat([self.network(part) for part in parts])
        return y.float()[..., top : top + height, left : left + width]

    def batch_of(self, area: int) -> int:
        """Return how many images of `area` pixels go together: on a CPU each goes alone."""
        if self.device.type == "cpu":
            return 1
        return max(1, min(_BATCH_IMAGES, BATCH_PIXELS // area))

    @property
    def precision(self) -> str:
        """Number format of activations: fp32, bf16 or fp16."""
        return self.execution.precision

    def use(self, execution: Execution) -> None:
        """Compute in `execution` from now on."""
        if execution != self.execution:
            self.__dict__.pop("fingerprint", None)
        self.execution = execution
        execution.prepare(self.network)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides a result: weights, statistics, alpha, execution, specs.

        Manifests recognize jobs by it: if it changes, jobs of earlier versions do not continue.
        """
        specs = f"{self.source.text} {self.target.text}"
        depth = f" {self.depth}" if self.depth else ""
        settings = f"{self.statistics} {self.alpha} {self.execution} {specs}{depth}"
        return fingerprint(settings, self.network)

    def padded(self, side: int) -> int:
        """Return the side, in pixels, that the network is given for a side of an image."""
        return -(-max(side, _MIN_SIDE) // self.divisor) * self.divisor

    def _array(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.ndim not in (2, 3) or 0 in array.shape:
            reason = f"expected [H, W] or [H, W, C], got an array of shape {array.shape}"
            raise TranslationError("image", reason)
        if array.dtype.name not in images.NUMBERS:
            reason = f"expected whole numbers, floats or booleans, got {array.dtype}"
            raise TranslationError("image", reason)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        if array.dtype == np.bool_:
            array = array.view(np.uint8) * np.uint8(255)
        pixels: Array = array if array.ndim == 3 else array[..., None]
        pixels = self._cut(pixels)
        alpha = pixels.shape[2] in (2, 4) and pixels.shape[2] != self.source.file_channels
        floats = array.dtype.kind == "f"
        wide = array.dtype not in (np.uint8, np.uint16)
        taken = 32 if wide else self.source.taken_depth(images.depth_of(pixels))
        depth = self._result_depth(taken)
        watched = self.source.watched()
        unit = self.source.unit(pixels, alpha, watched)
        self._warn_of_clipping(watched)
        result = self._image(unit, alpha, depth)
        result = result.astype(array.dtype) if floats and result.dtype == np.float32 else result
        if alpha and self.alpha == "carry":
            same = result.dtype == array.dtype
            opacity = pixels if same else images.to_depth(unit, images.depth_of(result))
            return np.concatenate([result, opacity[..., -1:]], axis=2)
        return result[..., 0] if array.ndim == 2 and result.shape[2] == 1 else result

    def _pil(self, image: Image.Image) -> Image.Image:
        if 0 in image.size:
            raise TranslationError("image", f"a size of {image.width}x{image.height} has no pixels")
        watched = self.source.watched()
        pixels = images.from_pil(image, "keep", watched, self.max_pixels)
        pixels = self._cut(pixels)
        alpha = pixels.shape[2] in (2, 4)
        own = self.source.taken_depth(images.depth_of(pixels))
        pixels = pixels if own == 32 else self.source.unit(pixels, alpha, watched)
        self._warn_of_clipping(watched)
        carried = alpha and self.alpha == "carry"
        # Color in PIL has 8 bits.
        depth = self._result_depth(own) if self.target.file_channels + carried == 1 else 8
        result = self._image(pixels, alpha, depth)
        if carried:
            opacity = images.to_depth(pixels[..., -1:], images.depth_of(result))
            result = np.concatenate([result, opacity], axis=2)
        return images.to_pil(result)

    def _cut(self, pixels: Array) -> Array:
        part = self.source.cut(pixels, self.half)
        if part.shape != pixels.shape and not self.half:
            text = f"the image has the form of the pairs in training: its {self.source.half} half "
            warnings.warn(f'{text}is translated; half="whole" takes all', stacklevel=4)
        return part

    def _warn_of_clipping(self, watched: WatchedRange) -> None:
        if watched.outside:
            text = clip_note((watched.outside, watched.values), 1, self.source.value_range)
            warnings.warn(text, stacklevel=4)

    def _result_depth(self, depth: int) -> int:
        return depth if depth == 32 and not self.depth else self.output_depth(depth)

    def _image(self, pixels: Array, alpha: bool, depth: int) -> Array:
        """Translate [H, W, C], floats in [0, 1]; `alpha`: the last channel is alpha."""
        if alpha and not self.source.alpha:
            pixels = images.apply_alpha(
                pixels, "composite" if self.alpha == "composite" else "drop"
            )
        spec = ChannelSpec(self.source.file_channels, self.source.alpha)
        prepared = convert_channels(pixels, spec, alpha)
        for note in unlike_note(prepared, self.source):
            warnings.warn(note, stacklevel=5)
        translated: Array = self.pixels(prepared[None], depth)[0]
        return translated

    def _tensor(self, x: Tensor) -> Tensor:
        dense = x.layout == torch.strided and x.device.type != "meta" and not x.is_nested
        if not dense or x.ndim not in (3, 4) or 0 in x.shape or not x.is_floating_point():
            expected = "dense floats in [-1, 1] of shape [C, H, W] or [N, C, H, W]"
            shape = "that is nested" if x.is_nested else f"of shape {tuple(x.shape)}"
            got = f"{x.dtype}, {x.layout} on {x.device}, {shape}"
            raise TranslationError("image", f"expected {expected}, got {got}")
        if x.shape[-3] != self.in_channels:
            reason = f"the model takes {self.in_channels} channels, the tensor has {x.shape[-3]}"
            raise TranslationError("image", reason, "Arrays and PIL images are converted")
        if not float(x.detach().abs().max()) <= _MAX_TENSOR_VALUE:
            reason = "expected a tensor in [-1, 1], got larger values"
            raise TranslationError("image", reason, "Scale bytes by x / 127.5 - 1")
        batch = x.detach() if x.ndim == 4 else x.detach()[None]
        with self.memory.guarded(batch.shape[2], batch.shape[3], len(batch)):
            y = self.batch(batch).to(x.device, x.dtype)
        return y if x.ndim == 4 else y[0]


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices or isinstance(value, bool):
        accepted = ", ".join(map(str, choices))
        raise TranslationError(name, f"must be one of {accepted}, got {value!r}")
