"""Photo-like JPEGs, for measurements without data of one's own."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from i2i.seeds import key

_QUALITY = 90
_EXPONENT = 1.4  # with it files have 3 bits a pixel, as those of real photographs of 256 pixels


def photo(seed: int, side: int) -> NDArray[np.uint8]:
    """Return noise [side, side, 3] whose amplitudes fall with frequency, as photographs' do.

    Those fall as 1/f (Field, JOSA A 1987, Sec. 3), and are sparse besides: a steeper fall makes up
    for that in the size of files.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # the mean is set below
    channels = []
    shared = np.fft.rfft2(random.standard_normal((side, side)))  # colors are alike
    for _ in range(3):
        own = np.fft.rfft2(random.standard_normal((side, side)))
        channel = np.fft.irfft2((shared + 0.1 * own) / frequency**_EXPONENT, (side, side))
        channels.append(127.5 + 50 * channel / channel.std())
    pixels: NDArray[np.uint8] = np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8)
    return pixels


def write_photos(folder: Path, count: int, side: int, name: str = "") -> Path:
    """Write `count` JPEGs into the new `folder`, the same ones for the same `name`; return it."""
    folder.mkdir(parents=True)
    for number in range(count):
        picture = Image.fromarray(photo(key(name, number), side))
        picture.save(folder / f"{number:06d}.jpg", quality=_QUALITY)
    return folder
