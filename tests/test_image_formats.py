"""GIF, portable maps, TGA, JPEG 2000 and AVIF: read as another decoder reads them, or refused with what to do."""

import io
import struct
from functools import cache

import cv2
import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features
from test_image_grid import HEIGHT, WIDTH, differs, read, values

from i2i import images
from i2i.images import ImageError
from i2i.images.metadata import Metadata
from i2i.translation.folder import translate_folder
from i2i.translation.translator import Translator

NEEDED = {"JPEG2000": "jpg_2000", "AVIF": "avif"}


def saved(array, format, **options):
    if format in NEEDED and not features.check(NEEDED[format]):
        pytest.skip(f"this Pillow has no {format}")
    memory = io.BytesIO()
    image = Image.fromarray(array if array.shape[2] > 1 else array[..., 0])
    image.save(memory, format, **options)
    return memory.getvalue()


# -- portable maps ---------------------------------------------------------------------------------


def portable(array, kind, top, binary):
    """A file of [H, W, C]; `array` is in 0 to `top`."""
    header = f"P{kind}\n# a comment\n{array.shape[1]} {array.shape[0]}\n"
    header += "" if kind in (1, 4) else f"{top}\n"
    if kind == 4:
        return header.encode() + np.packbits(array[..., 0].astype(bool), axis=1).tobytes()
    if binary:
        return header.encode() + array.astype(">u2" if top > 255 else "u1").tobytes()
    space = "" if kind == 1 else " "
    return (header + "\n".join(space.join(map(str, row.ravel())) for row in array)).encode()


@pytest.mark.parametrize("top", [1, 100, 255, 1023, 65535])
@pytest.mark.parametrize(("kind", "channels"), [(2, 1), (3, 3), (5, 1), (6, 3)])
def test_portable_maps_of_any_range_are_scaled_to_the_whole_range(kind, channels, top):
    array = np.random.default_rng(0).integers(0, top + 1, (HEIGHT, WIDTH, channels))
    content = portable(array, kind, top, binary=kind > 4)
    found = read(content)
    full = 255 if top < 256 else 65535
    assert found[0].dtype == (np.uint8 if top < 256 else np.uint16)
    assert not differs(found, np.floor(array * full / top + 0.5), False)
    if top in (255, 65535) and kind > 4:
        other = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert not differs(found, other.reshape(HEIGHT, WIDTH, -1)[..., ::-1], False)


@pytest.mark.parametrize("kind", [1, 4])
def test_in_a_portable_bitmap_one_is_black(kind):
    array = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH, 1))
    assert not differs(read(portable(array, kind, 1, kind == 4)), 255 * (1 - array), False)


def test_a_portable_map_is_refused_for_what_is_wrong_with_it():
    array = values(3, "u1")
    good = portable(array, 6, 255, True)
    for bad, reason in (
        (good[:-1], "truncated: 4,994 of 4,995 bytes"),
        (portable(array, 3, 255, False)[:-300], "truncated"),
        (portable(array, 6, 254, True).replace(b"254", b"100"), "values above 100"),
        (b"P6 4 4 70000\n" + bytes(99), "largest value is 70000"),
        (b"P6 0 4 255\n" + bytes(99), "without pixels"),
        (b"P6 99999 99999 255\n", "is 1e[+]04 megapixels, the limit is 100. Raise max_pixels"),
        (b"P6 " + b"9" * 5000, "no sizes"),
        (b"P6 " + b"#" * 20_000, "no sizes"),
        (good + good, "not supported: a file of several pictures"),
    ):
        with pytest.raises(ImageError, match=reason):
            images.decode(io.BytesIO(bad))


# -- by Pillow -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}], ids=["raw", "runs"])
@pytest.mark.parametrize("upward", [False, True])
def test_a_tga_is_read_as_it_was_written(channels, options, upward):
    array = values(channels, "u1") // 32 * 32
    content = bytearray(saved(array, "TGA", **options))
    content[17] ^= 0x20 * upward  # the order of rows
    expected = array[::-1] if upward else array
    assert not differs(read(bytes(content)), expected, channels in (2, 4))
    with pytest.raises(ImageError, match="truncated"):
        images.decode(io.BytesIO(bytes(content[: len(content) // 2])))
    if channels == 4:
        content[17] &= 0xF0
        assert read(bytes(content)) is None, "it does not say that it has alpha"


@pytest.mark.parametrize("channels", [1, 3])
def test_of_a_gif_the_first_picture_is_read(channels):
    array = values(channels, "u1") // 64 * 64
    frames = [Image.fromarray(array.squeeze()), Image.new("RGB", (WIDTH, HEIGHT))]
    memory = io.BytesIO()
    frames[0].save(memory, "GIF", save_all=True, append_images=frames[1:])
    assert not differs(read(memory.getvalue()), array, False)
    cut = saved(array, "GIF")
    for tail in (b"", b"\0;"):
        with pytest.raises(ImageError, match="truncated"):
            images.decode(io.BytesIO(cut[: len(cut) * 3 // 4] + tail))


def test_a_gif_of_a_large_canvas_is_refused_from_its_header():
    huge = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(30)
    hollow = b"GIF89a" + struct.pack("<HH3B", 9000, 9000, 0, 0, 0)
    hollow += b"," + struct.pack("<4HB", 0, 0, 9000, 9000, 0) + b"\2\2\x4c\1\0;"
    for content, reason in ((huge, "60000x60000 is 3600 megapixels"), (hollow, "truncated")):
        with pytest.raises(ImageError, match=reason):
            images.read_header(io.BytesIO(content))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000_is_read_without_loss_and_never_cut(channels):
    array = values(channels, "u1")
    content = saved(array, "JPEG2000", irreversible=False)
    assert not differs(read(content), array, channels in (2, 4))
    for part in (0.3, 0.6, 0.9, 0.99):
        for tail in (b"", b"\xff\xd9"):
            with pytest.raises(ImageError, match="truncated"):
                images.decode(io.BytesIO(content[: int(len(content) * part)] + tail))


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_2000_of_another_encoder_is_read_or_called_unsupported(channels, bits, codec):
    array = values(channels, "u1" if bits == 8 else "u2") >> (16 - bits if bits > 8 else 0)
    options = {"level": 0, "reversible": True, "bitspersample": bits, "codecformat": codec}
    found = read(bytes(imagecodecs.jpeg2k_encode(array.squeeze(), **options)))
    assert (found is not None) == (channels < 4 and (bits == 8 or (bits == 16 and channels == 1)))
    assert not found or not differs(found, array, False)


@pytest.mark.parametrize("channels", [3, 4])
def test_avif_is_read_as_another_decoder_reads_it(channels):
    content = saved(cv2.GaussianBlur(values(channels, "u1"), (0, 0), 2), "AVIF", quality=95)
    assert not differs(read(content), imagecodecs.avif_decode(content), channels == 4, 4)
    for part in (0.3, 0.9):
        with pytest.raises(ImageError):
            images.decode(io.BytesIO(content[: int(len(content) * part)]))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "a HEIC picture"),
        (b"PK\x03\x04" + bytes(99), "a ZIP archive, as .npz is"),
        (b"8BPS\0\1" + bytes(99), "a Photoshop file"),
        (b"Pf\n4 4\n-1\n" + bytes(99), "a floating-point map"),
    ],
)
def test_what_is_recognized_but_not_read_is_named_with_a_way_out(content, what):
    with pytest.raises(ImageError, match=rf"not supported: {what}.*\. Convert it to PNG, or"):
        images.read_header(io.BytesIO(content))


@pytest.mark.parametrize("format", ["JPEG2000", "AVIF", "WEBP"])
def test_a_format_that_pillow_was_built_without_is_named(format, monkeypatch):
    content = saved(values(3, "u1"), format)
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ImageError, match=f"not supported: {format}, which the installed Pillow"):
        images.read_header(io.BytesIO(content))


def test_formats_that_are_only_read_are_refused_as_outputs(tmp_path):
    assert set(images.EXTENSIONS) - set(images.WRITABLE) >= {
        ".gif",
        ".ppm",
        ".tga",
        ".jp2",
        ".avif",
    }
    with pytest.raises(ImageError, match=r"GIF cannot hold 3 channels.*Use PNG"):
        images.encode(values(3, "u1"), tmp_path / "x.gif")


# -- color profiles --------------------------------------------------------------------------------


@cache  # it holds the time at which it was made
def profile(space):
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    content[16:20] = space
    return bytes(content)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_color_profile_is_carried_to_files_of_the_same_colors(tmp_path, suffix, dtype, channels):
    array, path = values(channels, dtype), tmp_path / f"x{suffix}"
    if not images.supports(images.format_of(path), channels, 8 * array.itemsize):
        return
    for space in (b"RGB ", b"GRAY", b"CMYK"):
        images.encode(array, path, metadata=Metadata(profile(space)))
        with Image.open(path) as image:
            image.load()
            stored, bands = image.info.get("icc_profile"), image.getbands()
        expected = b"RGB " if bands[0] != "L" and not image.mode.startswith("I") else b"GRAY"
        assert stored == (profile(space) if space == expected else None)
        pixels, header = images.reading.read(path)
        assert header.metadata.icc_profile == (stored or b"")
        assert images.read_header(path).metadata.icc_profile == (stored or b"")
        assert header.alpha == (channels in (2, 4))
        if suffix != ".jpg":
            np.testing.assert_array_equal(pixels, images.match_channels(array, pixels.shape[2]))


def test_a_profile_of_other_colors_or_of_any_length_is_not_believed(tmp_path):
    cmyk = Image.fromarray(values(4, "u1"), "CMYK")
    cmyk.save(tmp_path / "x.jpg", icc_profile=profile(b"CMYK"))
    for number, content in enumerate((b"", b"RGB", bytes(2000), profile(b"RGB ") + bytes(2**22))):
        Image.fromarray(values(3, "u1")).save(tmp_path / f"{number}.png", icc_profile=content)
    for path in tmp_path.iterdir():
        assert images.read_header(path).metadata.icc_profile == b""
        assert images.decode(path).shape == (HEIGHT, WIDTH, 3)


class Invert(torch.nn.Module):
    def forward(self, x):
        return -x[:, :1].expand(-1, self.channels, -1, -1)


@pytest.mark.parametrize(("channels", "kept"), [(3, True), (1, False)])
def test_translating_carries_the_profile_or_says_that_it_does_not(tmp_path, channels, kept):
    network = Invert()
    network.channels = channels
    (tmp_path / "in").mkdir()
    images.encode(values(3, "u1"), tmp_path / "in/x.png", metadata=Metadata(profile(b"RGB ")))
    images.encode(values(3, "u1"), tmp_path / "in/y.png")
    translator = Translator(network, 3, channels, device="cpu")
    report = translate_folder(translator, tmp_path / "in", tmp_path / "out")
    stored = [
        images.read_header(tmp_path / f"out/{name}.png").metadata.icc_profile for name in "xy"
    ]
    assert stored == [profile(b"RGB ") if kept else b"", b""]
    assert any("color profiles of inputs were dropped" in note for note in report.notes) != kept
