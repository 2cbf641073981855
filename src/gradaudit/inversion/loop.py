"""The one loop: from random guesses through all stages, for one restart or for several in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import AttackFailed
from ..types import Curve
from .attack import Candidate, Progress, Stage, Watch
from .guesses import Best, Guesses
from .recipe import Recipe
from .routes import BoundTerm

POINTS = 200  # how often in a run the host looks at the device: trace, finiteness, progress


class Outcome(NamedTuple):
    """The best guess of one restart.

    Args:
        score: Selection measure.
        inputs: `[B, ...]` as the candidate decodes.
        reported: `[B, ...]`, what the attack says.
        labels: `[B]`.
        target: `[B]` or `[B, K]`, what the guess was scored with.
        own: Variables of the simulation.
    """

    score: float
    inputs: Tensor
    reported: Tensor
    labels: Tensor
    target: Tensor
    own: Mapping[str, Tensor]


class Loop:
    """All stages, from one random start of every guess.

    Args:
        attack: The value.
        guesses: What is optimised side by side.
        watch: Told (steps done, steps of the whole attack, objective).
    """

    def __init__(self, attack: Recipe, guesses: Guesses, watch: Watch | None = None) -> None:
        self.attack, self.guesses, self.watch = attack, guesses, watch
        self.seen = guesses.restarts[0].matching.seen
        self.measured = guesses.restarts[0].selection is not None
        self.per_run = sum(stage.steps for stage in attack.stages)
        self.passes = attack.restarts if len(guesses.restarts) == 1 else 1
        self.done = guesses.restarts[0].number * self.per_run  # steps of the whole attack
        self.local = self.began = 0  # steps of this loop
        self.curves: list[list[tuple[int, float]]] = [[] for _ in guesses.restarts]

    @property
    def traces(self) -> list[Curve]:
        """Objective over the run, of every restart."""
        return [tuple(curve) for curve in self.curves]

    def run(self) -> list[Outcome | None]:
        """The best guess of every restart; `None` where the objective left the real numbers."""
        candidate: Candidate | None = None
        scores = torch.empty(0)
        for stage in self.attack.stages:
            candidate, scores = self.stage(stage, candidate)
        assert candidate is not None
        guesses, found = self.guesses, []
        with torch.no_grad():
            decoded, reported = candidate.decode(), candidate.reported(self.seen)
        for group, of_group in enumerate(scores.split(guesses.seeds)):
            if not torch.isfinite(of_group).any():
                found.append(None)
                continue
            best = group * guesses.seeds + int(of_group.nan_to_num(nan=torch.inf).argmin())
            target, own = guesses.labels(best).detach(), {n: v.detach() for n, v in guesses.variables(best).items()}
            found.append(Outcome(float(scores[best]), decoded[best], reported[best], guesses.decide(best), target, own))
        return found

    def stage(self, stage: Stage, previous: Candidate | None) -> tuple[Candidate, Tensor]:
        """Optimise from `previous`; returns the best candidate and its score per guess."""
        guesses, seen = self.guesses, self.seen
        candidate = guesses.start(stage.parametrisation.start(seen, len(guesses), previous), previous is None)
        leaves = [leaf.requires_grad_() for leaf in (*candidate.variables.values(), *guesses.others)]
        optimiser, schedule = stage.optimiser.build(
            guesses.groups(stage, leaves), stage.steps, lambda guess: guesses.updates(guess, candidate.decode()[guess])
        )
        terms: list[BoundTerm] = [(term, term.prior.bind(seen)) for term in stage.terms]
        transforms, moves = ([part.bind(seen) for part in parts] for parts in (stage.gradient, stage.moves))
        best = Best(leaves, len(guesses))
        every, self.began = max(1, stage.steps // POINTS), self.local

        for step in range(stage.steps):
            values: list[Tensor] = []
            lr = optimiser.param_groups[0]["lr"]

            def closure(step: int = step, values: list[Tensor] = values, lr: float = lr) -> Tensor:
                decoded = candidate.decode()
                at = Progress(step, stage.steps, decoded.detach(), lr)
                value = self._slopes(decoded, candidate, terms, at)
                for variable in candidate.variables.values():
                    for transform in transforms:
                        variable.grad = transform(variable.grad, at)
                if not self.measured:
                    best.offer(value)
                values.append(value)
                return value.sum()

            if self.measured and step % every == 0:
                best.offer(guesses.scores(candidate, END))
            optimiser.step(closure)  # type: ignore[arg-type]
            schedule.step()
            self._settle(candidate, moves, Progress(step, stage.steps, lr=lr))
            self.done, self.local = self.done + 1, self.local + 1
            if (step % every == 0 or step + 1 == stage.steps) and self._look(values[0], stage):
                break
        best.offer(guesses.scores(candidate, END))
        best.restore()
        return candidate, best.scores

    @torch.no_grad()
    def _settle(self, candidate: Candidate, moves: list[Callable], at: Progress) -> None:
        """What follows every step of the optimiser."""
        candidate.project()
        if self.guesses.simulated is not None and self.guesses.own:
            self.guesses.simulated.project(self.guesses.own)
        for move in moves:
            move(candidate, lambda: self.guesses.scores(candidate, at), at)

    def _slopes(self, decoded: Tensor, candidate: Candidate, terms: list[BoundTerm], at: Progress) -> Tensor:
        """Write the gradient into every leaf; returns the objective per guess."""
        found = self.guesses.slopes(decoded, terms, at)
        variables = list(candidate.variables.values())
        pulled = torch.autograd.grad(decoded, variables, found.inputs)
        for leaf, gradient in zip((*variables, *self.guesses.others), (*pulled, *found.others), strict=True):
            leaf.grad = gradient
        return found.objective

    def _look(self, value: Tensor, stage: Stage) -> bool:
        """Read the objective on the host; returns whether the stage may end early."""
        if not torch.isfinite(value).any():
            raise diverged(self.attack.name, self.local, self.per_run)
        lowest, ends = value.view(len(self.curves), -1).min(1).values.tolist(), []
        for low, curve in zip(lowest, self.curves, strict=True):
            flat = self.local > self.began + 1 and low > (1 - stage.stop_flat) * curve[-1][1]
            curve.append((self.local, low))
            ends.append(low < stage.stop_below or (flat and stage.stop_flat > 0))
        if self.watch is not None:
            self.watch(self.done, self.per_run * self.passes, min(lowest))
        return all(ends)


END = Progress(1, 1)


def diverged(name: str, step: int, steps: int) -> AttackFailed:
    """The error of a run whose objective is no number."""
    return AttackFailed(
        f"{name}: the objective is no longer finite at step {step} of {steps}. "
        "Try a smaller learning rate (stages.0.optimiser.lr), more restarts, or another seed."
    )
