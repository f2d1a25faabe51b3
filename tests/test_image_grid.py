"""Generated files of every kind: each is read as another decoder reads it, or called unsupported, never damaged."""

import io
import itertools
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from i2i import images
from i2i.images import ImageError

pytestmark = pytest.mark.usefixtures("without_tiff_extra")
HEIGHT, WIDTH = 37, 45  # no multiple of a tile, a strip or a block


def values(channels, dtype):
    """Smooth values with noise, different in every channel: [H, W, C]."""
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    smooth = np.linspace(0.1, 0.8, HEIGHT * WIDTH * channels).reshape(channels, HEIGHT, WIDTH)
    unit = smooth.transpose(1, 2, 0) + rng.uniform(0, 0.15, (HEIGHT, WIDTH, channels))
    if dtype.kind == "b":
        return unit > 0.5
    if dtype.kind == "f":
        return unit.astype(dtype)
    limits = np.iinfo(dtype)
    return (limits.min + unit * (float(limits.max) - limits.min)).astype(dtype)


def read(content):
    """Return (pixels, header), or None for a file that is called unsupported."""
    try:
        pixels, header = images.reading.read(io.BytesIO(content))
    except ImageError as error:
        if "not supported: " not in error.reason or not error.hint:
            raise
        with pytest.raises(ImageError, match="not supported: "):
            images.read_header(io.BytesIO(content))
        return None
    assert images.read_header(io.BytesIO(content)) == header
    assert pixels.shape == (header.height, header.width, header.channels)
    return pixels, header


def differs(found, expected, alpha, tolerance=0):
    pixels, header = found
    return (
        pixels.shape != expected.shape
        or header.alpha != alpha
        or np.abs(pixels - expected.astype(float)).max() > tolerance
    )


# -- TIFF ------------------------------------------------------------------------------------------

TYPES = ("bool", "u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8")
COLORS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "palette": 1, "ycbcr": 3, "separated": 4}
COLORS["cielab"] = 3
EXTRAS = {"none": (), "unspecified": (0,), "associated": (1,), "alpha": (2,), "two": (0, 0)}
COMPRESSIONS = (None, "lzw", "deflate", "packbits", "zstd", "lzma")
LAYOUTS = list(itertools.product(COMPRESSIONS, (None, (16, 32)), ("contig", "separate"), "<>"))
TIFF_READ = {  # all that is read: values, color, extra channels
    *itertools.product(("bool", "u1", "u2"), ("minisblack", "miniswhite"), ("none",)),
    *itertools.product(("u1",), ("minisblack",), ("unspecified", "associated", "alpha")),
    *itertools.product(("u1", "u2"), ("rgb",), ("none", "unspecified", "associated", "alpha")),
    *itertools.product(("u1",), ("palette", "ycbcr", "separated"), ("none",)),
    ("f4", "minisblack", "none"),
}


def tiff(kind, color, extra, compression, tile, planes, order):
    """Return (content, values [H, W, C] as stored), or None if there is no such TIFF."""
    array = values(COLORS[color] + len(EXTRAS[extra]), kind)
    options = {"photometric": color, "compression": compression, "tile": tile, "byteorder": order}
    if color == "palette":
        options["colormap"] = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85
    if color == "ycbcr":
        options["subsampling"] = (1, 1)
    if EXTRAS[extra]:
        options["extrasamples"] = EXTRAS[extra]
    if compression in ("lzw", "deflate", "zstd", "lzma") and order == "<":
        options["predictor"] = True
    stored = array[..., 0]
    if array.shape[2] > 1:
        options["planarconfig"] = planes
        stored = array.transpose(2, 0, 1) if planes == "separate" else array
    memory = io.BytesIO()
    try:
        tifffile.imwrite(memory, stored, metadata=None, **options)
    except (ValueError, NotImplementedError, KeyError, TypeError):
        return None
    return memory.getvalue(), array


def shown(array, color, extra):
    """Return what stored values mean, [H, W, C]: gray or RGB, and the extra channel."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    top = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    pixels, rest = array[..., : COLORS[color]], array[..., COLORS[color] :]
    if color == "miniswhite":
        pixels = top - pixels
    elif color == "palette":
        pixels = (np.arange(768).reshape(3, 256) * 85 >> 8).T[pixels[..., 0]]
    elif color == "ycbcr":
        y, b, r = np.moveaxis(pixels.astype(float) - [0, 128, 128], 2, 0)  # JFIF
        channels = (y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b)
        pixels = np.stack(channels, axis=2).clip(0, 255)
    elif color == "separated":
        light = 255 - pixels.astype(float)
        pixels = light[..., :3] * light[..., 3:] / 255
    if extra == "associated":
        pixels = np.floor(pixels.astype(float) * top / rest + 0.5).clip(0, top)
    return np.concatenate([pixels, rest], axis=2)


def test_every_tiff_is_read_as_it_was_written_or_called_unsupported():
    accepted, wrong = set(), []
    for number, kind in enumerate(itertools.product(TYPES, COLORS, EXTRAS)):
        layouts = LAYOUTS[number % 5 :: 5] if kind in TIFF_READ else LAYOUTS[:1]
        for layout in layouts:
            made = tiff(*kind, *layout)
            found = made and read(made[0])
            if found:
                accepted.add(kind)
                tolerance = 2 if kind[1] in ("ycbcr", "separated") else 0
                alpha = kind[2] in ("associated", "alpha")
                if differs(found, shown(made[1], *kind[1:]), alpha, tolerance):
                    wrong.append((kind, layout))
    assert not wrong
    assert accepted == TIFF_READ


def test_planes_of_sixteen_bits_are_refused_by_name():
    content, _ = tiff("u2", "rgb", "none", "lzw", None, "separate", "<")
    with pytest.raises(ImageError, match=r"3 x 16-bit .*RGB, stored plane by plane.*Convert it"):
        images.decode(io.BytesIO(content))


@pytest.mark.parametrize("compression", ["packbits", "lzw", "zlib", "deflate", "lzma", "zstd"])
def test_a_predictor_is_undone_or_its_tiff_called_unsupported(compression):
    array, memory = values(3, "u1"), io.BytesIO()
    options = {"photometric": "rgb", "compression": compression, "metadata": None}
    tifffile.imwrite(memory, array, predictor=2, **options)
    found = read(memory.getvalue())
    assert found is None if compression == "packbits" else not differs(found, array, False)
    if compression == "packbits":
        with pytest.raises(ImageError, match=r"compression 32773 with predictor 2\. Convert it"):
            images.decode(memory)
        memory = io.BytesIO()
        tifffile.imwrite(memory, array, **options)
        assert not differs(read(memory.getvalue()), array, False)


@pytest.mark.parametrize("order", "<>")
def test_a_bigtiff_is_read_or_its_byte_order_called_unsupported(order):
    array, memory = values(3, "u1"), io.BytesIO()
    tifffile.imwrite(memory, array, photometric="rgb", byteorder=order, bigtiff=True)
    if order == "<":
        assert not differs(read(memory.getvalue()), array, False)
    else:
        assert read(memory.getvalue()) is None
        with pytest.raises(ImageError, match=r"not supported: a big-endian BigTIFF\. Convert it"):
            images.decode(memory)


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_packed_bits_are_scaled_to_the_whole_range(bits):
    top = 2**bits - 1
    array = np.arange(36 * 46, dtype=np.uint16 if bits > 8 else np.uint8).reshape(36, 46) & top
    memory = io.BytesIO()
    tifffile.imwrite(memory, array, metadata=None, bitspersample=bits, photometric="minisblack")
    pixels, header = read(memory.getvalue())
    full = 255 if header.depth == 8 else 65535
    np.testing.assert_array_equal(pixels[..., 0], array.astype(np.uint64) * full // top)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_jpeg_in_tiff_is_read_as_tifffile_reads_it(subsampling, tile):
    content = io.BytesIO()
    array = cv2.GaussianBlur(values(3, "u1"), (0, 0), 3)
    options = {"photometric": "ycbcr", "compression": "jpeg", "subsampling": subsampling}
    tifffile.imwrite(content, array, metadata=None, tile=tile, **options)
    assert not differs(
        read(content.getvalue()), tifffile.imread(io.BytesIO(content.getvalue())), False, 2
    )


def pages(*subfile_types):
    memory = io.BytesIO()
    with tifffile.TiffWriter(memory) as file:
        for number, kind in enumerate(subfile_types):
            array = values(3, "u1")[:: number + 1, :: number + 1]
            array = array[..., 0] > 99 if kind & 4 else array
            file.write(array, metadata=None, subfiletype=kind)
    return memory.getvalue()


@pytest.mark.parametrize("kinds", [(0,), (0, 1), (0, 1, 1, 1), (0, 4), (0, 5)])
def test_thumbnails_and_masks_are_no_pages(kinds):
    assert not differs(read(pages(*kinds)), values(3, "u1"), False)


@pytest.mark.parametrize(("kinds", "count"), [((0, 0), 2), ((2, 2, 2), 3), ((0, 1, 0, 1), 2)])
def test_a_tiff_of_several_pages_is_refused_with_their_number(kinds, count):
    with pytest.raises(ImageError, match=f"not supported: a TIFF of {count} pages.*stack them"):
        images.read_header(io.BytesIO(pages(*kinds)))
    assert read(pages(1, 0)) is None, "the first is a thumbnail"


def test_parts_of_a_tiff_that_are_missing_are_never_black():
    content, _ = tiff("u1", "rgb", "none", None, (16, 32), "contig", "<")
    page = tifffile.TiffFile(io.BytesIO(content)).pages[0]
    offsets, sizes = page.tags["TileOffsets"], page.tags["TileByteCounts"]
    fewer = bytearray(content)
    struct.pack_into("<I", fewer, offsets.offset + 4, offsets.count - 2)
    with pytest.raises(ImageError, match="truncated: it has 4 of 6 strips or tiles"):
        images.read_header(io.BytesIO(bytes(fewer)))
    sparse = bytearray(content)
    struct.pack_into("<I", sparse, sizes.valueoffset + (sizes.dtype == 4 and 4), 0)
    assert read(bytes(sparse)) is None


# -- PNG -------------------------------------------------------------------------------------------

ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
PNG_KINDS = [
    (0, 1),
    (0, 2),
    (0, 4),
    (0, 8),
    (0, 16),
    (2, 8),
    (2, 16),
    (3, 1),
    (3, 2),
    (3, 4),
    (3, 8),
]
PNG_KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(array, color, depth, interlaced, extra):
    def rows(part):
        for row in part if part.size else ():
            if depth < 8:
                bits = np.unpackbits(row.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
                yield b"\0" + np.packbits(bits).tobytes()
            else:
                yield b"\0" + row.astype(f">u{depth // 8}").tobytes()

    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = [line for y, x, down, right in passes for line in rows(array[y::down, x::right])]
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], depth, color, 0, 0, interlaced)
    data = chunk(b"IDAT", zlib.compress(b"".join(lines)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize(("color", "depth"), PNG_KINDS)
def test_every_png_is_read_as_it_was_written(color, depth, clear, interlaced):
    channels, top = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color], 2**depth - 1
    rng = np.random.default_rng(0)
    array = rng.integers(0, top + 1, (HEIGHT, WIDTH, channels), dtype=np.uint16)
    palette = rng.integers(0, 256, (top + 1, 3) if color == 3 else (1, 3), dtype=np.uint8)
    extra = chunk(b"PLTE", palette.tobytes()) if color == 3 else b""
    if clear and color < 3:
        extra += chunk(b"tRNS", array[2, 3].astype(">u2").tobytes())
    elif clear and color == 3:
        extra += chunk(b"tRNS", bytes([7] + [255] * top))
    full = 65535 if depth == 16 else 255
    expected = palette[array[..., 0]] if color == 3 else array.astype(np.uint32) * full // top
    alpha = color >= 4
    if clear and color < 3:
        opaque = (array != array[2, 3]).any(axis=2, keepdims=True)
        expected, alpha = np.concatenate([expected, opaque * full], axis=2), True
    elif clear and color == 3:
        opacity = np.where(array == 0, 7, 255)
        expected, alpha = np.concatenate([expected, opacity], axis=2), True
    content = png(array, color, depth, interlaced, extra)
    assert not differs(read(content), expected, alpha)
    if not clear:
        other = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        other = other.reshape(HEIGHT, WIDTH, -1)
        order = [2, 1, 0, 3][: other.shape[2]] if other.shape[2] > 1 else [0]
        other = other[..., order][..., [0, 3] if channels == 2 else slice(None)]
        assert not differs(read(content), other, alpha)


@pytest.mark.parametrize("gray", [0, 1, 0x0100, 0x0101, 0xFF00, 0xFFFF])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_of_a_transparent_gray_only_the_bits_of_the_depth_count(depth, gray):
    top = 2**depth - 1
    array = np.random.default_rng(0).integers(0, top + 1, (HEIGHT, WIDTH, 1), dtype=np.uint16)
    content = png(array, 0, depth, 0, chunk(b"tRNS", struct.pack(">H", gray)))
    opacity = np.where(array == gray & top, 0, 255)  # PNG 3, 11.3.1.1
    expected = np.concatenate([array.astype(int) * 255 // top, opacity], axis=2)
    assert not differs(read(content), expected, True)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(images.from_pil(image, "keep"), expected)
