"""Guesses that carry their labels: a generator that makes both, or pixels and logits that a second attack asks for.

`GradientMatching` optimises labels beside the candidate and says only which were largest. Here they belong to the
candidate, and the run returns their logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...client.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Curve, Knowledge, Reconstruction
from ...values.validation import Checked
from ..parts.parametrisations.with_logits import LabelledCandidate
from ..parts.part import Objective, Part, Progress, Stage, Watch
from ..step.matching import Matching, comparable, without_slope
from ..step.routes import weighted
from .keeper import Keeper, State, load_optimiser, optimiser_state, require_alike
from .refusal import attacked, require_fit

POINTS = 200  # how often in a run the host looks at the device
VERIFIED = 1e-3  # relative distance of the recomputed update below which a guess explains the observed one
Look = Callable[[int, Tensor], None]
"""Called before every step with (steps done, inputs `[B, ...]` in the units of the data, detached).

Where it has a dictionary `memory` of numbers, tensors and dictionaries of them, a kept run keeps that, too.
"""


class Found(NamedTuple):
    """What one run found.

    Args:
        inputs: `[B, ...]` as the model takes them.
        reported: `[B, ...]` in the units of the data.
        logits: `[B, K]`.
        objective: Of that guess, whose total, with the priors, is the lowest of the run.
        trace: Objective over the run.
    """

    inputs: Tensor
    reported: Tensor
    logits: Tensor
    objective: float
    trace: Curve


@dataclass(frozen=True)
class LabelledMatching(Checked):
    """An attack by gradient matching whose candidate carries its labels; one stage, one guess at a time.

    Args:
        name: As in the literature.
        paper: arXiv id or DOI.
        objective: How updates are compared.
        stages: One, whose parametrisation starts a `LabelledCandidate`.
        restarts: Independent runs; the lowest objective wins.
        deviations: Where this differs from the paper or its code, in sentences.

    Raises:
        AttackFailed: Not exactly one stage, or a number below 1.
    """

    name: str
    paper: str
    objective: Objective
    stages: tuple[Stage, ...]
    restarts: int = 1
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stages) != 1:
            raise AttackFailed(f"{self.name}: takes one stage. Found {len(self.stages)}.")
        if self.restarts < 1:
            raise AttackFailed(f"{self.name}: restarts must be at least 1. Found {self.restarts}.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part."""
        return (self.objective, *self.stages[0].parts)

    def used(self, granted: Knowledge) -> tuple[Part, ...]:
        """The same: no fact makes a part idle."""
        return self.parts

    @property
    def needs(self) -> Knowledge:
        """Union over the parts."""
        return reduce(or_, (part.needs for part in self.parts), Knowledge.NOTHING)

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees. Labels are the candidate's own even where LABELS is granted.
            seed: Of every random choice.
            watch: Told of the progress.
            keep: Where each restart is kept, done ones too, and gone on from; see `GradientMatching`.

        Raises:
            MissingKnowledge: A part needs a fact that was not granted.
            AttackFailed: The objective left the real numbers in every restart.
        """
        runs = self.search(seen, seed=seed, watch=watch, keep=keep)
        best = min(runs, key=lambda run: run.objective)
        return Reconstruction(
            inputs=best.reported,
            labels=best.logits.argmax(-1),
            objective=best.objective,
            verified=explains(seen, best),
            trace=tuple(run.trace for run in runs),
            notes=dropped(self, runs),
        )

    def search(
        self,
        seen: Observation,
        *,
        seed: int = 0,
        watch: Watch | None = None,
        look: Look | None = None,
        keep: Path | None = None,
    ) -> list[Found]:
        """All restarts that kept to real numbers, with their logits; as calling it, and `look` sees every step."""
        require_fit(self, seen.knowledge, seen.modality)
        runs: list[Found] = []
        with torch.random.fork_rng(devices=[seen.device] if seen.device.type == "cuda" else []):
            torch.manual_seed(seed)
            copy = attacked(self.name, seen)
            matching = Matching(copy, self.objective.bind(copy))
            for number in range(self.restarts):
                keeper = Keeper.of(keep, self, [seen], [seed], number) if keep else None
                found = _Run(self, matching, number, watch, look).run(keeper)
                if found is not None:
                    runs.append(found)
        if not runs:
            raise AttackFailed(
                f"{self.name}: the objective is no longer finite in any restart. Try more restarts or another seed."
            )
        return runs


def dropped(attack: LabelledMatching, runs: list[Found]) -> tuple[str, ...]:
    """A sentence where restarts left the real numbers."""
    lost = attack.restarts - len(runs)
    return (f"{lost} of {attack.restarts} restarts left the real numbers.",) if lost else ()


@torch.no_grad()
def explains(seen: Observation, found: Found) -> bool:
    """Whether the update recomputed from a guess lies within 1e-3 (relative) of the observed one."""
    copy = attacked("", seen)
    matching = Matching(copy, lambda update, observed, at: _gap(update, observed))
    observed = torch.stack([tensor.norm() for tensor in seen.update.values]).norm()
    return bool(matching.value(found.inputs, found.logits, Progress(1, 1)) <= VERIFIED * observed)


def _gap(update: tuple[Tensor, ...], observed: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([(u - o).norm() for u, o in zip(update, observed, strict=True)]).norm()


def _first(attack: LabelledMatching, matching: Matching) -> LabelledCandidate:
    """The first guess; raises `AttackFailed` where it carries no labels, or could not move."""
    parametrisation = attack.stages[0].parametrisation
    candidate = parametrisation.start(matching.seen, 1, None)
    if not isinstance(candidate, LabelledCandidate):
        raise AttackFailed(
            f"{attack.name}: needs a parametrisation whose candidate carries its labels, such as "
            f"WithLogits({parametrisation!r})."
        )
    if matching.flat(candidate.decode()[0], candidate.logits()[0]):
        raise without_slope(attack.name)
    return candidate


class _Run:
    """One restart: the variables, their best values so far, and the trace."""

    def __init__(
        self, attack: LabelledMatching, matching: Matching, number: int, watch: Watch | None, look: Look | None
    ) -> None:
        self.matching, self.stage, self.watch, self.look = matching, attack.stages[0], watch, look
        self.done, self.total = number * self.stage.steps, attack.restarts * self.stage.steps
        self.candidate = candidate = _first(attack, matching)
        self.leaves = [leaf.requires_grad_() for leaf in candidate.variables.values()]
        self.terms = [(term, term.prior.bind(matching.seen)) for term in self.stage.terms]
        self.transforms = [part.bind(matching.seen) for part in self.stage.gradient]
        self.kept = [leaf.detach().clone() for leaf in self.leaves]
        self.lowest = self.leaves[0].detach().new_full((), torch.inf)
        self.curve: list[tuple[int, float]] = []

    def run(self, keeper: Keeper | None = None) -> Found | None:
        """The best guess of the run, `None` where there was no real number."""
        stage, every = self.stage, max(1, self.stage.steps // POINTS)
        self.optimiser, self.schedule = stage.optimiser.build(self.leaves, stage.steps)
        first = (keeper.resume(self._restored) if keeper else None) or 0
        for step in range(first, stage.steps):
            value = self.step(step)
            last = step + 1 == stage.steps
            if step % every == 0 or last:
                last |= self.tell(step, float(value))
            if keeper and (last or keeper.due):
                keeper.save(self._state(stage.steps if last else step + 1))
            if last:
                break
        return self.found()

    def step(self, step: int) -> Tensor:
        """One step of the optimiser; returns the objective before it."""
        if self.look is not None:
            with torch.no_grad():
                self.look(step, self.candidate.reported(self.matching.seen)[0])
        values: list[Tensor] = []
        at = Progress(step, self.stage.steps, lr=self.optimiser.param_groups[0]["lr"])
        self.optimiser.step(lambda: self.slope(at, values))  # type: ignore[arg-type]
        self.schedule.step()
        with torch.no_grad():
            self.candidate.project()
        return values[0]

    def tell(self, step: int, value: float) -> bool:
        """Note the objective; returns whether the run ends here."""
        self.curve.append((step, value))
        if self.watch is not None:
            self.watch(self.done + step + 1, self.total, value)
        return not value < torch.inf or value < self.stage.stop_below

    def _state(self, step: int) -> State:
        """Everything that `_restored` needs to go on at `step`."""
        return {
            "step": step,
            "leaves": [leaf.detach() for leaf in self.leaves],
            **optimiser_state(self.optimiser, self.schedule),
            "kept": self.kept,
            "lowest": self.lowest,
            "curve": [list(point) for point in self.curve],
            "memory": getattr(self.look, "memory", {}),
        }

    @torch.no_grad()
    def _restored(self, state: State) -> int:
        """The step at which `state` was taken, with everything put back."""
        held, saved = [*self.leaves, *self.kept, self.lowest], [*state["leaves"], *state["kept"], state["lowest"]]
        require_alike(saved, held)
        step, curve = int(state["step"]), [(int(x), float(y)) for x, y in state["curve"]]
        if not 0 < step <= self.stage.steps:
            raise ValueError("its place in the run does not exist")
        load_optimiser(state, self.optimiser, self.schedule)
        for place, value in zip(held, saved, strict=True):
            place.copy_(value)
        self.curve = curve
        getattr(self.look, "memory", {}).update(state["memory"])
        return step

    def slope(self, at: Progress, values: list[Tensor]) -> Tensor:
        """The objective; writes the gradient of the whole loss into every leaf."""
        inputs, logits = self.candidate.decode(), self.candidate.logits()
        slope = self.matching.slope(inputs[0], logits[0], self.terms, at._replace(candidates=inputs.detach()))
        if comparable(self.terms, at):
            self.offer(slope.total)
        pulled = torch.autograd.grad((inputs, logits), self.leaves, (slope.inputs[None], slope.others[0][None]))
        for leaf, gradient in zip(self.leaves, pulled, strict=True):
            leaf.grad = reduce(lambda found, transform: transform(found, at), self.transforms, gradient)
        values.append(slope.objective)
        return slope.objective

    @torch.no_grad()
    def offer(self, value: Tensor) -> None:
        """Keep the leaves where they score lower than before."""
        better = value < self.lowest
        self.lowest = torch.where(better, value, self.lowest)
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            torch.where(better, leaf, kept, out=kept)

    @torch.no_grad()
    def found(self) -> Found | None:
        """The best guess."""
        end = Progress(1, 1, candidates=self.candidate.decode())
        inputs, logits = self.candidate.decode()[0], self.candidate.logits()[0]
        self.offer(self.matching.value(inputs, logits, end) + sum(weighted(self.terms, inputs, end)))
        if not torch.isfinite(self.lowest):
            return None
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            leaf.copy_(kept)
        inputs, reported = self.candidate.decode()[0], self.candidate.reported(self.matching.seen)[0]
        logits = self.candidate.logits()[0]
        objective = float(self.matching.value(inputs, logits, end))
        return Found(inputs.clone(), reported.clone(), logits.clone(), objective, tuple(self.curve))
