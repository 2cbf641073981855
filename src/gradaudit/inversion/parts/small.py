"""Small convolutions on a CPU by torch's own kernels: oneDNN takes longer to prepare them than to compute them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

SMALL = 3 * 2**20
"""Floating-point operations of all convolutions of a forward pass below which torch's own kernels win on one core.

LeNet stays below with one or two images of 32 pixels: 0.71 and 0.85 of the time of an iteration, with three 0.9 to 1.0.
"""


class ConvolutionKernels:
    """A context in which the convolutions of a network and their derivatives avoid oneDNN, if they are small.

    The setting is global to the process, and restored afterwards.

    Args:
        forward: A forward pass, run once without gradients to count its operations.
        parameters: The parameters of the network.
        batch_size: B.
    """

    def __init__(self, forward: Callable[[], object], parameters: Sequence[Tensor], batch_size: int) -> None:
        kernels = [parameter for parameter in parameters if parameter.ndim > 2]
        at_least = 2 * batch_size * sum(kernel.numel() for kernel in kernels)  # each entry enters a product or more
        self.small = bool(kernels) and not kernels[0].is_cuda and at_least <= SMALL and counted(forward) <= SMALL

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Return the context."""
        before = torch.backends.mkldnn.enabled
        try:
            torch.backends.mkldnn.enabled = before and not self.small
            yield
        finally:
            torch.backends.mkldnn.enabled = before


def counted(forward: Callable[[], object]) -> int:
    """Return the floating-point operations of the convolutions of a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution, 0))
