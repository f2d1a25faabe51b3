"""Georeferenced TIFF through an identity network: values, coordinates, nodata and tags come out as they went in."""

import io
import sys

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import torch
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.transform import from_origin
from test_metadata import identity, run
from test_tiff_extra import RANGES, numbers

from i2i import images
from i2i.images import ImageError
from i2i.images.geotiff_writing import with_nodata
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.images.stacks import read
from i2i.translation.translator import Translator

UTM = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 10, 20)}
HOLE = (slice(3, 9), slice(5, 30))  # pixels without data
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def write(path, array, name="x.tif", **options):
    """Write [H, W, C]; return its path."""
    path.mkdir(exist_ok=True)
    height, width, count = array.shape
    kind = {"dtype": array.dtype.name, "height": height, "width": width, "count": count}
    with rasterio.open(path / name, "w", driver="GTiff", **kind, **options) as file:
        file.write(array.transpose(2, 0, 1))
    return path / name


def spec_of(kind, **more):
    depth = {"uint8": 8, "uint16": 16}.get(kind, 32)
    sample = "" if kind in ("uint8", "uint16", "float32") else kind
    return {"value_range": RANGES[kind], "depth": depth, "sample": sample, **more}


def translated(tmp_path, kind, channels, translator=None, **options):
    report = run(tmp_path, translator or identity(channels, **spec_of(kind)), **options)
    assert report.failed == []
    assert report.notes == []
    return rasterio.open(tmp_path / "out/x.tif")


def assert_same(source, output):
    np.testing.assert_array_equal(output.read(), source.read(), strict=True)
    # type, nodata, which may be NaN, CRS, transform, blocks, compression
    assert str(output.profile) == str(source.profile)
    for field in ("descriptions", "units", "scales", "offsets", "gcps", "colorinterp"):
        assert getattr(output, field) == getattr(source, field), field
    assert output.tags() == source.tags()
    assert output.tags(ns="IMAGE_STRUCTURE") == source.tags(ns="IMAGE_STRUCTURE")
    assert output.tags(ns="RPC") == source.tags(ns="RPC")
    for band in source.indexes:
        assert output.tags(band) == source.tags(band)
    np.testing.assert_array_equal(output.dataset_mask(), source.dataset_mask())


@pytest.mark.parametrize("kind", [kind for kind in RANGES if kind != "float16"])
@pytest.mark.parametrize("channels", [1, 3, 13])
def test_values_coordinates_nodata_and_tags_are_kept(tmp_path, kind, channels):
    array = numbers(kind, channels)
    nodata = 7 if array.dtype.kind in "iu" else -9999
    array = with_nodata(array, np.zeros(array.shape, np.bool_), nodata) if nodata == 7 else array
    array[HOLE] = nodata
    layout = {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 32}
    path = write(tmp_path / "in", array, nodata=nodata, **UTM, **layout)
    with rasterio.open(path, "r+") as file:
        file.descriptions = tuple(f"band {band}" for band in file.indexes)
        file.scales, file.offsets = [2.0] * channels, [0.5] * channels
        file.units = ("dB",) * channels
        file.update_tags(SENSOR="S1", TIFFTAG_SOFTWARE="made by hand")
        file.update_tags(1, POLARIZATION="VV")
    with rasterio.open(path) as source, translated(tmp_path, kind, channels) as output:
        assert_same(source, output)


@pytest.mark.parametrize(
    "layout",
    [
        {"interleave": "pixel", "compress": "lzw", "predictor": 2},
        {"bigtiff": "YES"},
        {"compress": "lerc_zstd", "tiled": True, "blockxsize": 16, "blockysize": 16},
    ],
)
def test_layout_is_kept(tmp_path, layout):
    path = write(tmp_path / "in", numbers("uint16", 4), **UTM, **layout)
    assert images.read_header(path).alpha is False
    with rasterio.open(path) as source, translated(tmp_path, "uint16", 4) as output:
        assert_same(source, output)
    start = (tmp_path / "out/x.tif").read_bytes()[:4]
    assert start[2:] == (b"+\0" if "bigtiff" in layout else b"*\0")


def test_point_control_points_and_polynomials_are_kept_and_scaled(tmp_path):
    array = numbers("uint8", 1)
    path = write(tmp_path / "in", array, **UTM)
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as source, translated(tmp_path, "uint8", 1) as output:
        assert source.tags()["AREA_OR_POINT"] == "Point"
        assert_same(source, output)
    points = [
        GroundControlPoint(r, c, 10 + c, 50 - r, 3, str(r), "")
        for r, c in ((0, 0), (0, 36), (20, 5))
    ]
    write(tmp_path / "in", array, crs="EPSG:4326", gcps=points)
    with rasterio.open(path) as source, translated(tmp_path, "uint8", 1, overwrite=True) as output:
        given, made = (
            ([p.asdict() for p in file.gcps[0]], file.gcps[1]) for file in (source, output)
        )
        assert made == given
    with translated(tmp_path, "uint8", 1, overwrite=True, size=(42, 111)) as output:
        assert [(p.row, p.col, p.x) for p in output.gcps[0]] == [
            (0, 0, 10),
            (0, 108, 46),
            (40, 15, 15),
        ]
    names = ("height", "lat", "line", "long", "samp")
    numbers_of = {f"{name}_{key}": 2.5 for name in names for key in ("off", "scale")}
    for key in ("line_den", "line_num", "samp_den", "samp_num"):
        numbers_of[f"{key}_coeff"] = [float(one) for one in range(20)]
    rpcs = RPC(**numbers_of)
    write(tmp_path / "in", array, rpcs=rpcs)
    with rasterio.open(path) as source, translated(tmp_path, "uint8", 1, overwrite=True) as output:
        assert output.rpcs.to_gdal() == source.rpcs.to_gdal()


def test_resizing_changes_the_transform_and_keeps_the_extent(tmp_path):
    path = write(tmp_path / "in", numbers("uint16", 1), **UTM)
    with rasterio.open(path) as source, translated(tmp_path, "uint16", 1, size=(42, 111)) as output:
        assert output.bounds == pytest.approx(source.bounds)
        assert output.res == pytest.approx((10 / 3, 10))


@pytest.mark.parametrize(("half", "left"), [("left", 0), ("right", 19)])
def test_a_half_keeps_its_place_on_earth(tmp_path, half, left):
    array = numbers("uint16", 1)
    array = np.concatenate([array, array[:, :1]], axis=1)
    path = write(tmp_path / "in", array, **UTM)
    with rasterio.open(path) as source, translated(tmp_path, "uint16", 1, half=half) as output:
        assert output.transform * (0, 0) == source.transform * (left, 0)
        np.testing.assert_array_equal(output.read(), source.read()[..., left : left + 19])


def test_cloud_optimized_files_stay_so(tmp_path):
    array = np.kron(numbers("uint16", 2), np.ones((30, 30, 1), np.uint16))
    write(tmp_path, array, **UTM)
    (tmp_path / "in").mkdir()
    options = {"blocksize": 256, "compress": "ZSTD", "predictor": "YES"}
    rasterio.shutil.copy(tmp_path / "x.tif", tmp_path / "in/x.tif", driver="COG", **options)
    with (
        rasterio.open(tmp_path / "in/x.tif") as source,
        translated(tmp_path, "uint16", 2) as output,
    ):
        assert_same(source, output)
        assert output.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert output.overviews(1) == source.overviews(1) == [2, 4, 8]


# -- nodata ----------------------------------------------------------------------------------------


class Plus(torch.nn.Module):
    """Adds, so that values meet that of nodata."""

    def forward(self, x):
        return x + 2 / 255


def test_masks_and_nan_are_kept(tmp_path):
    array = numbers("float32", 2)
    array[HOLE] = np.nan
    array[0, 0, 1] = np.nan
    path = write(tmp_path / "in", array, nodata=np.nan, **UTM)
    with rasterio.open(path) as source, translated(tmp_path, "float32", 2) as output:
        np.testing.assert_array_equal(output.read(), source.read(), strict=True)
        assert np.isnan(output.nodata)
    array, valid = numbers("uint8", 3), np.ones((21, 37), np.bool_)
    valid[HOLE] = False
    array[~valid] = 200
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        rasterio.open(
            path, "w", driver="GTiff", dtype="uint8", height=21, width=37, count=3, **UTM
        ) as file,
    ):
        file.write(array.transpose(2, 0, 1))
        file.write_mask(valid)
    with rasterio.open(path) as source, translated(tmp_path, "uint8", 3, overwrite=True) as output:
        np.testing.assert_array_equal(output.dataset_mask(), source.dataset_mask())
        np.testing.assert_array_equal(output.read()[:, valid], source.read()[:, valid])
        assert output.nodata is None


def test_values_do_not_become_nodata(tmp_path):
    array = np.tile(np.arange(10, 47, dtype=np.uint8), (21, 1))[..., None]
    array[HOLE] = 20
    write(tmp_path / "in", array, nodata=20, **UTM)
    missing = array[..., 0] == 20
    assert missing.sum() == 165
    same = ImageSpec((ChannelSpec(1, False),), depth=8)
    translator = Translator(Plus(), 1, 1, source=same, target=same)
    with translated(tmp_path, "uint8", 1, translator) as output:
        moved = array[..., 0] + 1
        moved[moved == 20] = 21
        np.testing.assert_array_equal(output.read(1), np.where(missing, 20, moved))
    array[missing] = 30  # nodata is declared, and no pixel is without data
    write(tmp_path / "in", array, nodata=20, **UTM)
    with translated(tmp_path, "uint8", 1, translator, overwrite=True) as output:
        moved = array[..., 0] + 1
        np.testing.assert_array_equal(output.read(1), np.where(moved == 20, 21, moved))


def test_alpha_does_not_become_nodata_nor_is_kept_from_its_value(tmp_path):
    array = numbers("uint8", 4)
    array[..., 3] = np.arange(37) % 2 * 255
    array[array[..., 0] == 255, 0] = 254
    path = write(tmp_path / "in", array, nodata=255, **UTM, photometric="RGB", alpha="YES")
    pixels, header = images.read(path)
    assert header.alpha
    images.encode(pixels, tmp_path / "x.tif", metadata=header.metadata, missing=header.missing)
    with rasterio.open(tmp_path / "x.tif") as output:
        np.testing.assert_array_equal(output.read(4), array[..., 3])


def test_nodata_that_the_type_of_outputs_cannot_hold_becomes_a_mask(tmp_path):
    array = numbers("float32", 1)
    array[HOLE] = -9999
    write(tmp_path / "in", array, nodata=-9999, **UTM)
    source = ImageSpec((ChannelSpec(1, False),), depth=32)
    target = ImageSpec((ChannelSpec(1, False),), depth=8)
    translator = Translator(torch.nn.Identity(), 1, 1, source=source, target=target)
    with translated(tmp_path, "uint8", 1, translator) as output:
        assert (output.nodata, output.dtypes) == (None, ("uint8",))
        np.testing.assert_array_equal(output.dataset_mask() == 0, array[..., 0] == -9999)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "int16"])
def test_network_sees_the_middle_of_the_range_where_there_is_no_data(tmp_path, kind):
    array = numbers(kind, 2)
    array[HOLE] = -1 if kind == "int16" else 0
    array[array == array[4, 6, 0]] = array[4, 6, 0]
    path = write(tmp_path / "in", array, nodata=float(array[4, 6, 0]), **UTM)
    spec = ImageSpec((ChannelSpec(2, False),), **spec_of(kind))
    stack = read([str(path)], spec)
    np.testing.assert_array_equal(stack.missing, array == array[4, 6, 0])
    unit = images.to_unit(stack.array)
    assert np.abs(unit[stack.missing] - 0.5).max() < 0.003


def test_outputs_that_cannot_mark_nodata_say_so(tmp_path):
    array = numbers("uint8", 1)
    array[HOLE] = 0
    write(tmp_path / "in", array, nodata=0, **UTM)
    notes = run(tmp_path, identity(1, **spec_of("uint8")), format="png").notes
    assert any("cannot mark the pixels" in note for note in notes)
    assert any("georeferences" in note for note in notes)


# -- without the extra, and malformed --------------------------------------------------------------


def test_without_the_extra_pixels_are_read_and_a_note_names_it(tmp_path, monkeypatch):
    array = numbers("uint8", 3)
    path = write(tmp_path / "in", array, **UTM, photometric="RGB")
    with_extra, header = images.read(path)
    assert header.metadata.native.crs
    monkeypatch.setitem(sys.modules, "rasterio", None)
    report = run(tmp_path, identity(3))
    assert report.failed == []
    assert any("pip install 'i2i[geo]'" in note for note in report.notes)
    np.testing.assert_array_equal(images.decode(tmp_path / "out/x.tif"), array)
    np.testing.assert_array_equal(images.decode(path), with_extra)


def test_colors_and_palettes_are_those_that_pillow_shows(tmp_path, monkeypatch):
    path = write(tmp_path / "in", numbers("uint8", 1), **UTM)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.palette]
        file.write_colormap(1, {index: (index, 255 - index, 7, 255) for index in range(256)})
    pixels, header = images.read(path)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    np.testing.assert_array_equal(images.decode(path), pixels)
    assert header.channels == 3


def content_of(tmp_path, kind):
    array = numbers(kind, 3)
    array[HOLE] = 0
    layout = {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}
    return write(tmp_path / "in", array, nodata=0, **UTM, **layout).read_bytes()


def attempt(content):
    try:
        header = images.read_header(io.BytesIO(content), 10**7)
        pixels, _ = images.read(io.BytesIO(content), 10**7, (-1e9, 1e9))
    except ImageError:
        return None
    assert pixels.shape == (header.height, header.width, header.channels)
    return pixels


@pytest.mark.parametrize("kind", ["uint8", "int16"])
def test_truncated_and_damaged_files_are_refused_or_read(tmp_path, kind):
    content, rng = content_of(tmp_path, kind), np.random.default_rng(0)
    whole = attempt(content)
    for place in np.linspace(0, len(content) - 1, 20).astype(int):
        part = attempt(content[:place])
        assert part is None or np.array_equal(part, whole), place
    for turn in range(60):
        damaged = bytearray(content)
        damaged[int(rng.integers(400 if turn % 2 else len(content)))] ^= int(rng.integers(1, 256))
        attempt(bytes(damaged))
