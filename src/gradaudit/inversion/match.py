"""Attacks by gradient matching: one frozen value, and the one loop that runs it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import AttackFailed
from ..observation import Observation
from ..types import Curve, Knowledge, Reconstruction, Tensors
from .attack import (
    Candidate,
    LabelInference,
    Labels,
    Objective,
    Part,
    Progress,
    Stage,
    Watch,
    require_knowledge,
)
from .one_step import assumed_step
from .routes import BoundTerm, Step
from .step import Matching

VERIFIED = 1e-3  # relative distance of the recomputed update below which a guess explains the observed one
POINTS = 200  # how often in a run the host looks at the device: trace, finiteness, progress


@dataclass(frozen=True)
class GradientMatching:
    """An attack of the optimisation family: guess inputs until their update looks like the observed one.

    Args:
        name: As in the literature.
        paper: arXiv id or DOI.
        objective: How updates are compared.
        labels: Where labels come from; left out where LABELS is granted.
        stages: Optimisations, in order.
        seeds: Guesses optimised together.
        restarts: Independent runs; the lowest final objective wins.
        selection: Fixed measure by which iterates, seeds and restarts compare where the objective varies during the
            run; the objective at the end of the run by default.
        deviations: Where this differs from the paper or its code, in sentences.
        step: Route to the gradient: `"exact"`, `"directional"` (cheaper, for one local step), or `"auto"`, directional
            for as long as it agrees with the exact one. The result is scored by the exact objective in any case.
        checkpoint: Keep only what enters the blocks of the model and compute the rest again: less memory, more time.
    """

    name: str
    paper: str
    objective: Objective
    labels: LabelInference
    stages: tuple[Stage, ...]
    seeds: int = 1
    restarts: int = 1
    selection: Objective | None = None
    deviations: tuple[str, ...] = ()
    step: Step = "exact"
    checkpoint: bool = False

    def __post_init__(self) -> None:
        counts = {"seeds": self.seeds, "restarts": self.restarts, "stages": len(self.stages)}
        counts |= {f"stages.{i}.steps": stage.steps for i, stage in enumerate(self.stages)}
        for field, count in counts.items():
            if count < 1:
                raise AttackFailed(f"{self.name}: {field} must be at least 1. Found {count}.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, labels last."""
        return (self.objective, *(part for stage in self.stages for part in stage.parts), self.labels)

    @property
    def needs(self) -> Knowledge:
        """Union over the parts."""
        return reduce(or_, (part.needs for part in self.parts), Knowledge.NOTHING)

    def needs_given(self, granted: Knowledge) -> Knowledge:
        """What it needs once `granted` is known: a part that infers labels is left out where LABELS is granted."""
        return reduce(or_, (part.needs for part in self._used(granted)), Knowledge.NOTHING)

    def check(self, granted: Knowledge) -> None:
        """Raise `MissingKnowledge` where `granted` is not enough."""
        require_knowledge(self.name, self._used(granted), granted)

    def _used(self, granted: Knowledge) -> tuple[Part, ...]:
        return self.parts[:-1] if self.labels.infers and Knowledge.LABELS in granted else self.parts

    def __call__(self, seen: Observation, *, seed: int = 0, watch: Watch | None = None) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Of every random choice; equal seeds give equal results on the CPU.
            watch: Told of the progress.

        Raises:
            MissingKnowledge: A part needs a fact that was not granted.
            AttackFailed: A part cannot work on this observation, or the objective left the real numbers in every
                restart.
        """
        self.check(seen.knowledge)
        with torch.random.fork_rng(devices=[seen.device] if seen.device.type == "cuda" else []):
            torch.manual_seed(seed)
            return _run(self, replace(seen, model=deepcopy(seen.model).eval()), watch)


class _Outcome(NamedTuple):
    score: float
    inputs: Tensor  # [B, C, H, W]
    labels: Tensor  # [B]
    target: Tensor  # [B] or [B, K], what the guess was scored with


def _run(attack: GradientMatching, seen: Observation, watch: Watch | None) -> Reconstruction:
    one_step = assumed_step(seen, checkpoint=attack.checkpoint)  # before any part hooks the model
    matching = Matching(seen, attack.objective.bind(seen), attack.step, one_step)
    outcomes: list[_Outcome] = []
    curves: list[Curve] = []
    failures: list[str] = []
    for number in range(attack.restarts):
        labels = _labels(attack, seen)
        restart = _Restart(attack, matching, labels, number, watch)
        try:
            outcomes.append(restart.run())
        except AttackFailed as failure:
            failures.append(str(failure))
        curves.append(tuple(restart.curve))
    if not outcomes:
        raise AttackFailed(failures[0])
    best = min(outcomes, key=lambda outcome: outcome.score)
    return Reconstruction(
        inputs=seen.normalisation.invert(best.inputs),
        labels=best.labels,
        objective=best.score,
        verified=_verified(matching, best),
        labels_granted=labels.granted,
        trace=tuple(curves),
        notes=(*labels.notes, *matching.notes, *(f"A restart was dropped: {failure}" for failure in failures)),
    )


def _labels(attack: GradientMatching, seen: Observation) -> Labels:
    if seen.labels is not None and attack.labels.infers:
        return Labels(seen.labels, granted=True)
    return attack.labels.infer(seen, attack.seeds)


class _Restart:
    """One run through all stages from one random start."""

    def __init__(
        self, attack: GradientMatching, matching: Matching, labels: Labels, number: int, watch: Watch | None
    ) -> None:
        self.attack, self.matching, self.labels, self.watch = attack, matching, labels, watch
        self.per_run = sum(stage.steps for stage in attack.stages)
        self.done = number * self.per_run  # steps of the whole attack
        self.local = 0  # steps of this restart
        self.curve: list[tuple[int, float]] = []
        final = attack.selection or attack.objective
        measured = attack.selection is not None or attack.objective.varies
        self.selection = Matching(matching.seen, final.bind(matching.seen)) if measured else None

    def run(self) -> _Outcome:
        candidate: Candidate | None = None
        scores = torch.empty(0)
        for stage in self.attack.stages:
            candidate, scores = self.stage(stage, candidate)
        assert candidate is not None
        if not torch.isfinite(scores).any():
            raise self._diverged(self.local)
        seed = int(scores.nan_to_num(nan=torch.inf).argmin())
        inputs = candidate.decode().detach()[seed]
        return _Outcome(float(scores[seed]), inputs, self.labels.decide(seed), self.labels.of(seed).detach())

    def stage(self, stage: Stage, previous: Candidate | None) -> tuple[Candidate, Tensor]:
        """Optimise from `previous`; returns the best candidate and its score per seed `[S]`."""
        attack, seen = self.attack, self.matching.seen
        candidate = stage.parametrisation.start(seen, attack.seeds, previous)
        trainable = [self.labels.values] if self.labels.trainable else []
        leaves = [leaf.requires_grad_() for leaf in (*candidate.variables.values(), *trainable)]
        optimiser, schedule = stage.optimiser.build(
            leaves, stage.steps, lambda seed: _simulated(self.matching, candidate.decode()[seed], self.labels.of(seed))
        )
        terms: list[BoundTerm] = [(term, term.prior.bind(seen)) for term in stage.terms]
        transforms = [part.bind(seen) for part in stage.gradient]
        best = _Best(leaves, attack.seeds)
        every, self.began = max(1, stage.steps // POINTS), self.local

        for step in range(stage.steps):
            values: list[Tensor] = []

            def closure(step: int = step, values: list[Tensor] = values) -> Tensor:
                decoded = candidate.decode()
                at = Progress(step, stage.steps, decoded.detach())
                value = self._slopes(decoded, candidate, terms, at)
                for variable in candidate.variables.values():
                    for transform in transforms:
                        variable.grad = transform(variable.grad, at)
                if self.selection is None:
                    best.offer(value)
                values.append(value)
                return value.sum()

            if self.selection is not None and step % every == 0:
                best.offer(self._scores(candidate))
            optimiser.step(closure)  # type: ignore[arg-type]
            schedule.step()
            with torch.no_grad():
                candidate.project()
            self.done, self.local = self.done + 1, self.local + 1
            if (step % every == 0 or step + 1 == stage.steps) and self._look(values[0], stage):
                break
        best.offer(self._scores(candidate))
        best.restore()
        return candidate, best.scores

    def _slopes(self, decoded: Tensor, candidate: Candidate, terms: list[BoundTerm], at: Progress) -> Tensor:
        """Write the gradient into every leaf, seed by seed; returns the objective per seed `[S]`."""
        slopes = [
            self.matching.slope(guess, self.labels.of(seed), terms, at) for seed, guess in enumerate(decoded.unbind())
        ]
        variables = list(candidate.variables.values())
        pulled = torch.autograd.grad(decoded, variables, torch.stack([slope.inputs for slope in slopes]))
        for variable, gradient in zip(variables, pulled, strict=True):
            variable.grad = gradient
        if self.labels.trainable:
            self.labels.values.grad = torch.stack([slope.labels for slope in slopes if slope.labels is not None])
        return torch.stack([slope.objective for slope in slopes])

    def _scores(self, candidate: Candidate) -> Tensor:
        """The selection measure per seed `[S]`, at full progress."""
        with torch.no_grad():
            decoded = candidate.decode()
            measure = self.selection or self.matching
            at = Progress(1, 1, decoded)
            labels = [self.labels.of(seed) for seed in range(len(decoded))]
        return torch.stack([measure.value(guess, y, at) for guess, y in zip(decoded, labels, strict=True)])

    def _look(self, value: Tensor, stage: Stage) -> bool:
        """Read the objective on the host; returns whether the stage may end early."""
        lowest = float(value.min())
        if not torch.isfinite(value).any():
            raise self._diverged(self.local)
        flat = self.local > self.began + 1 and lowest > (1 - stage.stop_flat) * self.curve[-1][1]
        self.curve.append((self.local, lowest))
        if self.watch is not None:
            self.watch(self.done, self.per_run * self.attack.restarts, lowest)
        return lowest < stage.stop_below or (flat and stage.stop_flat > 0)

    def _diverged(self, step: int) -> AttackFailed:
        return AttackFailed(
            f"{self.attack.name}: the objective is no longer finite at step {step} of {self.per_run}. "
            "Try a smaller learning rate (stages.0.optimiser.lr), more restarts, or another seed."
        )


class _Best:
    """The best values of all leaves so far, per seed, kept on the device."""

    def __init__(self, leaves: list[Tensor], seeds: int) -> None:
        self.leaves = leaves
        self.kept = [leaf.detach().clone() for leaf in leaves]
        self.scores = torch.full((seeds,), torch.inf, device=leaves[0].device)

    @torch.no_grad()
    def offer(self, scores: Tensor) -> None:
        better = scores < self.scores
        self.scores = torch.where(better, scores, self.scores)
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            mask = better.view(-1, *[1] * (leaf.ndim - 1))
            torch.where(mask, leaf, kept, out=kept)

    @torch.no_grad()
    def restore(self) -> None:
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            leaf.copy_(kept)


def _simulated(matching: Matching, inputs: Tensor, labels: Tensor) -> tuple[Tensors, Tensors]:
    """The update of a guess, defended where the defense is known, and the observed one; graph as gradients are on."""
    observed = matching.seen.update.values
    update = matching.simulate(inputs, labels, differentiable=torch.is_grad_enabled())
    return reduce(lambda u, d: d.simulate(u, observed), matching.seen.defenses or (), update), observed


@torch.no_grad()
def _verified(matching: Matching, best: _Outcome) -> bool:
    update, observed = _simulated(matching, best.inputs, best.target)
    gap = torch.stack([(u - o).norm() for u, o in zip(update, observed, strict=True)]).norm()
    return bool(gap <= VERIFIED * torch.stack([o.norm() for o in observed]).norm())
