"""The local training of several clients under secure aggregation, where only the weighted sum is shared."""

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
    """The local training of K clients on parts of one batch; the update is their mean, weighted by their examples.

    All clients train in the same way. `Σ_k (n_k / n) · update_k` is the average of FedAvg (McMahan et al., 2017,
    algorithm 1) and all that the server sees under secure aggregation (Bonawitz et al., 2017). An order covers the
    whole batch: of its `[n]` positions the first `n_1` are the examples of client 1 in this epoch, and so on.

    Args:
        sizes: Number of examples of each client, in the order of the batch.
    """

    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes or min(self.sizes) < 1:
            raise AuditError(f"training: sizes needs at least one example per client. Found {self.sizes}.")

    @classmethod
    def of(cls, training: LocalTraining, sizes: Sequence[int]) -> AggregatedTraining:
        """Return the training of clients that each train as `training` does."""
        own = {entry.name: getattr(training, entry.name) for entry in fields(LocalTraining)}
        return cls(**own, sizes=tuple(sizes))

    @property
    def single_step(self) -> bool:
        """Whether the update is the gradient of one loss over all examples.

        With BatchNorm in training mode it is not for several clients: each normalises with its own batch statistics.
        """
        return self.learning_rate is None and (self.batch_norm == "eval" or len(self.sizes) == 1)

    def steps(self, examples: int) -> int:
        """Return the steps of the client with the most examples; `examples` is ignored, as the sizes are known."""
        return super().steps(max(self.sizes))

    def orders(self, examples: int, seed: int | None = None) -> tuple[Tensor, ...]:
        """Return the orders as for one client, where each client shuffles only its own part of the batch."""
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
        """Return the weighted mean of the clients' updates and buffers; arguments as for `LocalTraining.train`."""
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
    """Return `Σ_k (n_k / n) · update_k` for each tensor; integer tensors, such as counters, are rounded.

    Args:
        updates: The update of each client, all of the same shapes.
        sizes: n_k, the number of examples of each client.
    """
    total = sum(sizes)

    def mean(tensors: tuple[Tensor, ...]) -> Tensor:
        kind = tensors[0].dtype
        weighted = [n / total * tensor for n, tensor in zip(sizes, tensors, strict=True)]
        averaged = sum(weighted[1:], weighted[0])
        return averaged if kind.is_floating_point else averaged.round().to(kind)

    return tuple(mean(tensors) for tensors in zip(*updates, strict=True))


def client_seed(seed: SeedT, number: int) -> SeedT:
    """Return the seed of one of several clients; `None` stays `None`."""
    return None if seed is None else child_seed(seed, f"client {number}")
