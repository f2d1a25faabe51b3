"""Array files: every accepted kind comes back, everything else is refused from the header."""

import io
import pickle
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from i2i import images
from i2i.images import ImageError, npy


def noise(*shape, dtype=np.uint8):
    random = np.random.default_rng(sum(shape))
    kind = np.dtype(dtype)
    return (
        random.random(shape).astype(kind)
        if kind.kind == "f"
        else random.integers(0, 2 ** (8 * kind.itemsize), shape)
    )


def file_of(path, array, **options):
    np.save(path, array, **options)
    return path


def with_header(path, text, values=b"", version=1):
    """An array file whose header is `text`."""
    body = text.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(body))
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + size + body + values)
    return path


@pytest.mark.parametrize("channels", [1, 2, 5, 16])
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64, ">u2", ">f4", ">f8"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_array_is_read_and_written_as_it_is(tmp_path, channels, dtype, order):
    array = np.asarray(noise(6, 9, channels, dtype=dtype), dtype=dtype, order=order)
    path = file_of(tmp_path / "x.npy", array)
    depth = {1: 8, 2: 16}[array.dtype.itemsize] if array.dtype.kind == "u" else 32
    sample = array.dtype.name if array.dtype.name in ("float16", "float64") else ""
    expected = images.Header(9, 6, channels, depth, "NPY", alpha=False, sample=sample)
    assert images.read_header(path) == expected
    read = images.decode(path)
    assert read.dtype == {8: np.uint8, 16: np.uint16, 32: np.float32}[depth]
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, array.astype(read.dtype))
    images.encode(read, tmp_path / "y.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), read)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "x.npy",
        "y.npy",
    ]  # no temporary is left


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_booleans_is_black_and_white(tmp_path, order):
    array = np.asarray(noise(6, 9, 2) > 99, order=order)
    read = images.decode(file_of(tmp_path / "x.npy", array))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, np.where(array, 255, 0))


@pytest.mark.parametrize("digits", [20, 400, 4000, 9000])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_header_of_endless_numbers_is_refused_in_one_line(tmp_path, digits, axis, sign):
    shape = ["4", "4", "3"]
    shape[axis] = sign + "7" * digits
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (" + ", ".join(shape) + ")}"
    path = tmp_path / "x.npy"
    with_header(path, text, bytes(48))
    with pytest.raises(ImageError) as caught:
        images.read_header(path)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_an_array_of_two_axes_has_one_channel(tmp_path):
    array = noise(6, 9).astype(np.uint8)
    path = file_of(tmp_path / "x.npy", array)
    assert images.read_header(path).channels == 1
    np.testing.assert_array_equal(images.decode(path), array[..., None])


@pytest.mark.parametrize("policy", ["drop", "composite", "keep"])
@pytest.mark.parametrize("channels", [2, 4])
def test_two_or_four_channels_of_an_array_are_not_alpha(tmp_path, channels, policy):
    array = noise(6, 9, channels).astype(np.uint8)
    np.testing.assert_array_equal(
        images.decode(file_of(tmp_path / "x.npy", array), alpha=policy), array
    )


def test_an_array_is_known_by_its_content_not_its_suffix(tmp_path):
    array = noise(6, 9, 3).astype(np.uint8)
    file_of(tmp_path / "x.npy", array).rename(tmp_path / "x.png")
    np.testing.assert_array_equal(images.decode(tmp_path / "x.png"), array)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4), np.complex64), r"not supported: an array of complex64\. Save it as int"),
        (np.zeros((4, 4), np.longdouble), "not supported: an array of "),
        (np.zeros((4, 4), [("r", "u1"), ("g", "u1")]), "not supported: an array of "),
        (np.zeros((4, 4), "S4"), "not supported: an array of "),
        (
            np.zeros((4,), np.uint8),
            r"expected \[H, W\] or \[H, W, C\], got an array of shape \(4,\)",
        ),
        (np.zeros((), np.uint8), r"expected .*, got an array of shape \(\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"expected .*, got an array of shape \(1, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"expected .*, got an array of shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 1025), np.uint8), "1025 channels, the limit is 1024. .*channels last"),
    ],
)
def test_other_arrays_are_refused_from_the_header_with_what_to_do(tmp_path, array, reason):
    path = file_of(tmp_path / "x.npy", array)
    for read in (images.read_header, images.decode):
        with pytest.raises(ImageError, match=rf"x\.npy: .*{reason}"):
            read(path)


def test_an_array_of_objects_runs_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    array = np.empty((4, 4), object)
    array[:] = Harm()
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": (4, 4)}
        )
        pickle.dump(array, file)
    for read in (images.read_header, images.decode):
        with pytest.raises(ImageError, match="not supported: an array of object"):
            read(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4000, 4000, 3), "truncated: its header announces 48,000,000 bytes, the file has 100"),
        ((2**40, 2**40), "megapixels, the limit is 100"),
        ((10**6, 101), "megapixels, the limit is 100"),
        ((-4, 4), "expected .H, W. or"),
        ((2**70, 1, 3), "megapixels"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(
    tmp_path, shape, reason, monkeypatch
):
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    path = with_header(tmp_path / "x.npy", text, bytes(100))
    monkeypatch.setattr(npy, "bytearray", lambda _: pytest.fail("memory was taken"), raising=False)
    for read in (images.read_header, images.decode):
        with pytest.raises(ImageError, match=reason):
            read(path)


def test_a_file_of_holes_has_a_limit_in_bytes(tmp_path):
    path = with_header(
        tmp_path / "x.npy",
        repr({"descr": "<f8", "fortran_order": False, "shape": (9000, 9000, 16)}),
    )
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + 9000 * 9000 * 16 * 8)
    with pytest.raises(
        ImageError, match="10,368,000,000 bytes of values, the limit is 8 x 100,000,000"
    ):
        images.decode(path)


@pytest.mark.parametrize("size", [0, 3, 6, 8, 9, 40, 127, 128, 200])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, size):
    path = file_of(tmp_path / "x.npy", noise(6, 9, 3).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:size])
    for read in (images.read_header, images.decode):
        with pytest.raises(ImageError, match=r"x\.npy: "):
            read(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "(" * 9000,
        "{}",
        "{'descr': 1, 'fortran_order': 0, 'shape': 1}",
        "__import__('os').abort()",
        "x" * 20000,
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3, 9])
def test_a_header_of_nonsense_is_refused(tmp_path, text, version):
    with pytest.raises(ImageError, match=r"x\.npy: corrupt or truncated"):
        images.decode(with_header(tmp_path / "x.npy", text, version=version))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, value, dtype):
    array = np.full((4, 4, 5), 0.5, dtype)
    array[1, 2, 3] = value
    with pytest.raises(ImageError, match=r"x\.npy: holds values that are not finite"):
        images.decode(file_of(tmp_path / "x.npy", array))


def test_what_comes_behind_the_values_is_ignored(tmp_path):
    array, memory = noise(6, 9, 3).astype(np.uint8), io.BytesIO()
    np.save(memory, array)
    (tmp_path / "x.npy").write_bytes(memory.getvalue() + b"more")
    np.testing.assert_array_equal(images.decode(tmp_path / "x.npy"), array)


# -- ranges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_range", [(-1000.0, 3000.0), (0.0, 0.1), (-1.0, 1.0), (1e-3, 1.0)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_range_becomes_zero_to_one_and_back(tmp_path, value_range, dtype):
    low, high = value_range
    array = (
        (noise(8, 8, 5, dtype=np.float64) * (high - low) + low)
        .astype(dtype)
        .clip(dtype(low), dtype(high))
    )
    array[0, 0, :2] = value_range  # the ends of a range belong to it, whatever they are rounded to
    read = images.decode(file_of(tmp_path / "x.npy", array), value_range=value_range)
    np.testing.assert_allclose(
        (read.min(), read.max()), (0, 1), atol=1e-3 if dtype == np.float16 else 1e-6
    )
    images.encode(read, tmp_path / "y.npy", value_range=value_range)
    back = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(back, array.astype(np.float32), rtol=1e-6, atol=(high - low) * 2e-7)
    np.testing.assert_array_equal(
        images.decode(tmp_path / "y.npy", value_range=value_range) <= 1, True
    )


def test_a_float_tiff_has_a_range_too_and_integers_have_none(tmp_path):
    values = np.linspace(0, 1, 54, dtype=np.float32).reshape(6, 9, 1)
    images.encode(values, tmp_path / "x.tif", value_range=(-1000, 3000))
    np.testing.assert_allclose(
        images.decode(tmp_path / "x.tif", value_range=(-1000, 3000)), values, atol=1e-6
    )
    with pytest.raises(
        ImageError, match=r"x\.tif: float values from -1000 to 3000, outside \[0, 1\]"
    ):
        images.decode(tmp_path / "x.tif")
    images.encode((values * 255).astype(np.uint8), tmp_path / "y.tif", value_range=(-1000, 3000))
    np.testing.assert_array_equal(
        images.decode(tmp_path / "y.tif", value_range=(0, 7)), (values * 255).astype(np.uint8)
    )


def test_values_outside_their_range_are_refused_with_what_was_found(tmp_path):
    path = file_of(tmp_path / "x.npy", np.linspace(-1001, 2000, 16, dtype=np.float32).reshape(4, 4))
    with pytest.raises(
        ImageError,
        match=r"x\.npy: float values from -1001 to 2000, outside \[-1000, 3000\]\. Rescale",
    ):
        images.decode(path, value_range=(-1000, 3000))


def test_headers_are_parsed_by_one_thread_at_a_time(monkeypatch):
    """Two threads in `ast` make Python 3.11 raise SystemError, whenever a collection falls in between."""
    memory, parsing, most = io.BytesIO(), [], []
    np.save(memory, np.zeros((4, 4, 5), np.uint16))
    usual = npy._READERS[1, 0]

    def reader(file):
        parsing.append(file)
        most.append(len(parsing))
        time.sleep(0.01)
        parsing.remove(file)
        return usual(file)

    monkeypatch.setitem(npy._READERS, (1, 0), reader)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: npy.read_info(io.BytesIO(memory.getvalue()), 1000), range(8)))
    assert most == [1] * 8
