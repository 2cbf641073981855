"""Run an attack several times and pool the reconstructions into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Knowledge, Reconstruction
from ...values.validation import Checked
from ..attack import Watch
from ..parts.part import Part, Stage
from ..parts.pools import Pool, Pooled
from ..step.matching import END
from .allowance import cut_note
from .gradient_matching import GradientMatching
from .refusal import require_fit
from .restarts import Target


@dataclass(frozen=True)
class Ensemble(Checked):
    """Several independent runs of one attack, whose reconstructions are pooled.

    The reported objective and whether the reconstruction explains the update are those of the pooled reconstruction.

    Args:
        name: Name in the literature.
        paper: arXiv id or DOI.
        attack: The attack that is run.
        pool: The rule that combines the reconstructions.
        members: Number of runs, each with a seed of its own; in one pass if that is faster (`GradientMatching.many`).
        deviations: Differences from the paper or its code, in sentences.

    Raises:
        AttackFailed: There is fewer than one member.
    """

    name: str
    paper: str
    attack: GradientMatching
    pool: Pool
    members: int = 30
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.members < 1:
            raise AttackFailed(f"{self.name}: members must be at least 1. Found {self.members}.")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of every member."""
        return self.attack.stages

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, the pool included."""
        return (*self.attack.parts, self.pool)

    def used(self, granted: Knowledge) -> tuple[Part, ...]:
        """Return the parts that are used if the adversary knows `granted`."""
        return (*self.attack.used(granted), self.pool)

    @property
    def needs(self) -> Knowledge:
        """The union of the needs of all parts."""
        return self.attack.needs | self.pool.needs

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run all members and pool them; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Seed of every random choice; the members' seeds are drawn from it.
            watch: Callback for the progress, of each member in turn if they do not share a pass.
            keep: Path of the members' checkpoints, finished members included, from which the run resumes; see
                `GradientMatching`.

        Raises:
            MissingKnowledge: A part needs a fact that was not granted.
            AttackFailed: A part cannot work on this observation, or no member found anything.
        """
        require_fit(self, seen.knowledge, seen.modality)
        pool = self.pool.bind(seen)
        found = self.attack.many([seen] * self.members, seeds=self._seeds(seed), watch=watch, keep=keep)
        members = sorted((one for one in found if isinstance(one, Reconstruction)), key=lambda one: one.objective)
        failures = [one for one in found if isinstance(one, AttackFailed)]
        if not members:
            raise failures[0]
        pooled = pool(members)
        objective, verified = self._judged(seen, pooled)
        best, last = members[0], members[-1]
        cut = self._cut(members)
        return Reconstruction(
            inputs=pooled.inputs,
            labels=pooled.labels,
            objective=objective,
            verified=verified,
            labels_granted=best.labels_granted,
            trace=tuple(curve for member in members for curve in member.trace),
            notes=(
                f"Pooled from {len(members)} runs, whose objectives range from {best.objective:.3g} to "
                f"{last.objective:.3g}; that of the pooled reconstruction is {objective:.3g}.",
                *dict.fromkeys(
                    note for one in members for note in one.notes if not one.cut or note != cut_note(*one.cut)
                ),
                *dict.fromkeys(f"A run was dropped: {failure}" for failure in failures),
                *([cut_note(*cut)] if cut else []),
            ),
            confidence=pooled.confidence,
            cut=cut,
        )

    def _cut(self, found: Sequence[Reconstruction]) -> tuple[int, int] | None:
        """Return the steps of all members that were done, and all their steps, if a time limit ended one of them."""
        if not any(member.cut for member in found):
            return None
        each = self.attack.restarts * sum(stage.steps for stage in self.stages)
        return sum(member.cut[0] if member.cut else each for member in found), each * self.members

    def _seeds(self, seed: int) -> list[int]:
        """Return seeds that are far apart, so that two ensembles with neighbouring seeds share no member."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(2**62, (self.members,), generator=generator).tolist()

    @torch.no_grad()
    def _judged(self, seen: Observation, pooled: Pooled) -> tuple[float, bool]:
        """Return the selection measure of the pooled reconstruction, and whether its update equals the observed one."""
        if pooled.labels is None:
            return float("nan"), False
        target = Target(self.attack, seen)
        inputs = seen.normalisation.apply(pooled.inputs)
        value = (target.selection or target.matching).value(inputs, pooled.labels, END)
        return float(value), target.matching.explained(inputs, pooled.labels)
