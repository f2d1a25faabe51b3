"""Image files of every format with wounds."""

import io
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import attacked, mutated, new_folder, outcome
from i2i import images
from i2i.images import ImageError


@cache
def _pictures() -> list[tuple[str, bytes]]:
    """Small pictures of every format, depth and mode: (suffix, content)."""
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (9, 7, 3), np.uint8)
    made = []

    def add(suffix: str, image: Image.Image, **options: Any) -> None:
        memory = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
        image.save(memory, kind, **options)
        made.append((f".{suffix}", memory.getvalue()))

    color, gray = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    rgba = Image.fromarray(np.concatenate([rgb, rgb[..., :1]], axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(random.integers(0, 65536, (9, 7), np.uint16))
    for suffix in ("png", "webp", "tif"):
        for image in (color, gray, rgba):
            add(suffix, image, exif=exif)
    for suffix in ("jpg", "bmp"):
        add(suffix, color)
        add(suffix, gray)
    add("jpg", color, exif=exif, progressive=True)
    add("jpg", color.convert("CMYK"))
    add("png", color.convert("P"), transparency=3)
    add("png", deep)
    add("png", color.convert("1"))
    add("png", color, interlace=1, save_all=True, append_images=[color.rotate(90)])
    add("webp", color, lossless=True)
    add("webp", color, save_all=True, append_images=[color.rotate(180)])
    add("tif", deep)
    add("tif", Image.fromarray(random.random((9, 7), np.float32)))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        add("tif", color, compression=compression)
    add("tif", color.convert("CMYK"))
    for suffix in (".png", ".tif"):
        with new_folder() as folder:
            images.encode(random.integers(0, 65536, (9, 7, 3), np.uint16), folder / f"x{suffix}")
            made.append((suffix, (folder / f"x{suffix}").read_bytes()))
    return made


@attacked(
    file=lambda: st.sampled_from(_pictures()).flatmap(
        lambda file: st.tuples(st.just(file[0]), mutated(file[1]))
    ),
    alpha=lambda: st.sampled_from(["keep", "drop", "composite"]),
)
def a_damaged_image_is_refused_or_is_what_its_header_says(
    file: tuple[str, bytes], alpha: Any
) -> None:
    suffix, content = file
    with new_folder() as folder:
        path = folder / f"x{suffix}"
        path.write_bytes(content)
        header, why = outcome(lambda: images.read_header(path, 250_000), ImageError)
        assert header is not None or why.startswith(f"{path}: ")
        pixels, why = outcome(lambda: images.decode(path, alpha, 250_000), ImageError)
        assert pixels is not None or why.startswith(f"{path}: ")
        stream, same = io.BytesIO(content), why.replace(f"{path}: ", "image: ", 1)
        streamed, why = outcome(lambda: images.decode(stream, alpha, 250_000), ImageError)
        assert why == same
        np.testing.assert_array_equal(streamed, pixels)
        if pixels is None:
            return
        assert header is not None, "decoded, but its header was refused"
        channels = (
            header.channels if alpha == "keep" else header.channels - (header.channels in (2, 4))
        )
        assert pixels.shape == (header.height, header.width, channels)
        assert images.depth_of(pixels) == header.depth
