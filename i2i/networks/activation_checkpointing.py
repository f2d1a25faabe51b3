"""Layers that keep their input alone for the backward pass and compute the rest again there.

Chen et al., arXiv 1604.06174.
"""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import nn
from torch.utils.checkpoint import checkpoint

from i2i.networks.blocks import Conv, Residual, Up
from i2i.networks.fixup import Bottleneck


def checkpoint_activations(net: nn.Module) -> int:
    """Checkpoint the outermost convolutional layers and residual blocks of `net`; return how many.

    Outputs, gradients, random numbers and running statistics stay what they are without it.
    """
    count = 0
    for layer in net.children():
        if isinstance(layer, Bottleneck | Conv | Residual | Up):
            contexts = functools.partial(_contexts, layer)
            layer.forward = functools.partial(  # type: ignore[method-assign]
                checkpoint, layer.forward, use_reentrant=False, context_fn=contexts
            )
            count += 1
        else:
            count += checkpoint_activations(layer)
    return count


def _contexts(
    layer: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first and of the second computation of `layer`."""
    return nullcontext(), _keeping_statistics(layer)


@contextmanager
def _keeping_statistics(layer: nn.Module) -> Iterator[None]:
    """Leave running statistics as they were before the block."""
    before = [(buffer, buffer.clone()) for buffer in layer.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
