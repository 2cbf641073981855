"""One stage in progress: its optimiser, its parts bound to what is seen, and the best guesses so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...client.observation import Observation
from ..parts.part import Candidate, Progress, Stage
from ..step.matching import END, comparable
from ..step.routes import BoundTerm
from .guesses import Best, Guesses
from .keeper import load_optimiser, optimiser_state, require_alike


class StageRun:
    """A stage that starts from `previous`.

    Args:
        stage: The value.
        guesses: What is optimised side by side.
        seen: What its parts are bound to.
        previous: The best candidate of the stage before.
    """

    def __init__(self, stage: Stage, guesses: Guesses, seen: Observation, previous: Candidate | None) -> None:
        self.stage, self.guesses = stage, guesses
        start = stage.parametrisation.start(seen, len(guesses), previous)
        self.candidate = candidate = guesses.start(start, previous is None)
        self.leaves = [leaf.requires_grad_() for leaf in (*candidate.variables.values(), *guesses.others)]
        self.optimiser, self.schedule = stage.optimiser.build(
            guesses.groups(stage, self.leaves),
            stage.steps,
            lambda guess: guesses.updates(guess, candidate.decode()[guess]),
        )
        self.terms: list[BoundTerm] = [(term, term.prior.bind(seen)) for term in stage.terms]
        self.transforms, self.moves = ([part.bind(seen) for part in parts] for parts in (stage.gradient, stage.moves))
        self.best = Best(self.leaves, len(guesses))
        self.lasting = [(term, prior) for term, prior in self.terms if term.acts(END)]
        self.measured = guesses.restarts[0].selection is not None

    def step(self, number: int, look: bool) -> Tensor:
        """One step of the optimiser; returns the objective of every guess before it.

        Args:
            number: From 0.
            look: Whether iterates are to be compared now, where that takes a measure of its own.
        """
        at = Progress(number, self.stage.steps, lr=self.optimiser.param_groups[0]["lr"])
        if self.measured and look:
            self.best.offer(self._totals(at))
        values: list[Tensor] = []

        def closure() -> Tensor:
            values.append(self._slopes(at))
            return values[-1].sum()

        self.optimiser.step(closure)  # type: ignore[arg-type]
        self.schedule.step()
        self._settle(at)
        return values[0]

    def finish(self) -> tuple[Candidate, Tensor]:
        """The candidate with the lowest total of every guess, and these totals."""
        self.best.offer(self._totals(Progress(self.stage.steps, self.stage.steps)))
        self.best.restore()
        return self.candidate, self.best.scores

    def _slopes(self, at: Progress) -> Tensor:
        """Write the gradient into every leaf."""
        decoded = self.candidate.decode()
        at = at._replace(candidates=decoded.detach())
        found = self.guesses.slopes(decoded, self.terms, at)
        variables = list(self.candidate.variables.values())
        pulled = torch.autograd.grad(decoded, variables, found.inputs)
        for leaf, gradient in zip(self.leaves, (*pulled, *found.others), strict=True):
            leaf.grad = gradient
        for variable in variables:
            for transform in self.transforms:
                variable.grad = transform(variable.grad, at)
        if not self.measured and comparable(self.terms, at):
            self.best.offer(found.total)
        return found.objective

    def _totals(self, at: Progress) -> Tensor:
        """By what iterates compare: the selection measure, and the priors that act at the end with their weights."""
        return self.guesses.scores(self.candidate, END) + self.guesses.penalties(self.candidate, self.lasting, at)

    @torch.no_grad()
    def _settle(self, at: Progress) -> None:
        """What follows every step of the optimiser."""
        self.candidate.project()
        if self.guesses.simulated is not None and self.guesses.own:
            self.guesses.simulated.project(self.guesses.own)
        for move in self.moves:
            move(self.candidate, lambda: self.guesses.scores(self.candidate, at), at)

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs to go on from here; what parts remember they find again."""
        return {
            "leaves": [leaf.detach() for leaf in self.leaves],
            **optimiser_state(self.optimiser, self.schedule),
            "kept": self.best.kept,
            "scores": self.best.scores,
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; one that does not fit raises before anything but the optimiser has changed."""
        held = [*self.leaves, *self.best.kept, self.best.scores]
        saved = [*state["leaves"], *state["kept"], state["scores"]]
        require_alike(saved, held)
        load_optimiser(state, self.optimiser, self.schedule)
        for place, value in zip(held, saved, strict=True):
            place.copy_(value)
