"""TIFF of any channels, numbers and compressions: read and written with tifffile, and what they say is kept."""

import io
import struct
import sys

import numpy as np
import pytest
import tifffile
from test_image_grid import values
from test_metadata import EXACT, identity, run

from i2i import images
from i2i.images import ImageError
from i2i.images.tiff_tags import parse_ome
from i2i.translation import TranslationError

RANGES = EXACT | dict.fromkeys(("float32", "float64", "uint8", "uint16"), (0, 1))
FIELDS = (
    "photometric",
    "planarconfig",
    "compression",
    "predictor",
    "samplesperpixel",
    "extrasamples",
)
FIELDS += ("bitspersample", "is_tiled", "tilewidth", "tilelength", "resolution", "resolutionunit")


def numbers(kind, channels):
    """Values that float32 in [-1, 1], which the network sees, holds exactly."""
    rng, shape = np.random.default_rng(channels), (21, 37, channels)
    if kind.startswith("f"):
        return (rng.integers(0, 1025, shape) / 1024).astype(kind)
    low, high = RANGES[kind] if kind not in ("uint8", "uint16") else (0, np.iinfo(kind).max)
    return rng.integers(low, high, shape, endpoint=True).astype(kind)


def arranged(array, planes):
    return array.transpose(2, 0, 1) if planes else array


def translated(tmp_path, content, array, alpha=False, **options):
    """Return (TiffPages of the input, of the output, values of the output, report)."""
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in/x.tif").write_bytes(content)
    kind = array.dtype.name
    depth = {"uint8": 8, "uint16": 16}.get(kind, 32)
    sample = "" if kind in ("uint8", "uint16", "float32") else kind
    spec = {"value_range": RANGES[kind], "depth": depth, "sample": sample}
    report = run(tmp_path, identity(array.shape[2], **spec), **options)
    assert report.failed == []
    assert report.notes == []
    return tifffile.TiffFile(tmp_path / "out/x.tif")


def written(array, **options):
    memory = io.BytesIO()
    tifffile.imwrite(memory, array, **options)
    return memory.getvalue()


CASES = [
    # channels, plane by plane, compression, tile, predictor
    (1, False, None, None, False),
    (2, False, "zstd", (16, 32), True),
    (3, True, "lzw", None, True),
    (4, False, "zlib", (16, 16), False),
    (5, True, "lzma", (32, 16), False),
    (13, False, "packbits", None, False),
    (200, True, None, None, False),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", RANGES)
def test_values_and_layout_come_out_as_they_went_in(tmp_path, kind, case):
    channels, planes, compression, tile, predictor = case
    array = numbers(kind, channels)
    options = {"compression": compression, "tile": tile, "resolution": ((7, 3), (5, 2))}
    options["predictor"] = predictor and not kind.endswith("64")
    options["bigtiff"] = channels == 5
    if channels > 1:
        options["planarconfig"] = "separate" if planes else "contig"
    stored = array[..., 0] if channels == 1 else arranged(array, planes)
    content = written(
        stored, photometric="minisblack", metadata=None, resolutionunit="CENTIMETER", **options
    )
    with (
        tifffile.TiffFile(io.BytesIO(content)) as source,
        translated(tmp_path, content, array) as output,
    ):
        np.testing.assert_array_equal(output.asarray(), stored, strict=True)
        for field in FIELDS:
            assert getattr(output.pages[0], field) == getattr(source.pages[0], field), field
        assert output.is_bigtiff == source.is_bigtiff


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_pages_are_channels_and_stay_pages(tmp_path, kind):
    array = numbers(kind, 5)
    content = written(arranged(array, True), photometric="minisblack", metadata=None)
    header = images.read_header(io.BytesIO(content))
    assert (header.channels, header.height, header.width) == (5, 21, 37)
    with translated(tmp_path, content, array) as output:
        assert len(output.pages) == 5
        np.testing.assert_array_equal(output.asarray(), arranged(array, True), strict=True)


@pytest.mark.parametrize("layout", ["pages", "planes", "together"])
def test_ome_sizes_and_names_of_channels_are_kept(tmp_path, layout):
    array = numbers("uint16", 3)
    names = ["DAPI", "GFP", "Cy5"]
    physical = {
        "PhysicalSizeX": 0.25,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "mm",
    }
    axes = {"pages": "CYX", "planes": "SYX", "together": "YXS"}[layout]
    options = {"photometric": "minisblack"}
    if layout != "pages":
        options["planarconfig"] = "separate" if layout == "planes" else "contig"
    metadata = {"axes": axes, **physical}
    if layout == "pages":
        metadata["Channel"] = {"Name": names}
    content = written(arranged(array, layout != "together"), ome=True, metadata=metadata, **options)
    with translated(tmp_path, content, array) as output:
        np.testing.assert_array_equal(output.asarray(), arranged(array, layout != "together"))
        ome = parse_ome(output.ome_metadata)
        assert ome == parse_ome(tifffile.TiffFile(io.BytesIO(content)).ome_metadata)
        assert ome.physical == (("X", 0.25, "µm"), ("Y", 0.5, "mm"))
        assert ome.names == (tuple(names) if layout == "pages" else ())
    with translated(tmp_path, content, array, size=(42, 148), overwrite=True) as output:
        assert parse_ome(output.ome_metadata).physical == (("X", 0.0625, "µm"), ("Y", 0.25, "mm"))


def test_description_profile_and_white_is_zero_are_kept_where_pillow_reads_the_file(tmp_path):
    array = numbers("uint8", 1)
    profile = bytearray(128 + 64)
    profile[16:20], profile[36:40] = b"GRAY", b"acsp"
    content = written(
        255 - array[..., 0],
        photometric="miniswhite",
        description="Aperio MPP = 0.25",
        iccprofile=bytes(profile),
        metadata=None,
    )
    np.testing.assert_array_equal(images.decode(io.BytesIO(content)), array)
    with translated(tmp_path, content, array) as output:
        page = output.pages[0]
        np.testing.assert_array_equal(page.asarray(), 255 - array[..., 0])
        assert (page.description, page.iccprofile, page.photometric) == (
            "Aperio MPP = 0.25",
            bytes(profile),
            0,
        )


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_fewer_bits_come_out_packed_as_they_were(tmp_path, bits, channels):
    array = np.random.default_rng(0).integers(0, 2**bits, (21, 37, channels)).astype(np.uint16)
    stored = array[..., 0] if channels == 1 else array
    content = written(
        stored,
        photometric="rgb" if channels == 3 else "minisblack",
        bitspersample=bits,
        metadata=None,
    )
    if bits != 12 or channels == 3:
        pixels = images.decode(io.BytesIO(content))
        np.testing.assert_array_equal(pixels, array.astype(np.int64) * 65535 // (2**bits - 1))
    with translated(tmp_path, content, array) as output:
        assert output.pages[0].bitspersample == bits
        np.testing.assert_array_equal(output.asarray(), stored)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_alpha_stays_alpha_and_other_channels_do_not_become_it(tmp_path, kind):
    array = numbers(kind, 4)
    content = written(array, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    pixels, header = images.read(io.BytesIO(content))
    assert header.alpha
    np.testing.assert_array_equal(pixels, array)
    images.encode(pixels, tmp_path / "x.tif", metadata=header.metadata)
    with tifffile.TiffFile(tmp_path / "x.tif") as output:
        assert output.pages[0].extrasamples == (2,)
        np.testing.assert_array_equal(output.asarray(), array)
    content = written(numbers(kind, 6), photometric="rgb", extrasamples=[0, 0, 2], metadata=None)
    with translated(tmp_path, content, numbers(kind, 6)) as output:
        assert output.pages[0].extrasamples == (0, 0, 2)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png"])
def test_lossy_and_foreign_compressions_are_read_and_written_without_loss(tmp_path, compression):
    array = numbers("uint8", 5)
    try:
        content = written(
            arranged(array, True),
            photometric="minisblack",
            planarconfig="separate",
            tile=(16, 16),
            compression=compression,
            metadata=None,
        )
    except ImportError:
        pytest.skip("imagecodecs without this codec")
    expected = tifffile.imread(io.BytesIO(content))
    with translated(tmp_path, content, arranged(expected, False).transpose(1, 2, 0)) as output:
        np.testing.assert_array_equal(output.asarray(), expected)
        assert output.pages[0].compression == 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"metadata": {"axes": "ZYX"}, "ome": True}, "5 slices"),
        ({"metadata": {"axes": "TYX"}, "imagej": True}, "5 times"),
        ({"metadata": {"axes": "ZYX"}, "imagej": True}, "5 slices|several pictures in one"),
    ],
)
def test_pages_that_are_no_channels_are_refused_with_what_to_do(options, reason):
    content = written(arranged(numbers("uint16", 5), True), photometric="minisblack", **options)
    with pytest.raises(ImageError, match=rf"not supported: .*({reason}).*\. Split it"):
        images.read_header(io.BytesIO(content))


def test_pages_of_different_sizes_and_colors_are_refused():
    memory = io.BytesIO()
    with tifffile.TiffWriter(memory) as writer:
        for side in (16, 32):
            writer.write(np.zeros((side, side), np.uint8), metadata=None)
    with pytest.raises(ImageError, match="2 pages that differ in size or type"):
        images.read_header(memory)
    content = written(np.zeros((2, 16, 16, 3), np.uint8), photometric="rgb", metadata=None)
    with pytest.raises(ImageError, match="2 pages of 3 channels each"):
        images.read_header(io.BytesIO(content))


# -- malformed -------------------------------------------------------------------------------------

DAMAGED = {
    "tiled": lambda: written(
        numbers("int16", 5),
        tile=(16, 16),
        compression="zlib",
        predictor=True,
        photometric="minisblack",
        planarconfig="contig",
        metadata=None,
    ),
    "raw": lambda: written(
        numbers("float64", 2), photometric="minisblack", planarconfig="contig", metadata=None
    ),
    "ome": lambda: written(
        arranged(numbers("uint16", 3), True),
        ome=True,
        photometric="minisblack",
        compression="lzw",
        metadata={"axes": "CYX", "Channel": {"Name": list("abc")}},
    ),
    "jpeg": lambda: written(
        arranged(numbers("uint8", 5), True),
        photometric="minisblack",
        planarconfig="separate",
        tile=(16, 16),
        compression="jpeg",
        metadata=None,
    ),
}


def attempt(content, limit=images.MAX_PIXELS):
    """Read a file, which must end in pixels as announced, or in a refusal."""
    try:
        header = images.read_header(io.BytesIO(content), limit)
        pixels, _ = images.read(io.BytesIO(content), limit, (-1e9, 1e9))
    except ImageError as error:
        return print(error)
    assert pixels.shape == (header.height, header.width, header.channels)
    return pixels


@pytest.mark.parametrize("name", DAMAGED)
def test_truncated_file_is_refused(name):
    content = DAMAGED[name]()
    assert attempt(content) is not None
    for place in np.linspace(0, len(content) - 1, 20).astype(int):
        part = attempt(content[:place])
        assert part is None or np.array_equal(part, attempt(content)), place


@pytest.mark.parametrize("name", DAMAGED)
def test_flipped_bytes_end_in_pixels_or_in_a_refusal(name):
    content, rng = DAMAGED[name](), np.random.default_rng(0)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = [tag.offset for tag in file.pages[0].tags]
    for turn in range(150):
        damaged = bytearray(content)
        place = (
            int(rng.choice(tags)) + int(rng.integers(12))
            if turn % 2
            else int(rng.integers(len(content)))
        )
        damaged[min(place, len(content) - 1)] ^= int(rng.integers(1, 256))
        attempt(bytes(damaged), 10_000_000)


def patched(content, tag, value):
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        entry = file.pages[0].tags[tag]
    content = bytearray(content)
    struct.pack_into("<H" if entry.dtype == 3 else "<I", content, entry.valueoffset, value)
    return bytes(content)


def test_sizes_that_the_file_cannot_hold_are_refused_before_memory_is_taken():
    content = written(
        numbers("int16", 5),
        tile=(16, 16),
        compression="zlib",
        photometric="minisblack",
        planarconfig="contig",
        metadata=None,
    )
    with pytest.raises(ImageError, match=r"megapixels, the limit|strips or tiles"):
        images.read_header(io.BytesIO(patched(patched(DAMAGED["raw"](), 256, 60_000), 257, 60_000)))
    with pytest.raises(ImageError, match="strips or tiles"):
        images.read_header(io.BytesIO(patched(content, 257, 9_000)))
    with pytest.raises(ImageError, match="its tiles have"):
        images.read_header(io.BytesIO(patched(patched(content, 322, 60_000), 323, 60_000)))


def test_pictures_in_tiles_that_are_larger_than_the_tiles_are_refused():
    content = DAMAGED["jpeg"]()
    position = content.index(b"\xff\xc0")
    bomb = content[: position + 5] + b"\xff\xff\xff\xff" + content[position + 9 :]
    with pytest.raises(ImageError, match="holds 65535x65535 pixels"):
        images.decode(io.BytesIO(bomb))


# -- without the extra -----------------------------------------------------------------------------


def test_file_that_needs_the_extra_names_it(tmp_path, monkeypatch):
    array = numbers("uint16", 5)
    content = written(array, photometric="minisblack", planarconfig="contig", metadata=None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for read in (images.read_header, images.decode):
        with pytest.raises(ImageError, match=r"not supported: .*pip install 'i2i\[tiff\]'"):
            read(io.BytesIO(content))
    with pytest.raises(ImageError, match=r"pip install 'i2i\[tiff\]'"):
        images.encode(array, tmp_path / "x.tif")
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/x.npy", array)
    with pytest.raises(TranslationError, match=r"pip install 'i2i\[tiff\]'; or choose npy"):
        run(tmp_path, identity(5, depth=16), format="tif")
    assert not (tmp_path / "out").exists()


def test_arrays_become_tiff_where_it_is_asked_for(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/x.npy", numbers("int16", 4))
    translator = identity(4, value_range=RANGES["int16"], depth=32, sample="int16")
    assert run(tmp_path, translator, format="tif").failed == []
    with tifffile.TiffFile(tmp_path / "out/x.tif") as output:
        np.testing.assert_array_equal(output.asarray(), numbers("int16", 4), strict=True)
        assert output.pages[0].extrasamples == (0, 0, 0)


def test_pixels_that_pillow_reads_are_the_same_with_and_without_the_extra(
    without_tiff_extra, monkeypatch
):
    content = written(values(3, "u1"), photometric="rgb", tile=(16, 16), compression="zlib")
    plain = images.decode(io.BytesIO(content))
    monkeypatch.undo()
    pixels, header = images.read(io.BytesIO(content))
    np.testing.assert_array_equal(pixels, plain)
    assert header.metadata.native.tile == (16, 16)
