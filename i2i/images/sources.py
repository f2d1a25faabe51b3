"""Opening what images are read from, and naming what goes wrong with it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

from i2i.images import sanity
from i2i.images.formats import ImageError, Source


@contextmanager
def opened_source(source: Source, name: str) -> Iterator[IO[bytes]]:
    """Hold the file of a path, or a stream that is left open; errors are about `name`."""
    if isinstance(source, str | os.PathLike):
        with errors_about(name or source), open_regular(source) as file:
            yield file
    else:
        with errors_about(name or "image"):
            if hasattr(source, "encoding") or not getattr(source, "seekable", bool)():
                hint = "Open files in binary mode, wrap bytes in io.BytesIO"
                raise ImageError("image", "neither a path nor a seekable binary stream", hint)
            yield source


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file to be read, and nothing else."""
    if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would wait for its writer
        raise ImageError(path, "not a file")
    return open(path, "rb")


@contextmanager
def errors_about(subject: object) -> Iterator[None]:
    """Raise everything that goes wrong with an image as an ImageError about `subject`."""
    try:
        yield
    except ImageError as error:
        raise error.with_subject(subject) from error.__cause__
    except FileNotFoundError:
        raise ImageError(subject, "no such file") from None
    except MemoryError:
        raise ImageError(subject, "there is not enough memory to decode it") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit, for tiles and for WebP
        hint = "Raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file"
        raise ImageError(subject, str(error).rstrip("."), hint) from error
    except Exception as error:  # decoders meet corrupt data with struct, zlib, key and other errors
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(subject, f"cannot be read: {error.strerror}") from error
        reason = " ".join(str(error)[:200].split()) or type(error).__name__
        raise ImageError(subject, f"corrupt or truncated: {reason}", sanity.REPLACE) from error
