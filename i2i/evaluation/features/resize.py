"""Resizing in front of feature networks. Parmar et al., CVPR 2022, Sec. 3 (clean-fid)."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def clean_resize(picture: NDArray[np.uint8], side: int) -> Tensor:
    """Return [H, W, 3] uint8 as float32 [3, side, side] in [0, 255], antialiased.

    Each channel is resized in floats by Pillow's bicubic filter, clamped and not rounded.
    """
    planes = []
    for channel in range(3):
        plane = Image.fromarray(picture[..., channel].astype(np.float32))
        planes.append(np.asarray(plane.resize((side, side), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(planes).clip(0, 255))
