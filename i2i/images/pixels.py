"""Pixels in memory: ranges, channels, alpha, sizes."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2i.images.formats import CHANNEL_NAMES, Alpha, Array, ImageError, named_channels

_LUMA = np.array([19595, 38470, 7471], np.uint32)  # ITU-R BT.601 in units of 1 / 65536
ValueRange = tuple[float, float]  # (low, high) of the floats in a file
UNIT: ValueRange = (0.0, 1.0)
_DEPTHS = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16, np.dtype(np.float32): 32}


def depth_of(array: Array) -> int:
    """Return the bits of a pixel value: 8, 16, or 32 for float32.

    Raises:
        ImageError: another dtype.
    """
    if array.dtype not in _DEPTHS:
        raise ImageError(
            f"image: pixels are {array.dtype} (use uint8, uint16, or float32 in [0, 1])"
        )
    return _DEPTHS[array.dtype]


def _top(array: Array) -> int:
    return 2 ** depth_of(array) - 1 if array.dtype != np.float32 else 1


def to_unit(array: Array) -> NDArray[np.float32]:
    """Return pixels of any dtype as float32 in [0, 1]: the whole range of an integer is used, whatever the content."""
    return (
        array if array.dtype == np.float32 else array.astype(np.float32) / np.float32(_top(array))
    )


def from_value_range(
    values: NDArray[np.floating[Any]], value_range: ValueRange, path: object = "image"
) -> NDArray[np.float32]:
    """Map floats of a file from `value_range` to [0, 1], as float32; `path` is named in errors.

    Raises:
        ImageError: values that are not finite, or outside `value_range`.
    """
    with np.errstate(over="ignore"):
        low, high = np.array(
            value_range, values.dtype
        )  # 0.1 of float32 is above 0.1, and still in a range up to 0.1
    least, most = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        raise ImageError(
            f"{path}: holds values that are not finite (replace them, or remove the file)"
        )
    if least < low or most > high:
        raise ImageError(
            f"{path}: float values from {least:g} to {most:g}, outside [{value_range[0]:g}, {value_range[1]:g}] "
            "(rescale them; in training data.value_range says what is read)"
        )
    wide = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    scaled = (
        wide
        if value_range == UNIT
        else ((wide - value_range[0]) / (value_range[1] - value_range[0])).clip(0, 1)
    )
    return scaled.astype(np.float32, copy=False)


def to_value_range(values: NDArray[np.float32], value_range: ValueRange) -> NDArray[np.float32]:
    """Map float32 in [0, 1] to `value_range`, as float32."""
    low, high = np.float32(value_range[0]), np.float32(value_range[1])
    return (
        values if value_range == UNIT else (values * (high - low) + low).clip(low, high)
    )  # rounding may step over


def to_tensor(array: Array, device: torch.device | str = "cpu") -> Tensor:
    """[..., H, W, C] of any dtype -> contiguous float32 [..., C, H, W] in [-1, 1], on `device`."""
    scale = _top(array) / 2
    wide = (
        array.astype(np.int32) if array.dtype == np.uint16 else array
    )  # few operations take uint16 tensors
    values = torch.from_numpy(np.require(wide, requirements=["C", "W"])).to(device).movedim(-1, -3)
    return (values.to(torch.float32) / scale).sub_(1).contiguous()


def from_tensor(tensor: Tensor, depth: int = 8) -> Array:
    """[..., C, H, W] in [-1, 1] -> [..., H, W, C] uint8, uint16 or float32 for a depth of 8, 16 or 32.

    Rounds to the nearest level; values outside the range are clamped.

    Raises:
        ImageError: a value is not finite.
    """
    values = tensor.detach().float().movedim(-3, -1)
    if not bool(torch.isfinite(values).all()):
        raise ImageError("image: holds values that are not finite")
    top = 1 if depth == 32 else 2**depth - 1
    levels = ((values + 1) * (top / 2)).clamp_(0, top)
    if depth != 32:
        levels = levels.round_().to(torch.uint8 if depth == 8 else torch.int32)
    array: Array = levels.contiguous().cpu().numpy()
    return array.astype(np.uint16) if depth == 16 else array


def to_depth(array: Array, depth: int) -> Array:
    """Return pixels of any dtype with `depth` bits: 8, 16, or 32 for float32. Rounds to the nearest level."""
    if depth_of(array) == depth:
        return array
    unit = to_unit(array)
    return (
        unit
        if depth == 32
        else np.round(unit * (2**depth - 1)).astype(np.uint8 if depth == 8 else np.uint16)
    )


def match_channels(array: Array, channels: int) -> Array:
    """Return [H, W, C] with `channels` channels: gray is repeated, RGB becomes luma (ITU-R BT.601), alpha added opaque.

    Raises:
        ImageError: alpha would be lost, or the counts have no relation.
    """
    have = array.shape[2]
    if have == channels:
        return array
    color, wanted = have - (have in (2, 4)), channels - (channels in (2, 4))
    if not {have, channels} <= set(CHANNEL_NAMES) or (have != color and channels == wanted):
        mend = "convert it, or choose how alpha is read"
        raise ImageError(
            f"image: has {named_channels(have)}, not {named_channels(channels)} ({mend})"
        )
    pixels = array[..., :color]
    if (color, wanted) == (3, 1):
        pixels = _luma(pixels)
    elif (color, wanted) == (1, 3):
        pixels = np.repeat(pixels, 3, axis=2)
    if channels == wanted:
        return pixels
    alpha = array[..., color:] if have != color else np.full_like(array[..., :1], _top(array))
    return np.concatenate([pixels, alpha], axis=2)


def _luma(rgb: Array) -> Array:
    if rgb.dtype == np.float32:
        return (rgb @ (_LUMA / np.float32(65536)).astype(np.float32))[..., None]
    return (((rgb @ _LUMA) + 32768) >> 16)[..., None].astype(rgb.dtype)


def apply_alpha(pixels: Array, policy: Alpha) -> Array:
    """Return [H, W, C] with the alpha of C = 2 or 4 dropped, laid over white (`composite`), or kept."""
    if policy == "keep" or pixels.shape[2] not in (2, 4):
        return pixels
    if policy == "drop":
        return np.ascontiguousarray(pixels[..., :-1])
    color, opacity, top = pixels[..., :-1], pixels[..., -1:], _top(pixels)
    blended: Array
    if pixels.dtype == np.float32:
        blended = color * opacity + (1 - opacity)
    else:
        color, opacity = color.astype(np.uint32), opacity.astype(np.uint32)
        blended = (color * opacity + top * (top - opacity) + top // 2) // top
    return blended.astype(pixels.dtype)


Pixels = TypeVar("Pixels", Array, Tensor)


def resize(image: Pixels, size: tuple[int, int], nearest: bool = False) -> Pixels:
    """Resize an array [H, W, C] or a tensor [..., C, H, W] in [-1, 1] to (height, width); its range is kept.

    Bicubic with antialiasing; `nearest` takes single pixels, for labels. Integers are rounded.
    """
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize as resample

    mode = InterpolationMode.NEAREST_EXACT if nearest else InterpolationMode.BICUBIC
    if isinstance(image, Tensor):
        resized: Tensor = resample(image, list(size), mode, antialias=True).clamp(-1, 1)
        return resized
    wide = (
        image.astype(np.float32)
        if image.dtype == np.uint16
        else np.require(image, requirements=["C", "W"])
    )
    planes = torch.from_numpy(wide).permute(
        2, 0, 1
    )  # a view: the 8-bit kernel is fastest on interleaved channels
    done = resample(planes, list(size), mode, antialias=True).permute(1, 2, 0).numpy()
    if image.dtype == np.uint16:
        done = done.round()
    return np.ascontiguousarray(done.clip(0, _top(image)).astype(image.dtype))


def shown(image: Array) -> NDArray[np.uint8]:
    """Return any picture [H, W, C] as a screen shows it: uint8 RGB, on white where it is transparent.

    Of more than four channels the first three are shown.
    """
    image = image[..., :3] if image.shape[2] > 4 else image
    rgb = apply_alpha(match_channels(image, 3 + (image.shape[2] in (2, 4))), "composite")
    return np.round(to_unit(rgb) * 255).astype(np.uint8)


def grid(images: Sequence[Array], columns: int) -> NDArray[np.uint8]:
    """Lay pictures [H, W, C] of any size and depth out row by row, as uint8 RGB with white between them."""
    gap = 2
    tiles = [shown(image) for image in images]
    height, width = (max((tile.shape[axis] for tile in tiles), default=0) for axis in (0, 1))
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (gap + place // columns * (height + gap), gap + place % columns * (width + gap))
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet
