"""The equations of R-GAP for the input of one layer (Zhu & Blaschko, 2021, sections 3.1 and 3.2).

With k = ∂L/∂z the derivative in the layer's output z, the input x of a layer satisfies

    K x = vec(∂L/∂W)        (gradient constraints: ∂L/∂W is linear in x)
    W x = z                 (weight constraints, without the bias)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import lapack
from scipy.sparse.linalg import LinearOperator, lsmr
from torch import Tensor, nn
from torch.nn.functional import fold, unfold

from ..inversion.network.chain import Link
from ..values.errors import AttackFailed

RANKED = 5_000  # unknowns up to which the rank is computed, which takes 8 bytes for each pair of them
ITERATIONS = 3_000
ACCURACY = 1e-13


class Solved(NamedTuple):
    """The input of a layer, and its rank analysis.

    Args:
        name: Path of the layer.
        inputs: x, `[1, *shape]`.
        residual: Norm of the residual, relative to the right side.
        gradient: Number of gradient constraints.
        weight: Number of weight constraints that were used.
        rank: Rank of the equations, or `None` if there are too many unknowns to compute it.
    """

    name: str
    inputs: Tensor
    residual: float
    gradient: int
    weight: int
    rank: int | None

    @property
    def unknowns(self) -> int:
        """Number of entries of x."""
        return self.inputs.numel()

    @property
    def deficit(self) -> int:
        """Number of dimensions of x that the equations leave open, at least."""
        rank = min(self.unknowns, self.gradient + self.weight) if self.rank is None else self.rank
        return self.unknowns - rank

    def __str__(self) -> str:
        rank = "not computed" if self.rank is None else self.rank
        return f"{self.name}: {self.gradient} + {self.weight} for {self.unknowns}, rank {rank}"


def solve(link: Link, error: Tensor, gradient: Tensor, output: Tensor, known: Tensor) -> Solved:
    """Return the input of a layer by least squares; its smallest solution if several solve the equations.

    Args:
        link: The layer.
        error: k, `[1, ...]`, of the shape of the layer's output.
        gradient: ∂L/∂W.
        output: z, of the shape of `error`; not used for a linear layer, whose gradient determines its input.
        known: Which entries of z are known.

    Raises:
        AttackFailed: The derivative in the output is zero.
    """
    if not error.any():
        raise AttackFailed(f"the gradient does not reach layer {link.name}: no unit behind it is active.")
    if isinstance(link.layer, nn.Linear):
        return _linear(link, error.flatten(), gradient)
    bias = link.layer.bias
    output = output if bias is None else output - bias.detach().view(1, -1, 1, 1)
    return _Convolution(link, error[0].flatten(1), output[0].flatten(1), known[0].flatten(1)).solve(gradient.flatten(1))


def _linear(link: Link, error: Tensor, gradient: Tensor) -> Solved:
    inputs = error @ gradient / error.square().sum()
    gap = (gradient - error.unsqueeze(1) * inputs).norm() / gradient.norm().clamp_min(torch.finfo(error.dtype).tiny)
    return Solved(link.name, inputs.view(1, *link.shape), float(gap), gradient.numel(), 0, inputs.numel())


class _Convolution:
    """The equations of a convolution: k is `[N, P]` (filters, positions), and a window of x has J pixels."""

    def __init__(self, link: Link, error: Tensor, output: Tensor, known: Tensor) -> None:
        self.link, self.layer = link, link.layer
        self.kernel = link.layer.weight.detach().flatten(1)  # [N, J]
        self.known, self.output = known.to(error), torch.where(known, output, 0)
        # Both kinds of rows get a length of about 1, so that neither outweighs the other.
        self.weighted = self.kernel * (math.sqrt(len(self.kernel)) / self.kernel.norm())
        self.scale = self.weighted.norm() / self.kernel.norm()
        self.grown = math.sqrt(len(error)) / error.norm()
        self.error = error * self.grown

    @property
    def _options(self) -> tuple:  # type: ignore[type-arg]
        return self.layer.kernel_size, self.layer.dilation, self.layer.padding, self.layer.stride

    def windows(self, x: Tensor) -> Tensor:
        """Return the windows `[J, P]` of x `[n]`."""
        return unfold(x.view(1, *self.link.shape), *self._options)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the left sides of all equations, `[N P + N J]`."""
        windows = self.windows(x)
        return torch.cat([(self.known * (self.weighted @ windows)).flatten(), (self.error @ windows.T).flatten()])

    def adjoint(self, rows: Tensor) -> Tensor:
        """Return the transposed equations times `rows`, `[n]`."""
        weight, gradient = rows.split([self.error.numel(), self.kernel.numel()])
        windows = self.weighted.T @ (self.known * weight.view_as(self.error))
        windows = windows + gradient.view_as(self.kernel).T @ self.error
        return fold(windows.unsqueeze(0), self.link.shape[1:], *self._options).flatten()

    def solve(self, gradient: Tensor) -> Solved:
        """Solve for x by LSMR, from ∂L/∂W `[N, J]`."""
        right = torch.cat([(self.output * self.scale).flatten(), (gradient * self.grown).flatten()])
        size = math.prod(self.link.shape)
        operator = LinearOperator(
            (len(right), size),
            matvec=lambda x: self.forward(torch.from_numpy(np.ascontiguousarray(x).ravel())).numpy(),
            rmatvec=lambda rows: self.adjoint(torch.from_numpy(np.ascontiguousarray(rows).ravel())).numpy(),
            dtype=np.float64,
        )
        found = lsmr(operator, right.numpy(), atol=ACCURACY, btol=ACCURACY, conlim=0, maxiter=ITERATIONS)[0]
        x = torch.from_numpy(found)
        gap = float((self.forward(x) - right).norm() / right.norm())
        used, rank = int(self.known.sum()), self.rank() if size <= RANKED else None
        return Solved(self.link.name, x.view(1, *self.link.shape), gap, gradient.numel(), used, rank)

    def rank(self) -> int:
        """Return the number of singular values above 1e-6 of the largest, by a Cholesky factorisation with pivots."""
        size = math.prod(self.link.shape)
        place = self.windows(torch.arange(1, size + 1, dtype=torch.float64)).long().numpy()  # 0: padding
        gram = np.zeros((size + 1, size + 1))
        shared = (self.error.T @ self.error).numpy()
        for at in place:
            gram[np.ix_(at, at)] += shared
        for number, at in enumerate(place.T):
            rows = (self.weighted * self.known[:, number : number + 1]).numpy()
            gram[np.ix_(at, at)] += rows.T @ rows
        gram = gram[1:, 1:]
        limit = size * np.finfo(np.float64).eps * gram.diagonal().max()
        return int(lapack.dpstrf(gram.T, tol=limit)[2])
