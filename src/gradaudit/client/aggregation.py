"""Several clients of which the server sees only the weighted sum: what secure aggregation leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..values.errors import AuditError
from ..values.types import Batch, Knowledge, Update
from .defenses import Defense
from .local_training import AggregatedTraining, client_seed, weighted_mean
from .observation import Observation
from .participant import Client


@dataclass(frozen=True, eq=False)
class SecureAggregation(Client):
    """K clients with the same model, local training and defenses; their updates leave as `Σ_k (n_k / n) · update_k`.

    The weights are FedAvg's (McMahan et al., 2017, algorithm 1); that the server learns nothing but the sum is what
    secure aggregation promises (Bonawitz et al., 2017). Every client defends its own update before the sum. The batch
    is that of all clients together, client after client, and so is what the attack is asked for.

    With BATCH_SIZE the adversary knows K and every n_k, and a known local training is that of all clients
    (`AggregatedTraining`). With DEFENSE it simulates the defenses on the sum, which is exact only for those that work
    on every entry by itself. Batch statistics are those of the whole batch.

    Args:
        sizes: n_k, examples of each client, in the order of the batch.

    Raises:
        AuditError: There is no client, or one without examples; later, a batch of another size.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5))
    >>> both = ga.SecureAggregation(net, sizes=(1, 1))
    >>> both.share(ga.Batch(torch.rand(2, 1, 4, 4), torch.tensor([3, 4])), "priors").clients
    (1, 1)
    """

    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if not self.sizes or min(self.sizes) < 1:
            raise AuditError(f"aggregation: sizes needs at least one example for each client. Found {self.sizes}.")

    def train(self, batch: Batch, *, seed: int = 0) -> Update:
        """The weighted sum before any defense, and that of the buffers; arguments and errors as of one client."""
        member = self._member()
        return self._sum([member.train(part, seed=own) for part, own in self._parts(batch, seed)])

    def protected(self, batch: Batch, *, seed: int = 0) -> tuple[Update, tuple[Defense, ...]]:
        """The weighted sum of the defended updates, and the defenses that changed none of them."""
        member = self._member()
        updates, idle = zip(*(member.protected(part, seed=own) for part, own in self._parts(batch, seed)), strict=True)
        return self._sum(updates), tuple(defense for defense in self.defenses if all(defense in i for i in idle))

    def observed(
        self, update: Update, batch: Batch, knowledge: Knowledge, public: Batch | Tensor | None = None
    ) -> Observation:
        """Return what `knowledge` grants of the sum; arguments and errors as of one client."""
        seen = super().observed(update, batch, knowledge, public)
        if Knowledge.BATCH_SIZE not in knowledge:
            return seen
        training = None if seen.training is None else AggregatedTraining.of(seen.training, self.sizes)
        return replace(seen, clients=self.sizes, training=training)

    def _member(self) -> Client:
        return Client(self.model, self.training, self.defenses, self.normalisation, self.model_name)

    def _parts(self, batch: Batch, seed: int) -> list[tuple[Batch, int]]:
        """What each client holds, and the seed of its chance."""
        if len(batch) != sum(self.sizes):
            wanted = f"{len(self.sizes)} clients hold {sum(self.sizes)} examples together"
            raise AuditError(f"aggregation: {wanted}. Found a batch of {len(batch)}.")
        inputs, labels = batch.inputs.split(self.sizes), batch.labels.split(self.sizes)
        lengths = [None] * len(self.sizes) if batch.lengths is None else batch.lengths.split(self.sizes)
        parts = zip(inputs, labels, lengths, strict=True)
        return [
            (replace(batch, inputs=x, labels=y, lengths=n), client_seed(seed, k + 1))
            for k, (x, y, n) in enumerate(parts)
        ]

    def _sum(self, updates: Sequence[Update]) -> Update:
        first = updates[0]
        tensors = weighted_mean([update.values for update in updates], self.sizes)
        buffers = weighted_mean([tuple((update.buffers or {}).values()) for update in updates], self.sizes)
        return replace(
            first,
            tensors=dict(zip(first.tensors, tensors, strict=True)),
            buffers=None if first.buffers is None else dict(zip(first.buffers, buffers, strict=True)),
            examples=sum(self.sizes),
        )
