"""What an update tells about its batch at first order: the rank of its derivative with respect to the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..client.participant import Client
from ..inversion.parts.optimisers.levenberg_marquardt import jacobian
from ..values.types import Batch
from ._bench import Bench
from ._definition import Values

TOLERANCES = {"rank": 1e-3, "strict": 1e-6}  # column -> tolerance relative to the largest singular value
BUCKETS = 20_000  # entries above which an update is hashed
AT_ONCE = 1_000_000  # entries of the Jacobian that are computed at once


@dataclass(frozen=True)
class RankCell:
    """One network with one batch size.

    The map is that from the pixels of the batch to the client's gradient, J its derivative at the private batch in
    double precision. A direction of the batch counts if it changes the gradient by more than a tolerance times the
    direction that changes it most. Such directions are lost where the gradient is known less accurately than that.

    Args:
        network: Name of a model.
        batch_size: Number of examples in a batch, B.
        size: Side of the images in pixels, to which the images of the bench are averaged.
    """

    network: str
    batch_size: int
    size: int = 16

    @property
    def name(self) -> str:
        """Name of the cell, such as `rank, lenet, B 4, 16 pixels`."""
        return f"rank, {self.network}, B {self.batch_size}, {self.size} pixels"

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        if self.size > bench.source.shape[-1]:
            return f"images of {self.size} pixels; the data has {bench.source.shape[-1]}"
        return None

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the rank at each tolerance and its share of the unknowns, the unknowns and the entries of the update.

        `room` is the number of entries for each unknown: below 1 some directions are lost whatever the tolerance.
        """
        generator = torch.Generator().manual_seed(bench.chance(seed))
        labels = torch.randint(bench.classes, (self.batch_size,), generator=generator)
        batch = bench.batch(labels, generator)
        network = bench.network(self.network, trained=False, seed=seed, size=self.size)
        client = Client(network.double(), normalisation=bench.normalisation)
        small = Batch(adaptive_avg_pool2d(batch.inputs, self.size).double(), batch.labels).to(bench.device)
        columns, entries = derivative(client, small, bench.chance(seed))
        unknowns, gram = len(columns), gram_of(columns)
        del columns  # as large as the matrices that follow
        ranks = numerical_ranks(gram, tuple(TOLERANCES.values()))
        shares = {name: rank / unknowns for name, rank in zip(TOLERANCES, ranks, strict=True)}
        return {**shares, "unknowns": unknowns, "entries": entries, "room": entries / unknowns}


def derivative(client: Client, batch: Batch, seed: int) -> tuple[Tensor, int]:
    """Return Jᵀ `[N, P]` of the client's update with respect to the N values of the batch, and the size of the update.

    An update of more than `BUCKETS` entries is replaced by a count sketch of that many (Clarkson & Woodruff, 2013):
    each entry is added to a random bucket with a random sign, which keeps singular values within a small factor.
    """
    inputs = client.normalisation.apply(batch.inputs).unsqueeze(0).requires_grad_()
    update = client.training(client.model, inputs[0], batch.labels, differentiable=True)
    flat = torch.cat([tensor.flatten() for tensor in update])
    chunk = max(1, AT_ONCE // len(flat))
    if len(flat) <= BUCKETS:
        return jacobian((flat,), [inputs], 0, chunk), len(flat)
    generator = torch.Generator().manual_seed(seed)
    buckets = torch.randint(BUCKETS, (len(flat),), generator=generator).to(flat.device)
    signs = (2.0 * torch.randint(2, (len(flat),), generator=generator) - 1).to(flat)
    sketch = flat.new_zeros(BUCKETS).index_add(0, buckets, signs * flat)
    return jacobian((sketch,), [inputs], 0, chunk), len(flat)


@torch.no_grad()
def gram_of(matrix: Tensor) -> Tensor:
    """Return the smaller of the two Gram matrices of `[N, P]`; its eigenvalues are the squared singular values."""
    return (matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix).cpu()


@torch.no_grad()
def numerical_ranks(gram: Tensor, tolerances: Sequence[float]) -> tuple[int, ...]:
    """Return how many singular values of a matrix exceed each tolerance times the largest one.

    These are the eigenvalues of its Gram matrix above a threshold. The Gram matrix minus the threshold has as many
    positive ones, and by Sylvester's law of inertia so has D in its factorisation L D Lᵀ, which is much cheaper than
    all singular values. Rounding limits the tolerances to about 1e-7 in double precision.

    Args:
        gram: `[N, N]` in double precision; it is used as working memory.
        tolerances: Tolerances in (0, 1).
    """
    largest, diagonal, found = _largest(gram), gram.diagonal().clone(), []
    for tolerance in tolerances:
        gram.diagonal().copy_(diagonal - tolerance**2 * largest)
        found.append(_positive(gram))
    return tuple(found)


def _positive(symmetric: Tensor) -> int:
    """Return the number of positive eigenvalues; a 2x2 block of D (Bunch & Kaufman, 1977) has one of them."""
    factors, pivots = torch.linalg.ldl_factor(symmetric)
    single = factors.diagonal()[pivots > 0]
    return int((single > 0).sum()) + int((pivots < 0).sum()) // 2


def _largest(gram: Tensor, rounds: int = 100) -> Tensor:
    """Return the largest eigenvalue of a positive semidefinite matrix by power iteration."""
    vector = gram.diagonal().sqrt()
    for _ in range(rounds):
        vector = gram @ (vector / vector.norm())
    return vector.norm()
