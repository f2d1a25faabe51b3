"""Comparing whole training states, bit for bit."""

from typing import Any

import torch


def equal(a: Any, b: Any) -> bool:
    """Say whether two nested states have the same keys, lengths, values and tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)
