"""An update linearised at its inputs: products with its Jacobian in either direction, and the whole Jacobian."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 64  # products in one pass

ProductWatch = Callable[[int, int], None]
"""Called with (finished products, products)."""


class Linearised:
    """The derivative J = ∂update/∂inputs at fixed inputs, by automatic differentiation.

    Args:
        update: A differentiable function of the inputs that returns a flat tensor `[m]`.
        inputs: Where it is linearised, any shape with d values; float64 where the noise is small.

    `value` is the update `[m]` without its graph.

    >>> line = Linearised(lambda x: torch.cat([x * x, x[:1]]), torch.tensor([1.0, 2.0]))
    >>> line.jacobian().tolist()
    [[2.0, 0.0], [0.0, 4.0], [1.0, 0.0]]
    """

    def __init__(self, update: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
        self._inputs = inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            self._update = update(self._inputs)
        self.value = self._update.detach()
        self._batched = True
        self._pulled: tuple[Tensor, Tensor] | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """`(m, d)`: the number of entries of the update and of values of the inputs."""
        return self.value.numel(), self._inputs.numel()

    @property
    def shape(self) -> torch.Size:
        """Shape of the inputs."""
        return self._inputs.shape

    def pull(self, rows: Tensor) -> Tensor:
        """Return `rows @ J` for `rows` `[k, m]`: one vector-Jacobian product each, `[k, d]`."""
        return self._products(self._update, self._inputs, rows)

    def push(self, columns: Tensor) -> Tensor:
        """Return `columns @ Jᵀ` for `columns` `[k, d]`, `[k, m]`.

        Each product is one backward pass through the graph of a vector-Jacobian product, which is linear in its vector.
        """
        if self._pulled is None:
            vector = torch.zeros_like(self.value).requires_grad_()
            self._pulled = self._slope(vector), vector
        pulled, vector = self._pulled
        return self._products(pulled, vector, columns)

    def jacobian(self, watch: ProductWatch | None = None) -> Tensor:
        """Return J, `[m, d]`, by the direction that needs less time."""
        m, d = self.sizes
        by_rows = m <= 2 * d  # a product with a column takes about twice as long as one with a row
        count, product = (m, self.pull) if by_rows else (d, self.push)
        whole = self.value.new_empty(m, d)
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            units = self.value.new_zeros(stop - start, count)
            units[range(stop - start), range(start, stop)] = 1.0
            if by_rows:
                whole[start:stop] = product(units)
            else:
                whole[:, start:stop] = product(units).T
            if watch is not None:
                watch(stop, count)
        return whole

    def _slope(self, vector: Tensor) -> Tensor:
        """Return Jᵀ`vector` with its graph to the vector."""
        if not self._update.requires_grad:
            return 0.0 * self._inputs.detach()
        (found,) = torch.autograd.grad(self._update, self._inputs, vector, create_graph=True, allow_unused=True)
        return 0.0 * self._inputs.detach() if found is None else found

    def _products(self, of: Tensor, at: Tensor, vectors: Tensor) -> Tensor:
        """Return the product of the derivative of `of` at `at` with each vector, zeros where there is none."""
        if not of.requires_grad:
            return vectors.new_zeros(len(vectors), at.numel())
        shaped = vectors.view(-1, *of.shape)
        parts = [self._several(of, at, part) for part in shaped.split(CHUNK)]
        return torch.cat(parts).flatten(1)

    def _several(self, of: Tensor, at: Tensor, vectors: Tensor) -> Tensor:
        if self._batched and len(vectors) > 1:
            try:
                return self._grad(of, at, vectors, batched=True)
            except RuntimeError:  # an operation that cannot be mapped over vectors
                self._batched = False
        return torch.stack([self._grad(of, at, vector) for vector in vectors])

    def _grad(self, of: Tensor, at: Tensor, vectors: Tensor, *, batched: bool = False) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an operation without a batching rule is only slower
            (found,) = torch.autograd.grad(
                of, at, vectors, retain_graph=True, allow_unused=True, is_grads_batched=batched
            )
        if found is None:
            return at.new_zeros(len(vectors), *at.shape) if batched else torch.zeros_like(at)
        return found.detach()
