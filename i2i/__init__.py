"""Image-to-image translation and generation with GANs: pix2pix, CycleGAN, CUT and DCGAN."""

import signal
import sys

_program = getattr(sys, "argv", [""])[:1]
_words = sys.orig_argv if _program == ["-m"] else [arg.rpartition("/")[2] for arg in _program]
if "i2i" in _words and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # until `main` handles it, Ctrl-C ends the command without a traceback from an import
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from typing import TYPE_CHECKING, Any  # noqa: E402 - takes a moment

if TYPE_CHECKING:
    from i2i.translation.loading import load

    __version__: str

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # torch is imported when it is needed, not by `import i2i`
        from i2i.translation.loading import load

        return load
    if name == "__version__":  # importlib.metadata takes a third of the time of `i2i --help`
        from importlib.metadata import version

        return version("i2i")
    raise AttributeError(f"module 'i2i' has no attribute {name!r}")
