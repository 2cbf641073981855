"""All candidates of a run side by side, and one stage of it, from which gradient steps are taken.

`G` restarts of `S` seeds each are `G·S` candidates, ordered by restart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ..parts.label_values import Labels
from ..parts.part import Candidate, Progress, Simulated, Stage
from ..step.graphed import GraphedSlope
from ..step.matching import END, Matching, Slope, comparable
from ..step.routes import BoundTerm, learned, relearn
from .best import Best
from .evaluations import Evaluations, penalties
from .keeper import load_optimiser, optimiser_state, require_alike
from .one_pass import OnePass


class Restart(NamedTuple):
    """One restart of an attack on one update.

    Args:
        matching: The matching loss of the update.
        labels: Labels that its candidates are matched with; `None` if the candidate produces its own.
        selection: Measure by which its iterates are compared, if that is not the objective.
        number: Number of the restart, from 0.
        first: Its first candidate `[S, ...]`, if it shares a pass with others that draw their own.
        graphed: The gradient of its matching loss from a recording, if the attack asks for one.
    """

    matching: Matching
    labels: Labels | None
    selection: Matching | None = None
    number: int = 0
    first: Candidate | None = None
    graphed: GraphedSlope | None = None

    @property
    def slope(self) -> Callable[..., Slope]:
        """`Matching.slope`, from a recording if there is one."""
        return (self.graphed or self.matching).slope

    @property
    def seen(self) -> Observation:
        """The observation that its candidates start from: with the labels of the run, unless they are optimised."""
        seen, labels = self.matching.seen, self.labels
        if labels is None or labels.trainable:
            return seen
        return replace(seen, labels=labels.values if labels.soft is None else labels.soft)


class Guesses:
    """The candidates of one restart, or of several that share a pass: their labels, gradients and scores.

    Args:
        restarts: One restart, or several that share a pass.
        seeds: S.
        simulated: How a candidate becomes an update, if that is not the client's training as known.
        one_pass: Computes all gradients in one pass, if that is possible.
    """

    def __init__(
        self, restarts: Sequence[Restart], seeds: int, simulated: Simulated | None, one_pass: OnePass | None
    ) -> None:
        self.restarts, self.seeds, self.simulated, self.one_pass = restarts, seeds, simulated, one_pass
        labels = [one.labels for one in restarts if one.labels is not None]
        self.logits = torch.cat([one.values for one in labels]) if labels and labels[0].trainable else None
        self.own = simulated.start(len(self)) if simulated else {}

    def __len__(self) -> int:
        return len(self.restarts) * self.seeds

    @property
    def others(self) -> list[Tensor]:
        """The leaves besides the candidate's: optimised labels, and the simulation's variables."""
        return [*([] if self.logits is None else [self.logits]), *self.own.values()]

    def start(self, candidate: Candidate, fresh: bool) -> Candidate:
        """Return the candidate; if it is fresh, with the first candidates that the restarts drew themselves."""
        for position, one in enumerate(self.restarts):
            if fresh and one.first is not None:
                here = slice(position * self.seeds, (position + 1) * self.seeds)
                for name, variable in candidate.variables.items():
                    variable.detach()[here] = one.first.variables[name].detach()
        return candidate

    def groups(self, stage: Stage, leaves: list[Tensor]) -> list[Tensor]:
        """Return the leaves for the optimiser; the variables of a simulation have their own learning rates."""
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

    def labels(self, guess: int, made: Tensor | None) -> Tensor:
        """Return the labels that the loss is differentiated with: `[B]` integers or `[B, K]` logits.

        Args:
            guess: Index of the candidate.
            made: Logits `[G·S, B, K]` of a candidate that produces its labels, otherwise `None`.
        """
        if made is not None:
            return made[guess]
        if self.logits is not None:
            return self.logits[guess]
        labels = self.restarts[guess // self.seeds].labels
        assert labels is not None
        return labels.of(guess % self.seeds)

    def decide(self, guess: int, made: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the labels `[B]`, and the logits `[B, K]` if labels were optimised; arguments as in `labels`."""
        if made is None and self.logits is None:
            labels = self.restarts[guess // self.seeds].labels
            assert labels is not None
            return labels.decide(guess % self.seeds), None
        logits = self.labels(guess, made).detach()
        return logits.argmax(-1), logits

    def variables(self, guess: int) -> dict[str, Tensor]:
        """Return the simulation's variables of one candidate."""
        return {name: value[guess] for name, value in self.own.items()}

    def slopes(self, decoded: Tensor, made: Tensor | None, terms: Sequence[BoundTerm], at: Progress) -> Slope:
        """Return the objective and the gradients of every candidate, each with a leading axis."""
        if self.one_pass is not None:
            labels = torch.stack([self.labels(i, made) for i in range(len(self))]).detach()
            return self._wanted(made, self.one_pass.slope(decoded.detach(), labels, terms, at))
        found = [
            self.of(i).slope(guess, self.labels(i, made), terms, at, self.variables(i))
            for i, guess in enumerate(decoded.unbind())
        ]
        others = tuple(torch.stack(of_all) for of_all in zip(*(one.others for one in found), strict=True))
        objective, total, inputs = (
            torch.stack([getattr(one, field) for one in found]) for field in ("objective", "total", "inputs")
        )
        return self._wanted(made, Slope(objective, total, inputs, others))

    def _wanted(self, made: Tensor | None, found: Slope) -> Slope:
        """Drop the gradient of soft labels that are given, not optimised."""
        given = made is None and self.logits is None and self.labels(0, None).is_floating_point()
        return found._replace(others=found.others[1:]) if given else found

    @torch.no_grad()
    def scores(self, candidate: Candidate, at: Progress, *, selected: bool = True) -> Tensor:
        """Return the selection measure of every candidate, or else its objective, without priors, `[G·S]`."""
        decoded, made = candidate.decode(), candidate.logits()
        at = at._replace(candidates=decoded)
        found = []
        for i, guess in enumerate(decoded):
            measure = (selected and self.of(i).selection) or self.of(i).matching
            found.append(measure.value(guess, self.labels(i, made), at, self.variables(i)))
        return torch.stack(found)

    def of(self, guess: int) -> Restart:
        """Return the restart that a candidate belongs to."""
        return self.restarts[guess // self.seeds]

    def release(self) -> None:
        """Free the recordings of a stage."""
        for one in self.restarts:
            if one.graphed is not None:
                one.graphed.release()


class StageRun:
    """A stage in progress: its optimiser, its parts bound to the observation, and the best candidates so far.

    Args:
        stage: The stage.
        guesses: The candidates that are optimised side by side.
        seen: The observation that its parts are bound to.
        previous: The best candidate of the previous stage, if there was one.
    """

    def __init__(self, stage: Stage, guesses: Guesses, seen: Observation, previous: Candidate | None) -> None:
        self.stage, self.guesses = stage, guesses
        start = stage.parametrisation.start(guesses.restarts[0].seen, len(guesses), previous)
        self.candidate = guesses.start(start, previous is None)
        self.leaves = [leaf.requires_grad_() for leaf in (*self.candidate.variables.values(), *guesses.others)]
        self.terms: list[BoundTerm] = [(term, term.prior.bind(seen)) for term in stage.terms]
        self.transforms, self.moves = ([part.bind(seen) for part in parts] for parts in (stage.gradient, stage.moves))
        self.best = Best(self.leaves, len(guesses))
        self.lasting = [(term, prior) for term, prior in self.terms if term.acts(END)]
        self.measured = guesses.restarts[0].selection is not None
        self.asked = Evaluations(guesses, self.candidate, self.terms, None if self.measured else self.best)
        self.optimiser, self.schedule = stage.optimiser.build(
            guesses.groups(stage, self.leaves), stage.steps, self.asked
        )

    def step(self, number: int, look: bool) -> Tensor:
        """Take one step of the optimiser; return the objective of every candidate before it.

        A gradient-free optimiser has the lowest objective among the points that it evaluated.

        Args:
            number: Number of the step, from 0.
            look: Whether to compare iterates now, if that needs a measure of its own.
        """
        at = Progress(number, self.stage.steps, lr=self.optimiser.param_groups[0]["lr"])
        if self.measured and look:
            self.best.offer(self.totals(self.candidate, at))
        self.asked.begin(at)
        values: list[Tensor] = []

        def closure() -> Tensor:
            values.append(self._slopes(at))
            return values[-1].sum()

        self.optimiser.step(closure)  # type: ignore[arg-type]
        self.schedule.step()
        self._settle(at)
        return values[0] if self.asked.lowest is None else self.asked.lowest

    def finish(self) -> tuple[Candidate, Tensor]:
        """Return every candidate at its lowest total, and these totals."""
        self.guesses.release()
        self.best.offer(self.totals(self.candidate))
        self.best.restore()
        return self.candidate, self.best.scores

    def _slopes(self, at: Progress) -> Tensor:
        """Write the gradient into every leaf; return the objectives."""
        decoded, made = self.candidate.decode(), self.candidate.logits()
        at = at._replace(candidates=decoded.detach())
        found = self.guesses.slopes(decoded, made, self.terms, at)
        variables = list(self.candidate.variables.values())
        outputs, slopes, others = (decoded,), (found.inputs,), found.others
        if made is not None:
            outputs, slopes, others = (decoded, made), (found.inputs, others[0]), others[1:]
        own, total = self.candidate.penalty(), found.total
        if own is not None:
            outputs, slopes, total = (*outputs, own), (*slopes, torch.ones_like(own)), total + own.detach()
        pulled = torch.autograd.grad(outputs, variables, slopes)
        for leaf, gradient in zip(self.leaves, (*pulled, *others), strict=True):
            leaf.grad = gradient
        for variable in variables:
            for transform in self.transforms:
                variable.grad = transform(variable.grad, at)
        if not self.measured and comparable(self.terms, at):
            self.best.offer(total)
        return found.objective

    def totals(self, candidate: Candidate, at: Progress | None = None) -> Tensor:
        """Return the measure by which iterates are compared, `[G·S]`.

        It is the selection measure plus the weighted priors that act at the end; `at` is the end of the stage by
        default.
        """
        at = at or Progress(self.stage.steps, self.stage.steps)
        return self.guesses.scores(candidate, END) + penalties(candidate, self.lasting, at)

    @torch.no_grad()
    def _settle(self, at: Progress) -> None:
        """Project the candidate and apply the moves, after every step of the optimiser."""
        self.candidate.project()
        if self.guesses.simulated is not None and self.guesses.own:
            self.guesses.simulated.project(self.guesses.own)
        for move in self.moves:
            move(self.candidate, lambda: self.guesses.scores(self.candidate, at), at)

    def state(self) -> dict[str, Any]:
        """Return everything that `load` needs to resume from here; parts recompute what they remember."""
        return {
            "leaves": [leaf.detach() for leaf in self.leaves],
            "constants": list(self.candidate.constants.values()),
            **optimiser_state(self.optimiser, self.schedule),
            **self.best.state(),
            "routes": [learned(one.matching.routes) for one in self.guesses.restarts],
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Resume from `state`; if it does not fit, raise before anything but the optimiser has changed."""
        held = [*self.leaves, *self.candidate.constants.values(), *self.best.held]
        saved = [*state["leaves"], *state["constants"], *state["kept"], state["scores"], state["falls"]]
        require_alike(saved, held)
        routes = state.get("routes", [])
        if len(routes) != len(self.guesses.restarts):
            raise ValueError("it does not say which routes to the gradient it took")
        load_optimiser(state, self.optimiser, self.schedule)
        for place, value in zip(held, saved, strict=True):
            place.copy_(value)
        for one, route in zip(self.guesses.restarts, routes, strict=True):
            relearn(one.matching.routes, route)
