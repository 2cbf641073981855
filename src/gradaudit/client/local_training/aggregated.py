"""The local training of several clients of which only the weighted sum is seen: what secure aggregation leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...values.chance import child_seed
from ...values.errors import AuditError
from ...values.types import Tensors
from .training import LocalTraining, Orders

SeedT = TypeVar("SeedT", int, int | None)


@dataclass(frozen=True)
class AggregatedTraining(LocalTraining):
    """K clients train alike on parts of the batch; the update is their mean, weighted by their examples.

    `Σ_k (n_k / n) · update_k` is FedAvg's average (McMahan et al., 2017, algorithm 1) and all that secure aggregation
    (Bonawitz et al., 2017) leaves the server. An order is one of the whole batch: of `[n]` positions the first `n_1`
    are what client 1 sees in this epoch, and so on.

    Args:
        sizes: Examples of each client, in the order of the batch.
    """

    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes or min(self.sizes) < 1:
            raise AuditError(f"training: sizes needs at least one example per client. Found {self.sizes}.")

    @classmethod
    def of(cls, training: LocalTraining, sizes: Sequence[int]) -> AggregatedTraining:
        """Clients that each train as `training` says."""
        own = {entry.name: getattr(training, entry.name) for entry in fields(LocalTraining)}
        return cls(**own, sizes=tuple(sizes))

    @property
    def single_step(self) -> bool:
        """As of one client; statistics of each client's own batch are not those of all examples."""
        return self.learning_rate is None and (self.batch_norm == "eval" or len(self.sizes) == 1)

    def steps(self, examples: int) -> int:
        """Of the client with most examples; the sizes are known, so `examples` is not looked at."""
        return super().steps(max(self.sizes))

    def orders(self, examples: int, seed: int | None = None) -> tuple[Tensor, ...]:
        """As of one client, each within its own part."""
        self._check(examples)
        own = [super(AggregatedTraining, self).orders(n, client_seed(seed, k)) for k, n in enumerate(self.sizes)]
        first = [sum(self.sizes[:k]) for k in range(len(self.sizes))]
        return tuple(
            torch.cat([order + start for order, start in zip(epoch, first, strict=True)])
            for epoch in zip(*own, strict=True)
        )

    def train(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        seed: int | None = None,
        orders: Orders | None = None,
        **options: Any,
    ) -> tuple[Tensors, Mapping[str, Tensor]]:
        """As of one client; the buffers are averaged likewise."""
        if orders is None:
            orders = self.orders(len(inputs), seed)
        parts = [order.split(self.sizes) for order in orders]
        trained = [
            super(AggregatedTraining, self).train(
                model, inputs, labels, seed=client_seed(seed, k), orders=[part[k] for part in parts], **options
            )
            for k in range(len(self.sizes))
        ]
        update = weighted_mean([tensors for tensors, _ in trained], self.sizes)
        names = trained[0][1].keys()
        averaged = weighted_mean([tuple(buffers.values()) for _, buffers in trained], self.sizes)
        return update, dict(zip(names, averaged, strict=True))

    def _check(self, examples: int) -> None:
        if examples != sum(self.sizes):
            raise AuditError(f"training: {len(self.sizes)} clients hold {sum(self.sizes)} examples. Found {examples}.")


def weighted_mean(updates: Sequence[Tensors], sizes: Sequence[int]) -> Tensors:
    """`Σ_k (n_k / n) · update_k`, tensor by tensor; counters are rounded to whole numbers.

    Args:
        updates: Of each client, the same shapes.
        sizes: n_k, examples of each.
    """
    total = sum(sizes)

    def mean(tensors: tuple[Tensor, ...]) -> Tensor:
        kind = tensors[0].dtype
        weighted = [n / total * tensor for n, tensor in zip(sizes, tensors, strict=True)]
        averaged = sum(weighted[1:], weighted[0])
        return averaged if kind.is_floating_point else averaged.round().to(kind)

    return tuple(mean(tensors) for tensors in zip(*updates, strict=True))


def client_seed(seed: SeedT, number: int) -> SeedT:
    """The seed of one of several clients; `None` stays `None`."""
    return None if seed is None else child_seed(seed, f"client {number}")
