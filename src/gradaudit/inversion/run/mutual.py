"""Two updates of the same examples, one for each modality: the easier one teaches the other (MGIA)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from ...protocol.local_training import DistilledCrossEntropy
from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Knowledge, Reconstruction
from ...values.validation import Checked
from ..attack import Watch
from .gradient_matching import GradientMatching
from .keeper import beside


@dataclass(frozen=True)
class Distillation(Checked):
    """How the student's phase uses the result of the teacher's phase.

    The student's update is simulated with the loss `alpha CE(z, ŷ) + (1 - alpha) / tau CE(z / tau, softmax(y'))`, where
    ŷ are the labels being optimised and y' the teacher's logits, which are fixed. This is the client's own formula
    (`DistilledCrossEntropy`) with the teacher's labels instead of the ground truth, so that the distance is 0 at the
    ground truth.

    Args:
        alpha: Share of the student's own labels, used if the client's loss is not `DistilledCrossEntropy`; otherwise
            the client's value is used.
        tau: Temperature, likewise.
        formula: `"client"` as above, or `"published"`, the second term of the authors' code, `(1 - alpha) CE(z / tau,
            softmax(y' / tau))`: its target has the mass 1, where the client's has 1 / tau, and is softer, so that the
            distance is not 0 at the ground truth.
    """

    alpha: float = 0.3
    tau: float = 3.0
    formula: Literal["client", "published"] = "client"

    def taught(self, seen: Observation, teacher: Tensor) -> Observation:
        """Return the student's view: the same update, simulated with the distilled loss.

        Args:
            seen: The student's observation.
            teacher: The teacher's logits, `[B, K]`.
        """
        own = seen.loss if isinstance(seen.loss, DistilledCrossEntropy) else DistilledCrossEntropy(self.alpha, self.tau)

        def client(logits: Tensor, labels: Tensor) -> Tensor:
            return own(logits, labels, teacher.softmax(-1))

        def published(logits: Tensor, labels: Tensor) -> Tensor:
            second = cross_entropy(logits / own.tau, (teacher / own.tau).softmax(-1))
            return own.alpha * cross_entropy(logits, labels) + (1 - own.alpha) * second

        loss = published if self.formula == "published" else client
        return replace(seen, loss=loss, training=replace(seen.assumed_training, loss=loss))


@dataclass(frozen=True)
class MutualInversion(Checked):
    """MGIA (Liu, Cai, Li, Zhang & Guo, AAAI 2023 student abstract): invert two updates of the same examples and labels.

    First the teacher inverts its update alone; then the student inverts its own, distilling from the teacher's labels.
    The reported labels are argmax(share · teacher's logits + (1 - share) · student's logits).

    Args:
        name: Name in the literature.
        paper: arXiv id or DOI.
        teacher: Attack on the first observation, text in the paper.
        student: Attack on the second observation, images in the paper.
        distillation: How the student uses the teacher's result; `None` inverts each update alone (the paper's "No KD").
        share: Weight of the teacher in the fused label, in [0, 1].
        deviations: Differences from the paper or its code, in sentences.
    """

    name: str
    paper: str
    teacher: GradientMatching
    student: GradientMatching
    distillation: Distillation | None = Distillation()
    share: float = 0.8
    deviations: tuple[str, ...] = ()
    updates: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise AttackFailed(f"{self.name}: share must be in [0, 1]. Found {self.share}.")

    @property
    def needs(self) -> Knowledge:
        """The needs of both phases, each for its observation."""
        return self.teacher.needs | self.student.needs

    def __call__(
        self,
        seen: tuple[Observation, Observation],
        *,
        seed: int = 0,
        watch: Watch | None = None,
        keep: Path | None = None,
    ) -> tuple[Reconstruction, Reconstruction]:
        """Run both phases; neither observation nor the global random state is changed.

        Args:
            seen: Observations of the teacher's and the student's modality: the same examples, in the same order.
            seed: Seed of every random choice.
            watch: Callback for the progress of each phase.
            keep: Path of the checkpoints of both phases, from which they resume; see `GradientMatching`.

        Returns:
            One reconstruction for each observation, both with the fused labels.

        Raises:
            MissingKnowledge: A phase needs a fact that was not granted.
            AttackFailed: The observations differ in their number of examples or classes, or the objective of a phase
                became infinite or NaN.
        """
        of_teacher, of_student = (beside(keep, phase) if keep else None for phase in ("teacher", "student"))
        taught = self.teacher(seen[0], seed=seed, watch=watch, keep=of_teacher)
        return self.learn(seen, taught, seed=seed, watch=watch, keep=of_student)

    def learn(
        self,
        seen: tuple[Observation, Observation],
        taught: Reconstruction,
        *,
        seed: int = 0,
        watch: Watch | None = None,
        keep: Path | None = None,
    ) -> tuple[Reconstruction, Reconstruction]:
        """Run the student's phase alone, given the teacher's result `taught`.

        Arguments, results and errors are otherwise those of calling the attack.
        """
        first, second = seen
        if (first.batch_size, first.classes) != (second.batch_size, second.classes):
            raise AttackFailed(
                f"{self.name}: both updates must be of the same examples. Found {first.batch_size} of {first.classes} "
                f"classes and {second.batch_size} of {second.classes}."
            )
        simulated = self.distillation.taught(second, _logits(self.name, taught)) if self.distillation else second
        learnt = self.student(simulated, seed=seed, watch=watch, keep=keep)
        labels = self.fuse(taught, learnt)
        return replace(taught, labels=labels), replace(learnt, labels=labels)

    def fuse(self, teacher: Reconstruction, student: Reconstruction) -> Tensor:
        """Return the labels `[B]` fused from both phases."""
        first, second = (_logits(self.name, phase) for phase in (teacher, student))
        return (self.share * first + (1 - self.share) * second).argmax(-1)


def _logits(name: str, found: Reconstruction) -> Tensor:
    """Return a phase's logits `[B, K]`. Raise `AttackFailed` if it did not optimise its labels."""
    if found.logits is None:
        raise AttackFailed(f"{name}: both phases must optimise their labels: set labels=JointLabels(), and grant none.")
    return found.logits
