"""All guesses of a run side by side: their labels, the simulation's variables, their slopes and scores.

`G` restarts of `S` seeds each are `G·S` guesses, the restarts one after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ..parts.part import Candidate, Labels, Progress, Simulated, Stage
from ..step.matching import Matching, Slope
from ..step.routes import BoundTerm
from .one_pass import Together


class Restart(NamedTuple):
    """One run of an attack on one update.

    Args:
        matching: Of the update.
        labels: What its guesses are matched with.
        selection: By what its iterates compare, where that is not the objective.
        number: Which restart, from 0.
        first: Its first guess `[S, ...]`, where it shares a pass with others that draw their own.
    """

    matching: Matching
    labels: Labels
    selection: Matching | None = None
    number: int = 0
    first: Candidate | None = None


class Guesses:
    """What the loop asks about its guesses.

    Args:
        restarts: One, or several that share a pass.
        seeds: S.
        simulated: How a guess becomes an update, where that is not the client's training as known.
        together: Takes all slopes in one pass, where they can be.
    """

    def __init__(
        self, restarts: Sequence[Restart], seeds: int, simulated: Simulated | None, together: Together | None
    ) -> None:
        self.restarts, self.seeds, self.simulated, self.together = restarts, seeds, simulated, together
        labels = [one.labels for one in restarts]
        self.logits = torch.cat([one.values for one in labels]) if labels[0].trainable else None
        self.own = simulated.start(len(self)) if simulated else {}

    def __len__(self) -> int:
        return len(self.restarts) * self.seeds

    @property
    def others(self) -> list[Tensor]:
        """The leaves beside the candidate's: optimised labels, and the simulation's variables."""
        return [*([] if self.logits is None else [self.logits]), *self.own.values()]

    def start(self, candidate: Candidate, fresh: bool) -> Candidate:
        """The same, where it is fresh with the first guess that every restart drew itself."""
        for position, one in enumerate(self.restarts):
            if fresh and one.first is not None:
                here = slice(position * self.seeds, (position + 1) * self.seeds)
                for name, variable in candidate.variables.items():
                    variable.detach()[here] = one.first.variables[name].detach()
        return candidate

    def groups(self, stage: Stage, leaves: list[Tensor]) -> list[Tensor]:
        """The leaves for the optimiser; variables of a simulation have a learning rate of their own."""
        if not self.own:
            return leaves
        rate = stage.optimiser.rate
        if self.simulated is None or rate is None:
            raise AttackFailed(
                "a simulation with variables of its own needs Adam, or another optimiser with a `rate` "
                "(stages.0.optimiser)."
            )
        rates, usual = self.simulated.rates, leaves[: len(leaves) - len(self.own)]
        own = [{"params": [value], "lr": rate * rates[name]} for name, value in self.own.items()]
        return [{"params": usual}, *own]  # type: ignore[list-item]

    def labels(self, guess: int) -> Tensor:
        """What the loss is differentiated with: `[B]` integers or `[B, K]` logits."""
        if self.logits is not None:
            return self.logits[guess]
        return self.restarts[guess // self.seeds].labels.of(guess % self.seeds)

    def decide(self, guess: int) -> Tensor:
        """`[B]` integers."""
        if self.logits is not None:
            return self.logits[guess].detach().argmax(-1)
        return self.restarts[guess // self.seeds].labels.decide(guess % self.seeds)

    def variables(self, guess: int) -> dict[str, Tensor]:
        """The simulation's, of one guess."""
        return {name: value[guess] for name, value in self.own.items()}

    def slopes(self, decoded: Tensor, terms: Sequence[BoundTerm], at: Progress) -> Slope:
        """Objective and gradients of every guess, each with a leading axis."""
        if self.together is not None:
            labels = self.logits if self.logits is not None else torch.stack([self.labels(i) for i in range(len(self))])
            return self._wanted(self.together.slope(decoded.detach(), labels.detach(), terms, at))
        found = [
            self._of(i).matching.slope(guess, self.labels(i), terms, at, self.variables(i))
            for i, guess in enumerate(decoded.unbind())
        ]
        others = tuple(torch.stack(of_all) for of_all in zip(*(one.others for one in found), strict=True))
        objective, total, inputs = (
            torch.stack([getattr(one, field) for one in found]) for field in ("objective", "total", "inputs")
        )
        return self._wanted(Slope(objective, total, inputs, others))

    def _wanted(self, found: Slope) -> Slope:
        """Without the slope of soft labels that are given, not optimised."""
        given = self.logits is None and self.labels(0).is_floating_point()
        return found._replace(others=found.others[1:]) if given else found

    def flat(self, guess: int, decoded: Tensor) -> bool:
        """Whether the objective has no slope at one guess; see `Matching.flat`."""
        return self._of(guess).matching.flat(decoded, self.labels(guess), self.variables(guess))

    @torch.no_grad()
    def scores(self, candidate: Candidate, at: Progress) -> Tensor:
        """The selection measure of every guess, without priors."""
        decoded = candidate.decode()
        at = at._replace(candidates=decoded)
        found = []
        for i, guess in enumerate(decoded):
            measure = self._of(i).selection or self._of(i).matching
            found.append(measure.value(guess, self.labels(i), at, self.variables(i)))
        return torch.stack(found)

    @torch.no_grad()
    def penalties(self, candidate: Candidate, terms: Sequence[BoundTerm], at: Progress) -> Tensor:
        """The weighted priors of every guess, all of `terms` whatever their windows."""
        decoded = candidate.decode()
        at = at._replace(candidates=decoded)
        found = [sum(term.weight * prior(guess, at).detach() for term, prior in terms) for guess in decoded]
        return torch.stack([torch.as_tensor(one, device=decoded.device, dtype=decoded.dtype) for one in found])

    def updates(self, guess: int, inputs: Tensor) -> tuple[Tensors, Tensors]:
        """The simulated and the observed update of one guess."""
        return simulated_and_observed(self._of(guess).matching, inputs, self.labels(guess), self.variables(guess))

    def _of(self, guess: int) -> Restart:
        return self.restarts[guess // self.seeds]


class Best:
    """The best values of all leaves so far, per guess, kept on the device."""

    def __init__(self, leaves: list[Tensor], guesses: int) -> None:
        self.leaves = leaves
        self.kept = [leaf.detach().clone() for leaf in leaves]
        self.scores = torch.full((guesses,), torch.inf, device=leaves[0].device)

    @torch.no_grad()
    def offer(self, scores: Tensor) -> None:
        """Keep the leaves of every guess that scores lower than before."""
        better = scores < self.scores
        self.scores = torch.where(better, scores, self.scores)
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            mask = better.view(-1, *[1] * (leaf.ndim - 1))
            torch.where(mask, leaf, kept, out=kept)

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back."""
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            leaf.copy_(kept)


def simulated_and_observed(
    matching: Matching, inputs: Tensor, labels: Tensor, own: Mapping[str, Tensor]
) -> tuple[Tensors, Tensors]:
    """The update of a guess, defended where the defense is known, and the observed one; graph as gradients are on."""
    observed = matching.seen.update.values
    update = matching.simulate(inputs, labels, own, differentiable=torch.is_grad_enabled())
    return reduce(lambda u, d: d.simulate(u, observed), matching.seen.defenses or (), update), observed
