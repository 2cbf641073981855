"""The composition of an attack by gradient matching."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from ...values.errors import AttackFailed
from ...values.types import Knowledge
from ...values.validation import Checked
from ..parts.label_values import LabelInference
from ..parts.part import Objective, Part, Simulation, Stage
from ..step.routes import Step


@dataclass(frozen=True)
class Recipe(Checked):
    """The parts, stages and counts of an attack by gradient matching.

    Args:
        name: Name in the literature.
        paper: arXiv id or DOI.
        objective: Distance between updates.
        labels: Source of the labels; not used if LABELS is granted.
        stages: Optimisations, in order.
        seeds: Number of candidates optimised together.
        restarts: Number of independent runs. Iterates, seeds and restarts are compared by the attack's own total: the
            objective plus the weighted priors that act at the end of a stage. An iterate under other priors is not
            compared.
        selection: Fixed measure that replaces the objective in that total if the objective varies during the run; the
            objective at the end of the run by default.
        deviations: Differences from the paper or its code, in sentences.
        step: Route to the gradient: `"exact"`, `"directional"` (cheaper, for one local step), or `"auto"`, directional
            while it agrees with the exact one, and exact where candidates share a pass or a graph is recorded. The
            result is always scored by the exact objective.
        checkpoint: Activation checkpointing: store only the inputs of the model's blocks, or of each of several local
            steps, and recompute the rest: less memory, more time.
        graph: On a GPU, record the fixed part of a step as a CUDA graph and replay it, which saves the launches from
            Python: the same result up to rounding. A step that cannot be recorded, or whose replay differs from an
            eager evaluation, runs as without it, and a note says why.
        simulation: How a candidate becomes an update; by default the client's training as far as it is known.
        iterates: Numbers of steps after which the iterate is recorded, for `Reconstruction.iterates`.
        together: Whether seeds, restarts and updates share one pass: `None` if it was measured to be faster, true if it
            is possible, false never.
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
    graph: bool = field(default=False, repr=False)  # the identity of a trial does not depend on how it is computed
    simulation: Simulation | None = None
    together: bool | None = None
    iterates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = {"seeds": self.seeds, "restarts": self.restarts, "stages": len(self.stages)}
        for what, count in counts.items():
            if count < 1:
                raise AttackFailed(f"{self.name}: {what} must be at least 1. Found {count}.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, the label inference last."""
        simulation = (self.simulation,) if self.simulation else ()
        return (self.objective, *simulation, *(part for stage in self.stages for part in stage.parts), self.labels)

    @property
    def makes_labels(self) -> bool:
        """Whether the candidate produces the labels, so that none are inferred or granted."""
        return self.stages[0].parametrisation.makes_labels

    @property
    def needs(self) -> Knowledge:
        """The union of the needs of all parts."""
        return reduce(or_, (part.needs for part in self.parts), Knowledge.NOTHING)

    def used(self, granted: Knowledge) -> tuple[Part, ...]:
        """Return the parts that are used if the adversary knows `granted`: no label inference if LABELS is granted."""
        idle = self.makes_labels or (self.labels.infers and Knowledge.LABELS in granted)
        return self.parts[:-1] if idle else self.parts
