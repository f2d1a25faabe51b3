"""Streams and PIL images: as safe as files at a path, with the same limits, budget and messages."""

import gzip
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from malformed import LARGE, SIDE, bomb, malformed, odd, picture, png, saved
from PIL import Image, ImageFile
from torch import nn

from i2i import images
from i2i.images import ImageError, budget
from i2i.translation.translator import Translator

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about corrupt files
FILES = malformed(0)  # all but those damaged by chance
ARRAYS = {
    "plain.npy": np.arange(6 * 9 * 5, dtype=np.uint8).reshape(6, 9, 5),
    "big-endian.npy": np.arange(6 * 9 * 2, dtype=">u2").reshape(6, 9, 2),
    "floats.npy": np.linspace(0, 1, 6 * 9, dtype=np.float64).reshape(6, 9),
    "fortran.npy": np.asfortranarray(np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)),
    "objects.npy": np.array([[None]]),
    "nan.npy": np.full((4, 4), np.nan, np.float32),
    "vector.npy": np.zeros(4, np.uint8),
}


def npy(array: np.ndarray) -> bytes:
    memory = io.BytesIO()
    np.save(memory, array)
    return memory.getvalue()


def outcome(read: Callable[[], Any], subject: object) -> Any:
    """Return what `read` returns, or the reason and hint of its error, which must be about `subject`."""
    try:
        return read()
    except ImageError as error:
        reason = error.explanation if error.subject == str(subject) else f"about {error.subject}"
        return reason if str(error) == f"{subject}: {reason}" else f"said as {error}"


def same(first: Any, second: Any) -> bool:
    if isinstance(first, tuple) and isinstance(second, tuple):  # pixels and header
        equal = np.array_equal(first[0], second[0]) and first[0].dtype == second[0].dtype
        return bool(equal) and first[1] == second[1]
    return type(first) is type(second) and bool(first == second)


# -- streams ---------------------------------------------------------------------------------------


def test_stream_is_read_or_refused_as_the_same_file_at_a_path(tmp_path: Path) -> None:
    different = []
    for name, content in [*FILES, *((name, npy(array)) for name, array in ARRAYS.items())]:
        path, stream = tmp_path / name, io.BytesIO(content)
        path.write_bytes(content)
        for read in (images.read_header, images.read):
            expected = outcome(lambda read=read, path=path: read(path), path)
            found = outcome(lambda read=read, stream=stream: read(stream), "image")
            if not same(expected, found):
                different.append((name, read.__name__, expected, found))
        assert not stream.closed
    assert not different


def file_stream(folder: Path, name: str, content: bytes) -> IO[bytes]:
    (folder / name).write_bytes(content)
    return open(folder / name, "rb")


def unbuffered_stream(folder: Path, name: str, content: bytes) -> Any:
    (folder / name).write_bytes(content)
    return open(folder / name, "rb", buffering=0)


def spooled_stream(folder: Path, name: str, content: bytes) -> Any:
    stream = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - closed by the test
    stream.write(content)
    return stream


def gzip_stream(folder: Path, name: str, content: bytes) -> Any:
    (folder / name).write_bytes(gzip.compress(content))
    return gzip.open(folder / name, "rb")


def tar_stream(folder: Path, name: str, content: bytes) -> IO[bytes]:
    with tarfile.open(folder / "x.tar", "w") as archive:
        for member in ("before", name):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    stream = tarfile.open(folder / "x.tar").extractfile(name)  # noqa: SIM115 - read by the test
    assert stream
    return stream


def zip_stream(folder: Path, name: str, content: bytes) -> IO[bytes]:
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return zipfile.ZipFile(folder / "x.zip").open(name)


STREAMS = (file_stream, unbuffered_stream, spooled_stream, gzip_stream, tar_stream, zip_stream)


@pytest.mark.parametrize("opened", STREAMS)
def test_every_kind_of_seekable_stream_is_read_in_every_format(
    tmp_path: Path, opened: Callable[[Path, str, bytes], Any]
) -> None:
    good = [*odd(), *((name, npy(ARRAYS[name])) for name in list(ARRAYS)[:4])]
    for name, content in good:
        path = tmp_path / f"path-{name}"
        path.write_bytes(content)
        with opened(tmp_path, name, content) as stream:
            stream.seek(7)  # wherever it stands, it is read from its start
            assert images.read_header(stream) == images.read_header(path), name
            assert same(images.read(stream), images.read(path)), name
            assert not stream.closed


def test_the_caller_may_name_a_stream() -> None:
    for read in (images.read_header, images.decode, images.read):
        with pytest.raises(ImageError, match=r"^photo\.png: not an image of .*\. Convert it"):
            read(io.BytesIO(b"hello"), name="photo.png")  # type: ignore[operator]
    with (
        pytest.raises(ImageError, match=r"^photo\.png: an empty file"),
        images.decoded(io.BytesIO(), name="photo.png"),
    ):
        pass


@pytest.mark.parametrize(
    "source", [saved(picture(), "PNG"), io.StringIO("text"), None, 3], ids=type
)
def test_what_is_neither_a_path_nor_a_binary_stream_is_refused(source: Any) -> None:
    with pytest.raises(ImageError, match=r"^image: neither a path nor .*wrap bytes in io.BytesIO"):
        images.decode(source)


def test_a_stream_that_cannot_seek_or_is_closed_or_fails_is_refused() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    closed = io.BytesIO(saved(picture(), "PNG"))
    closed.close()
    for stream, reason in (
        (Pipe(saved(picture(), "PNG")), "neither a path nor a seekable binary stream"),
        (Failing(b"x"), "cannot be read: Input/output error"),
        (closed, "closed file"),
    ):
        with pytest.raises(ImageError, match=rf"^image: .*{reason}"):
            images.decode(stream)


def test_an_array_that_ends_while_it_is_read_is_refused() -> None:
    class Shrinking(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            return super().readinto(memoryview(buffer)[:-1])

    with pytest.raises(ImageError, match="truncated while it was read"):
        images.decode(Shrinking(npy(ARRAYS["plain.npy"])))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "NPY"])
def test_the_pixel_limit_and_the_budget_hold_for_streams(kind: str) -> None:
    content = npy(np.asarray(picture())) if kind == "NPY" else saved(picture(), kind)
    pixels = SIDE * (SIDE + 8)
    with images.decoded(io.BytesIO(content), pixels) as (array, _):
        assert budget._budget.reserved >= array.nbytes
    assert budget._budget.reserved == 0
    for read in (images.read_header, images.read):
        with pytest.raises(
            ImageError, match=r"^image: 48x56 is 0\.002688 megapixels, the limit is"
        ):
            read(io.BytesIO(content), pixels - 1)


# -- PIL images ------------------------------------------------------------------------------------


def opened_by_pillow(content: bytes) -> Image.Image | None:
    try:
        return Image.open(io.BytesIO(content))
    except Exception:  # Pillow's own limits, and what it does not know
        return None


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_refused_at_a_path_is_refused_as_a_pil_image() -> None:
    refused = accepted = 0
    for name, content in FILES:
        image = opened_by_pillow(content)
        if image is None or image.format == "GIF" or "pages.tif" in name:  # page 1 was chosen
            continue
        array = outcome(lambda image=image: images.from_pil(image, "keep"), "image")
        if isinstance(array, str):
            assert not name.startswith("good-") or ".png" in name, array  # texts that are bombs
            refused += 1
            continue
        accepted += 1
        expected = outcome(lambda content=content: images.read(io.BytesIO(content)), "image")
        assert not isinstance(expected, str), f"{name} is refused at a path: {expected}"
        if expected[1].depth != 16 or expected[1].channels == 1:  # Pillow has no deeper color
            np.testing.assert_array_equal(array, expected[0], name)
    assert refused > 50
    assert accepted > 100


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_pil_bomb_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bomb((12_000, 9_000))  # 108 megapixels, of which Pillow only warns
    translator = Translator(nn.Identity(), 1, 1, device="cpu")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was loaded"))
    for take in (images.from_pil, translator):
        reason = r"^image: 12000x9000 is 108 megapixels, the limit is 100\."
        with pytest.raises(ImageError, match=reason):
            take(Image.open(io.BytesIO(content)))  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_the_pixel_limit_holds_for_pil_images_before_they_are_loaded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(Image.new("L", (40, 30)), kind)
    assert images.from_pil(Image.open(io.BytesIO(content)), max_pixels=1200).shape[:2] == (30, 40)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was loaded"))
    with pytest.raises(ImageError, match=r"^image: 40x30 is 0\.0012 megapixels"):
        images.from_pil(Image.open(io.BytesIO(content)), max_pixels=1199)


def test_an_image_in_memory_has_the_limit_too() -> None:
    image = Image.new("L", (40, 30))
    assert images.from_pil(image, max_pixels=1200).shape == (30, 40, 1)
    with pytest.raises(ImageError, match=r"^x\.png: 40x30 is .* Raise max_pixels"):
        images.from_pil(image, max_pixels=1199, name="x.png")


def test_a_file_that_cannot_hold_its_pil_image_is_refused_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = Image.open(io.BytesIO(png(LARGE, data=bytes(99))))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was loaded"))
    with pytest.raises(ImageError, match=r"image: truncated: \d+ bytes cannot hold 9000x9000"):
        images.from_pil(image)


def test_a_pil_image_holds_the_budget_while_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    load = ImageFile.ImageFile.load

    def loading(image: ImageFile.ImageFile) -> Any:
        held.append(budget._budget.reserved)
        return load(image)

    content = saved(picture(), "PNG")
    image = Image.open(io.BytesIO(content))
    monkeypatch.setattr(ImageFile.ImageFile, "load", loading)
    array = images.from_pil(image)
    assert held[0] >= array.nbytes + len(content)
    assert budget._budget.reserved == 0
    with pytest.raises(ImageError, match="32-bit integers"):
        images.from_pil(Image.new("I", (4, 4)))
    assert budget._budget.reserved == 0


def test_the_frame_of_an_animation_that_was_chosen_is_taken() -> None:
    first, second = picture(), picture().rotate(180)
    for kind in ("PNG", "WEBP", "TIFF", "GIF"):
        options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
        content = saved(first, kind, save_all=True, append_images=[second], **options)
        image = Image.open(io.BytesIO(content))
        image.seek(1)
        expected = Image.open(io.BytesIO(content))
        expected.seek(1)
        np.testing.assert_array_equal(
            images.from_pil(image), np.asarray(expected.convert("RGB")), kind
        )


def test_a_pil_image_without_its_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    picture().save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        pass
    with pytest.raises(ImageError, match=r"^image: corrupt or truncated: "):
        images.from_pil(image)
