"""Images read by window: any part has the values that decoding the complete file gives."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from peaks import MEBIBYTE
from PIL import Image
from processes import start

from i2i import images
from i2i.images import Array, ImageError, TooLargeError, windows
from i2i.images.windows import open_windows

SIZE = (83, 61)  # height, width


def smooth(channels: int = 3, dtype: str = "u1", size: tuple[int, int] = SIZE) -> NDArray[Any]:
    """A picture that JPEG does not turn into noise."""
    y, x = np.mgrid[: size[0], : size[1]]
    planes = [np.sin((x * (3 + c) + y * (5 - c)) / 40) for c in range(channels)]
    unit = (np.stack(planes, 2) + 1) / 2
    return unit.astype(dtype) if dtype[0] == "f" else (unit * np.iinfo(dtype).max).astype(dtype)


def npy(path: Path, array: NDArray[Any]) -> Path:
    np.save(path / "x.npy", array)
    return path / "x.npy"


def tiff(path: Path, array: NDArray[Any], **options: Any) -> Path:
    color = "rgb" if array.ndim == 3 else "minisblack"
    settings = {"photometric": color, "metadata": None} | options
    tifffile.imwrite(path / "x.tif", array, **settings)
    return path / "x.tif"


def pillow(path: Path, array: NDArray[Any], suffix: str, mode: str = "", **options: Any) -> Path:
    image = Image.fromarray(array)
    image.convert(mode or image.mode).save(path / f"x{suffix}", **options)
    return path / f"x{suffix}"


def turned(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


TILES: dict[str, Any] = {"tile": (32, 16)}
KINDS: dict[str, Callable[[Path], Path]] = {
    "npy-u1": lambda at: npy(at, smooth()),
    "npy-u2-gray": lambda at: npy(at, smooth(1, "u2")[..., 0]),
    "npy-big-endian": lambda at: npy(at, smooth(5, "u2").astype(">u2")),
    "npy-f4-fortran": lambda at: npy(at, np.asfortranarray(smooth(3, "f4"))),
    "npy-f8": lambda at: npy(at, smooth(2, "f8")),
    "npy-mask": lambda at: npy(at, smooth(1)[..., 0] > 99),
    "tiff-plain": lambda at: tiff(at, smooth()),
    "tiff-strips": lambda at: tiff(at, smooth(3, "u2"), rowsperstrip=7),
    "tiff-big-endian": lambda at: tiff(at, smooth(3, "u2"), byteorder=">"),
    "tiff-deflate": lambda at: tiff(
        at, smooth(3, "u2"), compression="zlib", predictor=True, rowsperstrip=5
    ),
    "tiff-lzw-tiles": lambda at: tiff(at, smooth(), compression="lzw", **TILES),
    "tiff-float": lambda at: tiff(
        at, smooth(1, "f4")[..., 0], compression="zlib", predictor=True, **TILES
    ),
    "tiff-jpeg": lambda at: tiff(
        at, smooth(), compression="jpeg", photometric="ycbcr", subsampling=(2, 2), **TILES
    ),
    "tiff-jpeg-strips": lambda at: tiff(at, smooth(1)[..., 0], compression="jpeg", rowsperstrip=16),
    "tiff-planar": lambda at: tiff(
        at, np.moveaxis(smooth(), 2, 0), planarconfig="separate", compression="zlib", **TILES
    ),
    "tiff-bigtiff": lambda at: tiff(at, smooth(4), bigtiff=True, extrasamples=["unassalpha"]),
    "tiff-associated": lambda at: tiff(
        at, np.minimum(smooth(4), smooth(4)[..., -1:]), extrasamples=["assocalpha"], **TILES
    ),
    "tiff-white": lambda at: tiff(at, smooth(1)[..., 0], photometric="miniswhite", **TILES),
    "tiff-turned": lambda at: tiff(at, smooth(), extratags=[(274, 3, 1, 7, True)], **TILES),
    "tiff-palette": lambda at: pillow(at, smooth(), ".tif", "P"),
    "png": lambda at: pillow(at, smooth(), ".png"),
    "png-gray": lambda at: pillow(at, smooth(1)[..., 0], ".png"),
    "png-palette": lambda at: pillow(at, smooth(), ".png", "P"),
    "png-bits": lambda at: pillow(at, smooth(1)[..., 0], ".png", "1"),
    "png-transparent": lambda at: pillow(
        at, smooth(), ".png", transparency=tuple(map(int, smooth()[5, 5]))
    ),
    "png-profile": lambda at: pillow(at, smooth(), ".png", icc_profile=b"\0" * 200, gamma=0.4),
    "png-16": lambda at: encoded(at / "x.png", smooth(3, "u2")),
    "png-16-alpha": lambda at: encoded(at / "x.png", smooth(4, "u2")),
    "png-16-gray": lambda at: encoded(at / "x.png", smooth(1, "u2")),
    "png-interlaced": lambda at: interlaced(at / "x.png"),
    "jpeg": lambda at: pillow(at, smooth(), ".jpg", quality=90, subsampling=2),
    "jpeg-gray": lambda at: pillow(at, smooth(1)[..., 0], ".jpg"),
    "jpeg-progressive": lambda at: pillow(at, smooth(), ".jpg", progressive=True),
    "jpeg-cmyk": lambda at: pillow(at, smooth(), ".jpg", "CMYK"),
    "webp": lambda at: pillow(at, smooth(), ".webp"),
    **{
        f"jpeg-turned-{number}": lambda at, number=number: pillow(
            at, smooth(), ".jpg", exif=turned(number)
        )
        for number in range(2, 9)
    },
    "png-turned": lambda at: pillow(at, smooth(), ".png", exif=turned(6)),
}
IN_MEMORY = ("tiff-palette", "jpeg-cmyk", "webp")


def encoded(path: Path, array: Array) -> Path:
    images.encode(array, path)
    return path


def interlaced(path: Path) -> Path:
    pyvips.Image.new_from_array(smooth()).pngsave(str(path), interlace=True)
    return path


def boxes(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    yield 0, 0, height, width
    yield height - 1, width - 1, 1, 1
    yield 0, 3, height, 2
    rng = np.random.default_rng(0)
    for _ in range(20):
        top, left = rng.integers(height), rng.integers(width)
        yield top, left, rng.integers(height - top) + 1, rng.integers(width - left) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_any_window_has_the_values_of_the_decoded_file(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    expected, header = images.read(path)
    limit = 10**6 if kind in IN_MEMORY else 1
    with open_windows(path, limit) as opened:
        assert opened.header == header
        for top, left, height, width in boxes(*expected.shape[:2]):
            part, _ = opened.read(top, left, height, width)
            assert part.dtype == expected.dtype
            np.testing.assert_array_equal(
                part, expected[top : top + height, left : left + width], strict=True
            )


def test_floats_are_mapped_from_their_value_range_as_in_the_decoded_file(tmp_path: Path) -> None:
    for path in (
        npy(tmp_path, smooth(2, "f8") * 3000 - 1000),
        tiff(tmp_path, smooth(1, "f4")[..., 0] * 9),
    ):
        expected = images.decode(path, value_range=(-1000.0, 2000.0))
        with open_windows(path, 1, (-1000.0, 2000.0)) as opened:
            np.testing.assert_array_equal(opened.read(5, 6, 40, 30)[0], expected[5:45, 6:36])
        with (
            open_windows(path, 1) as opened,
            pytest.raises(ImageError, match=r"x\..*outside \[0, 1\]"),
        ):
            opened.read(0, 0, *SIZE)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("bits")])
def test_a_truncated_file_is_an_error_that_names_it(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with (
        pytest.raises(ImageError, match=rf"{path.name}: .*(truncated|corrupt|incomplete)"),
        open_windows(path) as opened,
    ):
        opened.read(0, 0, opened.header.height, opened.header.width)


@pytest.mark.parametrize("kind", ["png", "png-16", "tiff-deflate", "tiff-lzw-tiles"])
def test_flipped_bits_of_pixels_give_an_error_or_what_decoding_gives(
    kind: str, tmp_path: Path
) -> None:
    path = KINDS[kind](tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) * 4 // 5] ^= 0x5A
    path.write_bytes(content)
    try:
        expected = images.read(path)[0]
    except ImageError:
        with pytest.raises(ImageError, match=path.name), open_windows(path) as opened:
            opened.read(0, 0, *SIZE)
    else:
        with open_windows(path) as opened:
            np.testing.assert_array_equal(opened.read(0, 0, *SIZE)[0], expected)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    for path in (npy(tmp_path, smooth()), tiff(tmp_path, smooth())):
        with open_windows(path) as opened:
            path.write_bytes(path.read_bytes()[:400])
            with pytest.raises(ImageError, match=rf"{path.name}: truncated while it was read"):
                opened.read(40, 0, 9, 9)


def test_a_jpeg_inside_of_a_tiff_cannot_be_larger_than_its_tile(tmp_path: Path) -> None:
    path = tiff(tmp_path, smooth(), compression="jpeg", photometric="rgb", **TILES)
    content = path.read_bytes()
    start = content.index(b"\xff\xc0", content.index(b"\xff\xd8"))
    path.write_bytes(content[: start + 5] + struct.pack(">HH", 65500, 65500) + content[start + 9 :])
    with open_windows(path) as opened, pytest.raises(ImageError, match="tile holds 65500x65500"):
        opened.read(0, 0, *SIZE)


def test_each_strip_is_decoded_once_for_a_row_of_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiff(tmp_path, smooth(size=(64, 640)), compression="zlib", rowsperstrip=8)
    count = 0
    decode = tifffile.TiffPage.decode.func  # type: ignore[attr-defined]

    def counted(page: Any) -> Any:
        def count_one(*args: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            return decode(page)(*args, **named)

        return count_one

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counted))
    with open_windows(path) as opened:
        for left in range(0, 640, 64):
            opened.read(0, left, 32, 64)
    assert count == 4


def test_without_its_extra_a_large_file_names_the_memory_and_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pyvips", "imagecodecs"):
        monkeypatch.setitem(sys.modules, module, None)
    for path, extra in ((KINDS["png"](tmp_path), "vips"), (KINDS["tiff-plain"](tmp_path), "tiff")):
        with open_windows(path, 5063) as opened:  # decoded as a whole
            np.testing.assert_array_equal(opened.read(1, 2, 3, 4)[0], images.decode(path)[1:4, 2:6])
        reason = r"61x83 is 0.005063 megapixels, .*it takes about 0\.\d GB of memory.*"
        with (
            pytest.raises(TooLargeError, match=rf"{reason}i2i\[{extra}\]"),
            open_windows(path, 5062),
        ):
            pass
    path = KINDS["webp"](tmp_path)
    with (
        pytest.raises(TooLargeError, match=r"--max-pixels.*as TIFF or \.npy"),
        open_windows(path, 9),
    ):
        pass


def test_a_picture_for_which_the_disk_has_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = windows.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(windows.shutil, "disk_usage", lambda _: usage._replace(free=99))
    path = KINDS["png"](tmp_path)
    with pytest.raises(ImageError, match="GB are free"), open_windows(path, folder=tmp_path):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"]


def test_a_forked_process_decodes_as_a_whole_what_libvips_would_wait_for(tmp_path: Path) -> None:
    path = KINDS["png"](tmp_path)
    with open_windows(path, 1) as opened:
        expected, _ = opened.read(0, 0, *SIZE)

    def child() -> None:
        with open_windows(path) as opened:
            np.testing.assert_array_equal(opened.read(0, 0, *SIZE)[0], expected)
        with pytest.raises(TooLargeError, match="in the process"), open_windows(path, 1):
            pass

    process = start(child)
    process.join(60)
    assert process.exitcode == 0


def written(path: Path, height: int) -> Path:
    """Write a picture of 1,024 columns without holding it."""
    kind, band = path.suffix, smooth(3, "u1", (256, 1024))
    if kind == ".npy":
        array = np.lib.format.open_memmap(path, "w+", np.uint8, (height, 1024, 3))
        for top in range(0, height, 256):
            array[top : top + 256] = band
    else:
        pyvips.Image.new_from_array(band).replicate(1, height // 256).write_to_file(
            f"{path}[compression=lzw]" if kind == ".tif" else str(path)
        )
    return path


READ = """
import sys
from peaks import _memory, _memory_from_now
from i2i.images.windows import open_windows
for path in sys.argv[1:]:
    before = _memory_from_now()
    with open_windows(path, 1, folder=".") as opened:
        for top in range(0, opened.header.height, 128):
            opened.read(top, 256, 128, 512)
    print(_memory("VmHWM") - before)
"""


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    heights = (1024, 4 * 1024, 16 * 1024)  # 3, 13 and 50 MB
    kinds = (".npy", ".tif", ".png", ".jpg")
    paths = [written(tmp_path / f"{height}{kind}", height) for kind in kinds for height in heights]
    # a process of its own: the threads of libvips do not survive a fork
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not done.returncode, done.stderr
    growth = np.array(done.stdout.split(), int).reshape(len(kinds), len(heights))
    assert (growth[:, 1:] < growth[:, :1] + 6 * MEBIBYTE).all(), growth / MEBIBYTE
