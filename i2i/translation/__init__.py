"""Translating with a trained generator: one image from Python, or complete folders."""

from collections.abc import Callable

from i2i.errors import I2IError

Progress = Callable[[int, int], None]  # called with images done and images in all


class TranslationError(I2IError, ValueError):
    """An image that cannot be translated, or an output that must not be written."""
