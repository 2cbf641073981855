"""What is assumed about how an update came about, and what differs from it if one cause is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...client.participant import Client
from ...protocol.local_training import LocalTraining
from ...values.types import Batch
from ..closeness import Gap, ObservedTarget, mean_of, within_chance

RUNS = 8  # runs of a client that draws random numbers


@dataclass(frozen=True, eq=False)
class Assumed:
    """A client and a batch from which an update is computed again.

    A client that shuffles its minibatches, uses dropout or adds noise never sends the same update twice: it runs
    several times, the mean is compared, and the observed update should look like one run more.

    Args:
        client: The client.
        batch: Its private examples.
        target: The observed update.
        seed: Seed of the client.
        factor: Factor on the update after training and defenses.
    """

    client: Client
    batch: Batch
    target: ObservedTarget = field(repr=False)
    seed: int = 0
    factor: float = 1.0

    def training(self, **changes: Any) -> Assumed:
        """Return the same with other fields of the local training."""
        return replace(self, client=replace(self.client, training=replace(self.client.training, **changes)))

    def times(self, factor: float) -> Assumed:
        """Return the same with another factor on the update; the client does not run again."""
        other = replace(self, factor=self.factor * factor)
        other.__dict__["runs"] = self.runs
        return other

    @property
    def trained(self) -> LocalTraining:
        """The local training."""
        return self.client.training

    @cached_property
    def runs(self) -> list[dict[str, Tensor]]:
        """The updates of the client, defended and before the factor: one, or several if it draws random numbers."""
        training, minibatch = self.trained, self.trained.minibatch_size
        shuffled = training.shuffle and minibatch is not None and minibatch < len(self.batch)
        first = self._run(0)
        if not (shuffled or training.dropout or self.client.defenses):
            return [first]
        second = self._run(1)
        if all(tensor.equal(second[name]) for name, tensor in first.items()):
            return [first]
        return [first, second, *map(self._run, range(2, RUNS))]

    @property
    def random(self) -> bool:
        """Whether the update depends on random numbers of the client that nobody knows."""
        return len(self.runs) > 1

    @property
    def predicted(self) -> Mapping[str, Tensor]:
        """The update that the client sends, the mean of its runs, times the factor."""
        mean = mean_of(self.runs) if self.random else self.runs[0]
        return {name: self.factor * tensor for name, tensor in mean.items()}

    @cached_property
    def gap(self) -> Gap:
        """The distance to the observed update. Raises the errors of `Client.train`."""
        gap = self.target.gap(self.predicted)
        if not self.random:
            return gap
        return replace(gap, near=gap.near or within_chance(self.target, self.runs, self.factor))

    def _run(self, number: int) -> dict[str, Tensor]:
        update, _ = self.client.protected(self.batch, seed=self.seed + number)
        return {
            name: tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
            for name, tensor in update.tensors.items()
        }


@dataclass(frozen=True, eq=False)
class Suspect:
    """One way in which the client may differ from the declared one.

    Args:
        assumed: The client that differs in this way.
        sentence: What it did, as a clause that begins in lower case, without a full stop.
        fix: What to change, as an instruction without a full stop.
    """

    assumed: Assumed
    sentence: str
    fix: str


@dataclass(frozen=True)
class Cause:
    """A usual cause of an update that the declared training does not give.

    Args:
        name: Short name.
        title: What differs, for a table.
        suspects: Function from the declared client to the clients that differ from it by this cause.
    """

    name: str
    title: str
    suspects: Callable[[Assumed], Iterator[Suspect]]


def short(value: float) -> str:
    """Return a number with the fewest digits that are right to 0.05 %."""
    return f"{rounded(value):.6g}"


def rounded(value: float) -> float:
    """Return a fitted number rounded to the fewest digits that are right to 0.05 %; at most four."""
    for digits in range(1, 4):
        near = float(f"{value:.{digits}g}")
        if abs(near - value) <= 5e-4 * abs(value):
            return near
    return float(f"{value:.4g}")


def inner(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """Return the inner product over the tensors that both have."""
    return sum(float((tensor * right[name]).sum()) for name, tensor in left.items() if name in right)
