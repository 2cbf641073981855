"""Secure aggregation: several clients whose updates the server sees only as one weighted sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..protocol.defenses import Defense
from ..protocol.local_training import AggregatedTraining, client_seed, weighted_mean
from ..protocol.observation import Observation
from ..values.errors import AuditError
from ..values.types import Batch, Knowledge, Update
from .defending import Memories
from .defense_effect import Note, unnoted
from .participant import Client


@dataclass(frozen=True, eq=False)
class SecureAggregation(Client):
    """K clients with the same model, local training and defenses, who share only `Σ_k (n_k / n) · update_k`.

    The weights are those of FedAvg (McMahan et al., 2017, algorithm 1). Secure aggregation promises that the server
    learns nothing but the sum (Bonawitz et al., 2017). Every client applies its defenses to its own update before the
    sum. The batch contains the examples of all clients, one client after the other, and the attack has to reconstruct
    all of them.

    With BATCH_SIZE the adversary knows K and every n_k, and a granted local training is that of all clients
    (`AggregatedTraining`). With DEFENSE the adversary simulates the defenses on the sum, which is exact only for
    defenses that act on each entry independently. Batch statistics are computed over the whole batch.

    Args:
        sizes: n_k, the number of examples of each client, in the order of the batch.

    Raises:
        AuditError: There is no client, or a client has no examples. Training raises it if the batch has another size.

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
        """Return the weighted sum of the undefended updates and of the buffers; arguments as for `Client.train`."""
        member = self._member()
        return self._sum([member.train(part, seed=own) for part, own in self._parts(batch, seed)])

    def protected(
        self, batch: Batch, *, seed: int = 0, memories: Memories | None = None, note: Note = unnoted
    ) -> tuple[Update, tuple[Defense, ...]]:
        """Return the weighted sum of the defended updates, and the defenses that left every update unchanged."""
        member, shares = self._member(), self._shares(batch, seed, memories)
        found = [member.protected(part, seed=own, memories=kept, note=note) for part, own, kept in shares]
        updates, idle = zip(*found, strict=True)
        return self._sum(updates), tuple(defense for defense in self.defenses if all(defense in i for i in idle))

    def contribute(self, batch: Batch, *, seed: int = 0, memories: Memories | None = None) -> Update:
        """Return the weighted sum of the defended updates alone; arguments as for `protected`."""
        member, shares = self._member(), self._shares(batch, seed, memories)
        return self._sum([member.contribute(part, seed=own, memories=kept) for part, own, kept in shares])

    def observed(
        self, update: Update, batch: Batch, knowledge: Knowledge, public: Batch | Tensor | None = None
    ) -> Observation:
        """Return what `knowledge` grants the adversary of the sum; arguments and errors as for `Client.observed`."""
        seen = super().observed(update, batch, knowledge, public)
        if Knowledge.BATCH_SIZE not in knowledge:
            return seen
        training = None if seen.training is None else AggregatedTraining.of(seen.training, self.sizes)
        return replace(seen, clients=self.sizes, training=training)

    def _member(self) -> Client:
        return Client(self.model, self.training, self.defenses, self.normalisation, self.model_name)

    def _parts(self, batch: Batch, seed: int) -> list[tuple[Batch, int]]:
        """Return the examples of each client, and the seed of its random numbers."""
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

    def _shares(self, batch: Batch, seed: int, memories: Memories | None) -> list[tuple[Batch, int, Memories]]:
        """Return the examples of each client, the seed of its random numbers, and what its defenses remember."""
        kept: Memories = {} if memories is None else memories
        return [
            (part, own, kept.setdefault(f"client {number}", {}))
            for number, (part, own) in enumerate(self._parts(batch, seed))
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
