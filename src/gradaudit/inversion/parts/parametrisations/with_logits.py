"""Candidates that carry their labels, so that whoever runs them can read the logits."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ....client.observation import Observation
from ....values.types import Knowledge
from ..labels.joint import JointLabels
from ..part import Candidate, Parametrisation
from .pixels import Pixels


class LabelledCandidate(Candidate):
    """A candidate that makes the labels, too."""

    def logits(self) -> Tensor:
        """`[S, B, K]`, with the graph to the variables; the loss takes their softmax."""


@dataclass(frozen=True)
class WithLogits(Parametrisation):
    """The variables of another parametrisation, and one more, `logits` `[S, B, K]` from N(0, 1) (DLG, algorithm 1).

    Args:
        inputs: Makes the inputs.
    """

    example: ClassVar[tuple[Any, ...]] = (Pixels(),)
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    inputs: Parametrisation

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> LabelledCandidate:
        """As the other parametrisation starts, with fresh logits."""
        return _WithLogits(self.inputs.start(seen, seeds, previous), JointLabels().infer(seen, seeds).values)


class _WithLogits(LabelledCandidate):
    def __init__(self, inner: Candidate, logits: Tensor) -> None:
        self.inner = inner
        self.variables = {**inner.variables, "logits": logits}

    def decode(self) -> Tensor:
        return self.inner.decode()

    def logits(self) -> Tensor:
        return self.variables["logits"].view_as(self.variables["logits"])

    def project(self) -> None:
        self.inner.project()

    def reported(self, seen: Observation) -> Tensor:
        return self.inner.reported(seen)
