"""The optimisation loop: from random candidates through all stages, for one restart or for several in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...values.chance import forked
from ...values.errors import AttackFailed
from ...values.types import Curve
from ..attack import Watch
from ..parts.part import Candidate, Stage
from ..step.matching import END, without_slope
from .allowance import Allowance
from .keeper import Keeper
from .recipe import Recipe
from .stage import Guesses, StageRun

POINTS = 200  # how often per stage the host reads the device: trace, finiteness, progress


class Outcome(NamedTuple):
    """The best candidate of one restart.

    Args:
        score: The measure by which restarts are compared: the selection measure plus the priors of the last stage.
        objective: The selection measure alone.
        inputs: `[B, ...]`, the decoded inputs.
        reported: `[B, ...]`, the reconstruction that the attack reports.
        labels: `[B]` integers.
        logits: `[B, K]` if labels were optimised with the inputs, otherwise `None`.
        target: `[B]` or `[B, K]`, the labels that the candidate was scored with.
        own: Variables of the simulation.
        iterates: Steps done and `[B, ...]`, the reconstruction at that step.
    """

    score: float
    objective: float
    inputs: Tensor
    reported: Tensor
    labels: Tensor
    logits: Tensor | None
    target: Tensor
    own: Mapping[str, Tensor]
    iterates: tuple[tuple[int, Tensor], ...] = ()


class Loop:
    """All stages of an attack, from one random start of every candidate.

    Args:
        attack: The attack.
        guesses: The candidates that are optimised side by side.
        watch: Callback with (steps done, steps of the whole attack, objective). A `TimeLimit` may end the run, which
            then returns its best iterate so far (`cut`).
        keeper: Checkpoints of the run, which it also resumes from.
    """

    def __init__(
        self, attack: Recipe, guesses: Guesses, watch: Watch | None = None, keeper: Keeper | None = None
    ) -> None:
        self.attack, self.guesses, self.watch, self.keeper = attack, guesses, watch, keeper
        self.time = Allowance(attack, watch)
        self.seen = guesses.restarts[0].matching.seen
        self.per_run = sum(stage.steps for stage in attack.stages)
        self.passes = attack.restarts if len(guesses.restarts) == 1 else 1
        self.done = guesses.restarts[0].number * self.per_run  # steps of the whole attack
        self.local = self.began = 0  # steps of this loop
        self.curves: list[list[tuple[int, float]]] = [[] for _ in guesses.restarts]
        self.iterates: list[tuple[int, Tensor]] = []
        self.notes: list[str] = []

    @property
    def traces(self) -> list[Curve]:
        """The trace of the objective over the run, for every restart."""
        return [tuple(curve) for curve in self.curves]

    def run(self) -> list[Outcome | None]:
        """Return the best candidate of every restart; `None` if its objective became infinite or NaN.

        Raise `AttackFailed` if there is no time for the first step.
        """
        begun = self.keeper.resume(self._restored) if self.keeper else None
        first, step, running = begun or (0, 0, None)
        candidate: Candidate | None = None
        scores = torch.empty(0)
        for number, stage in list(enumerate(self.attack.stages))[first:]:
            if candidate is not None and self._skips(stage, candidate):
                self.done, self.local = self.done + stage.steps, self.local + stage.steps
                continue
            if candidate is not None and self.time.over(self.local):
                break
            if running is None:
                self.began = self.local
                running = self._begun(stage, candidate)
            before = candidate
            candidate, scores = self._stage(number, stage, running, step)
            self.notes += candidate.notes
            if self.time.cut and before is not None:
                found = _outcomes(self.guesses, candidate, scores, self.iterates)
                return _closest(self.guesses, before, running, found, self.iterates)
            step, running = 0, None
        assert candidate is not None
        return _outcomes(self.guesses, candidate, scores, self.iterates)

    def _restored(self, state: dict[str, Any]) -> tuple[int, int, StageRun]:
        """Return the stage number, the step and the stage as they were when `state` was saved."""
        number, step, began, local = (int(state[name]) for name in ("stage", "step", "began", "local"))
        stage = self.attack.stages[number]
        curves = [[(int(x), float(y)) for x, y in curve] for curve in state["curves"]]
        if not (number >= 0 and 0 <= step <= stage.steps and len(curves) == len(self.curves)):
            raise ValueError("its position in the run does not exist")
        iterates = [(int(step), of_all) for step, of_all in state["iterates"]]
        running = StageRun(stage, self.guesses, self.seen, None)
        running.load(state)
        self.iterates = [(step, of_all.to(self.seen.device)) for step, of_all in iterates]
        self.curves, self.began, self.local, self.done = curves, began, local, self.done + local
        return number, step, running

    def _begun(self, stage: Stage, previous: Candidate | None) -> StageRun:
        """Return the stage at its first step."""
        if previous is None:
            _require_slope(self.attack, self.guesses, stage)
        return StageRun(stage, self.guesses, self.seen, previous)

    def _stage(self, number: int, stage: Stage, running: StageRun, first: int) -> tuple[Candidate, Tensor]:
        """Optimise from step `first`; return the best candidate and its scores."""
        every = max(1, stage.steps // POINTS)
        for step in range(first, stage.steps):
            if self.time.over(self.local):
                break
            if self.local in self.attack.iterates:
                with torch.no_grad():
                    self.iterates.append((self.local, running.candidate.reported(self.seen).clone()))
            value = running.step(step, step % every == 0)
            self.done, self.local = self.done + 1, self.local + 1
            ends = (step % every == 0 or step + 1 == stage.steps) and self._look(value, running)
            if self.keeper and (ends or step + 1 == stage.steps or self.keeper.due):
                self._keep(running, number, stage.steps if ends else step + 1)
            if ends:
                break
        return running.finish()

    def _skips(self, stage: Stage, candidate: Candidate) -> bool:
        idle, mark = stage.parametrisation.idle(self.seen), stage.only_above
        self.notes += [idle] if idle else []
        return bool(idle) or (mark > 0 and bool((self.guesses.scores(candidate, END) < mark).any()))

    def _keep(self, running: StageRun, stage: int, step: int) -> None:
        assert self.keeper is not None
        at = {"stage": stage, "step": step, "local": self.local, "began": self.began}
        curves = [[list(point) for point in curve] for curve in self.curves]
        iterates = [list(pair) for pair in self.iterates]
        self.keeper.save({**running.state(), **at, "curves": curves, "iterates": iterates})

    def _look(self, value: Tensor, running: StageRun) -> bool:
        """Read the objective on the host; return whether the stage may end early.

        A stage whose objective becomes infinite or NaN ends with its best iterate, if that is not the first one.
        """
        stage = running.stage
        if not torch.isfinite(value).any():
            failure = diverged(self.attack.name, self.local, self.per_run)
            if not running.best.fell:
                raise failure
            self.notes.append(f"The best iterate so far is used: {failure}")
            return True
        lowest, ends = value.view(len(self.curves), -1).min(1).values.tolist(), []
        for low, curve in zip(lowest, self.curves, strict=True):
            flat = self.local > self.began + 1 and low > (1 - stage.stop_flat) * curve[-1][1]
            curve.append((self.local, low))
            ends.append(low < stage.stop_below or (flat and stage.stop_flat > 0))
        if self.watch is not None:
            self.watch(self.done, self.per_run * self.passes, min(lowest))
        return all(ends)


def _require_slope(attack: Recipe, guesses: Guesses, stage: Stage) -> None:
    """Raise `AttackFailed` if all first candidates are flat; runs before priors hook the model."""
    if stage.optimiser.gradient_free:
        return
    seen = guesses.restarts[0].seen
    with forked(seen.device):
        first = stage.parametrisation.start(seen, len(guesses), None)
        decoded, made = first.decode().detach(), first.logits()
        for i, guess in enumerate(decoded):
            if not guesses.of(i).matching.flat(guess, guesses.labels(i, made), guesses.variables(i)):
                return
    raise without_slope(attack.name)


def _closest(
    guesses: Guesses,
    before: Candidate,
    running: StageRun,
    found: list[Outcome | None],
    iterates: Sequence[tuple[int, Tensor]],
) -> list[Outcome | None]:
    """Return the better of two candidates of every restart: `found`, of the stage that was cut, and the one before.

    A stage that starts afresh may not have caught up. Both are compared by the total of the stage that was cut.
    """
    if guesses.others:
        return found  # such variables belong to the later candidate
    earlier = _outcomes(guesses, before, running.totals(before), iterates)
    return [
        min((one for one in pair if one is not None), key=lambda one: one.score, default=None)
        for pair in zip(found, earlier, strict=True)
    ]


@torch.no_grad()
def _outcomes(
    guesses: Guesses, candidate: Candidate, scores: Tensor, iterates: Sequence[tuple[int, Tensor]]
) -> list[Outcome | None]:
    """Return the candidate with the lowest score of every restart; `None` if none of its scores is finite."""
    seen, found = guesses.restarts[0].matching.seen, []
    objectives, made = guesses.scores(candidate, END), candidate.logits()
    decoded, reported = candidate.decode().detach(), candidate.reported(seen).detach()
    for group, of_group in enumerate(scores.split(guesses.seeds)):
        if not torch.isfinite(of_group).any():
            found.append(None)
            continue
        best = group * guesses.seeds + int(of_group.nan_to_num(nan=torch.inf).argmin())
        labels, logits = guesses.decide(best, made)
        found.append(
            Outcome(
                score=float(scores[best]),
                objective=float(objectives[best]),
                inputs=decoded[best],
                reported=reported[best],
                labels=labels,
                logits=logits,
                target=guesses.labels(best, made).detach(),
                own={name: value.detach() for name, value in guesses.variables(best).items()},
                iterates=tuple((step, of_all[best]) for step, of_all in iterates),
            )
        )
    return found


def diverged(name: str, step: int, steps: int) -> AttackFailed:
    """Return the error of a run whose objective is not finite."""
    return AttackFailed(
        f"{name}: the objective is no longer finite at step {step} of {steps}. "
        "Try a smaller learning rate (stages.0.optimiser.lr), more restarts, or another seed."
    )
