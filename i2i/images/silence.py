"""Silence decoders: what is wrong with a file is reported once, by an ImageError that names it."""

import ctypes
import logging
import warnings

from PIL import _imaging


def silence() -> None:
    """Silence Pillow and its libtiff, tifffile and GDAL."""
    # A corrupt TIFF may cause thousands of warnings, none of which names the file.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # Without a handler, errors are printed where logging is not set up.
    for library in ("PIL", "tifffile", "rasterio"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")

    try:  # libtiff writes to the terminal by itself, and Pillow has no switch for it
        libtiff = ctypes.CDLL(_imaging.__file__)
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)
    except (AttributeError, OSError):  # a Pillow that hides it, or has none: there may be noise
        pass
