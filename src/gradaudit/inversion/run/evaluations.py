"""The values of candidates without their gradient: penalties, and what an optimiser may ask of a stage in progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ...values.types import Tensors
from ..parts.part import Candidate, Progress
from ..step.matching import comparable
from ..step.routes import BoundTerm
from .best import Best


class Scored(Protocol):
    """The candidates of a stage: what they are matched with, and how they score (`Guesses`)."""

    def of(self, guess: int) -> Any:
        """Return the restart that a candidate belongs to."""

    def labels(self, guess: int, made: Tensor | None) -> Tensor:
        """Return the labels that a candidate is matched with."""

    def variables(self, guess: int) -> dict[str, Tensor]:
        """Return the simulation's variables of one candidate."""

    def scores(self, candidate: Candidate, at: Progress, *, selected: bool = True) -> Tensor:
        """Return the selection measure of every candidate, or else its objective."""


class Evaluations:
    """What an optimiser may ask of a stage besides its closure (`Updates`).

    Args:
        guesses: The candidates of the stage.
        candidate: Their variables.
        terms: The priors of the stage.
        best: The best iterates, which evaluated candidates join; `None` if the attack compares by another measure.
    """

    def __init__(self, guesses: Scored, candidate: Candidate, terms: Sequence[BoundTerm], best: Best | None) -> None:
        self.guesses, self.candidate, self.terms, self.best = guesses, candidate, terms, best
        self.at = Progress(0, 1)
        self.lowest: Tensor | None = None

    def begin(self, at: Progress) -> None:
        """Begin a step."""
        self.at, self.lowest = at, None

    def __call__(self, seed: int) -> tuple[Tensors, Tensors]:
        """Return the simulated and the observed update of one candidate."""
        guesses, candidate = self.guesses, self.candidate
        inputs, labels = candidate.decode()[seed], guesses.labels(seed, candidate.logits())
        return guesses.of(seed).matching.updates(inputs, labels, guesses.variables(seed))

    @torch.no_grad()
    def totals(self) -> Tensor:
        """Return the objective plus the priors that act now, `[G·S]`, at the projected candidates."""
        self.candidate.project()
        objective = self.guesses.scores(self.candidate, self.at, selected=False)
        acting = [(term, prior) for term, prior in self.terms if term.acts(self.at)]
        found = objective + penalties(self.candidate, acting, self.at)
        if self.best is not None and comparable(self.terms, self.at):
            self.best.offer(found)
        self.lowest = objective if self.lowest is None else torch.fmin(self.lowest, objective)
        return found


@torch.no_grad()
def penalties(candidate: Candidate, terms: Sequence[BoundTerm], at: Progress) -> Tensor | float:
    """Return the weighted priors of every candidate plus its own penalty, `[G·S]`, or 0 if there is none."""
    own = candidate.penalty()
    found = 0.0 if own is None else own
    if not terms:
        return found
    decoded = candidate.decode()
    at = at._replace(candidates=decoded)
    each = [sum(term.weight * prior(guess, at).detach() for term, prior in terms) for guess in decoded]
    return torch.stack([torch.as_tensor(one, device=decoded.device, dtype=decoded.dtype) for one in each]) + found
