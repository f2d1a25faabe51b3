"""JPEG files that were cut off and given their end again, beside healthy ones of every kind of encoder."""

import io

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from i2i import images
from i2i.images import ImageError

PILLOW = [
    {}, {"subsampling": 0}, {"subsampling": 2}, {"optimize": True}, {"quality": 1}, {"quality": 100},
    {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"progressive": True}, {"keep_rgb": True},
    {"progressive": True, "restart_marker_blocks": 2}, {"progressive": True, "quality": 1},
]  # fmt: skip
OPENCV = [
    [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
    [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111],
]


def picture(size, kind):
    """Texture; all of medium gray, as what libjpeg adds; or half of each."""
    height, width = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 2).reshape(noise.shape).astype(int) * 6 - 640
    texture[height // 2 if kind == "half" else height :] = 128
    return np.full_like(noise, 128) if kind == "gray" else texture.clip(0, 255).astype(np.uint8)


def encoded(array, mode="RGB", **options):
    memory = io.BytesIO()
    Image.fromarray(array).convert(mode).save(memory, "JPEG", **options)
    return memory.getvalue()


def healthy(array):
    for mode in ("L", "RGB", "CMYK"):
        yield from (encoded(array, mode, **options) for options in PILLOW)
    yield from (cv2.imencode(".jpg", array, options)[1].tobytes() for options in OPENCV)
    for subsampling in ("444", "420", "440"):
        yield bytes(imagecodecs.jpeg8_encode(array, level=80, subsampling=subsampling))


@pytest.mark.parametrize("kind", ["texture", "gray", "half"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 33), (150, 203)], ids=str)
def test_a_healthy_jpeg_of_any_encoder_is_read_as_other_decoders_read_it(size, kind):
    for content in healthy(picture(size, kind)):
        pixels = images.decode(io.BytesIO(content))
        with Image.open(io.BytesIO(content)) as image:
            if image.mode == "CMYK":
                expected = np.asarray(image.convert("RGB"))
            else:
                expected = imagecodecs.jpeg8_decode(content)
        assert np.abs(pixels - expected.reshape(pixels.shape).astype(int)).max() <= 4


@pytest.mark.parametrize("tail", [b"\xff\xd9", b"\xff\xd9 and a film from the phone"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", PILLOW, ids=str)
def test_a_jpeg_cut_in_its_scan_with_its_end_put_back_is_refused(options, mode, tail):
    content = encoded(picture((64, 200), "texture"), mode, **options)
    whole = images.decode(io.BytesIO(content))
    start = content.index(b"\xff\xda") + 14
    for part in (0.03, 0.3, 0.6, 0.9):
        cut = content[: start + int(part * (len(content) - start))].rstrip(b"\xff")
        for read in (images.decode, pillow_array):
            try:
                pixels = read(io.BytesIO(cut + tail))
            except ImageError as error:
                if "truncated" not in error.reason:
                    raise
            else:
                np.testing.assert_array_equal(pixels, whole, "it lacks nothing that is seen")
    with pytest.raises(ImageError, match=r"truncated: (its (last scan|end)|scans of it)"):
        images.decode(io.BytesIO(content[: (start + len(content)) // 2].rstrip(b"\xff") + tail))


def pillow_array(stream):
    with Image.open(stream) as image:
        return images.from_pil(image)


def test_a_progressive_jpeg_without_its_last_scans_is_refused():
    content = encoded(picture((64, 80), "texture"), progressive=True)
    starts = [i for i in range(len(content)) if content[i : i + 2] == b"\xff\xda"]
    assert len(starts) > 4
    for start in starts[1:]:
        with pytest.raises(ImageError, match="scans of it are missing"):
            images.decode(io.BytesIO(content[:start] + b"\xff\xd9"))


def test_a_thumbnail_in_exif_and_fill_bytes_are_no_scans():
    array = picture((64, 80), "texture")
    small = encoded(array[:8, :8])
    content = encoded(array, exif=b"Exif\0\0" + small)
    head, marker, scan = content.rpartition(b"\xff\xda")
    filled = head + b"\xff\xff" + marker + scan
    for good in (content, filled):
        np.testing.assert_array_equal(
            images.decode(io.BytesIO(good)), images.decode(io.BytesIO(encoded(array)))
        )
