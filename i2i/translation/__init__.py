"""A trained generator at work: one image from Python, or whole folders, with nothing of training but its weights."""

from i2i.errors import I2IError


class TranslationError(I2IError, ValueError):
    """Something that cannot be translated, or must not be written; the message says what, where, and what to do."""
