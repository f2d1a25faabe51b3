"""One generator with its pre- and post-processing: any image in, the same kind and size of image out."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from i2i import images, registry
from i2i.checkpoint import WEIGHTS, load_weights, read_metadata
from i2i.config import AlphaUse
from i2i.data.folders import Layout
from i2i.direction import Direction
from i2i.images import Array
from i2i.images.spec import ChannelSpec, ImageSpec, convert_channels
from i2i.networks.inference import per_image_statistics
from i2i.precision import autocast, pick_device, pick_precision
from i2i.translation import TranslationError

Statistics = Literal["image", "running"]

_LARGEST = (
    4096  # blocks, layers or channels that a description may ask for where no tensor is as large
)
_SMALLEST = 8  # pixels: a side on which the reflections inside a residual generator fit


class Translator:
    """A generator, called with one image or a batch. The result for an image never depends on the others in its batch:
    bit for bit on a CPU, up to the rounding of its kernels on a GPU.

    `statistics` says what BatchNorm normalizes by: each image's own statistics (as pix2pix was
        published), or the
    running ones of training. `alpha` says what becomes of the alpha of an image when the network
    takes none: it is dropped, laid over white (`composite`), or put back onto the output unchanged
        (`carry`); `keep` stands for a
    network that takes it. `source` and `target` say how files of the two domains are read and
    written; without them a network of 2 or 4 channels takes alpha, and floats are in [0, 1].
    `layout` is how the pairs lay that it was trained on. `directions` lists what the model file can
    translate. The network is moved to the device and put into evaluation mode.

    Attributes: `in_channels`, `out_channels`, `direction`, `directions`, `statistics`, `alpha`,
        `source`, `target`,
    `device`, `precision`, `layout`.

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
    ) -> None:
        self.layout = layout
        self.in_channels, self.out_channels = in_channels, out_channels
        self.direction, self.directions = direction, tuple(directions or (direction,))
        self.statistics = statistics
        self.source, self.target = source or _plain(in_channels), target or _plain(out_channels)
        self.alpha: AlphaUse = "keep" if self.source.alpha else "drop" if alpha == "keep" else alpha
        if self.alpha == "carry" and (out_channels not in (1, 3) or len(self.source.inputs) > 1):
            raise TranslationError(
                f"alpha: carry puts the alpha of one input back onto gray or RGB, this model makes {out_channels} "
                f"channels from {len(self.source.inputs)} (choose drop or composite)"
            )
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        used = per_image_statistics(network) if statistics == "image" else network
        self.network = used.eval().to(self.device)
        self._multiple = int(getattr(network, "size_divisor", 1))

    @overload
    def __call__(self, image: Image.Image) -> Image.Image: ...
    @overload
    def __call__(self, image: NDArray[Any]) -> NDArray[Any]: ...
    @overload
    def __call__(self, image: Tensor) -> Tensor: ...
    def __call__(
        self, image: Image.Image | NDArray[Any] | Tensor
    ) -> Image.Image | NDArray[Any] | Tensor:
        """Translate a PIL image, an array or a tensor into the same kind, size and depth; channels are the network's.

        An array is [H, W, C] or gray [H, W]: uint8, uint16, or floats in the range of its domain,
        which is [0, 1] where the model says nothing else; a last channel of 2 or 4 that the network
        does not take is alpha, floats of it are in [0, 1]. Gray, RGB and alpha are converted to
        what the network takes. A tensor is [C, H, W] or [N, C, H, W], floats in [-1, 1], and must
        have its channels.

        Raises:
            TranslationError, ImageError: another shape, dtype, range or number of channels.
        """
        if isinstance(image, Tensor):
            return self._tensor(image)
        if isinstance(image, np.ndarray):
            return self._array(image)
        if isinstance(image, Image.Image):
            return self._pil(image)
        raise TranslationError(
            f"image: {type(image).__name__} is not a PIL image, a NumPy array or a tensor"
        )

    def pixels(self, arrays: Array, depth: int | None = None) -> Array:
        """Translate prepared images of one size, [N, H, W, C], uint8, uint16 or float32 in [0, 1].

        The result has `depth` (8, 16, or 32 for float32), or that of `arrays`.

        Raises:
            ImageError: the network returned values that are not finite.
        """
        result = self.batch(images.to_tensor(arrays, self.device))
        return images.from_tensor(result, depth or images.depth_of(arrays))

    def batch(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] in [-1, 1] -> [N, out_channels, H, W], float32 on the translator's device.

        Images are padded by reflection, evenly on opposite sides, as little as the network permits,
        and cropped back.
        """
        height, width = x.shape[-2:]
        rows, columns = self._margin(height), self._margin(width)
        padded = _reflect(_reflect(x.to(self.device, torch.float32), -2, rows), -1, columns)
        # On a CPU the kernels that are chosen, and so the rounding, depend on the batch size: each
        # image goes alone.
        parts = padded.contiguous().chunk(len(x) if self.device.type == "cpu" else 1)
        with torch.no_grad(), autocast(self.device, self.precision):
            y = torch.cat([self.network(part) for part in parts])
        return y.float()[..., rows // 2 : rows // 2 + height, columns // 2 : columns // 2 + width]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides the result for an image: weights, statistics, alpha, precision, specs."""
        how = f"{self.statistics} {self.alpha} {self.precision} {self.source.to_dict()} {self.target.to_dict()}"
        digest = hashlib.blake2b(how.encode(), digest_size=8)
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _margin(self, size: int) -> int:
        return -(-max(size, _SMALLEST) // self._multiple) * self._multiple - size

    def _array(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.ndim not in (2, 3) or 0 in array.shape:
            raise TranslationError(
                f"image: an array of shape {array.shape} is not [H, W, C] or [H, W]"
            )
        pixels: Array = array if array.ndim == 3 else array[..., None]
        channels = pixels.shape[2]
        alpha = pixels[..., -1:] if channels in (2, 4) and channels != self.in_channels else None
        floats = np.issubdtype(array.dtype, np.floating)
        if floats:
            colors = images.from_value_range(
                pixels if alpha is None else pixels[..., :-1], self.source.value_range
            )
            parts = (
                [colors] if alpha is None else [colors, images.from_value_range(alpha, images.UNIT)]
            )
            pixels = np.concatenate(parts, axis=2)
        made = self._picture(pixels, alpha is not None)
        result: Array = (
            images.to_value_range(made, self.target.value_range) if floats else made
        ).astype(array.dtype)
        if alpha is not None and self.alpha == "carry":
            return np.concatenate([result, alpha], axis=2)
        return result[..., 0] if array.ndim == 2 and self.out_channels == 1 else result

    def _pil(self, image: Image.Image) -> Image.Image:
        pixels = images.from_pil(image, "keep", self.source.value_range)
        alpha = pixels.shape[2] in (2, 4)
        result = self._picture(pixels, alpha)
        if alpha and self.alpha == "carry":
            result = np.concatenate([result, pixels[..., -1:]], axis=2)
        gray_floats = (
            result.dtype == np.float32 and result.shape[2] == 1
        )  # PIL has floats of no other kind
        return images.to_pil(
            images.to_value_range(result, self.target.value_range) if gray_floats else result
        )

    def _picture(self, pixels: Array, alpha: bool) -> Array:
        """Translate [H, W, C] of any dtype, floats in [0, 1]; `alpha` says whether its last channel is alpha."""
        if alpha and not self.source.alpha:
            pixels = images.apply_alpha(
                pixels, "composite" if self.alpha == "composite" else "drop"
            )
        prepared = convert_channels(pixels, ChannelSpec(self.in_channels, self.source.alpha), alpha)
        translated: Array = self.pixels(prepared[None])[0]
        return translated

    def _tensor(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4) or 0 in x.shape or not x.is_floating_point():
            what = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
            raise TranslationError(
                f"image: a tensor is floats in [-1, 1] of shape [C, H, W] or [N, C, H, W], not {what}"
            )
        if x.shape[-3] != self.in_channels:
            raise TranslationError(
                f"image: the model takes {self.in_channels} channels, the tensor has {x.shape[-3]} "
                f"(pass an array or a PIL image to have it converted)"
            )
        if not float(x.detach().abs().max()) <= 1.5:  # bicubic resampling leaves [-1, 1] by less
            raise TranslationError(
                "image: a tensor is in [-1, 1], this one has larger values (x / 127.5 - 1 for bytes)"
            )
        y = self.batch(x.detach() if x.ndim == 4 else x.detach()[None]).to(x.device, x.dtype)
        return y if x.ndim == 4 else y[0]


def load(
    path: str | os.PathLike[str],
    direction: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    alpha: AlphaUse | None = None,
) -> Translator:
    """Return the translator of a run folder, a weights file, or a checkpoint folder. Nothing else is needed.

    `direction` is "a2b" or "b2a"; None takes the one that the model names. `device` is auto, cpu,
    cuda, cuda:N or mps, `precision` auto (bf16 on GPUs that have it, else fp32), fp32, bf16 or
    fp16. `alpha` (drop, composite or carry) says what becomes of alpha that the model does not
    take; None does what it was trained with.

    Raises:
        TranslationError: not a model, one of noise to images, one that does not translate in this
            direction, or one that takes alpha, where `alpha` would have no effect.
        CheckpointError: a weights file that is damaged or foreign.
        DeviceError: a device or precision that this machine does not have.
    """
    file = weights_file(Path(path))
    metadata = read_metadata(file)
    generators = described(file, metadata, "generators")
    known: list[Direction] = [direction for direction in Direction if direction in generators]
    chosen = _choose(path, known, direction or metadata.get("direction", ""))
    parts = described(file, generators, chosen)
    inputs, outputs = (named(file, parts, key) for key in ("in_channels", "out_channels"))
    source = spec_of(file, metadata, chosen[0], inputs)
    data = described(file, described(file, metadata, "config"), "data")
    if alpha is not None and source.alpha:
        raise TranslationError(
            f"{path}: alpha: this model takes alpha as a channel; --alpha has no effect (drop it)"
        )
    network = rebuild(file, "generators", parts, (inputs, outputs), load_weights(file)[0], chosen)
    return Translator(
        network,
        inputs,
        outputs,
        direction=chosen,
        directions=known,
        statistics=named(file, metadata, "statistics", get_args(Statistics)),
        alpha=alpha or named(file, metadata, "alpha", get_args(AlphaUse)),
        source=source,
        target=spec_of(file, metadata, chosen[-1], outputs),
        device=device,
        precision=precision,
        layout=named(file, data, "layout", get_args(Layout)),
    )


def spec_of(file: Path, metadata: Mapping[str, Any], domain: str, channels: int) -> ImageSpec:
    """Return how files of a domain are read, from the description of a model; format 1 and imported models do not say.

    Raises:
        TranslationError: the description is damaged.
    """
    if "domains" not in metadata:
        return _plain(channels)
    try:
        found = ImageSpec.from_dict(described(file, metadata, "domains")[domain])
    except (KeyError, TypeError, ValueError) as error:
        raise TranslationError(
            f"{file}: its description is damaged (domains: {error}); take another copy"
        ) from error
    if found.channels != channels:
        raise TranslationError(
            f"{file}: its description is damaged ({found.channels} channels are read for domain {domain}, the network "
            f"has {channels}); take another copy"
        )
    return found


def _plain(channels: int) -> ImageSpec:
    """2 or 4 channels have alpha, floats are in [0, 1]."""
    return ImageSpec((ChannelSpec(channels, channels in (2, 4)),))


def _reflect(x: Tensor, axis: int, margin: int) -> Tensor:
    """Add `margin` pixels, half of them before. Margins beyond the image, which F.pad refuses, reflect repeatedly."""
    if not margin:
        return x
    size = x.shape[axis]
    period = max(1, 2 * (size - 1))
    place = torch.arange(-(margin // 2), size + margin - margin // 2, device=x.device) % period
    return x.index_select(axis, torch.minimum(place, period - place))


def described(file: Path, metadata: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the part `key` of the description of a weights file; empty where there is none.

    Raises:
        TranslationError: it is no mapping.
    """
    part = metadata.get(key)
    if part is not None and not isinstance(part, dict):
        raise TranslationError(
            f"{file}: its description is damaged ({key} is {part!r}); take another copy"
        )
    return part or {}


def named(file: Path, part: Mapping[str, Any], key: str, known: Sequence[str] = ()) -> Any:
    """Return one value of a description: one of `known`, whose first stands in for a missing one, or a number above 0.

    Raises:
        TranslationError: another value.
    """
    value = part.get(key, *known[:1])
    if value in known if known else type(value) is int and value > 0:
        return value
    wanted = " or ".join(known) or "a number above 0"
    raise TranslationError(
        f"{file}: its description is damaged ({key} is {value!r}, not {wanted}); take another copy"
    )


def rebuild(
    file: Path,
    category: registry.Category,
    parts: Mapping[str, Any],
    channels: tuple[int, ...],
    tensors: Mapping[str, Tensor],
    prefix: str,
) -> nn.Module:
    """Return the network that `parts` of the metadata of `file` describes, with its tensors, named PREFIX/PARAMETER.

    Memory is taken only when the shapes are known to be those of the file: a description may ask
        for anything.

    Raises:
        TranslationError: it cannot be built, or the tensors do not fit.
    """
    own = {
        name.removeprefix(f"{prefix}/"): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}/")
    }
    try:
        found = registry.find(category, parts["name"])
        options = {**found.preset, **parts["options"]}
        largest = max([_LARGEST, *(side for tensor in own.values() for side in tensor.shape)])
        if any(
            isinstance(value, int) and value > largest for value in (*channels, *options.values())
        ):
            raise ValueError(f"a number above {largest} in {options}")
        with torch.device("meta"):
            network: nn.Module = found.factory(*channels, **options)
    except (
        AttributeError,
        ArithmeticError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        what = category.removesuffix("s")
        raise TranslationError(
            f"{file}: its {what} cannot be built here ({error}); was i2i changed?"
        ) from error
    try:
        types = {name: tensor.dtype for name, tensor in network.state_dict().items()}
        copies = {
            name: tensor.to(types.get(name, tensor.dtype), copy=True)
            for name, tensor in own.items()
        }
        network.load_state_dict(copies, assign=True)
    except RuntimeError as error:
        raise TranslationError(
            f"{file}: its weights do not fit {parts['name']} ({error}); was i2i changed?"
        ) from error
    return network


def weights_file(path: Path) -> Path:
    """Return the weights file that a run folder, a checkpoint folder or a file means.

    Raises:
        TranslationError: there is none.
    """
    if path.is_dir():
        if (path / WEIGHTS).is_file():
            return path / WEIGHTS
        if any(path.glob("*.pth")):
            raise TranslationError(
                f"{path}: a folder of another toolkit (convert it with `i2i import`)"
            )
        raise TranslationError(
            f"{path}: no {WEIGHTS} in this folder (give a run, a checkpoint, or a weights file)"
        )
    if not path.exists():
        raise TranslationError(
            f"{path}: no such model (give a run folder, a checkpoint folder, or a weights file)"
        )
    if path.suffix in (".pth", ".pt", ".ckpt", ".pkl"):
        raise TranslationError(
            f"{path}: not a weights file of i2i (convert files of other toolkits with `i2i import`)"
        )
    return path


def _choose(path: str | os.PathLike[str], known: list[Direction], wanted: str) -> Direction:
    if not known:
        raise TranslationError(
            f"{path}: this model makes images from noise, it translates none (use `i2i generate`)"
        )
    for direction in known:
        if direction == wanted:
            return direction
    raise TranslationError(
        f"{path}: direction: this model translates {' and '.join(known)}, not {wanted}"
    )
