"""Attacks on a network after some rounds of federated training, and that training, which the rounds share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..client.defending import Memories
from ..client.federation import accuracy, contribution, step
from ..client.federation_settings import Federation, partition
from ..client.participant import Client
from ..models.copying import private_copy
from ..protocol.local_training import LocalTraining
from ..values.chance import child_seed
from ..values.types import Batch
from ._bench import Bench
from ._definition import Values
from ._design_cell import DesignCell
from ._sized_bench import at_size

ANY_ATTACK = INVERTING_GRADIENTS  # in place of each: the attack has no part in the training


class TrainingCourse:
    """The training of one network by a federation, round by round.

    Args:
        client: A client with the fresh network and the local training.
        bench: Data with labels.
        federation: How the federation trains.
        seed: Seed of partition, batches and local training.
    """

    def __init__(self, client: Client, bench: Bench, federation: Federation, seed: int) -> None:
        self.start, self.bench, self.federation, self.seed = client, bench, federation, seed
        self.parts = partition(len(bench.source), bench.labels, federation, seed)
        self._rewind()

    def _rewind(self) -> None:
        self.reached = 0
        self.member = replace(self.start, model=private_copy(self.start.model))
        self.memories: list[Memories] = [{} for _ in self.parts.clients]

    def at(self, rounds: int) -> Client:
        """Return the client with the global model after `rounds` rounds; earlier rounds are trained again."""
        if rounds < self.reached:
            self._rewind()
        while self.reached < rounds:
            self.reached += 1
            self._round(child_seed(self.seed, f"round {self.reached}"))
        return replace(self.member, model=private_copy(self.member.model))

    def accuracy(self) -> float:
        """Return the accuracy on the held-out examples after the rounds so far."""
        return accuracy(self.member, self._gather, self.parts.held_out)

    def _round(self, seed: int) -> None:
        updates = [
            contribution(self.member, self._gather, own, self.federation, memory, child_seed(seed, f"client {number}"))
            for number, (own, memory) in enumerate(zip(self.parts.clients, self.memories, strict=True))
        ]
        sizes = [len(part) for part in self.parts.clients]
        step(self.member.model, updates, sizes, self.federation.rate(self.member))

    def _gather(self, indices: list[int]) -> Batch:
        return Batch(self.bench.source.stack(indices), self.bench.labels[indices]).to(self.bench.device)


@dataclass(frozen=True)
class StageCell(DesignCell):
    """An attack on the network of a design after some rounds of training.

    The cells of one design are measured by one worker, which trains it once.

    Args:
        rounds: Number of rounds before the attack.
        federation: How the federation trains.
        local: Local training of its clients; the attacked update is that of `training`.
    """

    rounds: int = 0
    federation: Federation = Federation()
    local: LocalTraining = LocalTraining()

    @property
    def shares(self) -> str:
        """The design and its training, which cells that differ in the rounds have in common."""
        return repr((self.design, self.size, self.federation, self.local))

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        if not bench.labelled:
            return "a federation that trains needs --data with labels"
        wanted = self.federation.examples + self.federation.test_examples
        if len(bench.source) < wanted:
            return f"a federation of {wanted} examples; the data has {len(bench.source)}"
        return super().missing(bench)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the values of a design cell, with the `accuracy` of the attacked model."""
        values = super().measure(bench, seed)
        return {**values, "accuracy": self._course(at_size(bench, self.size), seed).accuracy()}

    def client(self, bench: Bench, seed: int) -> Client:
        """Return the attacked client with the model after the rounds."""
        return replace(self._course(bench, seed).at(self.rounds), training=self.training)

    def _course(self, bench: Bench, seed: int) -> TrainingCourse:
        """Return the training, which cells with other rounds or another attack share."""
        return _course(replace(self, name="", rounds=0, attack=ANY_ATTACK, explained=None), bench, seed)

    def fresh(self, bench: Bench, seed: int) -> Client:
        """Return a client with the untrained network and the local training of the federation."""
        return replace(DesignCell.client(self, bench, seed), training=self.local)


@lru_cache(maxsize=1)
def _course(cell: StageCell, bench: Bench, seed: int) -> TrainingCourse:
    return TrainingCourse(cell.fresh(bench, seed), bench, cell.federation, bench.chance(seed))
