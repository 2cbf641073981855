"""Small convolutions on a CPU by torch's own kernels: oneDNN takes longer to prepare them than to compute them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

SMALL = 3 * 2**20
"""Floating-point operations of all convolutions of a forward pass below which torch's own kernels win on one core.

LeNet stays below with one or two images of 32 pixels: 0.71 and 0.85 of the time of an iteration, with three 0.9 to 1.0.
"""

_lock, _inside, _before = threading.Lock(), 0, True


class ConvolutionKernels:
    """A context in which the convolutions of a network and their derivatives avoid oneDNN, if they are small.

    The setting is global to the process: while an attack on a small network takes a step, other threads avoid oneDNN,
    too. It is restored when the last such step ends.

    Args:
        model: The network. Only convolutions that are modules are counted; with others nothing changes.
        forward: A forward pass of the network, run once.
        batch_size: B.
    """

    def __init__(self, model: nn.Module, forward: Callable[[], object], batch_size: int) -> None:
        layers = [module for module in model.modules() if isinstance(module, _ConvNd)]
        kernels = {id(parameter) for parameter in model.parameters() if parameter.ndim > 2}
        at_least = 2 * batch_size * sum(layer.weight.numel() for layer in layers)  # each entry enters a product or more
        whole = bool(layers) and kernels == {id(layer.weight) for layer in layers}
        self.small = whole and not layers[0].weight.is_cuda and at_least <= SMALL and counted(layers, forward) <= SMALL

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Return the context."""
        if not self.small:
            yield
            return
        _switch(1)
        try:
            yield
        finally:
            _switch(-1)


def _switch(step: int) -> None:
    """Count the steps of small networks that are under way, and turn oneDNN off for them."""
    global _inside, _before
    with _lock:
        if not _inside:
            _before = torch.backends.mkldnn.enabled
        _inside += step
        wanted = _before and not _inside
        if torch.backends.mkldnn.enabled != wanted and torch.backends.flags_frozen() is False:
            torch.backends.mkldnn.enabled = wanted


def counted(layers: list[_ConvNd], forward: Callable[[], object]) -> float:
    """Return the floating-point operations of these convolutions in a forward pass; infinite if the pass fails."""
    operations: list[int] = []

    def note(layer: nn.Module, _: object, out: Tensor) -> None:
        operations.append(2 * out.numel() * layer.weight[0].numel())

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        forward()
    except Exception:  # the step itself will say what is wrong
        return float("inf")
    finally:
        for hook in hooks:
            hook.remove()
    return sum(operations)
