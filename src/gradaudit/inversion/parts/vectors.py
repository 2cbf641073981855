"""Arithmetic on lists of parameter-sized tensors that reuses existing buffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 2**18
"""Entries of a product that a CPU sums at once: float32 loses digits over more (1e-6 here, 2e-5 over 2^21)."""


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
