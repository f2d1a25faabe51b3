"""What image files say besides their pixels, and numbers of any type: through an identity network nothing is lost."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from test_image_grid import values

from i2i import images
from i2i.images import ImageError
from i2i.images.metadata import Metadata, upright_exif
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.translation.folder import translate_folder
from i2i.translation.options import Options
from i2i.translation.translator import Translator


def identity(channels=3, **spec):
    same = ImageSpec((ChannelSpec(channels, False),), **spec)
    return Translator(torch.nn.Identity(), channels, channels, source=same, target=same)


def exif_of(orientation):
    """EXIF with a maker, a date and a place."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:11:26 12:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def run(tmp_path, translator=None, **options):
    return translate_folder(
        translator or identity(), tmp_path / "in", tmp_path / "out", Options(**options)
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_exif_is_kept_and_its_orientation_applied_and_reset(tmp_path, suffix):
    (tmp_path / "in").mkdir()
    Image.fromarray(values(3, "u1")).save(tmp_path / f"in/x.{suffix}", exif=exif_of(6))
    assert run(tmp_path).notes == []
    with Image.open(tmp_path / f"out/x.{suffix}") as output:
        exif = output.getexif()
        assert (exif[0x010F], exif[0x0112]) == ("maker", 1)
        assert exif.get_ifd(0x8769)[0x9003] == "2026:11:26 12:00:00"
        assert exif.get_ifd(0x8825)[1] == "N"
        assert output.size == values(3, "u1").shape[:2]  # (width, height): it was turned


def test_thumbnail_in_exif_which_shows_the_input_is_left_out():
    exif = exif_of(1)
    content = bytearray(exif.tobytes().removeprefix(b"Exif\0\0"))
    (first,) = struct.unpack_from(">I", content, 4)
    (count,) = struct.unpack_from(">H", content, first)
    struct.pack_into(">I", content, first + 2 + 12 * count, len(content))
    thumbnail = io.BytesIO()
    Image.fromarray(values(3, "u1")).save(thumbnail, "JPEG")
    start = len(content) + 2 + 2 * 12 + 4
    content += struct.pack(">H", 2)
    content += struct.pack(">HHII", 0x0201, 4, 1, start)
    content += struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail.getvalue())) + bytes(4)
    picture = io.BytesIO()
    Image.fromarray(values(3, "u1")).save(
        picture, "JPEG", exif=b"Exif\0\0" + content + thumbnail.getvalue()
    )
    with Image.open(picture) as image:
        assert thumbnail.getvalue() in image.info["exif"]
        kept = upright_exif(image)
    assert b"maker" in kept
    assert b"\xff\xd8\xff" not in kept


@pytest.mark.parametrize("name", ["8.png", "16.png", "x.jpg", "8.tif", "16.tif", "x.bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_resolution_is_kept_and_scaled_where_images_are_resized(tmp_path, name, channels):
    deep = name.startswith("16")
    path = tmp_path / "in" / name
    path.parent.mkdir()
    array = values(channels, "u2" if deep else "u1")
    images.encode(array, path, metadata=Metadata(resolution=(300, 150)))
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)
    height, width = array.shape[:2]
    assert run(tmp_path, identity(channels)).notes == []
    with Image.open(tmp_path / "out" / name) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)
    run(tmp_path, identity(channels), size=(2 * height, 3 * width), overwrite=True)
    with Image.open(tmp_path / "out" / name) as image:
        assert image.info["dpi"] == pytest.approx((900, 300), abs=0.5)


def test_resolution_turns_with_the_image(tmp_path):
    path = tmp_path / "in/x.jpg"
    path.parent.mkdir()
    Image.fromarray(values(3, "u1")).save(path, exif=exif_of(6), dpi=(300, 150))
    assert images.read_header(path).metadata.resolution == (150, 300)


def test_metadata_that_an_output_cannot_hold_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(values(3, "u1")).save(tmp_path / "in/x.jpg", exif=exif_of(1), dpi=(72, 72))
    notes = run(tmp_path, format="npy").notes
    assert [note.partition(" of inputs")[0] for note in notes] == ["EXIF", "resolutions"]


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 99])
def test_corrupt_exif_is_left_out(tmp_path, exif):
    path = tmp_path / "in/x.jpg"
    path.parent.mkdir()
    Image.fromarray(values(3, "u1")).save(path, exif=exif)
    assert run(tmp_path).failed == []
    assert images.read(path)[1].metadata.exif == b""


# -- numbers of any type ---------------------------------------------------------------------------

EXACT = {  # type -> the least and the largest of its values here
    "int8": (-128, 127),
    "int16": (-1024, 3071),
    "int32": (-(2**22), 2**22),
    "uint32": (0, 2**23),
    "int64": (-1000, 1000),
    "uint64": (0, 100_000),
    "float16": (-1, 1),
}


def numbers(sample, channels):
    low, high = EXACT[sample]
    array = np.linspace(low, high, 11 * 9 * channels).reshape(11, 9, channels).astype(sample)
    return np.random.default_rng(0).permuted(array, axis=0)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("sample", EXACT)
def test_arrays_of_any_type_come_out_as_they_went_in(tmp_path, sample, channels):
    array = numbers(sample, channels)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/x.npy", array)
    header = images.read_header(tmp_path / "in/x.npy")
    assert (header.sample, header.depth) == (sample, 32)
    translator = identity(channels, value_range=EXACT[sample], depth=32, sample=sample)
    assert run(tmp_path, translator).failed == []
    output = np.load(tmp_path / "out/x.npy")
    assert output.dtype == array.dtype
    if sample == "float16":
        np.testing.assert_allclose(output, array, atol=1e-3)
    else:
        np.testing.assert_array_equal(output, array)
    np.testing.assert_array_equal(translator(array), output)


def test_float64_is_kept_to_the_precision_of_float32(tmp_path):
    array = np.linspace(-1000, 3000, 99).reshape(11, 9, 1)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/x.npy", array)
    run(tmp_path, identity(1, value_range=(-1000, 3000), depth=32, sample="float64"))
    output = np.load(tmp_path / "out/x.npy")
    assert output.dtype == np.float64
    np.testing.assert_allclose(output, array, atol=4000 * 2**-23)


def test_booleans_stay_booleans(tmp_path):
    array = np.random.default_rng(0).random((11, 9, 1)) > 0.5
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/x.npy", array)
    translator = identity(1, depth=8, sample="bool")
    run(tmp_path, translator)
    np.testing.assert_array_equal(np.load(tmp_path / "out/x.npy"), array)
    np.testing.assert_array_equal(translator(array), array)


def test_depth_on_the_command_line_overrides_the_type_of_training(tmp_path):
    same = ImageSpec((ChannelSpec(1, False),), (-1024, 3071), depth=32, sample="int16")
    made = {"source": same, "target": same}
    array = numbers("int16", 1)
    network = torch.nn.Identity()
    assert Translator(network, 1, 1, **made, depth=32)(array).dtype == np.float32
    assert Translator(network, 1, 1, **made, depth=8)(array).dtype == np.uint8
    assert Translator(network, 1, 1, **made)(array).dtype == np.int16


def test_values_outside_of_the_range_are_refused_in_any_type(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[-5, 7]], np.int16))
    with pytest.raises(ImageError, match=r"values from -5 to 7, outside \[0, 1\]"):
        images.decode(tmp_path / "x.npy")
    unit = images.decode(tmp_path / "x.npy", value_range=(-5, 7))
    np.testing.assert_array_equal(unit[..., 0], [[0, 1]])
