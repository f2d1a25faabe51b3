"""Image-to-image translation and generation with GANs: pix2pix, CycleGAN, CUT and DCGAN."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2i.translation.translator import load

__all__ = ["__version__", "load"]
__version__ = version("i2i")


def __getattr__(name: str) -> Any:
    if name == "load":  # torch is imported when it is needed, not by `import i2i`
        from i2i.translation.translator import load

        return load
    raise AttributeError(f"module 'i2i' has no attribute {name!r}")
