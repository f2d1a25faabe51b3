"""Images on disk and in memory."""

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps
from writes import intercepted

from i2i import files, images
from i2i.files import DiskFullError, WriteError
from i2i.images import ImageError


def gradient(height=6, width=9, channels=3, dtype=np.uint8):
    """Smooth and different in every pixel and channel, over the whole range of the dtype."""
    top = np.iinfo(dtype).max
    values = np.linspace(0, top, height * width * channels).round().astype(dtype)
    return values.reshape(channels, height, width).transpose(1, 2, 0).copy()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(array, depth, color_type, extra=b"", late=b""):
    """A PNG built by hand from [H, W, C]."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows)) + late
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def tiff(array, bits, photometric=1, sample_format=1):
    """An uncompressed gray TIFF built by hand; `array` is written as it lies in memory."""
    height, width = array.shape[:2]
    data = bytes(array.tobytes())
    if bits == 12:
        pairs = array.reshape(-1, 2).astype(int)
        data = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
    ]
    tags += [(278, height), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def saved(path, array, **options):
    Image.fromarray(array if array.ndim == 2 or array.shape[2] > 1 else array[..., 0]).save(
        path, **options
    )
    return path


def written(path, content):
    path.write_bytes(content)
    return path


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_every_exif_orientation_is_applied_in_every_format(tmp_path, suffix, orientation):
    upright = gradient(16, 24)
    plain = saved(tmp_path / f"plain{suffix}", upright, lossless=True)
    options = {"tiffinfo": {274: orientation}} if suffix == ".tif" else {"exif": exif(orientation)}
    turned = saved(tmp_path / f"turned{suffix}", upright, lossless=True, **options)
    with Image.open(plain) as image:
        image.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(image))
    header = images.read_header(turned)
    np.testing.assert_array_equal(images.decode(turned), expected)
    assert (header.height, header.width) == expected.shape[:2]
    with Image.open(turned) as image:
        np.testing.assert_array_equal(images.from_pil(image), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_color_is_turned_like_eight_bit_color(tmp_path, suffix, orientation):
    array = gradient(16, 24, dtype=np.uint16)
    if suffix == ".png":
        path = written(
            tmp_path / "x.png",
            png(array, 16, 2, png_chunk(b"eXIf", exif(orientation).tobytes()[6:])),
        )
    else:
        path = tmp_path / "x.tif"
        images.encode(array, path)
        path.write_bytes(_with_orientation(path.read_bytes(), orientation))
    eight = saved(tmp_path / "eight.png", (array >> 8).astype(np.uint8), exif=exif(orientation))
    np.testing.assert_array_equal(images.decode(path) >> 8, images.decode(eight))


def _with_orientation(content, orientation):
    """Add tag 274 to a little-endian TIFF by writing a second directory at its end."""
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    entries = [content[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    entries = sorted(
        [*entries, struct.pack("<HHIHH", 274, 3, 1, orientation, 0)], key=lambda e: e[:2][::-1]
    )
    directory = struct.pack("<H", count + 1) + b"".join(entries) + bytes(4)
    content += b"\0" * (len(content) % 2)
    return content[:4] + struct.pack("<I", len(content)) + content[8:] + directory


def test_orientation_behind_the_pixels_of_a_png_is_found(tmp_path):
    array = gradient()
    path = written(
        tmp_path / "x.png", png(array, 8, 2, late=png_chunk(b"eXIf", exif(6).tobytes()[6:]))
    )
    assert images.read_header(path).width == array.shape[0]
    np.testing.assert_array_equal(images.decode(path), np.rot90(array, -1))


def long_exif(size):
    """Orientation 6 in EXIF of more than `size` bytes, its directory behind them."""
    note = struct.pack("<HHII", 0x927C, 7, size, 8)
    directory = struct.pack("<HHHIHH", 2, 0x0112, 3, 1, 6, 0) + note + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + directory


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [70_000, 1_500_000, 17_000_000])
def test_long_exif_keeps_its_orientation_or_the_file_is_refused(tmp_path, size, depth):
    array, exif = gradient(dtype=np.uint8 if depth == 8 else np.uint16), long_exif(size)
    files = {"x.png": png(array, depth, 2, png_chunk(b"eXIf", exif))}
    if depth == 8:
        parts = [exif[i : i + 60_000] for i in range(0, len(exif), 60_000)]
        segments = [
            struct.pack(">HH", 0xFFE1, len(part) + 8) + b"Exif\0\0" + part for part in parts
        ]
        whole = saved(tmp_path / "y.jpg", array).read_bytes()
        files["x.jpg"] = whole[:2] + b"".join(segments) + whole[2:]
        files["x.webp"] = saved(tmp_path / "x.webp", array, exif=b"Exif\0\0" + exif).read_bytes()
    for name, content in files.items():
        path = written(tmp_path / name, content)
        if size > 2**24 and name == "x.png":
            with pytest.raises(ImageError, match="not supported: 17,000,038 bytes of eXIf"):
                images.read_header(path)
        else:
            assert images.decode(path).shape[:2] == (array.shape[1], array.shape[0])
            assert images.read_header(path).height == array.shape[1]


def test_a_header_is_read_without_decoding_pixels(tmp_path, monkeypatch):
    for suffix in images.WRITABLE - {".nii", ".nii.gz"}:
        images.encode(gradient(16, 24), tmp_path / f"x{suffix}")
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: pytest.fail("pixels were decoded")
    )
    for path in tmp_path.iterdir():
        assert images.read_header(path) == images.Header(
            24, 16, 3, 8, images.format_of(path), False
        )


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path):
    array = gradient()
    path = written(tmp_path / "x.png", png(array, 8, 2, png_chunk(b"eXIf", b"MM\0*\xff\xff")))
    np.testing.assert_array_equal(images.decode(path), array)


MODES = {  # PIL mode: from pixels to an image of that mode and its channels, with alpha
    "1": lambda a: (Image.fromarray(a[..., 0]).point(lambda v: 255 * (v > 99)).convert("1"), 1),
    "L": lambda a: (Image.fromarray(a[..., 0]), 1),
    "LA": lambda a: (Image.fromarray(a[..., :2]), 2),
    "P": lambda a: (Image.fromarray(a).quantize(16), 3),
    "RGB": lambda a: (Image.fromarray(a), 3),
    "RGBA": lambda a: (Image.fromarray(np.dstack([a, a[..., 0]])), 4),
    "CMYK": lambda a: (Image.fromarray(a).convert("CMYK"), 3),
}


LACKING = {
    ".png": ["CMYK"],
    ".tif": [],
    ".webp": [],
    ".jpg": ["LA", "P", "RGBA"],
    ".bmp": ["LA", "CMYK"],
}


@pytest.mark.parametrize(
    ("suffix", "mode"), [(s, m) for s in LACKING for m in MODES if m not in LACKING[s]]
)
def test_every_color_mode_decodes_to_what_pillow_shows(tmp_path, suffix, mode):
    image, channels = MODES[mode](gradient(16, 24))
    path = tmp_path / f"x{suffix}"
    image.save(path, lossless=True)
    with Image.open(path) as opened:
        if suffix in (".jpg", ".bmp", ".webp"):  # these store fewer modes
            channels = {"1": 1, "L": 1, "LA": 2, "RGBA": 4}.get(opened.mode, 3)
        expected = np.asarray(opened.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]))
    kept = images.decode(path, alpha="keep")
    assert images.read_header(path).channels == kept.shape[2] == channels
    assert images.read_header(path).depth == 8
    np.testing.assert_array_equal(kept, expected.reshape(kept.shape))
    assert images.decode(path).shape[2] == channels - (channels in (2, 4))


def test_transparent_palette_entries_become_alpha(tmp_path):
    image = Image.fromarray(gradient(8, 8)).quantize(8)
    image.save(tmp_path / "x.png", transparency=image.getpixel((0, 0)))
    kept = images.decode(tmp_path / "x.png", alpha="keep")
    assert images.read_header(tmp_path / "x.png").channels == 4
    assert kept[0, 0, 3] == 0
    assert kept[-1, -1, 3] == 255
    assert images.decode(tmp_path / "x.png", alpha="composite")[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("color_type", [0, 2])
def test_the_transparent_color_of_a_sixteen_bit_png_becomes_alpha(tmp_path, color_type):
    array = gradient(channels=1 if color_type == 0 else 3, dtype=np.uint16)
    key = png_chunk(b"tRNS", array[2, 3].astype(">u2").tobytes())
    kept = images.decode(written(tmp_path / "x.png", png(array, 16, color_type, key)), alpha="keep")
    np.testing.assert_array_equal(kept[..., :-1], array)
    assert np.argwhere(kept[..., -1] == 0).tolist() == [[2, 3]]


@pytest.mark.parametrize(("channels", "color_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_sixteen_bit_png_is_read_exactly(tmp_path, channels, color_type):
    array = gradient(channels=channels, dtype=np.uint16)
    path = written(tmp_path / "x.png", png(array, 16, color_type))
    header = images.read_header(path)
    assert (header.channels, header.depth) == (channels, 16)
    np.testing.assert_array_equal(images.decode(path, alpha="keep"), array)


def test_sixteen_bit_gray_tiff_of_either_polarity_and_byte_order(tmp_path):
    array = gradient(channels=1, dtype=np.uint16)
    black = written(tmp_path / "black.tif", tiff(array, 16, photometric=1))
    white = written(tmp_path / "white.tif", tiff(65535 - array, 16, photometric=0))
    np.testing.assert_array_equal(images.decode(black), array)
    np.testing.assert_array_equal(images.decode(white), array)
    big = Image.frombytes("I;16B", (9, 6), array.astype(">u2").tobytes())
    np.testing.assert_array_equal(images.from_pil(big), array)


def test_twelve_bits_are_scaled_to_the_whole_range(tmp_path):
    array = np.arange(4096 - 48, 4096, dtype=np.uint16).reshape(6, 8, 1)
    path = written(tmp_path / "x.tif", tiff(array, 12))
    assert images.read_header(path).depth == 16
    assert images.decode(path).max() == 65535
    np.testing.assert_allclose(images.to_unit(images.decode(path)), array / 4095, atol=2e-5)


def test_float_tiff_is_read_as_zero_to_one_and_refused_outside(tmp_path):
    values = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8, 1)
    path = written(tmp_path / "x.tif", tiff(values, 32, sample_format=3))
    assert images.read_header(path).depth == 32
    np.testing.assert_array_equal(images.decode(path), values)
    for bad, reason in (
        (values * 255, r"float values from 0 to 255, outside \[0, 1\]\. Rescale"),
        (values - 1, "float values from -1 to 0, outside"),
        (values * np.nan, "not finite"),
    ):
        with pytest.raises(ImageError, match=rf"x\.tif: .*{reason}"):
            images.decode(written(tmp_path / "x.tif", tiff(bad, 32, sample_format=3)))


@pytest.mark.parametrize(
    ("bits", "sample_format", "dtype"), [(32, 1, np.uint32), (16, 2, np.int16)]
)
@pytest.mark.usefixtures("without_tiff_extra")
def test_integers_without_a_known_range_are_refused(tmp_path, bits, sample_format, dtype):
    path = written(
        tmp_path / "x.tif", tiff(np.ones((4, 4), dtype), bits, sample_format=sample_format)
    )
    with pytest.raises(ImageError, match="not supported"):
        images.read_header(path)
    with pytest.raises(ImageError, match="32-bit integers"):
        images.from_pil(Image.new("I", (4, 4)))


def test_the_content_decides_the_format_not_the_suffix(tmp_path):
    path = written(tmp_path / "x.jpg", png(gradient(), 8, 2))
    assert images.read_header(path).format == "PNG"
    np.testing.assert_array_equal(images.decode(path), gradient())


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path, suffix):
    frames = [Image.fromarray(gradient(16, 24)), Image.new("RGB", (24, 16))]
    frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(images.decode(tmp_path / f"x{suffix}"), gradient(16, 24))


def test_no_file_stays_open(tmp_path):
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("needs /proc to count open files")
    array = gradient(16, 24)
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        images.encode(array, tmp_path / f"x{suffix}")
    before = len(list(folder.iterdir()))
    for path in tmp_path.iterdir():
        images.read_header(path)
        images.decode(path)
    assert len(list(folder.iterdir())) == before


# -- bad files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [15_000, 60_000])
def test_a_small_file_that_asks_for_huge_memory_is_refused_from_its_header(tmp_path, side):
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * 99))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path = written(
        tmp_path / "bomb.png", b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")
    )
    for read in (images.read_header, images.decode):
        with pytest.raises(
            ImageError, match=r"bomb\.png: \d+x\d+ is \d+ megapixels, the limit is 100\. "
        ):
            read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_the_pixel_limit_holds_in_every_format(tmp_path, suffix):
    images.encode(gradient(16, 24), tmp_path / f"x{suffix}")
    assert images.decode(tmp_path / f"x{suffix}", max_pixels=384).shape == (16, 24, 3)
    with pytest.raises(ImageError, match="megapixels"):
        images.decode(tmp_path / f"x{suffix}", max_pixels=383)


def test_a_webp_header_is_measured_before_its_reader_allocates(tmp_path, monkeypatch):
    from i2i.images import reading

    for number, options in enumerate(
        ({"lossless": True}, {"quality": 80}, {"quality": 80, "exif": exif(1)})
    ):
        Image.fromarray(gradient(16, 24)).save(tmp_path / f"{number}.webp", **options)
    monkeypatch.setitem(
        reading._READERS, "WEBP", lambda file: pytest.fail("the reader was started")
    )
    for path in tmp_path.iterdir():
        with pytest.raises(ImageError, match="24x16 is"):
            images.read_header(path, max_pixels=383)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says more about damaged TIFF
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_a_cut_off_file_is_an_error_that_names_it(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    images.encode(gradient(64, 48), path)
    content = path.read_bytes()
    for length in (0, 1, 7, 20, 60, len(content) // 2, len(content) - 40, len(content) - 3):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError, match=rf"x\{suffix}: "):
            images.decode(path)
        if suffix in (".png", ".jpg"):
            with pytest.raises(ImageError):
                images.read_header(path)


def test_a_flipped_bit_anywhere_in_a_png_is_found(tmp_path):
    content = png(gradient(32, 32), 8, 2)
    for place in range(8, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(ImageError):
            images.decode(written(tmp_path / "x.png", bytes(damaged)))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says more about damaged TIFF
def test_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        images.encode(gradient(32, 24), tmp_path / f"x{suffix}")
        content = (tmp_path / f"x{suffix}").read_bytes()
        messages = []
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(0, len(content), 6):
                damaged[place] = rng.integers(256)
            try:
                images.decode(written(tmp_path / f"y{suffix}", bytes(damaged)), max_pixels=10**6)
            except ImageError as error:
                messages.append(str(error))
        assert messages
        assert all(message.startswith(f"{tmp_path / f'y{suffix}'}: ") for message in messages)


def test_data_behind_the_end_of_a_jpeg_is_no_damage(tmp_path):
    memory = io.BytesIO()
    thumbnail = io.BytesIO()
    Image.fromarray(gradient(4, 4)).save(thumbnail, "JPEG")
    Image.fromarray(gradient(16, 24)).save(memory, "JPEG", exif=b"Exif\0\0" + thumbnail.getvalue())
    whole = memory.getvalue()
    path = written(tmp_path / "x.jpg", whole + b"\xff\xdaa film from the phone")
    assert images.decode(path).shape == (16, 24, 3)
    path.write_bytes(whole[:-2])
    with pytest.raises(ImageError, match="truncated"):
        images.read_header(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"hello", "not an image"),
        (b"GIF89a" + bytes(30), "its header announces"),
    ],
)
def test_what_is_no_image_is_an_error_that_says_so(tmp_path, content, message):
    with pytest.raises(ImageError, match=rf"x\.png: {message}"):
        images.read_header(written(tmp_path / "x.png", content))


def test_missing_files_folders_and_pipes_are_errors_that_say_so(tmp_path):
    with pytest.raises(ImageError, match=r"x\.png: no such file"):
        images.decode(tmp_path / "x.png")
    with pytest.raises(ImageError, match="not a file"):
        images.decode(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a file"):
            images.decode(tmp_path / "pipe.png")


# -- in memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tensor_and_back_is_the_identity_for_every_level(dtype):
    array = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1, 1)
    tensor = images.to_tensor(array)
    assert tensor.shape == (1, *array.shape[:2])
    assert tensor.is_contiguous()
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(images.from_tensor(tensor, images.depth_of(array)), array)


def test_float_pixels_to_tensor_and_back():
    array = np.linspace(0, 1, 54, dtype=np.float32).reshape(6, 9, 1)
    np.testing.assert_allclose(images.from_tensor(images.to_tensor(array), 32), array, atol=1e-7)


def test_a_batch_converts_like_its_images():
    batch = np.stack([gradient(), gradient()[::-1]])
    tensor = images.to_tensor(batch)
    assert tensor.shape == (2, 3, 6, 9)
    assert torch.equal(tensor[1], images.to_tensor(batch[1]))
    np.testing.assert_array_equal(images.from_tensor(tensor), batch)


def test_from_tensor_rounds_to_nearest_and_clamps():
    levels = torch.tensor([-3.0, 0.4, 0.6, 254.4, 254.6, 300.0]) / 127.5 - 1
    assert images.from_tensor(levels.reshape(1, 1, 6)).ravel().tolist() == [0, 0, 1, 254, 255, 255]
    with pytest.raises(ImageError, match="not finite"):
        images.from_tensor(torch.tensor([[[float("nan")]]]))


def test_sixteen_bits_do_not_saturate():
    assert images.to_unit(np.array([[[0], [256], [65535]]], np.uint16)).ravel() == pytest.approx(
        [0, 256 / 65535, 1]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_color_to_gray_is_the_luma_of_pillow_at_every_depth(dtype):
    eight = gradient(32, 32)
    expected = np.asarray(Image.fromarray(eight).convert("L")).astype(float)
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    gray = images.match_channels((eight.astype(float) * scale).astype(dtype), 1)
    assert gray.dtype == dtype
    assert np.abs(gray[..., 0] / scale - expected).max() <= (0 if dtype == np.uint8 else 0.51)


def test_channels_are_added_but_alpha_is_never_lost():
    gray, rgb = gradient(channels=1), gradient()
    assert (images.match_channels(gray, 3) == gray).all()
    assert images.match_channels(rgb, 3) is rgb
    assert (images.match_channels(gray, 4)[..., 3] == 255).all()
    assert (images.match_channels(rgb, 2)[..., 1] == 255).all()
    assert (images.match_channels(np.dstack([gray, gray]), 4)[..., 3:] == gray).all()
    for have, wanted in ((4, 3), (2, 1), (4, 1), (3, 7), (7, 3)):
        with pytest.raises(ImageError, match=f"has {have} channels.*not {wanted} channel"):
            images.match_channels(np.zeros((2, 2, have), np.uint8), wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_dropped_laid_over_white_or_kept_at_both_depths(tmp_path, dtype):
    top = np.iinfo(dtype).max
    array = np.zeros((1, 3, 4), dtype)
    array[0, :, 3] = [0, top // 2 + 1, top]
    images.encode(array, tmp_path / "x.png")
    assert (images.decode(tmp_path / "x.png", alpha="drop") == 0).all()
    assert images.decode(tmp_path / "x.png", alpha="composite")[0, :, 0].tolist() == [
        top,
        top // 2,
        0,
    ]
    np.testing.assert_array_equal(images.decode(tmp_path / "x.png", alpha="keep"), array)


def test_resize_antialiases_like_pillow_within_one_level():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (96, 64, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(array).resize((17, 31), Image.Resampling.BICUBIC)).astype(
        int
    )
    assert np.abs(images.resize(array, (31, 17)) - expected).max() <= 1
    sixteen = images.resize(array.astype(np.uint16) * 257, (31, 17))
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - expected).max() <= 1.5
    tensor = images.resize(images.to_tensor(array), (31, 17))
    assert np.abs(images.from_tensor(tensor).astype(int) - expected).max() <= 1


def test_resize_keeps_labels_and_range():
    labels = np.repeat(np.array([0, 65535, 0, 65535], np.uint16), 4).reshape(1, 16, 1).repeat(16, 0)
    assert set(images.resize(labels, (7, 5), nearest=True).ravel()) == {0, 65535}
    enlarged = images.resize(labels, (64, 64))
    assert (enlarged.min(), enlarged.max()) == (0, 65535)
    assert images.resize(images.to_tensor(labels), (64, 64)).abs().max() <= 1
    read_only = np.broadcast_to(labels[:1], (16, 16, 1))
    assert images.resize(read_only, (8, 8)).shape == (8, 8, 1)


def test_grid_takes_any_mix_of_pictures():
    pictures = [
        gradient(),
        gradient(4, 5, 1),
        gradient(3, 3, 3, np.uint16),
        np.zeros((2, 2, 4), np.uint8),
    ]
    sheet = images.grid(pictures, columns=3)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * 8 + 2, 3 * 11 + 2, 3)
    np.testing.assert_array_equal(sheet[2:8, 2:11], pictures[0])
    assert (sheet[10:12, 2:4] == 255).all(), "full transparency lies over white"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 16])
def test_any_picture_is_displayed_as_eight_bit_rgb(channels, dtype):
    eight = gradient(6, 9, channels)
    scale = {np.uint8: 1, np.uint16: 257, np.float32: np.float32(1 / 255)}[dtype]
    array = (eight.astype(float) * scale).astype(dtype)
    plain = images.to_display_rgb(array, alpha=False)
    assert (plain.dtype, plain.shape) == (np.uint8, (6, 9, 3))
    np.testing.assert_array_equal(plain, eight[..., [0, 1, 2] if channels >= 3 else [0, 0, 0]])
    composited = images.to_display_rgb(array)
    if channels in (2, 4):
        opacity = eight[..., -1:] / 255
        assert np.abs(composited - (plain * opacity + 255 * (1 - opacity))).max() < 1
    else:
        np.testing.assert_array_equal(composited, plain)


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_format_keeps_all_of_a_picture_or_refuses_it(tmp_path, suffix, dtype, channels):
    array = gradient(16, 24, channels, dtype)
    path = tmp_path / f"x{suffix}"
    if not images.supports(images.format_of(path), channels, images.depth_of(array)):
        with pytest.raises(ImageError, match=r"cannot hold .* of (8|16) bits\. Use PNG"):
            images.encode(array, path)
        assert list(tmp_path.iterdir()) == []
        return
    images.encode(array, path)
    back = images.decode(path, alpha="keep")
    assert back.dtype == array.dtype
    stored = images.match_channels(
        array, back.shape[2]
    )  # WebP has no gray; 16-bit gray with alpha is kept as color
    assert np.abs(back.astype(int) - stored).max() <= (8 if suffix == ".jpg" else 0)


def test_float_gray_is_written_as_tiff(tmp_path):
    array = np.linspace(0, 1, 54, dtype=np.float32).reshape(6, 9, 1)
    images.encode(array, tmp_path / "x.tif")
    np.testing.assert_array_equal(images.decode(tmp_path / "x.tif"), array)
    with pytest.raises(ImageError, match="Use TIFF"):
        images.encode(array, tmp_path / "x.png")


def test_jpeg_is_written_without_chroma_subsampling(tmp_path):
    images.encode(gradient(16, 24), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_the_named_format_wins_over_the_suffix(tmp_path):
    images.encode(gradient(), tmp_path / "picture", "PNG")
    assert images.read_header(tmp_path / "picture").format == "PNG"
    with pytest.raises(ImageError, match=r"picture: no suffix is not an image format"):
        images.encode(gradient(), tmp_path / "picture")


def test_a_picture_too_large_for_its_format_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"x\.webp: cannot be written as WEBP"):
        images.encode(np.zeros((1, 20_000, 3), np.uint8), tmp_path / "x.webp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["write", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "x.png"
    images.encode(gradient(), path)
    before = path.read_bytes()

    def fail(*given):
        if call == "write":
            given[1](given[2][:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        monkeypatch.setattr(files, "open", intercepted(fail), raising=False)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DiskFullError, match="No space left"):
        images.encode(gradient(16, 24), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_for_a_missing_folder_is_an_error_that_names_its_path(tmp_path):
    with pytest.raises(WriteError, match=r"none/x\.png: cannot be written \(No such file"):
        images.encode(gradient(), tmp_path / "none/x.png")


def test_readers_never_see_half_a_file(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    seen = []
    original = os.replace
    monkeypatch.setattr(
        os, "replace", lambda a, b: (seen.append((Path(a).name, path.exists())), original(a, b))
    )
    images.encode(gradient(), path)
    assert seen == [(f".x.png.tmp-{os.getpid()}", False)]


def test_opencv_and_pillow_agree_on_eight_bits(tmp_path):
    images.encode(gradient(64, 48), tmp_path / "x.jpg")
    other = cv2.imread(str(tmp_path / "x.jpg"), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(images.decode(tmp_path / "x.jpg").astype(int) - other).max() <= 2


def test_only_values_that_are_not_finite_are_refused_however_large_their_sum() -> None:
    large = torch.full((3, 4, 5), 3e38)  # whose sum is infinite
    assert (images.from_tensor(large) == 255).all()
    for value in (float("nan"), float("inf"), -float("inf")):
        broken = torch.zeros(3, 4, 5)
        broken[1, 2, 3] = value
        with pytest.raises(ImageError, match="not finite"):
            images.from_tensor(broken)
