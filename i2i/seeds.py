"""Seeds as functions of numbers and names: nothing has to be stored to draw the same again."""

from hashlib import blake2b


def key(*parts: int | str) -> int:
    """Return 64 bits that depend on all parts and their order, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
