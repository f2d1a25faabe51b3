"""Translating with a trained generator: one image from Python, or complete folders."""

from i2i.errors import I2IError


class TranslationError(I2IError, ValueError):
    """An image that cannot be translated, or an output that must not be written."""
