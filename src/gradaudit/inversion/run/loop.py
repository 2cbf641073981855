"""The one loop: from random guesses through all stages, for one restart or for several in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Curve
from ..parts.part import Candidate, Stage, Watch
from ..step.matching import without_slope
from .guesses import Guesses
from .keeper import Keeper
from .recipe import Recipe
from .stage_run import END, StageRun

POINTS = 200  # how often in a run the host looks at the device: trace, finiteness, progress


class Outcome(NamedTuple):
    """The best guess of one restart.

    Args:
        score: By what restarts compare: the selection measure with the priors of the last stage.
        objective: The selection measure alone.
        inputs: `[B, ...]` as the candidate decodes.
        reported: `[B, ...]`, what the attack says.
        labels: `[B]`.
        target: `[B]` or `[B, K]`, what the guess was scored with.
        own: Variables of the simulation.
    """

    score: float
    objective: float
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
        keeper: Where the run is kept now and then, and goes on from.
    """

    def __init__(
        self, attack: Recipe, guesses: Guesses, watch: Watch | None = None, keeper: Keeper | None = None
    ) -> None:
        self.attack, self.guesses, self.watch, self.keeper = attack, guesses, watch, keeper
        self.seen = guesses.restarts[0].matching.seen
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
        begun = self.keeper.resume(self._restored) if self.keeper else None
        first, step, running = begun or (0, 0, None)
        candidate: Candidate | None = None
        scores = torch.empty(0)
        for number, stage in list(enumerate(self.attack.stages))[first:]:
            if candidate is not None and self._solved(candidate, stage.only_above):
                self.done, self.local = self.done + stage.steps, self.local + stage.steps
                continue
            if running is None:
                self.began = self.local
                running = self._begun(stage, candidate)
            candidate, scores = self._stage(number, stage, running, step)
            step, running = 0, None
        assert candidate is not None
        guesses, found = self.guesses, []
        objectives = guesses.scores(candidate, END)
        with torch.no_grad():
            decoded, reported = candidate.decode().detach(), candidate.reported(self.seen).detach()
        for group, of_group in enumerate(scores.split(guesses.seeds)):
            if not torch.isfinite(of_group).any():
                found.append(None)
                continue
            best = group * guesses.seeds + int(of_group.nan_to_num(nan=torch.inf).argmin())
            target, own = guesses.labels(best).detach(), {n: v.detach() for n, v in guesses.variables(best).items()}
            score, objective = float(scores[best]), float(objectives[best])
            labels = guesses.decide(best)
            found.append(Outcome(score, objective, decoded[best], reported[best], labels, target, own))
        return found

    def _restored(self, state: dict[str, Any]) -> tuple[int, int, StageRun]:
        """The stage, its step and the stage as they stood when `state` was taken."""
        number, step, began, local = (int(state[name]) for name in ("stage", "step", "began", "local"))
        stage = self.attack.stages[number]
        curves = [[(int(x), float(y)) for x, y in curve] for curve in state["curves"]]
        if not (number >= 0 and 0 <= step <= stage.steps and len(curves) == len(self.curves)):
            raise ValueError("its place in the run does not exist")
        running = StageRun(stage, self.guesses, self.seen, None)
        running.load(state)
        self.curves, self.began, self.local, self.done = curves, began, local, self.done + local
        return number, step, running

    def _begun(self, stage: Stage, previous: Candidate | None) -> StageRun:
        """The stage at its first step."""
        if previous is None:
            self._require_slope(stage)
        return StageRun(stage, self.guesses, self.seen, previous)

    def _stage(self, number: int, stage: Stage, running: StageRun, first: int) -> tuple[Candidate, Tensor]:
        """Optimise from step `first`; the best candidate and its score per guess."""
        every = max(1, stage.steps // POINTS)
        for step in range(first, stage.steps):
            value = running.step(step, step % every == 0)
            self.done, self.local = self.done + 1, self.local + 1
            ends = (step % every == 0 or step + 1 == stage.steps) and self._look(value, stage)
            if self.keeper and (ends or step + 1 == stage.steps or self.keeper.due):
                self._keep(running, number, stage.steps if ends else step + 1)
            if ends:
                break
        return running.finish()

    def _solved(self, candidate: Candidate, mark: float) -> bool:
        return mark > 0 and bool((self.guesses.scores(candidate, END) < mark).any())

    def _require_slope(self, stage: Stage) -> None:
        """Raise `AttackFailed` where no first guess could move; before any prior is bound, whose hooks would see it."""
        with torch.random.fork_rng(devices=[self.seen.device] if self.seen.device.type == "cuda" else []):
            decoded = stage.parametrisation.start(self.seen, len(self.guesses), None).decode().detach()
            if not all(self.guesses.flat(i, guess) for i, guess in enumerate(decoded)):
                return
        raise without_slope(self.attack.name)

    def _keep(self, running: StageRun, stage: int, step: int) -> None:
        assert self.keeper is not None
        at = {"stage": stage, "step": step, "local": self.local, "began": self.began}
        curves = [[list(point) for point in curve] for curve in self.curves]
        self.keeper.save({**running.state(), **at, "curves": curves})

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


def diverged(name: str, step: int, steps: int) -> AttackFailed:
    """The error of a run whose objective is no number."""
    return AttackFailed(
        f"{name}: the objective is no longer finite at step {step} of {steps}. "
        "Try a smaller learning rate (stages.0.optimiser.lr), more restarts, or another seed."
    )
