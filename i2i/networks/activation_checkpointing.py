"""Layers that keep their input alone for the backward pass and compute the rest again there.

Chen et al., arXiv 1604.06174.
"""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from i2i.networks.blocks import Conv, Residual, Up


def checkpoint_activations(net: nn.Module) -> int:
    """Checkpoint the outermost convolutional layers and residual blocks of `net`; return how many.

    Outputs, gradients, random numbers and running statistics stay what they are without it.
    """
    count = 0
    for layer in net.children():
        if isinstance(layer, Conv | Residual | Up):
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
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]  # none in the backward pass
    return nullcontext(), _computing_again(layer, modes)


@contextmanager
def _computing_again(
    layer: nn.Module, modes: list[torch.overrides.TorchFunctionMode]
) -> Iterator[None]:
    """Compute as for the first time, and leave running statistics as they were before."""
    before = [(buffer, buffer.clone()) for buffer in layer.buffers()]
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode)
        try:
            yield
        finally:
            for buffer, value in before:
                buffer.copy_(value)
