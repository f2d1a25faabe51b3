"""Files of the extras in tiles: what comes out of them as a whole comes out, field by field."""

from contextlib import ExitStack

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
import torch
from test_geotiff import HOLE, UTM, assert_same, spec_of, write
from test_metadata import identity, run
from test_tiff_extra import arranged, numbers
from test_windows import boxes

from i2i import images
from i2i.images import plain, rows
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.images.tiff_tags import parse_ome
from i2i.images.windows import open_windows
from i2i.translation.translator import Translator

TILED = {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


class Same(torch.nn.Identity):
    """An identity that says that it sees nothing around a pixel."""

    halo, min_size = 0, 1


def with_hole(kind, channels, value):
    array = numbers(kind, channels)
    array[array == value] += 1
    array[HOLE] = value
    return array


def masked(path):
    array, valid = numbers("uint8", 3), np.ones((21, 37), np.bool_)
    valid[HOLE] = False
    write(path, array, **UTM, **TILED)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), rasterio.open(path / "x.tif", "r+") as file:
        file.write_mask(valid)


def cog(path):
    array = np.kron(with_hole("uint16", 2, 7), np.ones((30, 30, 1), np.uint16))
    plain = write(path, array, "plain.tif", nodata=7, **UTM)
    rasterio.shutil.copy(plain, path / "x.tif", driver="COG", blocksize=256, compress="ZSTD")
    plain.unlink()


def palette(path):
    write(path, numbers("uint8", 1), **UTM)
    with rasterio.open(path / "x.tif", "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp.palette]
        file.write_colormap(1, {index: (index, 255 - index, 7, 255) for index in range(256)})


GEO = {  # name -> type, channels, file
    "integers": ("uint16", 4, lambda p: write(p, with_hole("uint16", 4, 7), nodata=7, **UTM)),
    "tiled": ("int16", 3, lambda p: write(p, with_hole("int16", 3, -9), nodata=-9, **UTM, **TILED)),
    "floats": ("float32", 2, lambda p: write(p, with_hole("float32", 2, np.nan), **UTM, **TILED)),
    "complete": ("float32", 1, lambda p: write(p, numbers("float32", 1), **UTM)),
    "masked": ("uint8", 3, masked),
    "cog": ("uint16", 2, cog),
    "palette": ("uint8", 3, palette),
}


@pytest.mark.parametrize("name", GEO)
def test_georeferenced_files_come_out_of_tiles_as_out_of_the_whole(tmp_path, name):
    kind, channels, make = GEO[name]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    same = ImageSpec((ChannelSpec(channels, False),), **spec_of(kind))
    translator = Translator(Same(), channels, channels, source=same, target=same)
    assert run(tmp_path, translator).failed == []
    (tmp_path / "out").rename(tmp_path / "whole")
    report = run(tmp_path, translator, tile=16)
    assert (report.failed, [note for note in report.notes if "tiles" not in note]) == ([], [])
    with (
        rasterio.open(tmp_path / "whole/x.tif") as whole,
        rasterio.open(tmp_path / "out/x.tif") as tiled,
    ):
        assert_same(whole, tiled)
        assert tiled.overviews(1) == whole.overviews(1)


@pytest.mark.parametrize("name", GEO)
def test_windows_of_georeferenced_files_are_parts_of_the_whole(tmp_path, name):
    GEO[name][2](tmp_path)
    path, numbers_of = tmp_path / "x.tif", (-1e9, 1e9)
    pixels, header = images.read(path, value_range=numbers_of)
    with open_windows(path, 10**6 if name == "palette" else 1, numbers_of) as opened:
        for top, left, height, width in boxes(*pixels.shape[:2]):
            box = slice(top, top + height), slice(left, left + width)
            part, own = opened.read(top, left, height, width)
            np.testing.assert_array_equal(part, pixels[box], strict=True)
            absent = np.zeros((1, 1, 1), bool) if own.missing is None else own.missing
            expected = np.zeros_like(pixels, bool) if header.missing is None else header.missing
            np.testing.assert_array_equal(np.broadcast_to(absent, part.shape), expected[box])


NAMES = {"axes": "CYX", "PhysicalSizeX": 0.25, "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
TIFF = {  # name -> type, channels, plane by plane, options
    "pages": ("uint16", 5, True, {}),
    "planes": ("int32", 4, True, {"planarconfig": "separate", "tile": (16, 16)}),
    "ome": ("uint16", 3, True, {"ome": True, "metadata": NAMES}),
    "12 bits": ("uint16", 1, False, {"bitspersample": 12}),
    "white": ("uint8", 1, False, {"photometric": "miniswhite", "description": "slide"}),
    "no alpha": ("uint8", 4, False, {"planarconfig": "contig", "compression": "lzw"}),
    "resolution": ("float64", 2, False, {"planarconfig": "contig", "resolution": ((7, 3), (5, 2))}),
}
FIELDS = ("photometric", "samplesperpixel", "extrasamples", "resolution", "resolutionunit")
FIELDS += ("planarconfig", "description")


@pytest.mark.parametrize("name", TIFF)
def test_tags_and_values_come_out_of_tiles_as_out_of_the_whole(tmp_path, name):
    kind, channels, planes, options = TIFF[name]
    (tmp_path / "in").mkdir()
    array = numbers(kind, channels) % 4096 if name == "12 bits" else numbers(kind, channels)
    stored = array[..., 0] if channels == 1 else arranged(array, planes)
    options = {"photometric": "minisblack", "metadata": None} | options
    tifffile.imwrite(tmp_path / "in/x.tif", stored, **options)
    spec = spec_of(kind)
    translator = identity(channels, **spec)
    translator.network = Same()
    assert run(tmp_path, translator).failed == []
    (tmp_path / "out").rename(tmp_path / "whole")
    report = run(tmp_path, translator, tile=16)
    assert (report.failed, [note for note in report.notes if "tiles" not in note]) == ([], [])
    with (
        tifffile.TiffFile(tmp_path / "whole/x.tif") as whole,
        tifffile.TiffFile(tmp_path / "out/x.tif") as tiled,
    ):
        assert len(tiled.pages) == len(whole.pages)
        for field in FIELDS[:-1] if name == "ome" else FIELDS:  # its description has a new UUID
            assert getattr(tiled.pages[0], field) == getattr(whole.pages[0], field), field
        assert parse_ome(tiled.ome_metadata or "") == parse_ome(whole.ome_metadata or "")
        if name != "12 bits":  # which tiles do not pack
            np.testing.assert_array_equal(tiled.asarray(), whole.asarray(), strict=True)
    decoded = [
        images.decode(tmp_path / f"{folder}/x.tif", "keep", value_range=spec["value_range"])
        for folder in ("whole", "out")
    ]
    np.testing.assert_array_equal(*decoded)
    assert tiled.pages[0].is_tiled


def test_rows_without_data_are_marked_by_a_process_that_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "_BAND_BYTES", 1)  # rows one by one: in most nothing is missing
    array = with_hole("uint8", 1, 7)
    path = write(tmp_path, array, "in.tif", nodata=7, **UTM)
    metadata = images.read_header(path).metadata
    missing = array == 7

    def absent(first, end):
        return missing[first:end] if missing[first:end].any() else None

    for end in (10, 21):
        with ExitStack() as stack:
            writer = stack.enter_context(
                rows.SpooledRows(tmp_path / "x.tif", 21, "job", metadata=metadata, alpha=False)
            )
            writer.append(np.full_like(array, 7)[writer.rows : end])
            if end == 21:
                writer.finish(absent)
    with rasterio.open(tmp_path / "x.tif") as output:  # values do not become nodata
        np.testing.assert_array_equal(output.read(1), np.where(missing[..., 0], 7, 8))
