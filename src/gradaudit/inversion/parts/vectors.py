"""Arithmetic on lists of parameter-sized tensors that reuses existing buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 2**18
"""Entries of a product that a CPU sums at once: float32 loses digits over more (1e-6 here, 2e-5 over 2^21)."""

KEPT_ANYWAY = 2**24  # bytes of gradients that glibc keeps without help
LARGEST = 31 * 2**20  # bytes of a buffer that glibc can take from its heap


class Combination(NamedTuple):
    """The gradient v = ∂D/∂g in a closed form that needs no buffer: v = `on_candidate` * g + `on_observed` * observed.

    Args:
        value: D, a scalar.
        on_candidate: Factor of g, a scalar or one for each tensor, `[T]`.
        on_observed: Factor of the observed update, likewise; never 0.
        squares: |v|², a scalar.
    """

    value: Tensor
    on_candidate: Tensor
    on_observed: Tensor
    squares: Tensor

    @torch.no_grad()
    def combine(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> None:
        """Overwrite `candidate` with v."""
        a, b = self._factors(len(candidate))
        for g, o, on_g, on_o in zip(candidate, observed, a, b, strict=True):
            g.mul_(on_g).addcmul_(o, on_o)

    def shift(
        self, candidate: Sequence[Tensor], observed: Sequence[Tensor], start: Sequence[Tensor], by: Tensor
    ) -> None:
        """Overwrite `candidate` with `start` + `by` * v, in two passes over the memory."""
        ratio, b = self._replace(on_candidate=self.on_candidate / self.on_observed)._factors(len(candidate), by)
        for g, o, s, on_g, on_both in zip(candidate, observed, start, ratio, b, strict=True):
            torch.addcmul(o, g, on_g, out=g)
            torch.addcmul(s, g, on_both, out=g)

    def _factors(self, count: int, by: Tensor | float = 1.0) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        a, b = self.on_candidate, self.on_observed * by
        return (a.unbind(), b.unbind()) if a.ndim else ((a,) * count, (b,) * count)


def products(candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return <candidate, observed> and <candidate, candidate> of every pair, each `[T]`; memory is read once."""
    pairs = [_dots(c.reshape(-1), o.reshape(-1)) for c, o in zip(candidate, observed, strict=True)]
    inner, squares = zip(*pairs, strict=True)
    return torch.stack(inner), torch.stack(squares)


def _dots(c: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
    if len(c) <= BLOCK or c.is_cuda:
        return torch.dot(c, o), torch.dot(c, c)
    pairs = [(torch.dot(a, b), torch.dot(a, a)) for a, b in zip(c.split(BLOCK), o.split(BLOCK), strict=True)]
    inner, squares = zip(*pairs, strict=True)
    return torch.stack(inner).sum(), torch.stack(squares).sum()


def squared_gap(candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> Tensor:
    """Return Σ |candidate - observed|² over all tensors, a scalar."""
    gaps = []
    for c, o in zip(candidate, observed, strict=True):
        piece = c.numel() if c.is_cuda else BLOCK
        for left, right in zip(c.reshape(-1).split(piece), o.reshape(-1).split(piece), strict=True):
            gap = left - right
            gaps.append(torch.dot(gap, gap))
    return torch.stack(gaps).sum()


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of all tensors as one vector, a scalar."""
    return torch.stack(torch._foreach_norm(tensors)).norm()


def own(tensors: Sequence[Tensor], beside: Sequence[Tensor] = ()) -> list[Tensor]:
    """Return the same values as tensors that may be written to: one that shares its memory is copied.

    Args:
        tensors: Fresh results of a backward pass; two of them may be one buffer, a view of another, or expanded.
        beside: Further results of that pass that must keep their values.
    """
    taken = {tensor.untyped_storage().data_ptr() for tensor in beside}
    owned = []
    for tensor in tensors:
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        owned.append(tensor if whole and storage.data_ptr() not in taken else tensor.clone())
        taken.add(storage.data_ptr())
    return owned


def reserve(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return a block to hold while steps are taken, so that their gradients reuse the memory of the previous step.

    glibc returns freed memory at the end of its heap to the system, and fetching a ResNet-18's gradients anew then
    costs 15-25 of the 60-90 ms of a step. glibc keeps what lies below a block in use; this function returns such a
    block, small and last in the heap. No page is touched, nothing outlasts the block, and with another C library
    nothing changes.
    """
    sizes = [parameter.numel() * parameter.element_size() for parameter in parameters if not parameter.is_cuda]
    if sum(sizes) < KEPT_ANYWAY:
        return []
    piece = min(max(sizes), LARGEST)
    torch.empty(piece, dtype=torch.uint8)  # once glibc has seen such a buffer freed, it takes them from its heap
    room = [torch.empty(piece, dtype=torch.uint8) for _ in range(sum(sizes) // piece + 3)]
    end, held = max(part.data_ptr() for part in room), []
    for _ in range(8):  # the first blocks may fill a gap further down
        held.append(torch.empty(2**16, dtype=torch.uint8))
        if held[-1].data_ptr() > end:
            break
    return held
