"""Pixels in memory: depth, value range, channels, alpha, size."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from i2i.images.formats import CHANNEL_NAMES, Alpha, Array, ImageError, describe_channels
from i2i.images.histogram import WatchedRange

ValueRange = tuple[float, float]  # (low, high) of the floats in a file
UNIT: ValueRange = (0.0, 1.0)
MAX_VALUE = {8: 255, 16: 65535, 32: 1}  # depth in bits -> full intensity, whatever the content
_DTYPES: dict[int, type[np.generic]] = {8: np.uint8, 16: np.uint16, 32: np.float32}
_DEPTHS = {np.dtype(dtype): depth for depth, dtype in _DTYPES.items()}
_LUMA = np.array([19595, 38470, 7471], np.uint32)  # ITU-R BT.601 in units of 1 / 65536
_GRID_GAP = 2  # pixels between the pictures of a grid


def depth_of(array: Array) -> int:
    """Return the bits of a pixel value: 8, 16, or 32 for float32.

    Raises:
        ImageError: another dtype.
    """
    if array.dtype not in _DEPTHS:
        raise ImageError("image", f"pixels are {array.dtype}", "Use uint8, uint16 or float32")
    return _DEPTHS[array.dtype]


def to_unit(array: Array) -> NDArray[np.float32]:
    """Return pixels of any dtype as float32 in [0, 1]."""
    if array.dtype == np.float32:
        return array
    return array.astype(np.float32) / np.float32(MAX_VALUE[depth_of(array)])


def with_nan(pixels: Array, missing: Array) -> Array:
    """Return [H, W, C] in [0, 1], NaN in all channels of a pixel of which one is `missing`."""
    unit = to_unit(pixels).copy()
    unit[missing.any(axis=2)] = np.nan
    return unit


def to_depth(array: Array, depth: int) -> Array:
    """Return pixels with `depth` bits (32: float32), rounded to the nearest level."""
    if depth_of(array) == depth:
        return array
    unit = to_unit(array)
    return unit if depth == 32 else np.round(unit * MAX_VALUE[depth]).astype(_DTYPES[depth])


def from_value_range(values: NDArray[Any], value_range: ValueRange) -> NDArray[np.float32]:
    """Map floats or integers from `value_range` to [0, 1], as float32.

    A `WatchedRange` counts the values outside, and may have them clipped.

    Raises:
        ImageError: values that are not finite, or outside `value_range`.
    """
    floats = values.dtype.kind == "f"
    with np.errstate(over="ignore"):
        # In the dtype of the file: 0.1 of float32 is above 0.1, and still within a range up to 0.1.
        low, high = np.array(value_range, values.dtype if floats else np.float64)
    lowest, highest = values.min(), values.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ImageError("image", "holds values that are not finite", "Replace or remove them")
    outside = lowest < low or highest > high
    watched = value_range if isinstance(value_range, WatchedRange) else None
    if outside and not (watched and watched.clips):
        limits = f"[{value_range[0]:g}, {value_range[1]:g}]"
        kind = "float values" if floats else "values"
        reason = f"{kind} from {lowest:g} to {highest:g}, outside {limits}"
        hint = "Rescale them, or name their range: data.value_range, of two folders --value-range"
        hint += "; data.outside_range=clip clips them"
        raise ImageError("image", reason, hint)
    if watched:
        watched.watch(values)
    if value_range == UNIT:
        return (values.clip(0, 1) if outside else values).astype(np.float32, copy=False)
    unit, wide = np.empty(values.shape, np.float32), np.promote_types(values.dtype, np.float32)
    rows = max(1, 2**20 // values[0].size)  # at once: what is computed takes little memory
    for top in range(0, len(values), rows):
        band = values[top : top + rows].astype(wide)
        band = (band - value_range[0]) / (value_range[1] - value_range[0])
        unit[top : top + rows] = band.clip(0, 1)
    return unit


def to_value_range(values: NDArray[np.float32], value_range: ValueRange) -> NDArray[np.float32]:
    """Map float32 in [0, 1] to `value_range`, as float32."""
    if value_range == UNIT:
        return values
    low, high = np.float32(value_range[0]), np.float32(value_range[1])
    return (values * (high - low) + low).clip(low, high)  # rounding may exceed the range


def to_tensor(array: Array, device: torch.device | str = "cpu") -> Tensor:
    """[..., H, W, C] of any dtype -> contiguous float32 [..., C, H, W] in [-1, 1], on `device`."""
    # Few operations take uint16 tensors.
    pixels = array.astype(np.int32) if array.dtype == np.uint16 else array
    stored = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device)
    return to_signed(stored.movedim(-1, -3), depth_of(array))


def to_signed(levels: Tensor, depth: int) -> Tensor:
    """Return levels of a depth, 8 to 32 bits, as contiguous float32 in [-1, 1]."""
    values = levels.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return values.div_(MAX_VALUE[depth] / 2).sub_(1)


def from_tensor(tensor: Tensor, depth: int = 8) -> Array:
    """[..., C, H, W] in [-1, 1] -> [..., H, W, C] of a depth: 8, 16, or 32 for float32 in [0, 1].

    Rounds to the nearest level; values outside the range are clamped.

    Raises:
        ImageError: a value is not finite.
    """
    values = tensor.detach().float().movedim(-3, -1)
    if not bool(torch.isfinite(values).all()):
        raise ImageError("image", "holds values that are not finite")
    top = MAX_VALUE[depth]
    levels = ((values + 1) * (top / 2)).clamp_(0, top)
    if depth != 32:
        levels = levels.round_().to(torch.uint8 if depth == 8 else torch.int32)
    array: Array = levels.contiguous().cpu().numpy().astype(_DTYPES[depth], copy=False)
    return array


def match_channels(array: Array, channels: int) -> Array:
    """Return [H, W, `channels`]: gray is repeated, RGB becomes luma (BT.601), alpha added opaque.

    Raises:
        ImageError: alpha would be lost, or the counts have no relation.
    """
    present = array.shape[2]
    if present == channels:
        return array
    color, target = present - (present in (2, 4)), channels - (channels in (2, 4))
    loses_alpha = present != color and channels == target
    if loses_alpha or not {present, channels} <= set(CHANNEL_NAMES):
        reason = f"has {describe_channels(present)}, not {describe_channels(channels)}"
        raise ImageError("image", reason, "Convert it, or choose how alpha is read")
    pixels = array[..., :color]
    if (color, target) == (3, 1):
        pixels = _luma(pixels)
    elif (color, target) == (1, 3):
        pixels = np.repeat(pixels, 3, axis=2)
    if channels == target:
        return pixels
    opaque = np.full_like(array[..., :1], MAX_VALUE[depth_of(array)])
    return np.concatenate([pixels, opaque if present == color else array[..., color:]], axis=2)


def _luma(rgb: Array) -> Array:
    if rgb.dtype == np.float32:
        return (rgb @ (_LUMA / np.float32(65536)).astype(np.float32))[..., None]
    return (((rgb @ _LUMA) + 32768) >> 16)[..., None].astype(rgb.dtype)


def apply_alpha(pixels: Array, policy: Alpha) -> Array:
    """Return [H, W, C] with the alpha of C = 2 or 4 dropped, composited over white, or kept."""
    if policy == "keep" or pixels.shape[2] not in (2, 4):
        return pixels
    if policy == "drop":
        return np.ascontiguousarray(pixels[..., :-1])
    color, opacity, top = pixels[..., :-1], pixels[..., -1:], MAX_VALUE[depth_of(pixels)]
    blended: Array
    if pixels.dtype == np.float32:
        blended = color * opacity + (1 - opacity)
    else:
        color, opacity = color.astype(np.uint32), opacity.astype(np.uint32)
        blended = (color * opacity + top * (top - opacity) + top // 2) // top
    return blended.astype(pixels.dtype)


ArrayOrTensor = TypeVar("ArrayOrTensor", Array, Tensor)


def resize(image: ArrayOrTensor, size: tuple[int, int], nearest: bool = False) -> ArrayOrTensor:
    """Resize an array [H, W, C] or a tensor [..., C, H, W] in [-1, 1] to (height, width).

    Bicubic with antialiasing, clamped to the range; `nearest` takes single pixels, for labels.
    """
    if isinstance(image, Tensor):
        planes = image.reshape(-1, *image.shape[-3:])
        return _resampled(planes, size, nearest).reshape(*image.shape[:-2], *size).clamp(-1, 1)
    deep = image.dtype == np.uint16
    pixels = image.astype(np.float32) if deep else np.require(image, requirements=["C", "W"])
    # A view: the 8-bit kernel is fastest on interleaved channels.
    planes = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    pixels = _resampled(planes, size, nearest)[0].permute(1, 2, 0).numpy()
    pixels = pixels.round() if deep else pixels
    return np.ascontiguousarray(pixels.clip(0, MAX_VALUE[depth_of(image)]).astype(image.dtype))


def shrink(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a picture [H, W, C] whose longer side is at most `side` pixels."""
    longer = max(picture.shape[:2])
    if longer <= side:
        return picture
    height, width = (max(1, round(each * side / longer)) for each in picture.shape[:2])
    return resize(picture, (height, width))


def _resampled(planes: Tensor, size: tuple[int, int], nearest: bool) -> Tensor:
    if planes.shape[-2:] == size:
        return planes
    # torchvision calls this kernel too, and its import takes as long as that of torch
    if nearest:
        return interpolate(planes, size, mode="nearest-exact")
    return interpolate(planes, size, mode="bicubic", align_corners=False, antialias=True)


def to_display_rgb(array: Array, alpha: bool = True) -> NDArray[np.uint8]:
    """Return any picture [H, W, C] as uint8 RGB: its first 3 channels, or its first as gray.

    With `alpha` the last of 2 or 4 channels is alpha, and the picture is composited over white.
    """
    pixels = apply_alpha(array, "composite") if alpha else array
    return to_depth(match_channels(pixels[..., : 3 if pixels.shape[2] >= 3 else 1], 3), 8)


def grid(images: Sequence[Array], columns: int) -> NDArray[np.uint8]:
    """Arrange pictures [H, W, C] of any size and depth in rows, as uint8 RGB on white."""
    tiles = [to_display_rgb(image) for image in images]
    height = max((tile.shape[0] for tile in tiles), default=0) + _GRID_GAP
    width = max((tile.shape[1] for tile in tiles), default=0) + _GRID_GAP
    rows = math.ceil(len(tiles) / columns)
    canvas = np.full((rows * height + _GRID_GAP, columns * width + _GRID_GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height + _GRID_GAP, index % columns * width + _GRID_GAP
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas
