"""What an attack by gradient matching is made of."""

from __future__ import annotations

from dataclasses import dataclass
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
    """Parts, stages and counts of an attack of the optimisation family.

    Args:
        name: As in the literature.
        paper: arXiv id or DOI.
        objective: How updates are compared.
        labels: Where labels come from; left out where LABELS is granted.
        stages: Optimisations, in order.
        seeds: Guesses optimised together.
        restarts: Independent runs. Iterates, seeds and restarts compare by the attack's own total: the objective with
            the weighted priors that act at the end of a stage. An iterate under other priors is not compared.
        selection: Fixed measure that takes the place of the objective in that total where the objective varies during
            the run; the objective at the end of the run by default.
        deviations: Where this differs from the paper or its code, in sentences.
        step: Route to the gradient: `"exact"`, `"directional"` (cheaper, for one local step), or `"auto"`, directional
            for as long as it agrees with the exact one. The result is scored by the exact objective in any case.
        checkpoint: Keep only what enters the blocks of the model, or of several local steps each step, and compute the
            rest again: less memory, more time.
        simulation: How a guess becomes an update; by default the client's training as far as it is known.
        iterates: Numbers of steps of the attack after which the iterate is noted, for `Reconstruction.iterates`.
        together: Seeds, restarts and updates in one pass: where it was measured faster by default, wherever it is
            possible, or never.
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
    simulation: Simulation | None = None
    together: bool | None = None
    iterates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = {"seeds": self.seeds, "restarts": self.restarts, "stages": len(self.stages)}
        for field, count in counts.items():
            if count < 1:
                raise AttackFailed(f"{self.name}: {field} must be at least 1. Found {count}.")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, labels last."""
        simulation = (self.simulation,) if self.simulation else ()
        return (self.objective, *simulation, *(part for stage in self.stages for part in stage.parts), self.labels)

    @property
    def makes_labels(self) -> bool:
        """Whether the candidate makes the labels, so that none are read or granted."""
        return self.stages[0].parametrisation.makes_labels

    @property
    def needs(self) -> Knowledge:
        """Union over the parts."""
        return reduce(or_, (part.needs for part in self.parts), Knowledge.NOTHING)

    def used(self, granted: Knowledge) -> tuple[Part, ...]:
        """Return the parts that are used once `granted` is known: none that infers labels where LABELS is."""
        idle = self.makes_labels or (self.labels.infers and Knowledge.LABELS in granted)
        return self.parts[:-1] if idle else self.parts
